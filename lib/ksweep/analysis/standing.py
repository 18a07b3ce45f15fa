"""How a sweep stands at one moment, as facts: who runs where and how far, what is left to do, what ended last. Writes nothing.

What `status` and `watch` show is made of these.
"""

import heapq
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ksweep.analysis.effort import epochs_trained
from ksweep.analysis.load import RunRecord, SweepState, as_number, attempt_started_at, written_at
from ksweep.analysis.ranking import Ranking, rank, t_quantile
from ksweep.analysis.reports import newest_reports
from ksweep.contract.atomic import read_json
from ksweep.contract.config import parse_config
from ksweep.contract.outcome import Status
from ksweep.contract.run import ENV_RESOURCE, ENV_UNTIL

NUM_EPOCHS = "NUM_EPOCHS"
_JOURNAL_TAIL_BYTES = 65536
_LEAST_FOR_A_RANGE = 3  # runs: the interval of two is as wide as the sky


@dataclass(frozen=True, kw_only=True)
class Active:
    """A run that is going on. `epoch`: of its newest `report`; `last_epoch`: at which it ends, or stops at a rung for now;
    `left_s`: by its own pace. None where that is not known. `started_at`: its present attempt, in Unix seconds."""

    run: RunRecord
    slot: int | None
    device: str | None
    attempt: int
    started_at: float
    report: dict[str, Any]
    epoch: int | None
    last_epoch: int | None
    left_s: float | None


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """Estimated seconds to the end of the sweep. `low` to `high`: 95 % prediction interval, None where no spread is known.
    `is_least`: more where the search lets more runs go on than it has to. `basis`: from what, in words."""

    seconds: float
    low: float | None = None
    high: float | None = None
    is_least: bool = False
    basis: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of a run as the journal tells it. `at`: Unix seconds; `run` as it stands now, which may be another attempt."""

    at: float
    attempt: int
    status: str
    reason: str
    run: RunRecord


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A sweep at `now` (Unix seconds). `num_slots`: runs at a time, None before the first; `num_planned`: runs in all, None where
    a search does not know; `time_left`: None where nothing is known, or nobody works on it; `ended`: newest first.

    Of a search alone: `epochs` trained so far; `epochs_planned` at least in all where runs stop at rungs; how many have
    stopped at each (`waiting`: epoch -> runs).
    """

    state: SweepState
    ranking: Ranking
    now: float
    num_slots: int | None
    num_planned: int | None
    active: list[Active]
    time_left: TimeLeft | None
    ended: list[Ended]
    epochs: int | None = None
    epochs_planned: int | None = None
    waiting: dict[int, int]

    @property
    def is_search(self) -> bool:
        """True where a strategy chooses the points as it goes."""
        return self.state.record.strategy != "grid"


class Observer:
    """Looks at one sweep again and again, and computes anew only what has changed."""

    def __init__(self) -> None:
        self._ranked: tuple[object, Ranking] | None = None
        self._trained: dict[RunRecord, int] = {}  # of runs that have ended, which stay the same as long as nothing changes

    def look(self, state: SweepState, *, now: float | None = None) -> Standing:
        """The sweep as it stands. `now`: Unix seconds, the present by default."""
        now = time.time() if now is None else now
        journal = _journal(state)
        num_slots, counts = _num_slots(journal), state.record.counts
        active = sorted((_active(run, now) for run in state.runs if run.status is Status.RUNNING), key=_by_slot)
        is_search = state.record.strategy != "grid"
        num_planned = counts.get("planned") if is_search else len(state.runs)
        epochs, planned_epochs = (self._epochs(state), counts.get("epochs")) if is_search else (None, None)
        waiting = _waiting(state.runs)
        if state.runner is None:
            left = None
        elif waiting or planned_epochs is not None:
            left = _left_by_epochs(state, active, num_slots, epochs, planned_epochs, now)
        else:
            left = _left_by_runs(state, active, num_slots, num_planned, now)
        return Standing(
            state=state,
            ranking=self._rank(state),
            now=now,
            num_slots=num_slots,
            num_planned=num_planned,
            active=active,
            time_left=left,
            ended=_ended(state, journal),
            epochs=epochs,
            epochs_planned=planned_epochs,
            waiting=waiting,
        )

    def _rank(self, state: SweepState) -> Ranking:
        """Only what ends makes a ranking: as long as nothing does, it is the one of before."""
        key = [(run.config, run.status) for run in state.runs]
        if self._ranked is None or self._ranked[0] != key:
            self._ranked = key, rank(state)
        return self._ranked[1]

    def _epochs(self, state: SweepState) -> int:
        return sum(map(self._epochs_of, state.runs))

    def _epochs_of(self, run: RunRecord) -> int:
        if run.status is Status.PLANNED:
            return 0
        if not run.status.is_final:
            return epochs_trained(run)
        if run not in self._trained:
            self._trained[run] = epochs_trained(run)
        return self._trained[run]


