"""What a killed run goes on from, and the weights that were selected.

checkpoints/
  last.pt    weights, optimizer, schedule, pruner, all random states, progress
  best.pt    weights of the best epoch so far; written before the last.pt that counts it
  parent/    both of another run, put there before the start of one that goes on from it

Both are written after an epoch, but not so often that saving takes more than a tenth of the time, and after the last epoch.
A file appears whole or not at all: written beside, flushed to disk, renamed. A kill between the two files leaves a best.pt
that is ahead of last.pt; the continued run trains up to that epoch again, to the last bit, and writes it again.
"""

import hashlib
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from ksweep.contract.atomic import sync_directory
from ksweep.contract.config import parse_config
from ksweep.contract.errors import ConfigError
from ksweep.contract.paths import RunDir

SCHEMA = 3
SHARE = 0.1  # of the time, that saving may take
_DAMAGE = (
    *(OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError),
    *(struct.error, pickle.UnpicklingError, zipfile.BadZipFile),
)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, dir: RunDir) -> None:
        self.last = dir.checkpoints / "last.pt"
        self.best = dir.checkpoints / "best.pt"
        self._parent = dir.parent
        self._parent_name = dir.parent_name
        self._config = config_digest(dir.config.read_text(encoding="utf-8"))
        self._best: dict[str, Any] | None = None
        self._saved_at = self._save_took = 0.0
        dir.checkpoints.mkdir(exist_ok=True)

    def keep_best(self, weights: dict[str, torch.Tensor], epoch: int) -> None:
        """Remember these weights as the best, to be written by the next `save`."""
        self._best = {"model": {name: value.detach().clone() for name, value in weights.items()}, "epoch": epoch}

    def is_due(self) -> bool:
        """True when saving once more leaves its share of the time where it may be."""
        return time.monotonic() - self._saved_at >= self._save_took / SHARE

    def save(self, state: dict[str, Any], *, needs_best: bool) -> None:
        """Replace best.pt, when there is a better one, and last.pt.

        `state`: tensors, numbers, text, and lists, tuples and dicts of these. `needs_best`: it counts on a best.pt, and is of
        no use without one.
        """
        start = time.monotonic()
        if self._best:
            _save(self.best, {"schema": SCHEMA, "config": self._config, **self._best})
            self._best = None
        _save(self.last, {"schema": SCHEMA, "config": self._config, "needs_best": needs_best, **state})
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - start

    def load_last(self) -> tuple[dict[str, Any] | None, str]:
        """The state to go on from and "", or None and the reason why there is none ("" when the run is new)."""
        if not self.last.exists():
            return None, ""
        try:
            state = self._load(self.last)
            if state["needs_best"]:
                self._load(self.best)
        except ValueError as error:
            return None, str(error)
        return state, ""

    def load_parent(self) -> tuple[dict[str, Any], dict[str, Any] | None, str] | None:
        """The state of the run to start from, its best weights if it has any, and its name; None when there is none.

        ConfigError when it should be there and is not: to start afresh would be another experiment.
        """
        if not self._parent.exists():
            return None
        last, best = self._parent / self.last.name, self._parent / self.best.name
        try:
            state = _load(last)
            weights = _load(best) if state["needs_best"] else None
        except ValueError as error:
            raise ConfigError(f"{self._parent}: cannot start from there: {error}") from None
        return state, weights, self._parent_name.read_text(encoding="utf-8").strip()

    def load_best(self) -> dict[str, Any]:
        """`model` and `epoch` of the selected weights. ValueError when the file is missing or damaged."""
        return self._load(self.best)

    def _load(self, path: Path) -> dict[str, Any]:
        state = _load(path)
        if state["config"] != self._config:
            raise ValueError(f"{path} is of another configuration")
        return state


def config_digest(text: str) -> str:
    """Hash of a configuration without the symbols that steer the sweep: weights of another one are not gone on from."""
    values = sorted((name, value) for name, (value, _) in parse_config(text).items() if not name.startswith("SWEEP_"))
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _load(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes a zip file with checksums, and does not check them
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"checksum of {damaged}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        schema, _ = state["schema"], state["config"]
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}".splitlines()[0]) from None
    if schema != SCHEMA:
        raise ValueError(f"{path} is of another version of this program")
    return state


def _save(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.tmp")  # one name: what a kill leaves behind is overwritten, not gathered
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_directory(path.parent)
