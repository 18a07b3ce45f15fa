"""Sweep directories as a runner leaves them, written through the contract's own classes."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ksweep.contract.atomic import LineFile, write_json
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord

CREATED_AT = 1_700_000_000.0


class SweepMaker:
    """Makes one sweep directory, point by point."""

    def __init__(self, path: Path, objective: str = "val_acc", direction: str = "maximize", **settings: str) -> None:
        path.mkdir(parents=True)
        self.dir = SweepDir(path)
        self.points: list[PointRecord] = []
        self._objective, self._direction, self._settings = objective, direction, {"strategy": "grid"} | settings

    def add(
        self,
        values: dict[str, str] | None = None,
        *,
        status: Status = Status.PASSED,
        reason: str = "",
        wall_s: float = 10.0,
        ended_at: float | None = None,
        history: tuple[dict[str, Any], ...] = (),
        search: dict[str, Any] | None = None,
        **metrics: float,
    ) -> RunDir:
        """Add a point. PLANNED: nothing of it exists; RUNNING: a run directory without a result; else a finished run. Its config
        asks for 10 epochs."""
        number = len(self.points) + 1
        point = PointRecord(
            config=f"config_{number:03d}",
            id=f"id{number}",
            run_dir=f"config_{number:03d}_x",
            values=dict(values or {}),
            search=search or {},
        )
        self.points.append(point)
        run = RunDir(self.dir.path / point.run_dir)
        if status is not Status.PLANNED:
            run.path.mkdir()
            run.config.write_text("CONFIG_NUM_EPOCHS=10\n")
            run.provenance.write_text("{}\n")
            lines = LineFile(run.metrics, sync=False)
            for report in history:
                lines.append(report)
            lines.close()
        if status not in (Status.PLANNED, Status.RUNNING):
            result = Result(
                id=point.id,
                config=point.config,
                status=status,
                reason=reason,
                metrics=dict(metrics),
                started_at=CREATED_AT if ended_at is None else ended_at - wall_s,
                wall_s=wall_s,
            )
            write_json(run.result, result.to_dict(), sync=False)
        return run

    def save(self) -> SweepDir:
        """Write sweep.json."""
        SweepRecord(
            name="demo",
            range_file="defconfigs/demo",
            range_text="",
            axes=[],
            objective=self._objective,
            direction=self._direction,
            created_at=CREATED_AT,
            git={},
            kconfig_hash="",
            counts={},
            points=self.points,
            **self._settings,
        ).save(self.dir)
        return self.dir


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., SweepMaker]:
    """`make_sweep(name="sweep_20250102_030405", objective=..., direction=...)` -> SweepMaker, below tmp_path."""

    def make(name: str = "sweep_20250102_030405", **settings: str) -> SweepMaker:
        return SweepMaker(tmp_path / name, **settings)

    return make


@pytest.fixture
def living_runner() -> Callable[..., AbstractContextManager[None]]:
    """`with living_runner(dir):` the sweep is owned by a runner, as far as anybody can tell."""

    @contextmanager
    def hold(dir: SweepDir, started_at: float = 0.0) -> Iterator[None]:
        fd = os.open(dir.lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.pwrite(fd, json.dumps({"pid": 4711, "host": "node7", "started_at": started_at}).encode(), 0)
        try:
            yield
        finally:
            os.close(fd)

    return hold


@pytest.fixture
def two_settings(make_sweep: Callable[..., SweepMaker]) -> SweepMaker:
    """Two learning rates with three seeds each; 0.1 is better on every seed."""
    maker = make_sweep()
    for rate, scores in (("0.01", (0.90, 0.93, 0.92)), ("0.1", (0.95, 0.99, 0.97))):
        for seed, score in enumerate(scores, 1):
            history = tuple({"step": 10 * e, "epoch": e, "time_s": float(e), "val_acc": score * e / 5} for e in range(1, 6))
            values = {"LEARNING_RATE": rate, "SEED": str(seed)}
            maker.add(values, val_acc=score, test_acc=score - 0.01, final_sparsity=0.5, history=history)
    return maker
