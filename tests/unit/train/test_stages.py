"""A run in stages, and one that goes on from another: the same numbers as in one go."""

import json
import signal

import pytest
import torch

from ksweep.contract.paths import RunDir
from ksweep.contract.run import Run
from ksweep.sweep.handover import hand_over
from ksweep.train.checkpoint import Checkpoints
from ksweep.train.images import image_classification
from ksweep.train.loop import train
from models.lenet5.train import build_model

# AMSGrad, and a ramp that begins in one stage and ends in another.
PRUNED = (
    "OPTIMIZER_SELECT_ADAMWPRUNE=y",
    "ADAMWPRUNE_AMSGRAD=y",
    'LEARNING_RATE="0.003"',
    "NUM_EPOCHS=4",
    "PRUNING_RAMP_END_EPOCH=3",
    "PRUNING_FREQUENCY=5",
)
DENSE = ("OPTIMIZER_SELECT_SGD=y", "NUM_EPOCHS=4")


@pytest.fixture(
    scope="module",
    params=[pytest.param(PRUNED, id="pruned while training"), pytest.param(DENSE, id="dense", marks=pytest.mark.slow)],
)
def whole(request, make_place):
    """The symbols of a run, and that run in one go."""
    place = make_place(*request.param)
    assert place.run() == 0, place.log.read_text()
    return request.param, place


@pytest.fixture(scope="module")
def paused(make_place):
    """A dense run that waits after its second epoch."""
    place = make_place(*DENSE)
    assert place.run(until=2) == 143, place.log.read_text()
    return place


def epochs(place) -> list[int]:
    return [json.loads(line)["epoch"] for line in (place.path / "metrics.jsonl").read_text().splitlines()]


def saved_epoch(place) -> int:
    return torch.load(place.checkpoints / "last.pt", weights_only=True)["progress"]["epoch"]


def test_run_in_stages_has_the_numbers_of_one_in_one_go(make_place, whole) -> None:
    symbols, reference = whole
    place = make_place(*symbols)
    for until in (1, 3):
        assert place.run(until=until) == 143, place.log.read_text()
        assert saved_epoch(place) == until
        assert epochs(place) == list(range(1, until + 1))
        assert not (place.path / "training_metrics.json").exists()

    assert place.run(until=4) == 0, "at its last epoch a run finishes"
    assert epochs(place) == [1, 2, 3, 4]
    assert place.numbers() == reference.numbers()


def test_run_that_is_as_far_as_it_is_to_go_trains_nothing(paused) -> None:
    before = (paused.checkpoints / "last.pt").stat().st_mtime_ns

    assert paused.run(until=2) == 143
    assert paused.run(until=1) == 143
    assert epochs(paused) == [1, 2]
    assert (paused.checkpoints / "last.pt").stat().st_mtime_ns == before
    assert "epoch 1 is as far as it is to go for now: saved after epoch 2" in paused.log.read_text()


def child_of(make_place, parent, *symbols: str):
    child = make_place(*symbols)
    hand_over(RunDir(parent.path), RunDir(child.path))
    return child


@pytest.mark.slow
def test_child_with_its_parents_settings_is_its_parent_going_on(make_place, whole) -> None:
    symbols, reference = whole
    parent = make_place(*symbols)
    assert parent.run(until=2) == 143
    child = child_of(make_place, parent, *symbols)

    assert child.run(until=3) == 143, child.log.read_text()
    assert child.run() == 0, child.log.read_text()
    assert epochs(child) == [3, 4], "it begins with its first own epoch"
    numbers, expected = child.numbers(), reference.numbers()
    assert numbers["history"] == expected["history"][2:]
    assert numbers["final"] == expected["final"]
    assert numbers["effective"].pop("parent") == {"run": parent.path.name, "epoch": 2}
    assert expected["effective"].pop("parent") is None
    assert numbers["effective"] == expected["effective"]
    assert child.log.read_text().count(f"starting from {parent.path.name} after its epoch 2\n") == 1, "once; then from its own"


def test_child_trains_with_settings_of_its_own(make_place, paused) -> None:
    child = child_of(
        make_place, paused, *DENSE, 'LEARNING_RATE="0.02"', 'SGD_MOMENTUM="0.5"', 'WEIGHT_DECAY="0.001"', "BATCH_SIZE=100"
    )
    assert child.run(until=3) == 143, child.log.read_text()
    state = torch.load(child.checkpoints / "last.pt", weights_only=True)
    groups = state["optimizer"]["param_groups"]
    (line,) = (json.loads(line) for line in (child.path / "metrics.jsonl").read_text().splitlines())

    assert [(group["momentum"], group["weight_decay"]) for group in groups] == [(0.5, 0.001), (0.5, 0.0)]
    # A cosine from 0.02 over 4 epochs of 11 steps, not of its parent's 17; after 3 of them it is at (1 + cos(3/4 pi)) / 2.
    assert line["step"] == 33
    assert line["lr"] == pytest.approx(0.02 * 0.1464466, rel=1e-5)
    assert [group["lr"] for group in groups] == [line["lr"]] * 2


