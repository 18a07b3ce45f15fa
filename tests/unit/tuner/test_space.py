"""Points of a group of layers: legal, distinct, dense where nothing is saved."""

import pytest
from torch import nn

from ksweep.space.axes import Axis, Row
from ksweep.tuner.groups import Group, make_groups, select_layers
from ksweep.tuner.layer_config import LayerConfig, TuningConfigs
from ksweep.tuner.space import CombinedSpace, GroupSpace
from ksweep.tuner.specs import Categorical, Float, Int, Spec


def group(*layers: nn.Module, method: str = "svd", **specs: Spec) -> Group:
    named = {f"layer{i}": layer for i, layer in enumerate(layers)}
    return Group(name="_".join(named), layers=named, specs=specs, method=method, copy_weights=True)


def draft(space: GroupSpace, **texts: str):  # type: ignore[no-untyped-def]
    def choose(axis: Axis) -> Row:
        return (texts[axis.name],)

    return space.draw(choose)


def test_points_that_come_to_the_same_model_have_one_id() -> None:
    space = GroupSpace(group(nn.Linear(64, 64), num_terms=Categorical([1, 2, 4]), low_rank=Categorical([2, 4, 8])))

    assert draft(space, num_terms="1", low_rank="8").id == draft(space, num_terms="4", low_rank="2").id != ""
    assert draft(space, num_terms="1", low_rank="8").id != draft(space, num_terms="1", low_rank="4").id
    assert space.distinct() == 3  # ranks 4, 8, 16; 32 and 64 would store no less


def test_sketches_of_the_same_size_are_not_the_same() -> None:
    space = GroupSpace(group(nn.Linear(64, 64), method="sketch", num_terms=Categorical([1, 2]), low_rank=Categorical([2, 4])))

    assert space.distinct() == 4


def test_layer_that_would_store_no_less_stays_dense_beside_one_that_does() -> None:
    two = group(nn.Linear(64, 64), nn.Linear(64, 10), rank=Categorical([4, 16, 64]))

    assert sorted(two.settings({"rank": 4})) == ["layer0", "layer1"]
    assert sorted(two.settings({"rank": 16})) == ["layer0"]
    reason = draft(GroupSpace(two), rank="64").reason
    assert "would store no less" in reason


def test_nonsense_is_a_reason_and_no_crash() -> None:
    found = draft(GroupSpace(group(nn.Linear(64, 64), rank=Categorical([0, 2.5, 8]))), rank="0")

    assert found.id == ""
    assert "layer0: rank: found 0, allowed: whole numbers from 1" in found.reason


def test_large_ranges_are_sampled_and_never_listed() -> None:
    space = GroupSpace(group(nn.Linear(64, 64), rank=Int(1, 10**9, step=7)))

    assert space.distinct() is None
    assert str(space.axes[0].sampled) == "int(1, 1000000000, 7)"
    assert draft(space, rank="8").id


def test_real_numbers_and_logarithms_keep_their_forms() -> None:
    axes = GroupSpace(group(nn.Linear(4, 4), a=Float(0.1, 0.5), b=Float(0.1, 1, log=True), c=Int(1, 10**6, log=True))).axes

    assert [str(axis.sampled) for axis in axes] == ["uniform(0.1, 0.5)", "loguniform(0.1, 1.0)", "logint(1, 1000000)"]


def test_grid_of_the_user_s_replaces_the_values_of_its_parameters_only() -> None:
    space = GroupSpace(group(nn.Linear(64, 64), num_terms=Int(1, 4), low_rank=Int(1, 4)), {"low_rank": [2, 3]})

    assert [len(axis.values) for axis in space.axes] == [4, 2]


def test_dense_is_no_point_of_the_combined_space() -> None:
    space = CombinedSpace({"a": 2, "b": 3}, lambda choice: "".join(map(str, choice.values())) if any(choice.values()) else "")

    assert space.draw(lambda axis: ("0",)).id == ""
    assert space.draw(lambda axis: ("1",)).id == "11"


def test_joint_auto_is_one_group_whose_ranks_suit_any_of_its_layers() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 200))
    selected, _ = select_layers(model, TuningConfigs([LayerConfig({"type": "Linear"}, "auto", separate=False, method="svd")]))
    (only,), _ = make_groups(selected, {})

    assert only.name == "0_1"
    ranks = only.specs["rank"].values()
    assert ranks is not None
    assert ranks == sorted(ranks)  # type: ignore[type-var]


def test_attention_inside_an_encoder_layer_is_what_is_searched() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    selected, _ = select_layers(
        model, TuningConfigs([LayerConfig({"type": "TransformerEncoderLayer"}, {"num_random_features": [8]})])
    )

    assert list(selected[0].layers) == ["0.self_attn"]


@pytest.mark.parametrize("params", [{"rank": [1]}, "auto"])
def test_root_is_refused_in_words(params: object) -> None:
    with pytest.raises(ValueError, match=r"give nn\.Sequential"):
        select_layers(nn.Linear(8, 8), TuningConfigs([LayerConfig("", params)]))


def test_ranks_that_no_layer_has_are_cut_off_a_range() -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 48))
    config = LayerConfig({"type": "Linear"}, {"rank": Int(8, 10**9, step=8)}, separate=False, method="svd")
    (only,), _ = make_groups(select_layers(model, TuningConfigs([config]))[0], {})

    assert only.specs["rank"].values() == [8, 16, 24, 32, 40, 48]
