"""The trained network that is compressed: a run directory of its own, trained here when it is not there yet.

dense_<digest>/, beside the run's own directory, is an ordinary run of that model: its config.txt can be trained again by itself
(`make rerun CONFIG=.../config.txt`). The digest is that of the configuration, so that all runs of a sweep which want the same
network share it. One of them trains it, under a lock that ends with its process; the others wait. What was killed goes on from
its checkpoint.
"""

import fcntl
import importlib
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ksweep.contract.atomic import read_json, write_text
from ksweep.contract.config import RunConfig, parse_config
from ksweep.contract.errors import ConfigError
from ksweep.contract.metrics import read_history
from ksweep.contract.paths import RunDir
from ksweep.contract.run import Run
from ksweep.train.checkpoint import Checkpoints, config_digest
from ksweep.train.loop import STOPPED, train
from ksweep.train.task import TaskBuilder

POLL_S = 0.2
# Where and how fast it is computed, and what the data is looked for in: not what the network is.
PLACE = {"DEVICE", "PRECISION", "DETERMINISTIC", "TORCH_COMPILE", "NUM_WORKERS", "DATA_DIR"}
_OWN = re.compile(r"(?:# )?CONFIG_(?:SKETCHED|SWEEP)_")


class Stopped(Exception):
    """The run was told to stop."""


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A trained network: its run directory, the selected weights and their epoch, and what its run has written down.

    `source`: how it was come by, for people; `is_given`: by SKETCHED_CHECKPOINT. `problem`: why there are no weights, when its
    training has diverged.
    """

    dir: RunDir
    digest: str
    source: str
    weights: Mapping[str, Tensor]
    epoch: int
    result: Mapping[str, Any]
    is_given: bool = False
    problem: str = ""

    @property
    def words(self) -> str:
        """Where it is and what it is, in a line."""
        what = self.problem or f"weights of epoch {self.epoch}"
        return f"dense network: {self.dir.path} ({self.source}): {what}"

    def provenance(self) -> dict[str, Any]:
        """For `effective`: which weights were compressed, and what their own run reported of them."""
        read = self.result["symbols_read"]
        return {
            "path": str(self.dir.path),
            "config_digest": self.digest,
            "source": self.source,
            "seed": int(read["SEED"]),
            "epoch": self.epoch,
            "metrics": self.result["metrics"],
            "symbols_read": read,
        }


def find_task_builder(cfg: RunConfig) -> TaskBuilder:
    """`build_task` of models/<SKETCHED_MODEL>/train.py: what its own program trains. ConfigError when there is none."""
    name = cfg.str("SKETCHED_MODEL")
    known = sorted(path.parent.name for path in Path(__file__).parents[1].glob("*/Kconfig.sketched"))
    if name not in known:
        raise ConfigError(f'{cfg.source}: CONFIG_SKETCHED_MODEL: found "{name}", allowed: {" ".join(known)}')
    build_task: TaskBuilder = importlib.import_module(f"models.{name}.train").build_task
    return build_task


def dense_config(text: str, network: str) -> str:
    """The configuration of a sketched run, without what is about compression: a complete one of the model `network`."""
    changed = {
        "CONFIG_MODEL_MODE_SKETCHED=y": "# CONFIG_MODEL_MODE_SKETCHED is not set",
        "# CONFIG_MODEL_MODE_SINGLE is not set": "CONFIG_MODEL_MODE_SINGLE=y",
        'CONFIG_MODEL="sketched"': f'CONFIG_MODEL="{network}"',
    }
    lines = (changed.get(line, line) for line in text.splitlines() if not _OWN.match(line))
    return "\n".join(lines) + "\n"


def dense_network(run: Run, build_task: TaskBuilder) -> Dense:
    """The network that `run` is to compress. Stopped when the run is told to stop before it is there; ConfigError when it cannot
    be had."""
    network, given = run.config.str("SKETCHED_MODEL"), run.config.str("SKETCHED_CHECKPOINT")
    if given:
        return _given(run.config, RunDir(Path(given)), network)
    text = dense_config(run.dir.config.read_text(encoding="utf-8"), network)
    digest = config_digest(text)[:16]
    dir = RunDir(run.dir.path.absolute().parent / f"dense_{digest}")
    try:
        dir.path.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{dir.path}: cannot be made, and the dense network is trained there: {error.strerror}") from None
    with _alone(dir, run):
        if not dir.config.exists():
            write_text(dir.config, text)
        dense = _finished(dir, digest, "trained before")
        if dense is None:
            _train(run, dir, build_task)
            dense = _finished(dir, digest, "trained by this run")
    assert dense is not None, "training has ended without a result"
    return dense


def check_same(cfg: RunConfig, dense: Dense, names: Mapping[str, str]) -> None:
    """ConfigError when a symbol of `names`, given with its value here, has another one in the configuration that trained `dense`.

    Of a network that was trained from this configuration they are the same; of a given one they may be anything.
    """
    theirs = parse_config(dense.dir.config.read_text(encoding="utf-8"))
    values = {name: theirs[name][0] if name in theirs else "n" for name in names if name in theirs or names[name] in ("y", "n")}
    lines = [
        f'{name}: found "{names[name]}" here, "{value}" there'
        for name, value in sorted(values.items())
        if name not in PLACE and names[name] != value
    ]
    if lines:
        raise ConfigError(
            f"{cfg.source}: CONFIG_SKETCHED_CHECKPOINT: {dense.dir.path} is of another configuration; set these as they are"
            f" in its config.txt (or include its preset): {'; '.join(lines)}"
        )


def _given(cfg: RunConfig, dir: RunDir, network: str) -> Dense:
    problem = f"{cfg.source}: CONFIG_SKETCHED_CHECKPOINT: {dir.path}"
    allowed = f"allowed: the directory of a finished run of {network}"
    if not dir.config.is_file() or not dir.checkpoints.is_dir():
        raise ConfigError(f"{problem}: found no run directory with a config.txt and checkpoints there; {allowed}")
    model = RunConfig.load(dir.config).str("MODEL")
    if model != network:
        raise ConfigError(f'{problem}: found a run of {model}, but CONFIG_SKETCHED_MODEL="{network}"; {allowed}')
    result = read_json(dir.training_metrics)
    if not result or result["status"] != "passed":
        status = f"a run that has {result['status']}" if result else "a run that has not ended"
        raise ConfigError(f"{problem}: found {status}; {allowed}")
    digest = config_digest(dir.config.read_text(encoding="utf-8"))[:16]
    try:
        best = Checkpoints(dir).load_best()
    except ValueError as error:
        raise ConfigError(f"{problem}: {error}; {allowed}") from None
    return Dense(
        dir=dir,
        digest=digest,
        source="SKETCHED_CHECKPOINT",
        weights=best["model"],
        epoch=best["epoch"],
        result=result,
        is_given=True,
    )


def _finished(dir: RunDir, digest: str, source: str) -> Dense | None:
    """What is in a run directory of our own; None when it must be trained (on)."""
    result = read_json(dir.training_metrics)
    if not result:
        return None
    if result["status"] != "passed":
        problem = f"the dense network has {result['status']}: {result['reason']}"
        return Dense(dir=dir, digest=digest, source=source, weights={}, epoch=0, result=result, problem=problem)
    try:
        best = Checkpoints(dir).load_best()
    except ValueError as error:
        print(f"training the dense network again: {error}", flush=True)
        return None
    return Dense(dir=dir, digest=digest, source=source, weights=best["model"], epoch=best["epoch"], result=result)


def _train(run: Run, dir: RunDir, build_task: TaskBuilder) -> None:
    """In this process, by the loop that the model's own program runs."""
    print(f"training the dense network in {dir.path}", flush=True)
    with _sigterm_restored():
        dense = Run(dir, run.attempt)
        if train(dense, build_task) == STOPPED or dense.why_stop(step=0, epoch=0):
            raise Stopped


@contextmanager
def _sigterm_restored() -> Iterator[None]:
    """A second Run takes the signal over; afterwards it is the first one's again."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _alone(dir: RunDir, run: Run) -> Iterator[None]:
    """Hold the directory alone among processes; waits its turn, and says so each time that who holds it has come further."""
    with open(dir.path / "lock", "a") as file:
        num_reports = -1
        while not _locked(file.fileno()):
            if run.why_stop(step=0, epoch=0):
                raise Stopped
            history = read_history(dir.metrics)
            if len(history) != num_reports:
                num_reports = len(history)
                epoch = history[-1].get("epoch", 0) if history else 0
                print(f"waiting for the dense network, which another run trains in {dir.path}: epoch {epoch}", flush=True)
            time.sleep(POLL_S)
        if run.why_stop(step=0, epoch=0):
            raise Stopped
        yield


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