# -- the runs that are going on ---------------------------------------------------------------------------------------


def _active(run: RunRecord, now: float) -> Active:
    written = read_json(run.dir.provenance)
    provenance: dict[str, Any] = written if isinstance(written, dict) else {}
    slot, device, attempt = provenance.get("slot"), provenance.get("device"), provenance.get("attempt")
    reports, reported_at = list(newest_reports(run.dir.metrics))[::-1], written_at(run.dir.metrics) or 0.0
    report = reports[-1] if reports else {}
    epoch, last = as_number(report.get("epoch")), _last_epoch(run, provenance)
    started_at = attempt_started_at(run.dir) or now
    return Active(
        run=run,
        slot=slot if isinstance(slot, int) else None,
        device=str(device) if device not in (None, "") else None,
        attempt=attempt if isinstance(attempt, int) else 1,
        started_at=started_at,
        report=report,
        epoch=None if epoch is None else int(epoch),
        last_epoch=last,
        left_s=_left_of(reports, last, max(0.0, now - reported_at), max(0.0, reported_at - started_at)),
    )


def _by_slot(active: Active) -> tuple[float, str]:
    return math.inf if active.slot is None else active.slot, active.run.config


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _last_epoch(run: RunRecord, provenance: dict[str, Any]) -> int | None:
    """Where the present attempt ends: its rung, or the end of its configuration."""
    env = provenance.get("env")
    until = env.get(ENV_UNTIL) if isinstance(env, dict) and env.get(ENV_RESOURCE, "epoch") == "epoch" else None
    try:
        text = until or parse_config(run.dir.config.read_text(encoding="utf-8", errors="replace")).get(NUM_EPOCHS, ("", 0))[0]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(text) if str(text).isdecimal() else None


def _left_of(reports: list[dict[str, Any]], last: int | None, since: float, taken: float) -> float | None:
    """Seconds to the epoch `last` at the pace of the present attempt, evaluation and all; never below 0.

    `since`: seconds since its newest report; `taken`: from its start to that report.
    """
    epochs = [epoch for report in reports if (epoch := as_number(report.get("epoch"))) is not None]
    if last is None or not epochs:
        return None
    pace = _pace(reports)
    if pace is None:  # a foreign program, which does not say when
        pace = taken / max(1.0, epochs[-1])
    return max(0.0, pace * (last - epochs[-1]) - since)


def _pace(reports: list[dict[str, Any]]) -> float | None:
    """Seconds an epoch in the newest attempt: `time_s` counts from its start, so what stands before a fall is an older one's."""
    own: list[tuple[float, float]] = []
    before = 0.0  # epochs that the attempt went on from
    for report in reversed(reports):
        epoch, at = as_number(report.get("epoch")), as_number(report.get("time_s"))
        if epoch is None or at is None or (own and (at > own[-1][0] or epoch > own[-1][1])):
            before = min(epoch or 0.0, own[-1][1] - 1) if own else 0.0
            break
        own.append((at, epoch))
    if not own:
        return None
    (newest_at, newest), (first_at, first) = own[0], own[-1]
    if newest > first:
        return (newest_at - first_at) / (newest - first)
    return first_at / max(1.0, first - before)  # one report only, with what came before the first epoch


# -- what is left -----------------------------------------------------------------------------------------------------


def _size(run: RunRecord) -> float:
    """How long a run is beside the others, as far as that is asked for: its epochs where they are swept."""
    text = run.point.values.get(NUM_EPOCHS, "1")
    return float(text) if text.isdecimal() and int(text) else 1.0


