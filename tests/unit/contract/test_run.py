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
