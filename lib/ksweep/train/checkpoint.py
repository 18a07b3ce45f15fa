"""What a killed run goes on from, and the weights that were selected.

checkpoints/
  last.pt    after every epoch: weights, optimizer, schedule, pruner, all random states, progress
  best.pt    weights of the best epoch so far; written before the last.pt that counts it

A file appears whole or not at all: written beside, flushed to disk, renamed. A kill between the two files leaves a best.pt
that is one epoch ahead of last.pt; the continued run trains that epoch again, to the last bit, and writes it again.
"""

import hashlib
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from ksweep.contract.atomic import sync_directory
from ksweep.contract.config import parse_config
from ksweep.contract.paths import RunDir

SCHEMA = 1
_DAMAGE = (
    *(OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError),
    *(struct.error, pickle.UnpicklingError, zipfile.BadZipFile),
)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, dir: RunDir) -> None:
        self.last = dir.checkpoints / "last.pt"
        self.best = dir.checkpoints / "best.pt"
        self._config = config_digest(dir.config.read_text(encoding="utf-8"))
        dir.checkpoints.mkdir(exist_ok=True)

    def save_last(self, state: dict[str, Any], *, needs_best: bool) -> None:
        """Replace last.pt. `state`: tensors, numbers, text, and lists, tuples and dicts of these.

        `needs_best`: it counts on a best.pt, and is of no use without one.
        """
        _save(self.last, {"schema": SCHEMA, "config": self._config, "needs_best": needs_best, **state})

    def save_best(self, weights: dict[str, torch.Tensor], epoch: int) -> None:
        """Replace best.pt."""
        _save(self.best, {"schema": SCHEMA, "config": self._config, "model": weights, "epoch": epoch})

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

    def load_best(self) -> dict[str, Any]:
        """`model` and `epoch` of the selected weights. ValueError when the file is missing or damaged."""
        return self._load(self.best)

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(path) as archive:  # torch writes a zip file with checksums, and does not check them
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"checksum of {damaged}")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            schema, config = state["schema"], state["config"]
        except _DAMAGE as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}".splitlines()[0]) from None
        if (schema, config) != (SCHEMA, self._config):
            raise ValueError(f"{path} is of another configuration or version")
        return state


def config_digest(text: str) -> str:
    """Hash of a configuration without the symbols that steer the sweep: weights of another one are not gone on from."""
    values = sorted((name, value) for name, (value, _) in parse_config(text).items() if not name.startswith("SWEEP_"))
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _save(path: Path, state: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.tmp")  # one name: what a kill leaves behind is overwritten, not gathered
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_directory(path.parent)
