"""Which layers are meant: exact names first, the order of the model, and a clear word for whatever selects nothing."""

import os
import subprocess
import sys
from typing import Any

import pytest
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ksweep.tuner.selectors import check_layer_names, select


class Wide(nn.Linear):
    """A Linear of one's own."""


class Tied(nn.Module):
    """One layer in two places, and one that is in none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.between = nn.Linear(4, 4)
        self.again = self.first


def make_mlp() -> nn.Sequential:
    """fc1 to fc12, in the order neither of the alphabet nor of the numbers; a convolution; a layer of one's own."""
    model = nn.Sequential()
    for number in (2, 10, 1, 11, 12, *range(3, 10)):
        model.add_module(f"fc{number}", nn.Linear(4, 4))
    model.add_module("conv", nn.Conv2d(1, 1, 3))
    model.add_module("own", Wide(4, 4))
    return model


def make_encoder(num_layers: int = 12) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.ModuleDict(
        {"encoder": nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False), "head": nn.Linear(8, 4)}
    )


def refusal(model: nn.Module, layer_names: Any) -> str:
    with pytest.raises(ValueError) as refused:
        select(model, layer_names)
    return str(refused.value)


@pytest.mark.parametrize("layer_names", ["fc1", ["fc1"], ("fc1", "fc1")], ids=str)
def test_a_name_is_the_layer_of_that_name_and_no_other(layer_names: Any) -> None:
    assert select(make_mlp(), layer_names) == ["fc1"]


def test_a_dot_of_an_exact_name_stands_for_itself() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)}), "a_b": nn.Linear(2, 2)})

    assert select(model, "a.b") == ["a.b"]
    assert select(model, "a_b|a.b") == ["a.b", "a_b"]


def test_a_text_that_no_layer_is_named_is_searched_for_as_a_regular_expression() -> None:
    assert select(make_mlp(), "^fc1.") == ["fc10", "fc11", "fc12"]
    assert select(make_mlp(), "c1$") == ["fc1"]


def test_the_pattern_of_the_seed_takes_the_first_six_blocks_of_twelve() -> None:
    names = select(make_encoder(), {"pattern": "encoder\\.layers\\.[0-5]\\..*", "type": "Linear"})

    assert names == [f"encoder.layers.{block}.linear{number}" for block in range(6) for number in (1, 2)]


def test_layers_come_in_the_order_of_the_model_however_they_are_listed() -> None:
    assert select(make_mlp(), ["own", "fc3", "fc1", "fc2"]) == ["fc2", "fc1", "fc3", "own"]
    assert select(make_mlp(), {"type": nn.Linear, "range": [0, 5]}) == ["fc2", "fc10", "fc1", "fc11", "fc12"]


def test_block_ten_comes_after_block_two() -> None:
    names = select(make_encoder(), {"contains": "linear1", "range": [2, 11]})

    assert names == [f"encoder.layers.{block}.linear1" for block in range(2, 11)]


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"pattern": "c1$"}, ["fc1"]),
        ({"pattern": ["c1$", "(?i)FC2$"]}, ["fc2", "fc1"]),
        ({"contains": "12"}, ["fc12"]),
        ({"contains": ["c1", "2"]}, ["fc2", "fc10", "fc1", "fc11", "fc12"]),
        ({"contains": "."}, None),
        ({"contains": "c1", "pattern": "2$"}, ["fc12"]),
        ({"type": "Conv2d"}, ["conv"]),
        ({"type": ["Conv2d", Wide]}, ["conv", "own"]),
        ({"type": "Linear", "contains": "o"}, ["own"]),
        ({"type": "Linear", "indices": 0}, ["fc2"]),
        ({"type": "Linear", "indices": [-1, 0, 12]}, ["fc2", "own"]),
        ({"type": "Linear", "indices": range(0, 4, 3)}, ["fc2", "fc11"]),
        ({"type": "Linear", "range": [0, 2]}, ["fc2", "fc10"]),
        ({"type": "Linear", "range": (0, 6, 2)}, ["fc2", "fc1", "fc12"]),
        ({"type": "Linear", "range": [-2, 13]}, ["fc9", "own"]),
        ({"type": "Linear", "range": [10, -1]}, ["fc8", "fc9"]),
        ({"indices": [12]}, ["conv"]),
    ],
    ids=str,
)
def test_all_keys_of_a_dict_hold_for_what_is_selected(keys: dict[str, Any], names: list[str] | None) -> None:
    if names is None:
        assert "selects nothing" in refusal(make_mlp(), keys)
    else:
        assert select(make_mlp(), keys) == names


