"""Trackio, local: its SQLite file, through the storage layer of its own importers. `trackio.init` would print, and start threads
and machine statistics for each run."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from ksweep.track.base import FINAL, End, Report, RunLog, TrackedRun, TrackedSweep, Tracker

_NOT_IN_NAMES = re.compile(r"[^\w-]")


class Trackio(Tracker):
    """A project of the sweep's name, a run each."""

    PACKAGES: ClassVar = {"trackio": "trackio"}
    HOW_TO_SEE = "TRACKIO_DIR={folder} trackio show"

    def __init__(self, folder: Path, sweep: TrackedSweep) -> None:
        super().__init__(folder, sweep)
        for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
            del os.environ[name]  # a server or Space of the user's own runs
        # Read by trackio when it is imported.
        os.environ |= {"TRACKIO_DIR": str(folder.absolute()), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        from trackio.sqlite_storage import SQLiteStorage

        self._storage: Any = SQLiteStorage
        self._project = f"sweep-{_NOT_IN_NAMES.sub('-', sweep.name)}-runs"[:100]  # some ends and beginnings are reserved

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        self._storage.delete_run(self._project, run.name, run_id=run.id)
        return _Run(self._storage, self._project, self.sweep.typed(run.values), run)


class _Run(RunLog):
    def __init__(self, storage: Any, project: str, values: Mapping[str, float | str], run: TrackedRun) -> None:
        self._storage, self._project, self._run, self._step = storage, project, run, 0
        created = {"_Username": None, "_Created": _iso(run.started_at), "_Group": run.tags["sweep"]}
        self._config: dict[str, Any] = {**values, **run.tags, **created}

    def log(self, reports: Sequence[Report]) -> None:
        self._write([(dict(report.metrics), report.step, report.at) for report in reports])
        self._step = reports[-1].step

    def close(self, end: End) -> None:
        self._config |= end.tags
        self._write([({FINAL + name: value for name, value in end.metrics.items()}, self._step, end.at)])

    def _write(self, rows: list[tuple[dict[str, float], int, float]]) -> None:
        self._storage.bulk_log(
            self._project,
            self._run.name,
            metrics_list=[metrics for metrics, _, _ in rows],
            steps=[step for _, step, _ in rows],
            timestamps=[_iso(at) for _, _, at in rows],
            config=self._config,
            run_id=self._run.id,
        )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
