"""Sweep directories to analyse, and a living runner."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ksweep.contract.paths import SweepDir
from tests.simulated import SweepMaker


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
