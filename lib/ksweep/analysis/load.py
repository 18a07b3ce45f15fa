"""A sweep directory as records: what was asked for, and how each point stands. Reads only, also while the sweep runs."""

import fcntl
import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ksweep.analysis.index import SEED, IndexedResult, ResultIndex, as_number, file_key, json_value
from ksweep.analysis.reports import epochs_in
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.records import record_of
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.objective import Goal, Objectives, parse_objectives
from ksweep.space.values import ValueProblem

_PROVENANCE = RunDir(Path()).provenance.name
_STATUSES = {str(status): status for status in Status}


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The process that works on a sweep, as it wrote itself into `runner.lock`. `started_at`: Unix seconds, 0 if unknown."""

    pid: int | None
    host: str | None
    started_at: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """One point and how its run stands. `result` is None until there is one; `reason` is one line, empty when all is well.

    Of a run that was read from its sweep, `result` is without `symbols_read` and `effective`: `read_result` has those.
    """

    point: PointRecord
    dir: RunDir
    status: Status
    reason: str = ""
    result: Result | None = None
    indexed: ClassVar[IndexedResult | None] = None

    @property
    def config(self) -> str:
        """The label, `config_007`."""
        return self.point.config

    @property
    def seed(self) -> str | None:
        """The value of SEED: swept, else as the trainer read it, else unknown."""
        if SEED in self.point.values:
            return self.point.values[SEED]
        return ((self.result and self.result.symbols_read) or {}).get(SEED)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The final metrics as they were written; none before the end."""
        return self.result.metrics if self.result else {}

    @property
    def epochs(self) -> int | None:
        """The epoch of its newest report; the number of reports where they name none; None before the first."""
        return epochs_in(self.dir.metrics)

    @property
    def wall_s(self) -> float | None:
        """How long it took, in seconds; None before the end."""
        return self.result.wall_s if self.result else None

    def metric(self, name: str) -> float | None:
        """A final metric; None where it is missing, not a number or not finite."""
        return as_number(self.metrics.get(name))

    def value(self, goal: Goal) -> float | None:
        """The value of a goal, from the final metrics; None where it cannot be computed."""
        return goal.value(self.metrics)


def settings_of(points: Iterable[PointRecord]) -> list[list[int]]:
    """The places of the repeats of each setting, which differ in SEED only. Only a swept seed makes repeats: without it, points
    whose values are not known must not be taken for one setting."""
    places: dict[object, list[int]] = {}
    for place, point in enumerate(points):
        others = point.values.copy()
        setting = frozenset(others.items()) if others.pop(SEED, None) is not None else point.config
        places.setdefault(setting, []).append(place)
    return list(places.values())


class _EndedRun(RunRecord):
    """A run that has a result, of which only what is asked for is made: tables show few of thousands."""

    indexed: IndexedResult  # type: ignore[misc]
    _sweep: Path

    @cached_property
    def dir(self) -> RunDir:
        return RunDir(self._sweep / self.point.run_dir)

    @property
    def reason(self) -> str:
        return str(self.indexed.field("reason"))

    @cached_property
    def result(self) -> Result:
        return self.indexed.result()

    @property
    def seed(self) -> str | None:
        return self.point.values.get(SEED, self.indexed.seed)

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.indexed.metrics

    @cached_property
    def epochs(self) -> int | None:
        return epochs_in(self.dir.metrics)

    @property
    def wall_s(self) -> float | None:
        return float(self.indexed.field("wall_s"))


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """A sweep as it stands now. `runs`: one an active point, in the order of the plan; `settings`: their places, as `settings_of`
    gives them. `runner`: None when none is alive. `objectives`: those of the record, parsed."""

    dir: SweepDir
    record: SweepRecord
    objectives: Objectives
    runs: list[RunRecord]
    settings: list[list[int]]
    runner: Runner | None

    @cached_property
    def counts(self) -> dict[Status, int]:
        """Runs of each status that occurs, the final ones first."""
        present = Counter(run.status for run in self.runs)
        return {status: present[status] for status in sorted(Status, key=lambda s: not s.is_final) if status in present}

    @cached_property
    def bad_runs(self) -> list[RunRecord]:
        """The runs that ended badly."""
        return [run for run in self.runs if run.status.is_bad] if any(status.is_bad for status in self.counts) else []

    @property
    def num_finished(self) -> int:
        """Runs with a final status, good or bad."""
        return sum(count for status, count in self.counts.items() if status.is_final)


def find_sweep(path: Path) -> SweepDir:
    """The sweep at `path`: `path` itself, or the sweep_* in it that was worked on last. RequestError when there is none."""
    if (path / "sweep.json").exists():
        return SweepDir(path)
    if not path.is_dir():
        raise RequestError(f"{path}: no such directory; run `make sweep` first, or name another one with RESULTS=")
    sweeps = [child for child in path.glob("sweep_*") if (child / "sweep.json").exists()]
    if not sweeps:
        raise RequestError(
            f"{path}: neither a sweep (it has no sweep.json) nor a directory of sweeps (no sweep_*/sweep.json in it); "
            "run `make sweep` first, or name another one with RESULTS="
        )
    return SweepDir(max(sweeps, key=lambda child: (_last_activity(SweepDir(child)), child.name)))


