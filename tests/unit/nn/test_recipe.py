"""The ResNets' recipe: their own defaults for symbols that other parts declare."""

from pathlib import Path

import pytest
from kconfiglib import Kconfig

from ksweep.kconfig.tree import load_tree

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def resnet18() -> Kconfig:
    kconf = load_tree(ROOT)
    kconf.syms["MODEL_SELECT_RESNET18"].set_value(2)
    return kconf


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("SGD", {"LEARNING_RATE": "0.1", "WEIGHT_DECAY": "0.0005", "SGD_MOMENTUM": "0.9", "SGD_NESTEROV": "y"}),
        ("ADAM", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "0", "SGD_NESTEROV": "n"}),
        ("ADAMW", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "0.05"}),
        ("ADAMWADV", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "0.05"}),
        ("ADAMWSPAM", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "0.05"}),
        ("RMSPROP", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "0"}),
        ("ADAFACTOR", {"LEARNING_RATE": "0.05", "WEIGHT_DECAY": "0.001"}),
        ("ADAMWPRUNE", {"LEARNING_RATE": "0.001", "WEIGHT_DECAY": "", "ADAMWPRUNE_WEIGHT_DECAY": "0.05"}),
    ],
)
def test_each_optimizer_has_its_own_defaults_for_resnets(resnet18: Kconfig, optimizer: str, expected: dict[str, str]) -> None:
    resnet18.syms[f"OPTIMIZER_SELECT_{optimizer}"].set_value(2)
    common = {"NUM_EPOCHS": "100", "BATCH_SIZE": "128", "LABEL_SMOOTHING": "0.1", "LR_WARMUP_EPOCHS": "5", "DATASET": "cifar10"}

    assert {name: resnet18.syms[name].str_value for name in common | expected} == common | expected


def test_a_short_run_has_no_warmup(resnet18: Kconfig) -> None:
    resnet18.syms["NUM_EPOCHS"].set_value("2")

    assert resnet18.syms["LR_WARMUP_EPOCHS"].str_value == "0"


def test_a_warmup_that_is_a_share_replaces_that_of_the_recipe(resnet18: Kconfig) -> None:
    resnet18.syms["LR_WARMUP_RATIO"].set_value("0.1")

    assert resnet18.syms["LR_WARMUP_EPOCHS"].str_value == "0"


def test_other_models_keep_the_defaults_for_all(resnet18: Kconfig) -> None:
    resnet18.syms["MODEL_SELECT_LENET5"].set_value(2)
    expected = {"NUM_EPOCHS": "10", "BATCH_SIZE": "64", "LABEL_SMOOTHING": "0", "DATASET": "digits", "RESNET_STEM": ""}

    assert {name: resnet18.syms[name].str_value for name in expected} == expected


def test_the_stem_follows_the_size_of_the_image(resnet18: Kconfig) -> None:
    found = {}
    for size in ("32", "64", "224"):
        resnet18.syms["IMAGE_SIZE"].set_value(size)
        found[size] = resnet18.syms["RESNET_STEM"].str_value

    assert found == {"32": "cifar", "64": "imagenet", "224": "imagenet"}


def test_a_symbol_with_a_recipe_is_one_question(resnet18: Kconfig) -> None:
    """menuconfig shows each place that has a prompt."""
    recipe = [symbol for symbol in resnet18.unique_defined_syms if any("nn/Kconfig" in node.filename for node in symbol.nodes)]
    elsewhere = [symbol for symbol in recipe if len(symbol.nodes) > 1]

    assert {symbol.name for symbol in elsewhere} >= {"LEARNING_RATE", "NUM_EPOCHS", "WEIGHT_DECAY"}
    assert [symbol.name for symbol in elsewhere if sum(bool(node.prompt) for node in symbol.nodes) > 1] == []
