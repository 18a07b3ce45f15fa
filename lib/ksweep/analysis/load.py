"""A sweep directory as records: what was asked for, and how each point stands. Reads only, also while the sweep runs."""

import fcntl
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result, Status, read_result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.objective import Goal, Objectives, parse_objectives
from ksweep.space.values import ValueProblem

SEED = "SEED"  # the symbol whose values are repeats of one setting, not settings of their own
_TAIL_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The process that works on a sweep, as it wrote itself into `runner.lock`. `started_at`: Unix seconds, 0 if unknown."""

    pid: int | None
    host: str | None
    started_at: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One point and how its run stands. `result` is None until there is one; `reason` is one line, empty when all is well."""

    point: PointRecord
    dir: RunDir
    status: Status
    reason: str = ""
    result: Result | None = None

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

    def metric(self, name: str) -> float | None:
        """A final metric; None where it is missing, not a number or not finite."""
        return as_number(self.result.metrics.get(name)) if self.result else None

    def value(self, goal: Goal) -> float | None:
        """The value of a goal, from the final metrics; None where it cannot be computed."""
        return goal.value(self.result.metrics) if self.result else None


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """A sweep as it stands now. `runs`: one an active point, in the order of the plan. `runner`: None when none is alive.

    `objectives`: those of the record, parsed.
    """

    dir: SweepDir
    record: SweepRecord
    objectives: Objectives
    runs: list[RunRecord]
    runner: Runner | None

    @property
    def counts(self) -> dict[Status, int]:
        """Runs of each status that occurs, the final ones first."""
        present = [run.status for run in self.runs]
        return {status: present.count(status) for status in sorted(Status, key=lambda s: not s.is_final) if status in present}

    @property
    def bad_runs(self) -> list[RunRecord]:
        """The runs that ended badly."""
        return [run for run in self.runs if run.status.is_bad]

    @property
    def num_finished(self) -> int:
        """Runs with a final status, good or bad."""
        return sum(run.status.is_final for run in self.runs)


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


def load_sweep(dir: SweepDir) -> SweepState:
    """All of a sweep directory. RequestError when it is not one, or its sweep.json cannot be understood."""
    try:
        record = SweepRecord.load(dir)
        objectives = parse_objectives(record.objective, record.direction, record.constraints)
    except (KeyError, TypeError, ValueProblem) as error:
        raise RequestError(f"{dir.sweep}: damaged, or written by another version ({error})") from error
    runner = find_runner(dir)
    runs = [_load_run(point, RunDir(dir.path / point.run_dir), runner) for point in record.active_points]
    return SweepState(dir=dir, record=record, objectives=objectives, runs=runs, runner=runner)


def find_runner(dir: SweepDir) -> Runner | None:
    """The living runner of a sweep, or None. It holds its lock as long as it lives, so a stale file deceives nobody."""
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
        return Runner(pid=owner.get("pid"), host=owner.get("host"), started_at=as_number(owner.get("started_at")) or 0.0)
    finally:
        os.close(fd)


def _load_run(point: PointRecord, dir: RunDir, runner: Runner | None) -> RunRecord:
    try:
        result = read_result(dir)
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = f"result.json cannot be understood ({error})"
        return RunRecord(point=point, dir=dir, status=Status.CRASHED, reason=reason)
    if result is not None and result.id == point.id:
        return RunRecord(point=point, dir=dir, status=result.status, reason=result.reason, result=result)
    started_at = attempt_started_at(dir)
    if started_at is None:
        return RunRecord(point=point, dir=dir, status=Status.PLANNED)
    if runner is not None and started_at >= runner.started_at - 1:  # else it was left by an earlier runner; a second for rounding
        return RunRecord(point=point, dir=dir, status=Status.RUNNING)
    return RunRecord(point=point, dir=dir, status=Status.CANCELLED, reason="interrupted; continued by the same command")


def attempt_started_at(dir: RunDir) -> float | None:
    """When the newest attempt of a run was started, in Unix seconds; None before the first.

    provenance.json is written when an attempt is started, and nothing touches it later.
    """
    try:
        return dir.provenance.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def last_report(run: RunRecord) -> dict[str, Any]:
    """The newest whole report of a run, read from the end of the file; empty before the first."""
    try:
        with open(run.dir.metrics, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        try:
            report = json.loads(line)
        except ValueError:
            continue  # torn, blank, or cut by the start of the tail
        if isinstance(report, dict):
            return report
    return {}


def as_number(value: object) -> float | None:
    """`value` as a finite float, else None. Bools and numbers too large for a float are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
