"""What every file of defconfigs/ owes: it expands, and one that needs a GPU or fetched data has a sibling for any machine."""

import random
import re
from functools import cache
from pathlib import Path

import pytest

from ksweep import optim
from ksweep.kconfig.presets import find_preset, list_presets
from ksweep.kconfig.resolve import Dropped, Expansion, Point, Resolver
from ksweep.kconfig.space import KconfigSpace
from ksweep.kconfig.tree import load_tree
from ksweep.search.drawing import row_at
from ksweep.space.rangefile import read_range_file
from ksweep.train.registry import plugins

ROOT = Path(__file__).resolve().parents[2]
TRAINED = sorted(path.parent.name for path in (ROOT / "models").glob("*/Kconfig.select"))
PRESETS = {preset.name: preset for preset in list_presets(ROOT)}
RESOLVER = Resolver(load_tree(ROOT))
SAME = ("MODEL", "OPTIMIZER", "PRUNING_METHOD")  # in a smoke sibling
NUM_DRAWN = 40
SMALL_SETS = {"digits", "graded", "pydoc", "synthetic-pairs"}  # there on every machine
SEED_RANGES = {
    "resnet18-state-pruning-compare-range": 36,
    "resnet18-state-pruning-quick-range": 4,
    "resnet18-state-pruning-finetune-range": 9,
    "lenet5-adamwprune-range": 12,
}


@cache
def expand(name: str) -> Expansion:
    """All points of a range file; of one with sampled axes, NUM_DRAWN that were drawn."""
    file = read_range_file(ROOT / "defconfigs" / name, lambda included: find_preset(ROOT, included))
    if not any(assignment.sampled for assignment in file.assignments):
        return RESOLVER.expand(file)
    request = RESOLVER.request(file, for_grid=False)
    space, rng = KconfigSpace(RESOLVER, request), random.Random(1)
    drafts = [space.draw(lambda axis: row_at(axis, rng.random())) for _ in range(NUM_DRAWN)]
    return Expansion(
        axes=space.axes,
        points=[Point(id=d.id, values=d.values, index=(), text=d.text) for d in drafts if d.id],
        illegal=[Dropped(values=d.values, reason=d.reason) for d in drafts if not d.id],
        identical=[],
        notes=[*request.notes, *space.notes],
    )


def values(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("name", PRESETS)
def test_every_combination_is_legal_and_nothing_is_left_to_guess(name: str) -> None:
    expansion = expand(name)

    assert PRESETS[name].summary, "the first line says what the file is for"
    assert name.split("-")[0] == values(expansion.points[0].text)["MODEL"]
    assert expansion.illegal == []
    assert expansion.notes == []


@pytest.mark.parametrize("name", PRESETS)
def test_sparsity_rises_after_the_warmup_and_before_the_end_of_training(name: str) -> None:
    for point in expand(name).points:
        config = values(point.text)
        if config["PRUNING_METHOD"] == "none":
            continue
        # Rows of tokens, of which images have none; pairs are captions.
        rows = int(config["TRAIN_TOKENS"]) // int(config["SEQUENCE_LENGTH"])
        captions = int(config.get("PAIR_IMAGES", 0)) * 8 // 10 * int(config.get("PAIR_CAPTIONS", 0))
        num_examples = int(config.get("TRAIN_EXAMPLES", 0)) + rows + captions
        steps_per_epoch = int(config["STEPS_PER_EPOCH"]) or -(-num_examples // int(config["BATCH_SIZE"]))
        end = int(config["PRUNING_RAMP_END_EPOCH"]) * steps_per_epoch
        assert int(config["PRUNING_WARMUP"]) < end < int(config["NUM_EPOCHS"]) * steps_per_epoch


@pytest.mark.parametrize("name", PRESETS)
def test_what_needs_fetched_data_has_a_smoke_sibling_of_as_many_points(name: str) -> None:
    points = expand(name).points
    if {values(point.text)["DATASET"] for point in points} <= SMALL_SETS:
        return

    sibling = expand(f"{name}-smoke").points
    assert {values(point.text)["DATASET"] for point in sibling} <= SMALL_SETS
    assert max(int(values(point.text)["NUM_EPOCHS"]) for point in sibling) <= 4
    assert len(sibling) == len(points)
    assert [point.index for point in sibling] == [point.index for point in points]
    for small, full in zip(sibling, points, strict=True):
        assert kept(small.values) == kept(full.values)
        assert [values(small.text)[symbol] for symbol in SAME] == [values(full.text)[symbol] for symbol in SAME]


def kept(swept: dict[str, str]) -> dict[str, str]:
    """What a small sibling must sweep alike: all but how long and how large things are."""
    lengths = ("PRUNING_WARMUP", "PRUNING_RAMP_END_EPOCH")
    sizes = ("IMAGE_SIZE", "BATCH_SIZE", "OUTPUT_DIM", "HIDDEN_DIM")
    return {name: value for name, value in swept.items() if name not in (*lengths, *sizes)}


# Not models/sketched: what it compresses is a run of one of these, by any of their presets.
@pytest.mark.parametrize("model", TRAINED)
def test_every_model_has_a_preset_for_every_optimizer(model: str) -> None:
    assert [name for name in plugins(optim) if values(expand(f"{model}-{name}").points[0].text)["OPTIMIZER"] != name] == []


@pytest.mark.parametrize(("name", "num_points"), SEED_RANGES.items())
def test_range_files_of_the_adamwprune_experiments_have_all_their_points(name: str, num_points: int) -> None:
    assert len(expand(name).points) == num_points


def test_flagship_has_the_lines_of_the_sweep_guide() -> None:
    points = [values(point.text) for point in expand("resnet18-state-pruning-compare-range").points]
    knobs = ("ADAMWPRUNE_WEIGHT_DECAY", "ADAMWPRUNE_BETA1", "PRUNING_WARMUP", "PRUNING_RAMP_END_EPOCH")

    assert [sorted({point[knob] for point in points}) for knob in knobs] == [
        ["0.03", "0.05", "0.07"],
        ["0.85", "0.87", "0.89"],
        ["11700", "7800"],
        ["70", "80"],
    ]
    fixed = {"MODEL": "resnet18", "DATASET": "cifar10", "PRUNING_METHOD": "state", "TARGET_SPARSITY": "0.7", "NUM_EPOCHS": "100"}
    assert all(fixed.items() <= point.items() for point in points)
