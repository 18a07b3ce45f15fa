"""When a run is over before its last epoch, and what it leaves then."""

import random
from dataclasses import asdict
from pathlib import Path

import pytest

from ksweep.contract.config import RunConfig
from ksweep.kconfig.tree import load_tree
from ksweep.train.early_stopping import EarlyStopping, read_early_stopping
from ksweep.train.images import ImageClassification
from ksweep.train.training import Progress

SELECTION = ImageClassification.selection
# No accuracy can be better than the first that counts by all of 1, so that each epoch after it is one of patience.
NEVER_BETTER = 'EARLY_STOPPING_MIN_DELTA="1"'


def last_epoch(val_accs: list[float], stopping: EarlyStopping, val_losses: list[float] | None = None, first: int = 1) -> int:
    """The epoch after which a run with these validation results is over; epochs before `first` are not eligible."""
    progress = Progress()
    for epoch, (val_acc, val_loss) in enumerate(zip(val_accs, val_losses or [1.0] * len(val_accs), strict=True), 1):
        progress = progress.after(
            {"val_acc": val_acc, "val_loss": val_loss, "train_loss": 1.0},
            SELECTION,
            time_s=1,
            peak_memory_mib=1,
            is_eligible=epoch >= first,
            min_delta=stopping.min_delta,
        )
        progress = Progress(**asdict(progress))  # as through a checkpoint
        if stopping.reason(epoch=epoch, improved_epoch=progress.improved_epoch, shown=""):
            break
    return epoch


@pytest.mark.parametrize(
    ("val_accs", "patience", "min_delta", "last"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9], 1, 0.0, 5),
        ([0.5, 0.4, 0.4, 0.9, 0.9], 2, 0.0, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.5], 2, 0.0, 5),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 3, 0.0, 4),
        ([0.5, 0.55, 0.6, 0.65, 0.7], 2, 0.1, 5),
        ([0.5, 0.51, 0.52, 0.53, 0.7], 2, 0.1, 3),
        ([0.5, 0.625, 0.625, 0.625, 0.625], 3, 0.125, 5),
    ],
    ids=["rises", "falls", "recovers in time", "a tie is no improvement", "small steps add up", "too small", "just enough"],
)
def test_run_is_over_after_patience_epochs_without_improvement(val_accs, patience: int, min_delta: float, last: int) -> None:
    assert last_epoch(val_accs, EarlyStopping(patience=patience, min_delta=min_delta)) == last


def test_lower_loss_at_the_same_accuracy_is_an_improvement() -> None:
    accuracies, losses = [0.5] * 5, [1.0, 0.9, 0.8, 0.8, 0.8]

    assert last_epoch(accuracies, EarlyStopping(patience=2, min_delta=0.0), losses) == 5
    assert last_epoch(accuracies, EarlyStopping(patience=2, min_delta=0.01), losses) == 3, "but not one of accuracy"


def test_epochs_of_a_pruning_ramp_do_not_count() -> None:
    falling = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]

    assert last_epoch(falling, EarlyStopping(patience=2, min_delta=0.0), first=3) == 5


def test_without_min_delta_it_is_patience_after_the_best_epoch() -> None:
    """Against the definition, on random curves."""
    draw = random.Random(1)
    for _ in range(300):
        accuracies = [draw.randrange(8) / 8 for _ in range(12)]
        losses = [draw.randrange(4) / 4 for _ in range(12)]
        patience = draw.randrange(1, 5)
        keys = [(a, -loss) for a, loss in zip(accuracies, losses, strict=True)]
        best = [keys[: epoch + 1].index(max(keys[: epoch + 1])) for epoch in range(12)]
        expected = next((epoch + 1 for epoch in range(12) if epoch - best[epoch] >= patience), 12)

        assert last_epoch(accuracies, EarlyStopping(patience=patience, min_delta=0.0), losses) == expected


def test_forgetting_the_best_epoch_does_not_forget_how_long_nothing_improved() -> None:
    measured = {"val_acc": 0.9, "val_loss": 1.0, "train_loss": 1.0}
    progress = Progress().after(measured, SELECTION, time_s=1, peak_memory_mib=1, is_eligible=True).without_best()
    progress = progress.after(measured | {"val_acc": 0.5}, SELECTION, time_s=1, peak_memory_mib=1, is_eligible=True)

    assert (progress.best_epoch, progress.improved_epoch) == (2, 1)


@pytest.mark.parametrize(
    ("symbols", "last", "since"),
    [
        pytest.param(("OPTIMIZER_SELECT_SGD=y", "NUM_EPOCHS=5", "EARLY_STOPPING_PATIENCE=2"), 3, 1, marks=pytest.mark.slow),
        (("OPTIMIZER_SELECT_ADAMWPRUNE=y", "NUM_EPOCHS=5", "PRUNING_RAMP_END_EPOCH=2", "EARLY_STOPPING_PATIENCE=1"), 3, 2),
    ],
    ids=["dense", "pruned"],
)
def test_run_ends_as_passed_with_its_best_epoch_also_after_a_stop(make_place, symbols, last: int, since: int) -> None:
    whole, stages = make_place(*symbols, NEVER_BETTER), make_place(*symbols, NEVER_BETTER)
    assert whole.run() == 0, whole.log.read_text()
    assert stages.run(until=last - 1) == 143, stages.log.read_text()
    assert stages.run(until=last) == 0, "what is over does not wait"
    killed = whole.copy()
    assert killed.run() == 0, "killed before it wrote its result, it trains no further epoch"
    result = whole.result
    eligible = [record for record in result["history"] if record["epoch"] >= since]
    best = max(eligible, key=lambda record: (record["val_acc"], -record["val_loss"]))
    told = result["effective"]["early_stopping"]

    assert stages.numbers() == killed.numbers() == whole.numbers()
    assert (result["status"], whole.num_reports) == ("passed", last)
    assert (result["metrics"]["best_epoch"], result["metrics"]["val_acc"]) == (best["epoch"], best["val_acc"])
    assert told["stopped_epoch"] == last
    assert told["reason"].startswith(f"no improvement by 1.0 or more in {told['patience']} epochs since epoch {since}, val_acc ")
    assert f"early stopping after epoch {last}: {told['reason']}\n" in whole.log.read_text()


def test_run_that_goes_to_its_end_says_so(make_place) -> None:
    place = make_place("NUM_EPOCHS=1", "EARLY_STOPPING_PATIENCE=1")
    assert place.run() == 0

    assert place.result["effective"]["early_stopping"] == {
        "patience": 1, "min_delta": 0.0, "stopped_epoch": None, "reason": "",
    }  # fmt: skip
    assert "early stopping" not in place.log.read_text()


def test_off_by_default_and_then_without_a_symbol_for_the_improvement() -> None:
    kconf = load_tree(Path(__file__).resolve().parents[3])
    config = RunConfig("CONFIG_EARLY_STOPPING_PATIENCE=0\n", "config.txt")

    assert kconf.syms["EARLY_STOPPING_PATIENCE"].str_value == "0"
    assert not kconf.syms["EARLY_STOPPING_MIN_DELTA"].visibility
    assert read_early_stopping(config) is None