def _last_activity(dir: SweepDir) -> int:
    """When something last happened in a sweep: an old one that is continued now is the newest."""
    try:
        return (dir.journal if dir.journal.exists() else dir.sweep).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextmanager
def no_cycles() -> Iterator[None]:
    """Without the search for cycles, which looks again and again at the many records that are made, all of which are kept."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def load_sweep(dir: SweepDir) -> SweepState:
    """All of a sweep directory. RequestError when it is not one, or its sweep.json cannot be understood."""
    return SweepReader(dir).read()


class SweepReader:
    """Reads one sweep again and again. Each `read` gives how it stands at that moment; what did not change is not read anew."""

    def __init__(self, dir: SweepDir) -> None:
        self._dir, self._root = dir, os.fspath(dir.path)
        self._index = ResultIndex(dir)
        self._plan: tuple[tuple[int, int, int], SweepRecord, Objectives] | None = None
        self._points: list[PointRecord] = []
        self._run_dirs: list[str] = []
        self._settings: list[list[int]] = []
        self._before: Sequence[RunRecord | None] = ()

    @no_cycles()
    def read(self) -> SweepState:
        """All of the sweep directory. RequestError when it is not one, or its sweep.json cannot be understood."""
        record, objectives = self._read_plan()
        runner = find_runner(self._dir)
        runs = [
            before if before is not None and before.indexed is found is not None else self._run(point, found, runner, before)
            for point, found, before in zip(self._points, self._index.look(self._run_dirs), self._before, strict=True)
        ]
        self._before = [*runs]
        return SweepState(dir=self._dir, record=record, objectives=objectives, runs=runs, settings=self._settings, runner=runner)

    def _read_plan(self) -> tuple[SweepRecord, Objectives]:
        try:
            now = file_key(os.stat(self._dir.sweep))
        except OSError:
            now = (0, 0, 0)
        if self._plan is None or self._plan[0] != now:
            self._plan = (now, *_load_plan(self._dir))
            self._points = self._plan[1].active_points
            self._run_dirs = [point.run_dir for point in self._points]
            self._settings = settings_of(self._points)
            self._before = [None] * len(self._points)
        return self._plan[1:]

    def _run(self, point: PointRecord, found: IndexedResult | None, runner: Runner | None, before: RunRecord | None) -> RunRecord:
        if found is not None and found.id == point.id:
            status = _STATUSES[found.status]
            return record_of(_EndedRun, {"point": point, "status": status, "indexed": found, "_sweep": self._dir.path})
        status, reason = Status.CRASHED, found.field("reason") if found is not None and found.id is None else ""
        if not reason:
            status, reason = _unfinished(f"{self._root}/{point.run_dir}/{_PROVENANCE}", runner)
        if before is not None and before.indexed is None and (before.status, before.reason) == (status, reason):
            return before  # the same object tells those who compare that nothing has changed
        return RunRecord(point=point, dir=RunDir(self._dir.path / point.run_dir), status=status, reason=reason)


def _load_plan(dir: SweepDir) -> tuple[SweepRecord, Objectives]:
    try:
        record = SweepRecord.from_json(dir, _json_in(dir.sweep))
        return record, parse_objectives(record.objective, record.direction, record.constraints)
    except (KeyError, TypeError, ValueProblem) as error:
        raise RequestError(f"{dir.sweep}: damaged, or written by another version ({error})") from error


def _json_in(path: Path) -> Any:
    """None where there is no whole one."""
    try:
        return json_value(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def find_runner(dir: SweepDir) -> Runner | None:
    """The living runner of a sweep, or None. It holds its lock as long as it lives, so a stale file deceives nobody.

    This process itself is none: it analyses a sweep when that has ended, and then still holds the lock.
    """
    try:
        fd = os.open(dir.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
        # Shared, so that two readers do not take each other for a runner; only tried where an owner has signed, so that a
        # runner that takes a new lock is never in the way of this one.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except ValueError:
        return None
    except BlockingIOError:
        import platform  # takes as long as a hundred results, for nothing where the lock is free

        if owner.get("pid") == os.getpid() and owner.get("host") == platform.node():
            return None
        return Runner(pid=owner.get("pid"), host=owner.get("host"), started_at=as_number(owner.get("started_at")) or 0.0)
    finally:
        os.close(fd)


def _unfinished(provenance: str, runner: Runner | None) -> tuple[Status, str]:
    """Status and reason of a run without a result."""
    started_at = written_at(provenance)
    if started_at is None:
        return Status.PLANNED, ""
    if runner is not None and started_at >= runner.started_at - 1:  # else it was left by an earlier runner; a second for rounding
        return Status.RUNNING, ""
    return Status.CANCELLED, "interrupted; continued by the same command"


def attempt_started_at(dir: RunDir) -> float | None:
    """When the newest attempt of a run was started, in Unix seconds; None before the first.

    provenance.json is written when an attempt is started, and nothing touches it later.
    """
    return written_at(dir.provenance)


def written_at(path: Path | str) -> float | None:
    """When a file was written to last, in Unix seconds; None where there is none."""
    try:
        return os.stat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