def test_a_function_of_name_and_module_selects() -> None:
    assert select(make_mlp(), lambda name, module: isinstance(module, nn.Conv2d) or name == "fc3") == ["fc3", "conv"]


def test_what_the_users_function_raises_goes_through() -> None:
    with pytest.raises(AttributeError, match="in_features"):
        select(make_mlp(), lambda name, module: module.in_features > 2)


def test_a_derived_class_is_of_the_kind_of_its_base() -> None:
    assert select(make_mlp(), {"type": "Wide"}) == select(make_mlp(), {"type": Wide}) == ["own"]
    assert select(make_mlp(), {"type": "Linear"})[-1] == "own"


@pytest.mark.parametrize("kind", ["Linear", nn.Linear])
def test_the_projection_that_attention_never_calls_is_no_linear_layer(kind: Any) -> None:
    names = select(make_encoder(1), {"type": kind})

    assert names == ["encoder.layers.0.linear1", "encoder.layers.0.linear2", "head"]


@pytest.mark.parametrize("kind", ["NonDynamicallyQuantizableLinear", NonDynamicallyQuantizableLinear])
def test_that_projection_is_selected_by_its_own_class_and_name(kind: Any) -> None:
    name = "encoder.layers.0.self_attn.out_proj"

    assert select(make_encoder(1), {"type": kind}) == select(make_encoder(1), name) == [name]


def test_who_asks_for_linear_layers_of_an_attention_is_told_what_to_select() -> None:
    said = refusal(make_encoder(1), {"contains": "attn", "type": "Linear"})

    assert '"contains" takes 2, "type" takes 3' in said
    assert '{"type": "MultiheadAttention"}' in said
    assert select(make_encoder(1), {"contains": "attn", "type": "MultiheadAttention"}) == ["encoder.layers.0.self_attn"]


def test_containers_can_be_selected() -> None:
    assert select(make_encoder(2), {"type": "TransformerEncoderLayer"}) == ["encoder.layers.0", "encoder.layers.1"]
    assert select(make_encoder(2), "encoder") == ["encoder"]


@pytest.mark.parametrize(
    "layer_names", ["first", "again", "^again$", {"contains": "gain"}, {"type": "Linear", "indices": 0}], ids=str
)
def test_a_layer_in_two_places_goes_by_its_first_name_whichever_is_given(layer_names: Any) -> None:
    assert select(Tied(), layer_names) == ["first"]


def test_a_layer_in_two_places_is_counted_once() -> None:
    assert select(Tied(), {"type": "Linear"}) == select(Tied(), ["again", "first", "between"]) == ["first", "between"]


def test_a_bare_layer_is_selected_as_the_model_itself() -> None:
    assert select(nn.Linear(2, 2), "") == select(nn.Linear(2, 2), {"type": "Linear"}) == [""]


def test_a_model_with_modules_inside_is_never_selected_itself() -> None:
    assert "" not in select(make_mlp(), ".*|") + select(make_mlp(), lambda name, module: True)
    assert '"" is the model itself, which has modules inside' in refusal(make_mlp(), "")
    assert "selects nothing" in refusal(make_mlp(), {"type": "Sequential"})


