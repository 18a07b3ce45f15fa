"""The same configuration gives the same numbers, whatever happens to the process."""

import os
import shutil
import signal
import time
from collections.abc import Callable

import pytest

# Every kind of state that a checkpoint has to carry: moments with AMSGrad, masks, a schedule, an order of examples, their mixing.
PRUNED = (
    "OPTIMIZER_SELECT_ADAMWPRUNE=y",
    'LEARNING_RATE="0.003"',
    "NUM_EPOCHS=3",
    "PRUNING_RAMP_END_EPOCH=2",
    "PRUNING_FREQUENCY=5",
    "RANDOM_CROP=2",
    'MIXUP_ALPHA="0.2"',
    'CUTMIX_ALPHA="0.2"',
)
TEXT = (
    "MODEL_SELECT_TRANSFORMER=y",
    *("TRANSFORMER_D_MODEL=16", "TRANSFORMER_HEADS=2", "TRANSFORMER_LAYERS=3", 'TRANSFORMER_DROPOUT="0.1"', 'HALTING_BIAS="-1"'),
    *("TEXT_LEVEL_SELECT_CHAR=y", "SEQUENCE_LENGTH=16", "TRAIN_TOKENS=2048", "VAL_TOKENS=512", "TEST_TOKENS=512"),
    *("STEPS_PER_EPOCH=2", "NUM_EPOCHS=3"),
)
ACT = (*TEXT, "TRANSFORMER_HALTING_SELECT_ACT=y", "MOE_EXPERTS=3", "GRAD_ACCUMULATION=2", "OPTIMIZER_SELECT_ADAFACTOR=y")
PONDERNET = (
    *(*TEXT, "TRANSFORMER_HALTING_SELECT_PONDERNET=y", "OPTIMIZER_SELECT_RMSPROP=y", 'RMSPROP_MOMENTUM="0.5"'),
    *("PRUNING_SELECT_MOVEMENT=y", "PRUNING_RAMP_END_EPOCH=2", "PRUNING_FREQUENCY=1"),
)


@pytest.fixture(scope="module")
def reference(make_place: Callable[..., object]) -> object:
    """A run that nothing happens to."""
    place = make_place(*PRUNED)
    assert place.run() == 0, place.log.read_text()
    return place


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.001)


@pytest.mark.slow
def test_cold_start_gives_the_numbers_of_a_fork(make_place, reference) -> None:
    cold = make_place(*PRUNED)

    assert cold.run_cold() == 0, cold.log.read_text()
    assert cold.numbers() == reference.numbers()


@pytest.mark.slow
def test_worker_processes_change_no_number(make_place, reference) -> None:
    place = make_place(*PRUNED, "NUM_WORKERS=2")

    assert place.run() == 0, place.log.read_text()
    assert place.numbers()["history"] == reference.numbers()["history"]


@pytest.mark.slow
def test_run_killed_within_its_saves_ends_with_the_same_numbers(make_place, reference) -> None:
    """A pipe in place of the file that is written beside holds the run there: first in the first save, then between two files."""
    place = make_place(*PRUNED)
    place.checkpoints.mkdir()
    trap = place.checkpoints / ".last.pt.tmp"
    os.mkfifo(trap)
    pid = place.start()
    wait_until(lambda: place.num_reports == 1)
    os.kill(pid, signal.SIGKILL)
    assert place.wait() == -signal.SIGKILL
    trap.unlink()

    pid = place.start()
    wait_until((place.checkpoints / "last.pt").exists)
    os.mkfifo(trap)
    wait_until((place.checkpoints / "best.pt").exists)
    os.kill(pid, signal.SIGKILL)
    assert place.wait() == -signal.SIGKILL
    trap.unlink()

    assert place.run() == 0, place.log.read_text()
    assert "going on after epoch 1\n" in place.log.read_text()
    assert place.numbers() == reference.numbers()


@pytest.mark.parametrize("delay_s", [0.2, 0.4])
def test_run_killed_at_any_time_ends_with_the_same_numbers(make_place, reference, delay_s: float) -> None:
    place = make_place(*PRUNED)
    pid = place.start()
    wait_until(place.checkpoints.exists)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    place.wait()

    assert place.run() == 0, place.log.read_text()
    assert place.numbers() == reference.numbers()


