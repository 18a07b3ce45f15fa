"""Trackers beside a sweep, through the real command line: whatever becomes of them, the sweep is what it is without."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ksweep.contract.paths import SweepDir
from ksweep.track.companions import FINISH_PATIENCE_S
from tests.pipeline.conftest import Place
from tests.tracker_plugins import install

RANGE = 'CONFIG_X=1|2|3\nCONFIG_SWEEP_PARALLEL_JOBS=2\nCONFIG_SWEEP_TRACKERS="{}"\n'


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch) -> None:
    """The trackers of tests/fake/trackers.py, as an installed package brings them."""
    kinds = ("Records", "Hangs", "Raises", "Talks", "Dies")
    folder = install(tmp_path / "installed", **{kind.lower(): f"tests.fake.trackers:{kind}" for kind in kinds})
    monkeypatch.setenv("PYTHONPATH", str(folder))


def trackers(place: Place) -> Path:
    (sweep,) = place.sweeps
    return SweepDir(sweep).trackers


def records(place: Place) -> list[dict]:
    return [json.loads(line) for line in (trackers(place) / "records" / "records.jsonl").read_text().splitlines()]


def pids(folder: Path, name: str) -> list[int]:
    path = folder / name / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    """A killed orphan that nobody has waited for yet is over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.02)


def test_tracker_has_all_runs_when_the_sweep_is_over_and_is_silent_about_it(place) -> None:
    code, out = place.sweep(RANGE.format("records"))
    told = records(place)

    assert code == 0
    assert "tracker records" not in out
    assert sorted(line["run"] for line in told if line["what"] == "close") == [f"config_00{n}_x{n}" for n in (1, 2, 3)]
    assert {line["status"] for line in told if line["what"] == "close"} == {"passed"}
    assert [line["values"] for line in told if line["what"] == "open" and line["run"] == "config_002_x2"] == [
        {"X": 2.0, "SEED": 1.0}
    ]
    assert told[-1]["what"] == "end"
    assert (trackers(place) / "records.log").read_text().startswith("records: 3 runs handed over, 3 there in all: ")


def test_strategy_that_chooses_points_is_followed_too(place) -> None:
    text = 'CONFIG_X=int(1, 99)\nCONFIG_SWEEP_TRIALS=3\nCONFIG_SWEEP_TRACKERS="records"\n'
    code, out = place.sweep(text, "--strategy", "random")

    assert (code, "tracker records" in out) == (0, False), out
    assert sorted(line["run"][:10] for line in records(place) if line["what"] == "close") == [
        "config_001", "config_002", "config_003",
    ]  # fmt: skip


@pytest.mark.slow
def test_bad_trackers_change_neither_results_nor_exit_code_and_cost_the_stated_grace_at_most(place) -> None:
    start = time.monotonic()
    code, out = place.sweep(RANGE.format("hangs raises talks dies records"))
    took_s = time.monotonic() - start
    folder = trackers(place)

    assert code == 0
    assert [row["status"] for row in place.summary().values()] == ["passed"] * 3
    for name, what in {
        "hangs": f"had not finished {FINISH_PATIENCE_S:.0f} s after the sweep and was ended",
        "raises": "failed",
        "talks": f"had not finished {FINISH_PATIENCE_S:.0f} s after the sweep and was ended",
        "dies": "was ended by signal 9",
    }.items():
        (line,) = (line for line in out.splitlines() if line.startswith(f"tracker {name} "))
        assert line == (
            f"tracker {name} {what}: see {folder / name}.log; the sweep is complete without it, "
            f"`make sweep-track TRACKER={name} RESULTS={folder.parent}` hands it over"
        )
    assert len([line for line in records(place) if line["what"] == "close"]) == 3, "the good one is not held up"
    assert "ValueError: raised on purpose" in (folder / "raises.log").read_text()
    assert (1 << 20) <= (folder / "talks.log").stat().st_size < (1 << 20) + 100
    (ended,) = place.events("sweep_ended")
    assert time.time() - ended["time"] < FINISH_PATIENCE_S + 4, f"the sweep was kept from its end, of {took_s:.1f} s"
    left = pids(folder, "hangs") + pids(folder, "talks")
    assert len(left) == 3
    wait_for(lambda: not any(map(is_running, left)))


def test_trackers_end_with_a_runner_that_is_killed(place) -> None:
    place.write_range('CONFIG_EPOCH_MS=60000\nCONFIG_X=1|2\nCONFIG_SWEEP_TRACKERS="hangs records"\n')
    with place.start(*place.sweep_arguments()) as runner:
        try:
            wait_for(lambda: place.sweeps and pids(trackers(place), "hangs"))
            companions = companions_of(runner.pid)
            assert len(companions) == 2
        finally:
            os.kill(runner.pid, signal.SIGKILL)

    wait_for(lambda: not any(map(is_running, companions)), seconds=5)
    os.kill(pids(trackers(place), "hangs")[1], signal.SIGKILL)  # what a tracker has started itself, and has not looked after


def companions_of(pid: int) -> list[int]:
    """The `ksweep track` processes among a process's children."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"--tracker" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize(
    ("trackers", "message"),
    [
        ("tensorboard nosuch", 'found "nosuch", allowed: tensorboard mlflow wandb trackio dies hangs raises records talks; '),
        ("a,b", 'found "a,b", allowed: '),
    ],
)
def test_tracker_that_cannot_be_used_is_refused_before_anything_starts(place, trackers: str, message: str) -> None:
    for arguments in ([], ["--strategy", "random"]):
        code, out = place.sweep(RANGE.format(trackers), *arguments)

        assert (code, place.sweeps) == (2, [])
        assert f"CONFIG_SWEEP_TRACKERS: {message}" in out


@pytest.mark.slow
def test_finished_sweep_is_handed_over_by_the_command_and_its_failure_is_one_line(place) -> None:
    place.sweep(RANGE.format(""))
    code, out = place.run("track", "--results", place.results, "--tracker", "records")

    assert (code, out.splitlines()) == (0, [f"records: 3 runs handed over, 3 there in all: {trackers(place)}/records"])
    assert place.run("track", "--results", place.results, "--tracker", "raises") == (
        1,
        "tracker raises: ValueError: raised on purpose\n",
    )
    assert place.run("track", "--results", place.results, "--tracker", "nosuch")[0] == 2
    assert place.run("track", "--results", place.path, "--tracker", "records")[0] == 2
