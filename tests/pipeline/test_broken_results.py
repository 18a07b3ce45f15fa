"""The reading commands over results as nobody wants them: whatever lies in a sweep directory, they say what is known of it."""

import shutil
from pathlib import Path

import pytest

from ksweep.contract.atomic import read_json, to_json
from ksweep.contract.outcome import Status
from tests.pipeline.conftest import Place
from tests.simulated import SweepMaker, simulate

COMMANDS = ["leaderboard", "status", "analyze"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    """A sweep with every fault of a result, two settings that are well, and an index that tells of neither."""
    maker = SweepMaker(tmp_path_factory.mktemp("broken") / "sweep_broken")
    history = [{"step": step, "epoch": step, "val_acc": 0.1 * step} for step in range(1, 4)]
    runs = {
        name: maker.add({"X": str(number), "NAME": name}, history=history, val_acc=0.9 + number / 1000, test_acc=0.9)
        for number, name in enumerate(
            ["well", "well too", "nan", "inf", "huge", "text", "missing", "no dict", "half a result", "half a report", "deleted",
             "no result", "binary", "deep", "a directory"]
        )
    }  # fmt: skip
    maker.add({"X": "99", "NAME": "\x1b[31mred"}, status=Status.OOM, reason="out of\nmemory \x1b[2J", history=history)
    for name, value in (("nan", "NaN"), ("inf", "-Infinity"), ("huge", "1" * 400), ("text", '"good"')):
        record = to_json(read_json(runs[name].result))
        runs[name].result.write_text(record.replace('"val_acc": ', f'"val_acc": {value}, "was": '))
        runs[name].metrics.write_text(f'{{"step": 1, "epoch": {value}, "val_acc": {value}}}\n')
    for name, metrics in (("missing", {}), ("no dict", [1, 2])):
        runs[name].result.write_text(to_json(read_json(runs[name].result) | {"metrics": metrics}))
    for path in (runs["half a result"].result, runs["half a report"].metrics):
        path.write_text(path.read_text()[: path.stat().st_size - 20])
    shutil.rmtree(runs["deleted"].path)
    runs["no result"].result.unlink()
    runs["binary"].result.write_bytes(b"\xff\xfe\x00\x80" * 100)
    runs["deep"].result.write_text("[" * 100_000)
    runs["a directory"].result.unlink()
    runs["a directory"].result.mkdir()
    maker.save()
    maker.dir.index.write_bytes(b'{"schema": 1}\n\xff\x00[[[')
    return maker.dir.path


@pytest.mark.parametrize("command", COMMANDS)
def test_broken_results_are_told_and_no_traceback(place: Place, broken: Path, command: str) -> None:
    code, out = place.run(command, "--results", broken)

    assert (code, "Traceback" in out, "\x1b" in out) == (0, False, False), out
    assert "16 runs: 8 passed" in out or command == "analyze"
    assert "RUNS FAILED (1 oom" in out


def test_only_runs_with_a_number_are_ranked(place: Place, broken: Path) -> None:
    _, out = place.run("leaderboard", "--results", broken)

    ranked = [line for line in out.splitlines() if "config_0" in line and "%" in line]
    assert [line.split()[-1] for line in ranked] == ["config_010", "config_002", "config_001"], out
    assert "metrics: [1, 2]" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sweep_without_points_or_results_is_told_so(place: Place, command: str) -> None:
    empty = SweepMaker(place.path / "sweep_empty")
    unstarted = SweepMaker(place.path / "sweep_unstarted")
    unstarted.add({"X": "1"}, status=Status.PLANNED)

    for maker in (empty, unstarted):
        code, out = place.run(command, "--results", maker.save().path)
        assert (code, "Traceback" in out) == (0, False), out


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_three_thousand_runs_are_read(place: Place, command: str) -> None:
    axes = {"LEARNING_RATE": [f"{i}e-3" for i in range(1, 31)], "BATCH_SIZE": [str(8 * i) for i in range(1, 21)]}
    sweep = simulate(place.path / "sweep_large", axes, lambda values, seed, epoch: {"val_acc": seed / epoch}, seeds=5, epochs=3)

    code, out = place.run(command, "--results", sweep.path)

    assert (code, "Traceback" in out) == (0, False), out
    assert "3000 runs: 3000 passed" in out or command == "analyze"
