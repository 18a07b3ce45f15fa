"""The trainer's side of the contract: `run = Run.open()`, `run.report(...)`, `run.finish(...)`."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ksweep.contract.atomic import LineFile, write_json
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import SCHEMA
from ksweep.contract.paths import RunDir

ENV_RUN_DIR = "KSWEEP_RUN_DIR"
ENV_ATTEMPT = "KSWEEP_ATTEMPT"


class Run:
    """One training run: its configuration, its metrics, whether to go on.

    `config` is the RunConfig; `dir` the RunDir; `attempt` counts from 1. A SIGTERM asks the trainer to stop: the next
    `report` returns False, and the trainer leaves with what its checkpoint holds.
    """

    def __init__(self, dir: RunDir, attempt: int) -> None:
        self.dir = dir
        self.attempt = attempt
        self.config = RunConfig.load(dir.config)
        self._metrics = LineFile(dir.metrics, sync=False)
        self._opened_at = time.time()
        self._stop = False
        signal.signal(signal.SIGTERM, self._on_term)

    @classmethod
    def open(cls) -> "Run":
        """The run whose directory stands in KSWEEP_RUN_DIR."""
        path = os.environ.get(ENV_RUN_DIR)
        if not path:
            raise ConfigError(f"{ENV_RUN_DIR} is not set: start a single run with `make train` or `make rerun CONFIG=...`")
        dir = RunDir(Path(path))
        if not dir.config.exists():
            raise ConfigError(f"{dir.config}: no such file; {ENV_RUN_DIR} must name a run directory with a config.txt in it")
        return cls(dir, int(os.environ.get(ENV_ATTEMPT, "1")))

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True

    def report(self, *, step: int, epoch: int, **metrics: float) -> bool:
        """Append one line of metrics. `step` must rise. Returns False when the trainer is to save and stop."""
        self._metrics.append({"step": step, "epoch": epoch, "time_s": round(time.time() - self._opened_at, 3), **metrics})
        return not self._stop

    def finish(self, *, effective: dict[str, Any], status: str = "passed", reason: str = "", **metrics: float) -> None:
        """Write `training_metrics.json`: the final metrics, the whole history, what was read and took effect.

        `effective` holds the settings as the constructed objects report them (an optimizer's own param_groups, the device
        in use), the other half of the proof of delivery. `status`: passed, or diverged with a reason.
        """
        write_json(
            self.dir.training_metrics,
            {
                "schema": SCHEMA,
                "attempt": self.attempt,
                "status": status,
                "reason": reason,
                "metrics": metrics,
                "symbols_read": dict(sorted(self.config.symbols_read.items())),
                "effective": effective,
                "opened_at": self._opened_at,
                "history": read_history(self.dir.metrics),
            },
        )
        self._metrics.close()