@pytest.mark.parametrize(
    ("layer_names", "words"),
    [
        ("cf1", '"cf1" is neither the name of a layer nor found in one as a regular expression; near it: fc1'),
        (["fc1", "fc13"], '"fc13" is neither the name'),
        ("fc(1", "nor a regular expression (missing )"),
        ("head", "the modules are fc2, fc10, fc1, fc11, fc12, fc3 and 8 more"),
        (
            {"typ": "Linear"},
            "unknown key 'typ' in {'typ': 'Linear'}, allowed: pattern contains type indices range; near it: type",
        ),
        ({"type": "Linear", 3: 4}, "unknown key 3"),
        ({}, "an empty dict, allowed: one or more of pattern contains type indices range"),
        ([], "an empty list"),
        (["fc1", 3], "found 3 in a list, allowed: names as text"),
        (None, "found None, allowed: a name or regular expression, a list of them, a dict of"),
        ({"fc1", "fc2"}, "allowed: a name or regular expression"),
        (nn.Linear, '{"type": "Linear"}'),
        (nn.ReLU(), "found ReLU(), allowed: its name"),
        ({"pattern": "fc("}, '"pattern": "fc(" is not a regular expression: missing )'),
        ({"pattern": ["fc", 1]}, '"pattern": found 1, allowed: a text'),
        ({"contains": ""}, "\"contains\": found '', allowed: a text"),
        ({"contains": []}, '"contains": found []'),
        ({"type": []}, '"type": found []'),
        ({"type": nn.Module}, "\"type\": found <class 'torch.nn.modules.module.Module'>"),
        ({"type": int}, "\"type\": found <class 'int'>"),
        ({"type": ["Linear", "Conv2D"]}, 'no module of the model is a "Conv2D", nor is there one in torch.nn; near it: Conv2d'),
        ({"type": "nn.Linear"}, "near it: Linear"),
        ({"type": "LSTM"}, '"type" takes 0; "type" was to choose from Linear Conv2d Wide'),
        ({"contains": "fc", "type": "Conv2d"}, '"contains" takes 12, "type" takes 1; "type" was to choose from Linear'),
        ({"type": "Conv2d", "contains": "fc"}, '"contains" takes 12, "type" takes 1'),
        ({"contains": "cnov"}, '"contains" takes 0; near it: conv'),
        ({"indices": 0, "range": [0, 1]}, '"indices" and "range" exclude each other'),
        ({"indices": True}, '"indices": found True, allowed: a whole number'),
        ({"indices": [0.0]}, '"indices": found 0.0'),
        ({"indices": []}, '"indices": found []'),
        (
            {"type": "Linear", "indices": [0, 13]},
            "found 13, allowed: -13 to 12; {'type': 'Linear', 'indices': [0, 13]} has 13 layers",
        ),
        ({"type": "Linear", "indices": -14}, "found -14, allowed: -13 to 12"),
        ({"type": "Linear", "range": [0, 14]}, "found [0, 14], allowed: a start below its end, within 0 to 13"),
        ({"range": [3, 3]}, "found [3, 3], allowed: a start below its end"),
        ({"range": [-20, 3]}, "found [-20, 3], allowed: a start below its end"),
        ({"range": 3}, '"range": found 3, allowed: whole numbers [start, end]'),
        ({"range": [0, 1, 0]}, '"range": found [0, 1, 0], allowed: whole numbers [start, end] or [start, end, step above 0]'),
        ({"range": [0, None]}, '"range": found [0, None]'),
        (lambda name, module: False, "the function is true for none of 14 modules"),
    ],
)
def test_what_selects_nothing_is_refused_with_what_there_is(layer_names: Any, words: str) -> None:
    assert words in refusal(make_mlp(), layer_names)


def test_a_kind_of_torch_that_the_model_lacks_is_allowed_beside_one_that_it_has() -> None:
    assert select(make_mlp(), {"type": ["Conv3d", "Conv2d"]}) == ["conv"]


def test_a_mistyped_path_is_answered_with_names_that_end_alike() -> None:
    said = refusal(make_encoder(2), "encoder.layer.1.linear_1")

    assert "near it: encoder.layers.1.linear1" in said


@pytest.mark.parametrize("layer_names", ["no such layer", {"type": "NoSuchLayer"}, {"indices": 10**6}], ids=str)
def test_what_some_model_may_have_is_not_refused_without_a_model(layer_names: Any) -> None:
    check_layer_names(layer_names)


PROGRAM = """
from torch import nn
from ksweep.tuner.selectors import select
model = nn.Sequential()
for number in range(12):
    model.add_module(f"fc{number}", nn.Linear(2, 2) if number % 2 else nn.Conv2d(1, 1, 1))
print(select(model, [f"fc{number}" for number in range(11, -1, -1)]))
print(select(model, {"type": ["Linear", "Conv2d"], "contains": ["fc", "1"], "indices": [11, 3, -5]}))
try:
    select(model, {"type": "Conv"})
except ValueError as error:
    print(error)
"""


def test_the_hash_seed_of_the_process_changes_neither_selection_nor_message(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PROGRAM, {})  # under this process's hash seed, which is drawn anew for each run of the tests
    here = capsys.readouterr().out
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "1"}
    there = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True).stdout

    assert here == there
    assert here.splitlines()[:2] == [str([f"fc{number}" for number in range(12)]), "['fc3', 'fc7', 'fc11']"]
    assert "near it" in here
