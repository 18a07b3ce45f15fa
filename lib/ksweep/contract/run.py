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
ENV_UNTIL = "KSWEEP_UNTIL"  # the resource at which the run stops for now; to go on it is started again, with a larger one
ENV_RESOURCE = "KSWEEP_RESOURCE"  # what counts as its resource
RESOURCES = ("epoch", "step")


class Run:
    """One training run: its configuration, its metrics, whether to go on.

    `config` is the RunConfig; `dir` the RunDir; `attempt` counts from 1. A SIGTERM asks the trainer to stop, and so does having
    come as far as `until` (in epochs or steps, as `resource` says; None: to the end): the `report` of it returns False, and the
    trainer saves and leaves with exit code 143. One that continues from there asks `why_stop` before it trains.
    """

    def __init__(self, dir: RunDir, attempt: int, *, until: int | None = None, resource: str = "epoch") -> None:
        self.dir = dir
        self.attempt = attempt
        self.until = until
        self.resource = resource
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
        until, resource = os.environ.get(ENV_UNTIL, ""), os.environ.get(ENV_RESOURCE) or "epoch"
        if until and not (until.isdecimal() and int(until)):
            raise ConfigError(f'{ENV_UNTIL}: found "{until}", allowed: a whole number above 0, or nothing for no limit')
        if resource not in RESOURCES:
            raise ConfigError(f'{ENV_RESOURCE}: found "{resource}", allowed: {" ".join(RESOURCES)}')
        return cls(dir, int(os.environ.get(ENV_ATTEMPT, "1")), until=int(until) if until else None, resource=resource)

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True

    def report(self, *, step: int, epoch: int, **metrics: float) -> bool:
        """Append one line of metrics. `step` must rise. Returns False when the trainer is to save and stop."""
        self._metrics.append({"step": step, "epoch": epoch, "time_s": round(time.time() - self._opened_at, 3), **metrics})
        return not self.why_stop(step=step, epoch=epoch)

    def why_stop(self, *, step: int, epoch: int) -> str:
        """Why a trainer that has come as far as this is to save and stop; empty: it goes on."""
        if self._stop:
            return "told to stop"
        reached = epoch if self.resource == "epoch" else step
        if self.until is not None and reached >= self.until:
            return f"{self.resource} {self.until} is as far as it is to go for now"
        return ""

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
