"""MLflow: a SQLite store. Its file store (mlruns/) is closed since MLflow 3.17, and mlflow-skinny writes SQLite as well."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ksweep.contract.outcome import Status
from ksweep.track.base import FINAL, End, Report, RunLog, TrackedRun, TrackedSweep, Tracker

MAX_METRICS = 1000  # of one request; of parameters and tags 100
MAX_VALUE = 5000  # letters of a tag; of a parameter's value 6000
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


class MLflow(Tracker):
    """One experiment, a run each. A run that is replaced goes to the experiment's deleted ones."""

    PACKAGES: ClassVar = {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"}
    HOW_TO_SEE = "mlflow server --backend-store-uri sqlite:///{folder}/mlflow.db    (has no pages? pip install mlflow)"

    def __init__(self, folder: Path, sweep: TrackedSweep) -> None:
        super().__init__(folder, sweep)
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING", "GIT_PYTHON_REFRESH": "quiet"}
        from mlflow.tracking import MlflowClient
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        # Not to wait for the disk at each of a run's five writes: after a power loss the folder is deleted and written again.
        event.listen(Engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        folder = folder.absolute()
        if not (folder / "mlflow.db").exists():  # making its tables takes seconds: ended in the middle, it begins again
            fresh = folder / "mlflow.db.new"
            fresh.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"sqlite:///{fresh}").search_experiments()
            fresh.rename(folder / "mlflow.db")
        self.client: Any = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        name = f"{sweep.name} {sweep.path.name}"
        found = self.client.get_experiment_by_name(name)
        self._experiment = (
            found.experiment_id
            if found
            else self.client.create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
        )
        self._ids: dict[str, str] = {}  # name -> id of the run
        token = None
        while True:
            page = self.client.search_runs([self._experiment], max_results=1000, page_token=token)
            self._ids |= {run.info.run_name: run.info.run_id for run in page}
            if not (token := page.token):
                break

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        if run.name in self._ids:
            self.client.delete_run(self._ids.pop(run.name))
        info = self.client.create_run(self._experiment, start_time=_ms(run.started_at), run_name=run.name).info
        self._ids[run.name] = info.run_id
        return _Run(self.client, info.run_id, run)


class _Run(RunLog):
    def __init__(self, client: Any, id: str, run: TrackedRun) -> None:
        from mlflow.entities import Param, RunTag

        self._client, self._id, self._step = client, id, 0
        for chunk in _chunks([Param(name, text[:MAX_VALUE]) for name, text in run.values.items()], 100):
            client.log_batch(id, params=chunk)
        client.log_batch(id, tags=[RunTag(name, text[:MAX_VALUE]) for name, text in run.tags.items()])

    def log(self, reports: Sequence[Report]) -> None:
        metrics = [metric for report in reports for metric in _metrics(report.metrics, report.step, report.at)]
        for chunk in _chunks(metrics, MAX_METRICS):
            self._client.log_batch(self._id, metrics=chunk)
        self._step = reports[-1].step

    def close(self, end: End) -> None:
        from mlflow.entities import RunTag

        final = {FINAL + name: value for name, value in end.metrics.items()}
        tags = [RunTag(name, text[:MAX_VALUE]) for name, text in end.tags.items()]
        self._client.log_batch(self._id, metrics=_metrics(final, self._step, end.at), tags=tags)
        if end.status is not Status.RUNNING:
            self._client.set_terminated(self._id, _status(end.status), _ms(end.at))


def _status(status: Status) -> str:
    if not status.is_final:
        return "KILLED"
    return "FAILED" if status.is_bad else "FINISHED"


def _metrics(metrics: Mapping[str, float], step: int, at: float) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(_NOT_IN_NAMES.sub("_", name)[:250], value, _ms(at), step) for name, value in metrics.items()]


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
