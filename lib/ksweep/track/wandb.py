"""Weights & Biases, offline: what `wandb sync` sends later, and only then. No account, no network."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ksweep.track.base import FINAL, End, Report, RunLog, TrackedRun, TrackedSweep, Tracker

_NOT_IN_NAMES = re.compile(r"[^\w.-]")


class Wandb(Tracker):
    """A project of the sweep's name, the sweep as a group, a run each. A run's id is the same in every export."""

    PACKAGES: ClassVar = {"wandb": "wandb"}
    HOW_TO_SEE = "wandb sync {folder}/wandb/offline-run-*    (this sends it to a W&B server)"

    def __init__(self, folder: Path, sweep: TrackedSweep) -> None:
        super().__init__(folder, sweep)
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            del os.environ[name]  # made for the user's own runs: a run id, a sweep, online
        own = folder.absolute()
        os.environ |= {f"WANDB_{name}_DIR": str(own / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # to its maker, over the network
        import wandb

        self._wandb: Any = wandb
        self._settings = wandb.Settings(
            mode="offline",
            silent=True,
            console="off",
            root_dir=str(own),
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        id = _NOT_IN_NAMES.sub("-", f"{self.sweep.path.name}-{run.tags['config']}")[-128:]
        for folder in (self.folder / "wandb").glob(f"offline-run-*-{id}"):
            shutil.rmtree(folder)
        return _Run(
            self._wandb.init(
                project=_NOT_IN_NAMES.sub("-", self.sweep.name)[:128] or "ksweep",
                group=self.sweep.path.name[:128],
                id=id,
                name=run.name[:128],
                config={**self.sweep.typed(run.values), "ksweep": dict(run.tags)},
                settings=self._settings,
                reinit="create_new",  # several are open at a time
            )
        )

    def close(self) -> None:
        """See Tracker."""
        self._wandb.teardown()


class _Run(RunLog):
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self._run.log({**report.metrics, "_timestamp": report.at}, step=report.step)

    def close(self, end: End) -> None:
        self._run.summary.update({**{FINAL + name: value for name, value in end.metrics.items()}, **end.tags})
        self._run.tags = (str(end.status),)
        self._run.finish(exit_code=int(end.status.is_bad))
