"""The runner: starts the runs of a sweep in its slots, watches them, ends them, records how they ended.

How it works. One thread, one loop: fill free slots, wait for what the executor reports, read the runs' own reports, look at the
limits, show progress. What is started is the queue first; when it is empty a search, where there is one, is asked for more. A
run goes through

  run directory made, config.txt written -> submitted, provenance.json -> started -> ended -> judged -> result.json -> journal

`result.json` is written last and is the mark of completion: whatever happens before it, the point counts as not done and the
same command runs it again, from its last checkpoint. Nothing else is needed to continue.

Ctrl-C: once lets the running ones finish and starts no more; twice ends them. SIGTERM and SIGHUP end them at once.
"""

import errno
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir
from ksweep.contract.run import ENV_ATTEMPT, ENV_RESOURCE, ENV_RUN_DIR, ENV_UNTIL
from ksweep.execute.base import Ended, Executor, Started, Task
from ksweep.space.objective import Goal, Objectives
from ksweep.sweep.callbacks import Callbacks, Event
from ksweep.sweep.delivery import Delivery
from ksweep.sweep.device_stats import DeviceStats, open_nvml
from ksweep.sweep.durations import Durations, makespan
from ksweep.sweep.handover import drop_checkpoints, hand_over
from ksweep.sweep.journal import Journal
from ksweep.sweep.judge import Verdict, judge
from ksweep.sweep.progress import Board, Progress
from ksweep.sweep.pruning import LivePruning
from ksweep.sweep.reports import Report, Reports, curve_of, furthest, not_finite, resource_of
from ksweep.sweep.search import RunOrder, Search
from ksweep.sweep.slots import Slot
from ksweep.sweep.stop import StopRules
from ksweep.sweep.store import settled_result

