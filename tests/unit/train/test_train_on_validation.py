"""TRAIN_ON_VALIDATION: nothing is set apart, so nothing is selected; the weights of the last epoch are tested."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.data.dataset import load
from ksweep.data.images import image_batches
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import parse_range_text
from models.lenet5.model import LeNet5

ROOT = Path(__file__).resolve().parents[3]
PRUNED = (
    "TRAIN_ON_VALIDATION=y",
    "OPTIMIZER_SELECT_ADAMWPRUNE=y",
    'TARGET_SPARSITY="0.9"',
    "NUM_EPOCHS=3",
    "PRUNING_RAMP_END_EPOCH=2",
)


@pytest.fixture(scope="module")
def pruned(make_place):
    place = make_place(*PRUNED)
    assert place.run() == 0, place.log.read_text()
    return place


def test_nothing_of_validation_is_reported_and_the_kconfig_says_so(pruned) -> None:
    declared = RunConfig.load(pruned.path / "config.txt").str("SWEEP_METRICS").split()
    final, history = pruned.result["metrics"], pruned.result["history"]

    assert set(final) == set(declared)
    assert "best_epoch" not in final
    assert not [name for report in [final, *history] for name in report if name.startswith("val_")]
    assert final["train_loss"] == history[-1]["train_loss"], "of the last epoch"
    assert pruned.result["effective"]["num_examples"] == {"train": 1438, "val": 0, "test": 359}
    assert pruned.result["symbols_read"]["TRAIN_ON_VALIDATION"] == "y"


@pytest.mark.parametrize(
    "symbols",
    [
        ("TEXT_LEVEL_SELECT_CHAR=y", "SEQUENCE_LENGTH=16", "TRAIN_TOKENS=1024", "VAL_TOKENS=512", "TEST_TOKENS=512"),
        ("TRANSFORMER_TASK_SELECT_CLASSIFIER=y", "STEPS_PER_EPOCH=2"),
    ],
    ids=["language model", "classifier"],
)
def test_a_transformer_reports_what_its_kconfig_says(make_place, symbols: tuple[str, ...]) -> None:
    small = ("TRANSFORMER_D_MODEL=8", "TRANSFORMER_HEADS=2", "TRANSFORMER_LAYERS=2", "NUM_EPOCHS=1")
    place = make_place(
        "TRAIN_ON_VALIDATION=y", "MODEL_SELECT_TRANSFORMER=y", "TRANSFORMER_HALTING_SELECT_ACT=y", *small, *symbols
    )
    declared = RunConfig.load(place.path / "config.txt").str("SWEEP_METRICS").split()

    assert place.run() == 0, place.log.read_text()
    assert set(place.result["metrics"]) == set(declared)
    assert place.result["effective"]["num_examples"]["val"] == 0


def test_tested_are_the_sparse_weights_of_the_last_epoch(pruned) -> None:
    data = load(RunConfig.load(pruned.path / "config.txt"))
    last, best = (torch.load(pruned.checkpoints / name, weights_only=True)["model"] for name in ("last.pt", "best.pt"))
    model = LeNet5(1, 10).eval()
    model.load_state_dict(best)
    ((images, labels),) = image_batches(data, data.test, batch_size=len(data.test), device=torch.device("cpu"))
    with torch.no_grad():
        accuracy = (model(images).argmax(1) == labels).double().mean().item()

    assert all(torch.equal(best[name], value) for name, value in last.items())
    assert accuracy == pytest.approx(pruned.result["metrics"]["test_acc"], abs=1.01 / 359)
    assert pruned.result["metrics"]["final_sparsity"] == pytest.approx(0.9, abs=1 / 61326)


def test_run_killed_on_its_way_ends_with_the_same_numbers(make_place, pruned) -> None:
    place = make_place(*PRUNED)
    pid = place.start()
    deadline = time.monotonic() + 60
    while not (place.checkpoints / "last.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    assert place.wait() == -signal.SIGKILL

    assert place.run() == 0, place.log.read_text()
    assert "going on after epoch" in place.log.read_text()
    assert place.numbers() == pruned.numbers()


def test_normalisation_is_that_of_both_parts() -> None:
    apart, joined = (
        load(RunConfig(f'CONFIG_DATASET="digits"\nCONFIG_TRAIN_EXAMPLES={size}\n{line}', "config.txt"))
        for size, line in ((1079, ""), (1438, "CONFIG_TRAIN_ON_VALIDATION=y\n"))
    )

    assert torch.equal(joined.train, torch.cat([apart.train, apart.val]).sort().values)
    assert torch.equal(joined.test, apart.test)
    assert not torch.equal(joined.mean, apart.mean)


@pytest.mark.slow
def test_loss_that_is_not_finite_ends_the_run_as_diverged(make_place) -> None:
    place = make_place(
        "TRAIN_ON_VALIDATION=y", "OPTIMIZER_SELECT_SGD=y", 'LEARNING_RATE="10"', 'WEIGHT_DECAY="1"', "NUM_EPOCHS=20"
    )

    assert place.run() == 0, place.log.read_text()
    assert (place.result["status"], set(place.result["metrics"])) == ("diverged", {"train_loss"})


def test_trainer_refuses_early_stopping_with_it(make_place) -> None:
    place = make_place("TRAIN_ON_VALIDATION=y", "EARLY_STOPPING_PATIENCE=2")

    assert place.run() == 2
    assert "CONFIG_EARLY_STOPPING_PATIENCE: found 2, allowed: 0 with CONFIG_TRAIN_ON_VALIDATION=y" in place.log.read_text()


# -- the Kconfig -------------------------------------------------------------------------------------------------------------


def resolve(*lines: str):
    resolver = Resolver(load_tree(ROOT))
    file = parse_range_text("\n".join(f"CONFIG_{line}" for line in lines), Path("file"), Path)
    problems = resolver.take(file) or resolver.broken({}, "file")
    return resolver, " ".join(problems)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("EARLY_STOPPING_PATIENCE=3", "early stopping needs a validation part that is not trained on"),
        ('SWEEP_OBJECTIVE="val_acc"', "no val_ metric is reported where the validation part is trained on"),
        ('SWEEP_OBJECTIVE="test_acc, 2 * val_loss:min"', "no val_ metric is reported"),
        ('SWEEP_CONSTRAINTS="0.9 <= val_acc"', "no val_ metric is reported"),
    ],
)
def test_what_needs_validation_is_refused_before_the_start(line: str, reason: str) -> None:
    assert resolve(line)[1] == ""
    assert reason in resolve("TRAIN_ON_VALIDATION=y", line)[1]


def test_nothing_is_ranked_by_default_and_a_test_metric_may_be_named() -> None:
    resolver, problems = resolve("TRAIN_ON_VALIDATION=y")
    assert (resolver.kconf.syms["SWEEP_OBJECTIVE"].str_value, problems) == ("", "")
    assert resolve("TRAIN_ON_VALIDATION=y", 'SWEEP_OBJECTIVE="test_loss:min"')[1] == ""


def test_configurations_without_it_are_the_points_that_they_were() -> None:
    """A bool that is n is no line of the content id: sweeps that were planned before there was this symbol go on."""
    resolver, _ = resolve()
    text = resolver.text()

    assert "# CONFIG_TRAIN_ON_VALIDATION is not set\n" in text
    assert resolver.point_id(text) == resolver.point_id(text.replace("# CONFIG_TRAIN_ON_VALIDATION is not set\n", ""))
