"""The trainer's side: reports, stop requests, the final file."""

import json
import os
import signal
from pathlib import Path

import pytest

from ksweep.contract.errors import ConfigError
from ksweep.contract.metrics import read_history
from ksweep.contract.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "config.txt").write_text("CONFIG_A=1\n")
    monkeypatch.setenv("KSWEEP_RUN_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    yield Run.open()
    signal.signal(signal.SIGTERM, before)


def test_report_appends_and_goes_on_until_a_stop_is_asked_for(run: Run) -> None:
    assert run.report(step=1, epoch=1, val_acc=0.5) is True

    os.kill(os.getpid(), signal.SIGTERM)

    assert run.report(step=2, epoch=2, val_acc=float("nan")) is False
    assert [record["val_acc"] for record in read_history(run.dir.metrics)] == [0.5, None]


def test_finish_writes_history_and_what_was_read(run: Run) -> None:
    run.config.int("A")
    run.report(step=1, epoch=1, val_acc=0.5)
    run.finish(effective={"lr": 0.1}, val_acc=0.5)

    told = json.loads(run.dir.training_metrics.read_text())
    assert told["symbols_read"] == {"A": "1"}
    assert told["metrics"] == {"val_acc": 0.5}
    assert told["effective"] == {"lr": 0.1}
    assert [record["step"] for record in told["history"]] == [1]


def test_trainer_outside_of_a_run_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSWEEP_RUN_DIR", raising=False)

    with pytest.raises(ConfigError, match="make rerun"):
        Run.open()


def test_history_of_a_continued_run_replaces_what_it_repeats(tmp_path: Path) -> None:
    lines = [{"step": 1, "v": 1}, {"step": 2, "v": 2}, {"step": 3, "v": 3}, {"step": 2, "v": 20}, {"step": "x", "v": 30}]
    (tmp_path / "metrics").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert [(record["step"], record["v"]) for record in read_history(tmp_path / "metrics")] == [(1, 1), (2, 20), (3, 30)]


@pytest.mark.parametrize(
    ("resource", "stops_at"),
    [("", {"step": 30, "epoch": 2}), ("epoch", {"step": 30, "epoch": 2}), ("step", {"step": 2, "epoch": 1})],
)
def test_report_says_stop_when_the_run_has_come_as_far_as_it_is_to(run, monkeypatch, resource, stops_at) -> None:
    monkeypatch.setenv("KSWEEP_UNTIL", "2")
    monkeypatch.setenv("KSWEEP_RESOURCE", resource)
    run = Run.open()

    assert run.report(step=1, epoch=1) is True
    assert run.why_stop(step=1, epoch=1) == ""
    assert run.report(**stops_at) is False
    assert run.why_stop(**stops_at) == f"{resource or 'epoch'} 2 is as far as it is to go for now"
    assert run.why_stop(step=90, epoch=9)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("UNTIL", "0", "above 0"), ("UNTIL", "-1", "above 0"), ("UNTIL", "3.5", "above 0"), ("RESOURCE", "hours", "epoch step")],
)
def test_limit_that_means_nothing_is_refused(run, monkeypatch, name, value, allowed) -> None:
    monkeypatch.setenv(f"KSWEEP_{name}", value)

    with pytest.raises(ConfigError, match=f'KSWEEP_{name}: found "{value}", allowed: .*{allowed}'):
        Run.open()
