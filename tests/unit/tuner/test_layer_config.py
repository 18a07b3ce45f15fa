"""What is searched for which layers: checked when it is written, unchangeable afterwards."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ksweep.tuner.layer_config import LayerConfig, TuningConfigs
from ksweep.tuner.specs import Categorical, Float, Int

ONE = LayerConfig("fc1", {"rank": 8})
TWO = LayerConfig(["fc2", "fc3"], "auto", separate=False)
THREE = LayerConfig({"type": "Linear"}, {"num_terms": [1, 2], "low_rank": Int(8, 128, step=8)}, True, False)


def test_positions_are_those_of_the_seed() -> None:
    config = LayerConfig({"type": "Linear"}, {"num_terms": [1, 2]}, False, False, "sketch")

    assert config == LayerConfig(
        layer_names={"type": "Linear"}, params={"num_terms": [1, 2]}, separate=False, copy_weights=False, method="sketch"
    )
    assert (ONE.separate, ONE.copy_weights, ONE.method) == (True, True, None)


def test_lists_and_plain_values_are_kept_as_choices() -> None:
    config = LayerConfig("fc1", {"num_terms": [1, 2], "low_rank": 16, "kernel_fn": "relu", "share": Float(0.1, 0.5)})

    assert config.params == {
        "num_terms": Categorical([1, 2]),
        "low_rank": Categorical([16]),
        "kernel_fn": Categorical(["relu"]),
        "share": Float(0.1, 0.5),
    }


def test_repr_shows_all_that_was_set() -> None:
    assert repr(THREE) == (
        "LayerConfig(layer_names={'type': 'Linear'}, params={'num_terms': Categorical([1, 2]), 'low_rank': Int(8, 128, step=8)},"
        " separate=True, copy_weights=False, method=None)"
    )
    assert eval(repr(TuningConfigs([ONE, TWO, THREE]))) == TuningConfigs([ONE, TWO, THREE])


def test_a_clone_equals_its_original_up_to_what_is_changed() -> None:
    assert THREE.clone() == THREE
    assert THREE.clone(separate=False, params={"rank": 4}) == LayerConfig({"type": "Linear"}, {"rank": 4}, False, False)
    assert copy.deepcopy(THREE) == pickle.loads(pickle.dumps(THREE)) == THREE
    with pytest.raises(TypeError, match="separated"):
        THREE.clone(separated=False)


def test_what_the_caller_changes_afterwards_changes_nothing() -> None:
    names, contains, params = ["fc1"], ["attn"], {"rank": [1, 2]}
    listed, keyed = LayerConfig(names, params), LayerConfig({"contains": contains}, "auto")
    names.append("fc2")
    contains.append("mlp")
    params["rank"].append(3)
    params["other"] = [4]

    assert listed == LayerConfig(["fc1"], {"rank": [1, 2]})
    assert keyed == LayerConfig({"contains": ["attn"]}, "auto")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ONE.separate = False  # type: ignore[misc]


def test_a_function_may_select_the_layers() -> None:
    def is_wide(name: str, module: Any) -> bool:
        return module.in_features > 512

    assert LayerConfig(is_wide, "auto").clone().layer_names is is_wide


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda: LayerConfig("fc1", {}), 'params: found {}, allowed: "auto", or a dict'),
        (lambda: LayerConfig("fc1", "atuo"), "params: found 'atuo', allowed: \"auto\""),
        (lambda: LayerConfig("fc1", None), "params: found None"),
        (lambda: LayerConfig("fc1", [8, 16]), "params: found [8, 16]"),
        (lambda: LayerConfig("fc1", {8: [1]}), "params: found the name 8"),
        (lambda: LayerConfig("fc1", {"rank": []}), 'params: "rank": Categorical: found no choices'),
        (lambda: LayerConfig("fc1", {"rank": None}), 'params: "rank": found None, allowed: Categorical, Int, Float'),
        (lambda: LayerConfig("fc1", {"rank": [8, [16]]}), 'params: "rank": Categorical: found [16]'),
        (lambda: LayerConfig("fc1", "auto", separate=1), "separate: found 1, allowed: True and False"),
        (lambda: LayerConfig("fc1", "auto", copy_weights="no"), "copy_weights: found 'no'"),
        (lambda: LayerConfig("fc1", "auto", method="SVD"), "method: found 'SVD', allowed: activation-svd svd sketch, or None"),
        (lambda: LayerConfig("fc1", "auto", copy_weights=False, method="svd"), "'svd' keeps the trained weights"),
        (lambda: LayerConfig({"typ": "Linear"}, "auto"), "LayerConfig: layer_names: unknown key 'typ'"),
        (lambda: LayerConfig([], "auto"), "LayerConfig: layer_names: found an empty list"),
        (lambda: TuningConfigs(ONE), "allowed: a list of LayerConfig"),
        (lambda: TuningConfigs({"type": "Linear"}), "allowed: a list of LayerConfig"),
        (lambda: TuningConfigs(None), "found None, allowed: a list of LayerConfig"),
        (lambda: TuningConfigs([ONE, {"type": "Linear"}]), "config 2: found {'type': 'Linear'}, allowed: a LayerConfig"),
        (lambda: TuningConfigs([ONE]).add("fc1"), "config 2: found 'fc1'"),
        (lambda: TuningConfigs([ONE, TWO]).map(lambda config: None), "config 1: found None"),
    ],
)
def test_what_no_model_could_take_is_refused_where_it_is_written(define: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        define()
    assert words in str(refusal.value)


def test_configs_are_a_list() -> None:
    configs = TuningConfigs([ONE, TWO, THREE])

    assert len(configs) == 3
    assert list(configs) == [ONE, TWO, THREE]
    assert (configs[0], configs[-1]) == (ONE, THREE)
    assert configs[1:] == TuningConfigs([TWO, THREE])
    assert TWO in configs
    assert configs != TuningConfigs([TWO, ONE, THREE])
    assert not TuningConfigs([])


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda configs: configs.add(THREE), [ONE, TWO, THREE]),
        (lambda configs: configs.remove(0), [TWO]),
        (lambda configs: configs.remove(-1), [ONE]),
        (lambda configs: configs.replace(1, THREE), [ONE, THREE]),
        (lambda configs: configs.replace(-2, THREE), [THREE, TWO]),
        (lambda configs: configs.clone(), [ONE, TWO]),
        (lambda configs: configs.merge(TuningConfigs([THREE, ONE])), [ONE, TWO, THREE, ONE]),
        (lambda configs: configs.merge([THREE]), [ONE, TWO, THREE]),
        (lambda configs: configs.filter(lambda config: config.separate), [ONE]),
        (lambda configs: configs.map(lambda config: config.clone(separate=True)), [ONE, TWO.clone(separate=True)]),
    ],
    ids=["add", "remove", "remove last", "replace", "replace from the end", "clone", "merge", "merge a list", "filter", "map"],
)
def test_a_method_gives_a_new_list_and_leaves_the_old_one(
    change: Callable[[TuningConfigs], TuningConfigs], left: list[LayerConfig]
) -> None:
    configs = TuningConfigs([ONE, TWO])
    changed = change(configs)

    assert list(changed) == left
    assert changed is not configs
    assert list(configs) == [ONE, TWO]


@pytest.mark.parametrize("index", [2, -3])
def test_an_index_out_of_range_is_told_with_how_many_there_are(index: int) -> None:
    configs = TuningConfigs([ONE, TWO])
    for use in (configs.remove, configs.__getitem__, lambda index: configs.replace(index, ONE)):
        with pytest.raises(IndexError, match=rf"index {index}, of 2 configs"):
            use(index)