POLL_S = 0.2
WATCH_INTERVAL_S = 1.0
CANCEL_GRACE_S = 10.0  # between SIGTERM and SIGKILL: time to save a checkpoint
SELF_STOP_S = 2.0  # for a run to end by itself that has every reason to, before it is told
LOSSES = ("train_loss", "val_loss")  # watched beside the objectives: where one is not finite, nothing is to be hoped for
REORDER_GROWTH = 1.5  # the queue is sorted anew each time the number of known durations has grown by this factor


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One point to run: where (an absolute path), what text, its seed and swept values, whether it may use its slot's
    device, the command that trains it. `until`: the resource at which it stops for now (None: its end); `parent`: the run from
    whose checkpoint it starts."""

    config: str
    id: str
    dir: RunDir
    text: str
    values: dict[str, str]
    seed: str | None
    uses_devices: bool
    argv: tuple[str, ...]
    until: int | None = None
    parent: RunDir | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What steers a sweep, from its resolved SWEEP_ symbols (see Kconfig). Times in seconds, 0: no limit."""

    objectives: Objectives
    resource: str  # what reports count: epoch or step
    stop_rules: StopRules
    run_timeout_s: int
    silence_timeout_s: int
    retries: int
    keep_checkpoints: bool

    @property
    def goal(self) -> Goal | None:
        """The first objective, by which curves and the best so far are told."""
        return self.objectives.goals[0] if self.objectives.goals else None

    @property
    def maximize(self) -> bool:
        """Whether more of it is better."""
        return self.goal is None or self.goal.is_maximized

    def value_of(self, result: Result) -> float | None:
        """The first objective of a run that passed and keeps the constraints; None of any other."""
        if result.status != Status.PASSED or self.goal is None:
            return None
        is_feasible = self.objectives.is_feasible(result.metrics)
        return self.goal.value(result.metrics) if is_feasible else None

    def stop_reason(self, ended: Sequence[Result], num_slots: int, total: int) -> str:
        """The stop rule that holds already, before anything is started; empty: none. `total`: epochs or steps trained."""
        slot_s = sum(result.wall_s for result in ended)
        return self.stop_rules.reason(
            wall_s=slot_s / num_slots,
            slot_s=slot_s,
            total=total,
            values=[self.value_of(result) for result in ended if result.until is None],
            maximize=self.maximize,
        )


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A run that is to be started: which attempt, how the earlier ones ended, how many of them were bad just now."""

    spec: RunSpec
    attempt: int
    earlier: list[str]
    num_bad: int = 0
    spent_s: float = 0.0  # in attempts that it goes on from


@dataclass(kw_only=True)
class _Active:
    """A run in a slot."""

    waited: _Waiting
    slot: Slot
    submitted_at: float
    submitted_mono: float
    size_seen: int = -1
    quiet_since: float = 0.0
    ended_because: tuple[Status, str] | None = None
    force_at: float | None = None
    device_stats: DeviceStats | None = None
    reports: Reports
    curve: dict[int, float]
    resource: int = 0
    reported_at: float = 0.0
    report_interval_s: float = 0.0
    leaves: tuple[float, tuple[Status, str]] | None = None  # since when it is about to end by itself, and as what
    pid: int | None = None  # leads a session of its own

    @property
    def spec(self) -> RunSpec:
        return self.waited.spec

    @property
    def attempt(self) -> int:
        return self.waited.attempt


@dataclass(kw_only=True)
class SweepRun:
    """What came of `Runner.run`: all final results by point id, and why it stopped early, if it did. `over`: the stop rule that
    ended it, or why a search found no more points."""

    results: dict[str, Result] = field(default_factory=dict)
    num_started: int = 0
    launch_s: float = 0.0
    stopped: str = ""
    over: str = ""
    is_request_wrong: bool = False


class Runner:
    """Runs points through an executor. `provenance` is what all runs share and goes into each run directory.

    `search` chooses further points, whose specs `spec_of` makes; `pruning` decides which live runs are stopped; `callbacks_of`
    makes what is told of it all, from a way to say something to people.
    """

    def __init__(
        self,
        *,
        executor: Executor,
        slots: Sequence[Slot],
        settings: Settings,
        journal: Journal,
        delivery: Delivery,
        environment: Mapping[str, str],
        provenance: Mapping[str, Any],
        cwd: Path,
        search: Search | None = None,
        spec_of: Callable[[RunOrder], RunSpec] | None = None,
        pruning: LivePruning | None = None,
        callbacks_of: Callable[[Callable[[str], None]], Callbacks],
    ) -> None:
        self._search, self._spec_of, self._pruning = search, spec_of, pruning
        self._callbacks_of = callbacks_of
        self._executor, self._settings, self._journal, self._delivery = executor, settings, journal, delivery
        self._environment, self._provenance, self._cwd = environment, provenance, cwd
        self._slots = list(slots)
        self._free = list(reversed(slots))
        self._active: dict[str, _Active] = {}
        self._queue: list[_Waiting] = []  # next one last
        self._nvml = open_nvml() if any(slot.device for slot in slots) else None
        self._durations = Durations()
        self._reordered_at = 1
        self._num_signals = 0
        self._is_hasty = False
        self._prepared: set[str] = set()
        self._eta: float | None = None
        self._eta_due = 0.0
        self._outcome = SweepRun()
        self._goal = settings.goal
        self._watched = (*(name for goal in settings.objectives.goals for name in goal.names), *LOSSES)
        self._ended: list[float | None] = []  # the first objective of each run that has ended, in order
        self._spent_s: dict[str, float] = {}  # point id -> in all its attempts that have ended
        self._started_mono = time.monotonic()

    def run(
        self,
        specs: Sequence[RunSpec],
        done: Sequence[tuple[Mapping[str, str], Result]],
        progress_of: Callable[[Board], Progress],
        num_planned: int = 0,
        total: int = 0,
    ) -> SweepRun:
        """Run `specs` in this order, clearly longer ones first once durations are known.

        `done` are results that stand already, some perhaps of `specs`, which then go on. `num_planned`: runs in all, where a
        search is to choose that many. `total`: epochs or steps that were trained before.

        Returns when all have ended, or after an interruption. Never raises for what a run does.
        """
        self._spent_s = {result.id: result.wall_s for _, result in done}
        self._wall_before_s = sum(self._spent_s.values()) / len(self._slots)
        going_on = {spec.id for spec in specs}
        done = [(values, result) for values, result in done if result.id not in going_on]
        self._outcome.results = {result.id: result for _, result in done}
        name = self._goal.text if self._goal else ""
        self._board = Board(total=max(num_planned, len(specs) + len(done)), objective=name, eta_s=lambda: self._eta)
        if self._goal:
            goal = self._goal
            self._board.value_of = lambda result: goal.value(result.metrics)
        self._values = {spec.id: spec.values for spec in specs}
        self._total = self._total_before = total
        for values, result in done:
            self._count(result, values)
            self._delivery.add(values, result)
        self._check_delivery()
        for spec in specs:
            self._hand_over(spec)
        self._queue = [self._next_attempt(spec) for spec in reversed(specs)]
        self._reorder()
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with progress_of(self._board) as self._progress:
                self._callbacks = self._callbacks_of(self._progress.say)
                self._callbacks.emit(Event.SWEEP_STARTED, num_runs=self._board.total, num_done=self._board.done.total())
                try:
                    self._loop()
                finally:
                    counts = {str(status): count for status, count in self._board.done.items()}
                    stopped = self._outcome.stopped or self._outcome.over
                    self._callbacks.emit(Event.SWEEP_ENDED, counts=counts, stopped=stopped)
                    self._callbacks.close()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._outcome.stopped = "the disk is full: make room and run the same command again; what had finished is kept"
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self._outcome

    def _next_attempt(self, spec: RunSpec) -> _Waiting:
        """The first attempt, or the one after the last: an interrupted run goes on in its directory."""
        before = settled_result(spec.dir)
        if before is not None:
            earlier = [*before.earlier, f"{before.status}: {before.reason}"]
            return _Waiting(spec=spec, attempt=before.attempt + 1, earlier=earlier, spent_s=before.wall_s)
        started = read_json(spec.dir.provenance)
        if not isinstance(started, dict):
            return _Waiting(spec=spec, attempt=1, earlier=[])
        return _Waiting(spec=spec, attempt=started.get("attempt", 1) + 1, earlier=["interrupted: its runner ended"])

    def _loop(self) -> None:
        next_watch = 0.0
        while True:
            self._fill()
            if not self._active:
                break
            for waiting in self._queue[-len(self._slots) :]:
                self._prepare(waiting.spec)
            for event in self._executor.poll(POLL_S):
                if event.key in self._active:
                    self._on_started(event) if isinstance(event, Started) else self._on_ended(event)
            now = time.monotonic()
            for key in list(self._active):
                self._read_reports(key, now)
            if now >= next_watch:
                next_watch = now + WATCH_INTERVAL_S
                self._watch(now)
                self._update_eta(now)
            self._heed_signals()
            self._progress.tick()
        if self._search and not self._outcome.stopped and not self._outcome.over:
            self._outcome.over = self._search.why_over

    def _fill(self) -> None:
        while self._free and not self._outcome.stopped and not self._outcome.over and (self._queue or self._search):
            if reason := self._stop_rule():  # before a search is asked: what it has chosen is part of the sweep
                self._outcome.over = reason
                self._progress.say(f"{reason}: no more runs are started")
                return
            if not self._queue and not self._ask():
                return
            self._start(self._queue.pop(), self._free.pop())

    def _ask(self) -> bool:
        """Put what the search wants to run next into the queue; False: nothing as long as no run ends."""
        if self._search is None or self._spec_of is None:
            return False
        for order in self._search.next():
            spec = self._spec_of(order)
            self._hand_over(spec)
            self._values[spec.id] = spec.values
            if self._outcome.results.pop(spec.id, None):
                self._board.done[Status.PRUNED] -= 1  # it goes on
            self._queue.insert(0, self._next_attempt(spec))
        self._board.total = max(self._board.total, self._board.done.total() + len(self._active) + len(self._queue))
        return bool(self._queue)

    def _hand_over(self, spec: RunSpec) -> None:
        if spec.parent:  # as soon as it is decided, while no process works on the parent
            hand_over(spec.parent, spec.dir)

    def _stop_rule(self) -> str:
        settings = self._settings
        if not settings.stop_rules.are_any:
            return ""
        now = time.monotonic()
        running_s = sum(now - active.submitted_mono for active in self._active.values())
        return settings.stop_rules.reason(
            wall_s=self._wall_before_s + now - self._started_mono,
            slot_s=sum(self._spent_s.values()) + running_s,
            total=self._total,
            values=self._ended,
            maximize=settings.maximize,
        )

    # -- start -------------------------------------------------------------------------------------------------

    def _prepare(self, spec: RunSpec) -> None:
        """Make the run directory ready to start in; called ahead of time, while the slots are busy."""
        if spec.id in self._prepared:
            return
        spec.dir.path.mkdir(exist_ok=True)
        spec.dir.config.write_text(spec.text)
        self._prepared.add(spec.id)

    def _start(self, waiting: _Waiting, slot: Slot) -> None:
        spec, attempt = waiting.spec, waiting.attempt
        self._prepare(spec)
        spec.dir.result.unlink(missing_ok=True)
        placed = {
            ENV_RUN_DIR: str(spec.dir.path),
            ENV_ATTEMPT: str(attempt),
            ENV_RESOURCE: self._settings.resource,
            **({} if spec.until is None else {ENV_UNTIL: str(spec.until)}),
            "OMP_NUM_THREADS": str(slot.threads),
            "CUDA_VISIBLE_DEVICES": (slot.device or "") if spec.uses_devices else "",
        }
        if attempt > 1:
            with open(spec.dir.log, "a", encoding="utf-8") as log:
                log.write(f"\n=== attempt {attempt} ===\n")
        now = time.monotonic()
        key = f"{spec.config}#{attempt}"
        active = _Active(
            waited=waiting,
            slot=slot,
            submitted_at=time.time(),
            submitted_mono=now,
            quiet_since=now,
            reports=Reports(spec.dir.metrics),
            curve=curve_of(spec.dir.metrics, self._goal, self._settings.resource) if attempt > 1 else {},
            resource=self._begins_at(spec, attempt),
        )
        self._active[key] = active
        env = {**self._environment, **placed}
        self._executor.submit(Task(key=key, argv=spec.argv, env=env, cwd=self._cwd, log=spec.dir.log, threads=slot.threads))
        self._outcome.num_started += 1
        self._board.running[spec.config] = slot.number, now, "starting"
        if self._nvml and slot.device:
            active.device_stats = DeviceStats(self._nvml, slot.device)
        self._write_provenance(active, placed)

    def _write_provenance(self, active: _Active, placed: Mapping[str, str]) -> None:
        spec, slot = active.spec, active.slot
        own = {
            "config": spec.config,
            "id": spec.id,
            "attempt": active.attempt,
            "seed": spec.seed,
            "argv": spec.argv,
            "env": placed,
        }
        place = {"slot": slot.number, "device": slot.device, "threads": slot.threads}
        write_json(spec.dir.provenance, {**self._provenance, **own, **place}, sync=False)

    def _on_started(self, event: Started) -> None:
        active = self._active[event.key]
        active.pid = event.pid
        self._callbacks.emit(Event.RUN_STARTED, config=active.spec.config, attempt=active.attempt, slot=active.slot.number)
        self._journal.add(
            "run_started", config=active.spec.config, attempt=active.attempt, pid=event.pid, slot=active.slot.number
        )

    # -- end ---------------------------------------------------------------------------------------------------

    def _on_ended(self, event: Ended) -> None:
        active = self._active.pop(event.key)
        spec = active.spec
        for report in active.reports.new():  # what a short run has reported since it was last looked at
            self._take_in(active, report)
        self._free.append(active.slot)
        self._board.running.pop(spec.config, None)
        if self._queue and not self._settings.stop_rules.are_any:  # they go by what this run came to
            self._fill()  # first of all: the slot does not wait for the records of this run
        paused = "" if event.exit_code == 0 and self._has_run_on(spec) else self._paused(spec)
        verdict = judge(
            spec.dir,
            exit_code=event.exit_code,
            signal_number=event.signal,
            ended_because=active.ended_because or (self._divergence(spec) if paused else None),
            objectives=self._settings.objectives,
            attempt=active.attempt,
            paused=paused,
        )
        result = self._result(active, event, verdict)
        self._spent_s[spec.id] = result.wall_s
        waited = active.waited
        if verdict.status.is_retried and waited.num_bad < self._settings.retries and not self._is_hasty:
            how = f"{verdict.status}: {verdict.reason}"
            self._journal.add("run_retried", config=spec.config, attempt=active.attempt, why=how)
            self._progress.say(f"{spec.config} {how}; trying again")
            earlier = [*waited.earlier, how]
            again = replace(
                waited, attempt=active.attempt + 1, earlier=earlier, num_bad=waited.num_bad + 1, spent_s=result.wall_s
            )
            self._queue.append(again)
            return
        if active.device_stats:
            write_json(spec.dir.gpu_stats, active.device_stats.to_dict(), sync=False)
        goes_on_never = verdict.status == Status.PASSED or (verdict.status == Status.PRUNED and result.until is None)
        if goes_on_never and not self._settings.keep_checkpoints:
            drop_checkpoints(spec.dir)
        write_json(spec.dir.result, result.to_dict())
        self._journal.add("run_ended", config=spec.config, attempt=active.attempt, status=result.status, reason=result.reason)
        if not result.status.is_final:
            return
        self._outcome.results[spec.id] = result
        if self._search:
            self._search.ended(spec.id, result)
        self._tell(spec, result)
        self._count(result, spec.values)
        self._progress.ended(spec.config, spec.values, result)
        self._delivery.add(spec.values, result)
        self._check_delivery()
        self._reorder()

    def _result(self, active: _Active, event: Ended, verdict: Verdict) -> Result:
        launch_s = verdict.opened_at - active.submitted_at if verdict.opened_at else None
        if launch_s is not None:
            self._outcome.launch_s += launch_s
        return Result(
            id=active.spec.id,
            config=active.spec.config,
            status=verdict.status,
            reason=verdict.reason,
            attempt=active.attempt,
            exit_code=event.exit_code,
            signal=event.signal,
            metrics=verdict.metrics,
            symbols_read=verdict.symbols_read,
            effective=verdict.effective,
            started_at=active.submitted_at,
            wall_s=round(active.waited.spent_s + max(0.0, event.at - active.submitted_at), 4),
            launch_s=launch_s,
            slot=active.slot.number,
            earlier=active.waited.earlier,
            until=active.spec.until if verdict.status == Status.PRUNED and self._paused(active.spec) else None,
        )

    def _count(self, result: Result, values: Mapping[str, str]) -> None:
        self._board.done[result.status] += 1
        if result.status == Status.PASSED and result.attempt == 1:  # the time of a continued run is not that of one in one piece
            self._durations.add(values, result.wall_s)
        value = self._settings.value_of(result)
        if result.until is None:  # else it waits at a rung
            self._ended.append(value)
        if value is not None and self._is_better(value):
            self._board.best = result.config, value

    def _tell(self, spec: RunSpec, result: Result) -> None:
        """Tell the callbacks of a run that has ended, before it counts."""
        kinds = {Status.PASSED: Event.RUN_ENDED, Status.PRUNED: Event.RUN_PRUNED}
        told = {"config": result.config, "run_dir": spec.dir.path.name, "values": spec.values, "metrics": result.metrics}
        why = {} if result.status == Status.PASSED else {"status": result.status, "reason": result.reason}
        self._callbacks.emit(kinds.get(result.status, Event.RUN_FAILED), **told, wall_s=result.wall_s, **why)
        value, best = self._settings.value_of(result), self._board.best
        if value is None or not self._is_better(value):
            return
        previous = best[1] if best else None
        margin = None if previous is None else abs(value - previous)
        objective = self._board.objective
        self._callbacks.emit(
            Event.NEW_BEST, config=result.config, objective=objective, value=value, previous=previous, margin=margin
        )

    def _is_better(self, value: float) -> bool:
        best = self._board.best
        return best is None or (value > best[1] if self._settings.maximize else value < best[1])

    def _check_delivery(self) -> None:
        if self._delivery.problem and not self._outcome.stopped:
            self._outcome.is_request_wrong = True
            self._stop_all(self._delivery.problem)

    def _reorder(self) -> None:
        if len(self._durations) >= self._reordered_at * REORDER_GROWTH:
            self._reordered_at = len(self._durations)
            by_id = {waiting.spec.id: waiting for waiting in self._queue}
            order = self._durations.longest_first([waiting.spec.id for waiting in reversed(self._queue)], self._values)
            self._queue = [by_id[id] for id in reversed(order)]

    # -- limits, signals -------------------------------------------------------------------------------------------

    def _paused(self, spec: RunSpec) -> str:
        """Why a run that was to stop for now has reached that; empty when it was not, or has not."""
        if spec.until is None:
            return ""
        is_there = furthest(spec.dir.metrics, self._settings.resource) >= spec.until
        return f"stopped at {self._settings.resource} {spec.until} for now" if is_there else ""

    def _begins_at(self, spec: RunSpec, attempt: int) -> int:
        """How much it has been trained before this attempt, also by the run whose checkpoint it was given."""
        before = furthest(spec.dir.metrics, self._settings.resource) if attempt > 1 else 0
        return before or (furthest(spec.parent.metrics, self._settings.resource) if spec.parent else 0)

    def _has_run_on(self, spec: RunSpec) -> bool:
        """Whether a run that was to stop for now took no notice of that."""
        return spec.until is not None and furthest(spec.dir.metrics, self._settings.resource) > spec.until

    def _read_reports(self, key: str, now: float) -> None:
        active = self._active[key]
        for report in active.reports.new():
            active.report_interval_s = now - (active.reported_at or active.submitted_mono)
            active.reported_at = now
            self._heed_report(key, active, report, now)
        if active.leaves and not active.ended_because and now - active.leaves[0] > SELF_STOP_S:
            self._end(key, *active.leaves[1])

    def _take_in(self, active: _Active, report: Report) -> tuple[int | None, float | None]:
        """Count a report for the stop rules, and for those that the run is compared with; its resource and first objective."""
        resource = resource_of(report, self._settings.resource)
        value = self._goal.value(report) if self._goal else None
        if resource is not None:
            self._total += max(0, resource - active.resource)
            active.resource = max(active.resource, resource)
            if value is not None:
                active.curve[resource] = value
                if self._pruning:
                    self._pruning.add(active.spec.id, active.curve)
        return resource, value

    def _heed_report(self, key: str, active: _Active, report: Report, now: float) -> None:
        resource, value = self._take_in(active, report)
        if active.ended_because or active.leaves:
            return
        spec = active.spec
        if reason := self._not_finite(report):
            active.leaves = now, (Status.DIVERGED, reason)
            return
        if resource is None:
            return
        if spec.until is not None and resource >= spec.until:
            active.leaves = now, (Status.PRUNED, self._paused(spec))
        elif self._pruning and value is not None and (reason := self._pruning.reason(spec.id, active.curve)):
            self._end(key, Status.PRUNED, reason)

    def _not_finite(self, report: Report) -> str:
        name, resource = not_finite(report, self._watched), resource_of(report, self._settings.resource)
        where = f"{self._settings.resource} {resource}: " if resource is not None else ""
        return name and f"{where}{name} is not a finite number"

    def _divergence(self, spec: RunSpec) -> tuple[Status, str] | None:
        """Of a run that has left by itself, perhaps before its last reports were read."""
        reason = next(filter(None, map(self._not_finite, read_history(spec.dir.metrics))), "")
        return (Status.DIVERGED, reason) if reason else None

    def _watch(self, now: float) -> None:
        limits = self._settings
        for key, active in self._active.items():
            if active.device_stats:
                active.device_stats.sample(now, active.pid)
            size = sum(path.stat().st_size for path in (active.spec.dir.log, active.spec.dir.metrics) if path.exists())
            if size != active.size_seen:
                active.size_seen, active.quiet_since = size, now
                self._board.running[active.spec.config] = (
                    active.slot.number,
                    active.submitted_mono,
                    self._last_report(active),
                )
            if active.force_at is not None and now >= active.force_at:
                self._executor.cancel(key, force=True)
            elif active.ended_because:
                continue
            elif limits.run_timeout_s and now - active.submitted_mono > limits.run_timeout_s:
                self._end(key, Status.TIMEOUT, f"ran longer than {limits.run_timeout_s} s (SWEEP_RUN_TIMEOUT)")
            elif limits.silence_timeout_s and now - active.quiet_since > limits.silence_timeout_s:
                self._end(
                    key, Status.TIMEOUT, f"no output and no metrics for {limits.silence_timeout_s} s (SWEEP_SILENCE_TIMEOUT)"
                )

    def _last_report(self, active: _Active) -> str:
        if not active.curve:
            return "no report yet"
        resource = max(active.curve)
        return f"{self._settings.resource} {resource}, {self._board.objective} {active.curve[resource]:.4f}"

    def _end(self, key: str, status: Status, reason: str) -> None:
        active = self._active[key]
        active.ended_because = status, reason
        # One that is not good enough may still save what it has at its next report; nobody waits for a cancelled one.
        grace_s = max(CANCEL_GRACE_S, 2 * active.report_interval_s) if status == Status.PRUNED else CANCEL_GRACE_S
        active.force_at = time.monotonic() + grace_s
        self._executor.cancel(key)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._num_signals += 1
        self._is_hasty |= number != signal.SIGINT or self._num_signals > 1

    def _heed_signals(self) -> None:
        if not self._num_signals:
            return
        if self._is_hasty:
            self._stop_all("stopped by a signal; the same command continues")
        elif not self._outcome.stopped:
            self._outcome.stopped = "stopped by Ctrl-C; the same command continues"
            self._board.notice = f"Ctrl-C: waiting for {len(self._active)} running; no more are started. Again: end them now."
            self._progress.say(self._board.notice)

    def _stop_all(self, why: str) -> None:
        self._outcome.stopped = self._outcome.stopped or why
        for key, active in self._active.items():
            if not active.ended_because:
                self._end(key, Status.CANCELLED, why)

    def _update_eta(self, now: float) -> None:
        planned = self._search.total_resource if self._search else None
        if planned is not None:  # by what is trained in a second: runs that stop at rungs do not tell how long complete ones take
            trained = self._total - self._total_before
            self._eta = max(0, planned - self._total) * (now - self._started_mono) / trained if trained else None
            return
        if now < self._eta_due or not len(self._durations):
            return
        left = [
            max(0.0, (self._durations.predict(a.spec.values) or 0.0) - (now - a.submitted_mono)) for a in self._active.values()
        ]
        waiting = [self._durations.predict(w.spec.values) or 0.0 for w in reversed(self._queue)]
        num_unknown = self._board.total - self._board.done.total() - len(left) - len(waiting)
        waiting += [self._durations.predict({}) or 0.0] * num_unknown
        self._eta = makespan(waiting, left, len(self._slots))
        self._eta_due = now + 50 * (time.monotonic() - now)  # at most 2 % of the time, however long the queue