def test_stopped_run_saves_and_goes_on(make_place, reference) -> None:
    place = make_place(*PRUNED)
    pid = place.start()
    wait_until(lambda: place.num_reports >= 1)
    os.kill(pid, signal.SIGTERM)

    assert place.wait() == 143
    assert "told to stop: saved after epoch" in place.log.read_text()
    assert not (place.path / "training_metrics.json").exists()
    assert place.run() == 0
    assert place.numbers() == reference.numbers()


@pytest.mark.parametrize("symbols", [pytest.param(ACT, id="act"), pytest.param(PONDERNET, id="pondernet")])
def test_transformer_in_stages_and_killed_ends_with_the_same_numbers(make_place, symbols: tuple[str, ...]) -> None:
    """Dropout, halting, experts, a part of the batches an epoch; once without and once with a worker process."""
    whole, place = make_place(*symbols), make_place(*symbols, "NUM_WORKERS=1")
    assert whole.run() == 0, whole.log.read_text()
    assert place.run(until=1) == 143, place.log.read_text()
    place.checkpoints.joinpath(".last.pt.tmp").unlink(missing_ok=True)
    os.mkfifo(place.checkpoints / ".last.pt.tmp")  # holds the run in the save after its second epoch
    pid = place.start(until=2)
    wait_until(lambda: place.num_reports == 2)
    os.kill(pid, signal.SIGKILL)
    assert place.wait() == -signal.SIGKILL
    (place.checkpoints / ".last.pt.tmp").unlink()

    assert place.run() == 0, place.log.read_text()
    assert "going on after epoch 1\n" in place.log.read_text()
    mine, theirs = ({**run.numbers(), "symbols_read": None} for run in (place, whole))  # NUM_WORKERS differs
    assert mine == theirs


@pytest.mark.slow
def test_best_weights_ahead_of_the_last_checkpoint_are_found_again(make_place, reference) -> None:
    """A kill between best.pt and last.pt: best.pt is of a later epoch than the progress that last.pt holds."""
    place = make_place(*PRUNED, "LR_SCHEDULE_SELECT_CONSTANT=y")
    whole = make_place(*PRUNED, "LR_SCHEDULE_SELECT_CONSTANT=y")
    assert whole.run() == 0
    assert whole.result["metrics"]["best_epoch"] == 3, "else this test shows nothing"
    pid = place.start()
    wait_until(lambda: place.num_reports == 2)
    os.kill(pid, signal.SIGTERM)
    if place.wait() == 143:
        shutil.copy(whole.checkpoints / "best.pt", place.checkpoints / "best.pt")
        assert place.run() == 0, place.log.read_text()

    assert place.numbers() == whole.numbers()


def test_finished_training_is_only_tested_again(reference) -> None:
    """A kill between the last checkpoint and the result."""
    place = reference.copy()

    assert place.run() == 0
    assert place.num_reports == 3, "no epoch was trained twice"
    assert place.numbers() == reference.numbers()


def test_finished_training_without_its_reports_says_nothing_of_its_speed(reference) -> None:
    place = reference.copy()
    (place.path / "metrics.jsonl").unlink()

    assert place.run() == 0, place.log.read_text()
    assert "step_time_s" not in place.result["metrics"]
    assert place.numbers()["final"] == reference.numbers()["final"]


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_damaged_checkpoint_is_reported_and_training_starts_afresh(reference, name: str) -> None:
    place = reference.copy()
    path = place.checkpoints / name
    path.write_bytes(path.read_bytes()[:1000])

    assert place.run() == 0
    assert f"starting afresh: {path} is damaged" in place.log.read_text()
    assert place.numbers() == reference.numbers()


def test_checkpoint_of_another_configuration_is_not_used(reference) -> None:
    place = reference.copy()
    config = place.path / "config.txt"
    config.write_text(config.read_text().replace("CONFIG_SEED=1\n", "CONFIG_SEED=2\n"))

    assert place.run() == 0
    assert "last.pt is of another configuration" in place.log.read_text()
    assert place.numbers()["history"] != reference.numbers()["history"]