def test_child_that_gets_worse_keeps_its_parents_best_epoch(make_place, paused) -> None:
    child = child_of(make_place, paused, *DENSE, 'LEARNING_RATE="2"', 'SGD_MOMENTUM="0"')
    assert child.run() == 0, child.log.read_text()
    before = [json.loads(line) for line in (paused.path / "metrics.jsonl").read_text().splitlines()]
    metrics = child.result["metrics"]

    assert max(record["val_acc"] for record in child.result["history"]) < metrics["val_acc"], "else this test shows nothing"
    assert metrics["val_acc"] == max(record["val_acc"] for record in before)
    assert metrics["best_epoch"] in (1, 2)
    weights, parents = (torch.load(place.checkpoints / "best.pt", weights_only=True)["model"] for place in (child, paused))
    assert all(torch.equal(weights[name], parents[name]) for name in parents)


def test_where_a_run_stops_it_saves_also_when_it_just_has(make_place, monkeypatch) -> None:
    """By the share of the time that saving may take it would not be due."""
    monkeypatch.setattr(Checkpoints, "is_due", lambda self: False)
    place = make_place(*DENSE)
    before = signal.getsignal(signal.SIGTERM)
    for until in (1, 2):
        monkeypatch.setenv("KSWEEP_RUN_DIR", str(place.path))
        monkeypatch.setenv("KSWEEP_UNTIL", str(until))

        assert train(Run.open(), image_classification(build_model)) == 143
        assert saved_epoch(place) == until
    signal.signal(signal.SIGTERM, before)


def test_child_without_a_checkpoint_of_its_own_starts_from_its_parent_again(make_place, paused) -> None:
    child = child_of(make_place, paused, *DENSE)
    assert child.run(until=3) == 143
    first = child.num_reports
    (child.checkpoints / "last.pt").unlink()

    assert child.run(until=3) == 143
    assert (first, child.num_reports) == (1, 2)
    values = [json.loads(line)["val_loss"] for line in (child.path / "metrics.jsonl").read_text().splitlines()]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (("OPTIMIZER_SELECT_ADAM=y", "NUM_EPOCHS=4"), "optimizer: SGD there, Adam here"),
        (
            (*DENSE, "PRUNING_SELECT_MAGNITUDE=y", "PRUNING_RAMP_END_EPOCH=2"),
            "pruning: none there, magnitude global here",
        ),
    ],
    ids=["optimizer", "pruning"],
)
def test_parent_that_does_not_fit_is_refused_by_name(make_place, paused, symbols, message: str) -> None:
    child = child_of(make_place, paused, *symbols)

    assert child.run() == 2, child.log.read_text()
    assert f"cannot start from {paused.path.name}, whose state does not fit: {message}" in child.log.read_text()
    assert "Traceback" not in child.log.read_text()


def test_sparser_parent_is_refused(make_place) -> None:
    parent = make_place(*PRUNED, 'TARGET_SPARSITY="0.9"')
    assert parent.run(until=2) == 143
    child = child_of(make_place, parent, *PRUNED, 'TARGET_SPARSITY="0.5"')

    assert child.run() == 2
    assert "it has pruned 51460 weights, and the schedule here allows 29596 by then" in child.log.read_text()


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_damaged_or_missing_checkpoint_of_the_parent_is_refused(make_place, paused, name: str) -> None:
    """Without it another experiment would be made than was asked for."""
    child = child_of(make_place, paused, *DENSE)
    path = child.checkpoints / "parent" / name
    path.write_bytes(path.read_bytes()[:1000])
    assert child.run() == 2
    path.unlink()

    assert child.run() == 2
    assert child.log.read_text().count(f"cannot start from there: {path} is damaged") == 2
    assert not (child.path / "metrics.jsonl").read_bytes()


def test_handing_over_is_whole_and_once(tmp_path) -> None:
    parent, child = RunDir(tmp_path / "config_003"), RunDir(tmp_path / "config_009")
    (parent.checkpoints / "deep").mkdir(parents=True)
    (parent.checkpoints / "state.txt").write_text("epoch 3")
    (parent.checkpoints / "deep" / "file").write_text("x")
    (parent.checkpoints / ".half.tmp").write_text("torn")
    child.checkpoints.mkdir(parents=True)
    (child.checkpoints / ".parent.tmp").mkdir()  # what a kill left behind
    (child.checkpoints / ".parent.tmp" / "half").write_text("")
    hand_over(parent, child)
    (parent.checkpoints / "state.txt").write_text("epoch 4")
    hand_over(parent, child)

    assert sorted(path.relative_to(child.parent).as_posix() for path in child.parent.rglob("*")) == [
        "deep", "deep/file", "name.txt", "state.txt",
    ]  # fmt: skip
    assert (child.parent / "state.txt").read_text() == "epoch 3"
    assert child.parent_name.read_text() == "config_003\n"
    assert [path.name for path in child.checkpoints.iterdir()] == ["parent"]


def test_grandchild_gets_no_copy_of_its_grandparent(tmp_path) -> None:
    first, second, third = (RunDir(tmp_path / name) for name in ("a", "b", "c"))
    first.checkpoints.mkdir(parents=True)
    (first.checkpoints / "last.pt").write_text("1")
    hand_over(first, second)
    (second.checkpoints / "last.pt").write_text("2")
    hand_over(second, third)

    assert sorted(path.name for path in third.parent.iterdir()) == ["last.pt", "name.txt"]
    assert third.parent_name.read_text() == "b\n"
