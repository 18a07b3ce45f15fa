"""The runs of a sweep, handed to one tracker.

  trackers/<name>/                 what the tracker writes
  trackers/<name>/exported.jsonl   the runs that are in it whole: config, and a digest of all that was handed over
  trackers/<name>.lock             held by the one process that exports

Everything is read from the run directories. A run that is in the tracker whole is not handed over again, any other one anew, in
place of what is there of it; so an export can be repeated, and ended at any instant, and nothing is lost or doubled.
"""

import fcntl
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksweep.analysis.formats import one_line
from ksweep.analysis.load import SEED, RunRecord, SweepState, as_number, attempt_started_at, load_sweep
from ksweep.contract.atomic import LineFile, read_json, read_lines, to_json
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import SweepDir
from ksweep.contract.sweepfile import SweepRecord
from ksweep.space.values import parse_decimal
from ksweep.track.base import End, Report, RunLog, TrackedRun, TrackedSweep
from ksweep.track.registry import tracker_class

MAX_STEP = 2**53
NOT_METRICS = frozenset({"step", "epoch", "time_s"})
_UNSAFE = re.compile(r"[^\w.+=,-]|^\.+")


@dataclass(kw_only=True)
class _Open:
    """A run that the tracker has not whole yet: what it was told so far."""

    run: TrackedRun
    log: RunLog
    status: Status
    told: list[Report] = field(default_factory=list)

    @property
    def last_at(self) -> float:
        return self.told[-1].at if self.told else self.run.started_at


class Export:
    """Hands a sweep to the tracker `name`. `look` as often as there may be something new, then `close`.

    RequestError when another process does so already. What the tracker raises is not caught here.
    """

    def __init__(self, dir: SweepDir, name: str) -> None:
        self._dir, self.folder = dir, dir.trackers / name
        kind, self._sweep = tracker_class(name), tracked_sweep(dir, SweepRecord.load(dir))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "exported.jsonl"
        self._whole = {line.get("config"): line.get("digest") for line in read_lines(path)}
        self.num_handed_over = 0  # runs that the tracker has whole now, and had not before
        self._seen: dict[str, Result | None] = {}  # config -> the result that the tracker has whole
        self._open: dict[str, _Open] = {}
        with ExitStack() as stack:
            stack.enter_context(_locked(dir.trackers / f"{name}.lock"))
            self._ledger = stack.enter_context(closing(LineFile(path, sync=False)))
            self.tracker = kind(self.folder, self._sweep)
            self._kept = stack.pop_all()

    @property
    def num_whole(self) -> int:
        """Runs that the tracker has whole."""
        return len(self._whole)

    def look(self) -> SweepState:
        """Hand over what is new; the sweep as it stands."""
        state = load_sweep(self._dir)
        for run in state.runs:
            if run.status is not Status.PLANNED and not (run.config in self._seen and self._seen[run.config] == run.result):
                self._hand_over(state.record, run)
        return state

    def close(self) -> None:
        """Leave the runs that have not ended as they stand, and release everything."""
        for left in self._open.values():
            left.log.close(_end(left.status, "", {}, left.last_at))
        self._open = {}
        self.tracker.close()
        self._kept.close()

    def _hand_over(self, record: SweepRecord, run: RunRecord) -> None:
        tracked, reports = tracked_run(self._sweep, record, run), reports_of(run)
        end = _end_of(run, reports[-1].at if reports else tracked.started_at) if run.status.is_final else None
        digest = _digest(tracked, reports, end)
        if end and self._whole.get(run.config) == digest:
            self._seen[run.config] = run.result
            return
        known = self._open.get(run.config)
        if known is None or known.run != tracked or known.told != reports[: len(known.told)]:  # new, or begun again
            known = self._open[run.config] = _Open(run=tracked, log=self.tracker.open(tracked), status=run.status)
        known.status = run.status
        if new := reports[len(known.told) :]:
            known.log.log(new)
            known.told += new
        if end:
            del self._open[run.config]
            known.log.close(end)
            self._ledger.append({"config": run.config, "digest": digest})
            self._whole[run.config], self._seen[run.config] = digest, run.result
            self.num_handed_over += 1


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"{path}: another export to this tracker is running; let it end, or end it") from None
        yield