def _left_by_runs(
    state: SweepState, active: list[Active], num_slots: int | None, num_planned: int | None, now: float
) -> TimeLeft | None:
    """Every run to come is as long as the mean of those that ended and of those that run, at their pace."""
    ended = [run.result.wall_s / _size(run) for run in state.runs if run.status.is_final and run.result]  # bad ones: as it goes
    paced = [(now - each.started_at + each.left_s) / _size(each.run) for each in active if each.left_s is not None]
    sample = ended + paced
    slots = num_slots or len(active)
    if not sample or not slots or num_planned is None:
        return None
    mean = statistics.fmean(sample)
    busy = [_busy(each, mean, now) for each in active]
    waiting = [_size(run) for run in state.runs if not run.status.is_final and run.status is not Status.RUNNING]
    waiting += [1.0] * (num_planned - len(state.runs))
    seconds = _makespan([mean * size for size in waiting], busy, slots)
    half = _half_width(sample, waiting)
    least = max(busy, default=0.0)
    return TimeLeft(
        seconds=seconds,
        low=None if half is None else max(least, seconds - half / slots),
        high=None if half is None else seconds + half / slots,
        basis=_basis(len(ended), len(paced)),
    )


def _busy(active: Active, mean: float, now: float) -> float:
    return active.left_s if active.left_s is not None else max(0.0, mean * _size(active.run) - (now - active.started_at))


def _half_width(sample: Sequence[float], sizes: Sequence[float]) -> float | None:
    """Of the 95 % prediction interval of the sum of runs of these sizes: they scatter, and so does the mean that is known."""
    n = len(sample)
    if n < _LEAST_FOR_A_RANGE or not sizes:
        return None
    variance = statistics.variance(sample) * (sum(size**2 for size in sizes) + sum(sizes) ** 2 / n)
    return t_quantile(n - 1) * math.sqrt(variance)


def _makespan(durations: Iterable[float], busy: Sequence[float], slots: int) -> float:
    """Seconds until all is done, when runs are started in this order on places of which some are still busy."""
    free = [*busy, *[0.0] * (slots - len(busy))]
    heapq.heapify(free)
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free, default=0.0)


def _left_by_epochs(
    state: SweepState, active: list[Active], num_slots: int | None, epochs: int | None, planned: int | None, now: float
) -> TimeLeft | None:
    """By the time of an epoch: runs that stop at rungs do not tell how long complete ones take."""
    slots = num_slots or len(active)
    if not epochs or planned is None or not slots:
        return None
    spent = sum(run.result.wall_s for run in state.runs if run.result) + sum(now - each.started_at for each in active)
    seconds = max(0, planned - epochs) * spent / epochs / slots
    return TimeLeft(seconds=seconds, is_least=True, basis=f"{epochs} of {planned} epochs")


def _basis(num_ended: int, num_paced: int) -> str:
    parts = [f"{num} {what}" for num, what in ((num_ended, "ended"), (num_paced, "running")) if num]
    return " and ".join(parts) + (" run" if num_ended + num_paced == 1 else " runs")


# -- what the journal tells -------------------------------------------------------------------------------------------


def _journal(state: SweepState) -> bytes:
    try:
        return state.dir.journal.read_bytes()
    except FileNotFoundError:
        return b""


def _num_slots(journal: bytes) -> int | None:
    """Of the newest start."""
    at = journal.rfind(b'"event": "sweep_started"')
    if at < 0:
        return None
    event = _json(journal[journal.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0])
    slots = event.get("slots") if isinstance(event, dict) else None
    return slots if isinstance(slots, int) and slots > 0 else None


def _ended(state: SweepState, journal: bytes) -> list[Ended]:
    """Ends of runs that are still in the plan, from the last part of the journal."""
    runs = {run.config: run for run in state.runs}
    found = []
    for line in reversed(journal[-_JOURNAL_TAIL_BYTES:].split(b"\n")):
        event: Any = _json(line) if b'"run_ended"' in line else None
        run = runs.get(str(event.get("config"))) if isinstance(event, dict) else None
        if run is None:
            continue
        at, attempt = as_number(event.get("time")), event.get("attempt")
        if at is not None:
            found.append(
                Ended(
                    at=at,
                    attempt=attempt if isinstance(attempt, int) else 1,
                    status=str(event.get("status", "")),
                    reason=str(event.get("reason", "")),
                    run=run,
                )
            )
    return found


def _waiting(runs: Iterable[RunRecord]) -> dict[int, int]:
    """Rung -> runs that stopped there for now, or for good."""
    rungs = Counter(run.result.until for run in runs if run.status is Status.PRUNED and run.result and run.result.until)
    return dict(sorted(rungs.items()))