def tracked_sweep(dir: SweepDir, record: SweepRecord) -> TrackedSweep:
    """A sweep, as trackers are told of it."""
    texts: dict[str, set[str]] = {SEED: set()}
    for axis in record.axes:
        for i, symbol in enumerate(axis["symbols"]):
            texts.setdefault(symbol, set()).update(row[i] for row in axis["values"])  # no values: it is sampled, numbers
    for point in record.points:
        for symbol, text in point.values.items():
            texts.setdefault(symbol, set()).add(text)
    numeric = frozenset(name for name, found in texts.items() if all(parse_decimal(text) is not None for text in found))
    return TrackedSweep(name=one_line(record.name), path=dir.path.absolute(), numeric=numeric)


def tracked_run(sweep: TrackedSweep, record: SweepRecord, run: RunRecord) -> TrackedRun:
    """What a tracker is told of a run when it begins."""
    provenance = read_json(run.dir.provenance)
    git = (provenance.get("git") if isinstance(provenance, dict) else None) or record.git
    tags = {
        "sweep": sweep.name,
        "sweep_dir": str(sweep.path),
        "run_dir": str(sweep.path / run.point.run_dir),
        "config": run.config,
        "point": run.point.id,
        "strategy": record.strategy,
        "objective": record.objective,
        "commit": f"{git.get('commit') or 'unknown'}{' with uncommitted changes' if git.get('dirty') else ''}",
    }
    return TrackedRun(
        name=_UNSAFE.sub("_", run.point.run_dir),
        id=run.point.id,
        values={name: one_line(text) for name, text in (run.point.values | _seed(run)).items()},
        tags={name: one_line(text) for name, text in tags.items()},
        started_at=run.result.started_at if run.result else attempt_started_at(run.dir) or record.created_at,
    )


def reports_of(run: RunRecord) -> list[Report]:
    """What a run has reported, over all its attempts: its finite numbers. A report without any, or without a step that trackers
    can store, is left out."""
    history = read_history(run.dir.metrics)
    epochs = [entry["epoch"] for entry in history if isinstance(entry.get("epoch"), int)]
    counts_epochs = len(epochs) == len(history) and epochs == sorted(set(epochs))
    started_at = run.result.started_at if run.result else attempt_started_at(run.dir) or 0.0
    reports: list[Report] = []
    at = started_at
    for entry in history:
        at = max(at, started_at + (as_number(entry.get("time_s")) or 0.0))  # counted by each attempt anew
        step = as_number(entry["epoch" if counts_epochs else "step"])
        metrics = _finite({name: value for name, value in entry.items() if name not in NOT_METRICS})
        if metrics and step is not None and 0 <= step < MAX_STEP:
            reports.append(Report(step=int(step), at=at, metrics=metrics))
    return reports


def _seed(run: RunRecord) -> dict[str, str]:
    """SEED of a run that does not sweep it, from its configuration: `{}` for a program that has none."""
    try:
        found = parse_config(run.dir.config.read_text(errors="replace")).get(SEED)
    except OSError:
        return {}
    return {SEED: found[0]} if found and SEED not in run.point.values else {}


def _end_of(run: RunRecord, last_at: float) -> End:
    result = run.result
    return _end(
        run.status,
        run.reason,
        result.metrics if result else {},
        max(last_at, result.started_at + result.wall_s if result else last_at),
    )


def _end(status: Status, reason: str, metrics: Mapping[str, Any], at: float) -> End:
    return End(status=status, metrics=_finite(metrics), tags={"status": str(status), "reason": one_line(reason)}, at=at)


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among some values, by names that can be shown."""
    return {one_line(str(name)): number for name, value in metrics.items() if (number := as_number(value)) is not None}


def _digest(run: TrackedRun, reports: list[Report], end: End | None) -> str:
    told = [[report.step, report.at, dict(report.metrics)] for report in reports]
    ended = [dict(end.metrics), dict(end.tags), end.at] if end else []
    whole = [run.name, run.id, dict(run.values), dict(run.tags), told, ended]
    return hashlib.sha256(to_json(whole).encode()).hexdigest()[:16]
