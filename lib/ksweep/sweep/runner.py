"""The runner: starts the runs of a sweep in its slots, watches them, ends them, records how they ended.

How it works. One thread, one loop: fill free slots, wait for what the executor reports, look at the limits, show progress.
A run goes through

  run directory made, config.txt written -> submitted, provenance.json -> started -> ended -> judged -> result.json -> journal

`result.json` is written last and is the mark of completion: whatever happens before it, the point counts as not done and the
same command runs it again, from its last checkpoint. Nothing else is needed to continue.

Ctrl-C: once lets the running ones finish and starts no more; twice ends them. SIGTERM and SIGHUP end them at once.
"""

import errno
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir
from ksweep.contract.run import ENV_ATTEMPT, ENV_RUN_DIR
from ksweep.execute.base import Ended, Executor, Started, Task
from ksweep.sweep.delivery import Delivery
from ksweep.sweep.device_stats import DeviceStats, open_nvml
from ksweep.sweep.durations import Durations, makespan
from ksweep.sweep.journal import Journal
from ksweep.sweep.judge import Verdict, judge
from ksweep.sweep.progress import Board, Progress
from ksweep.sweep.slots import Slot
from ksweep.sweep.store import settled_result

POLL_S = 0.2
WATCH_INTERVAL_S = 1.0
CANCEL_GRACE_S = 10.0  # between SIGTERM and SIGKILL: time to save a checkpoint
REORDER_GROWTH = 1.5  # the queue is sorted anew each time the number of known durations has grown by this factor


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One point to run: where (an absolute path), what text, its seed and swept values, whether it may use its slot's
    device, the command that trains it."""

    config: str
    id: str
    dir: RunDir
    text: str
    values: dict[str, str]
    seed: str | None
    uses_devices: bool
    argv: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What steers a sweep, from its resolved SWEEP_ symbols (see Kconfig). Times in seconds, 0: no limit."""

    objective: str
    maximize: bool
    run_timeout_s: int
    silence_timeout_s: int
    retries: int
    keep_checkpoints: bool


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A run that is to be started: which attempt, how the earlier ones ended, how many of them were bad just now."""

    spec: RunSpec
    attempt: int
    earlier: list[str]
    num_bad: int = 0


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
    pid: int | None = None  # leads a session of its own

    @property
    def spec(self) -> RunSpec:
        return self.waited.spec

    @property
    def attempt(self) -> int:
        return self.waited.attempt


@dataclass(kw_only=True)
class SweepRun:
    """What came of `Runner.run`: all final results by point id, and why it stopped early, if it did."""

    results: dict[str, Result] = field(default_factory=dict)
    num_started: int = 0
    launch_s: float = 0.0
    stopped: str = ""
    is_request_wrong: bool = False


class Runner:
    """Runs points through an executor. `provenance` is what all runs share and goes into each run directory."""

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
    ) -> None:
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

    def run(
        self, specs: Sequence[RunSpec], done: Sequence[tuple[Mapping[str, str], Result]], progress_of: Callable[[Board], Progress]
    ) -> SweepRun:
        """Run `specs` in this order, clearly longer ones first once durations are known.

        `done` are results that stand already, with the swept values of their points.

        Returns when all have ended, or after an interruption. Never raises for what a run does.
        """
        self._outcome.results = {result.id: result for _, result in done}
        self._board = Board(total=len(specs) + len(done), objective=self._settings.objective, eta_s=lambda: self._eta)
        self._values = {spec.id: spec.values for spec in specs}
        for values, result in done:
            self._count(result, values)
            self._delivery.add(values, result)
        self._check_delivery()
        self._queue = [self._next_attempt(spec) for spec in reversed(specs)]
        self._reorder()
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with progress_of(self._board) as self._progress:
                self._loop()
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
            return _Waiting(spec=spec, attempt=before.attempt + 1, earlier=[*before.earlier, f"{before.status}: {before.reason}"])
        started = read_json(spec.dir.provenance)
        if not isinstance(started, dict):
            return _Waiting(spec=spec, attempt=1, earlier=[])
        return _Waiting(spec=spec, attempt=started.get("attempt", 1) + 1, earlier=["interrupted: its runner ended"])

    def _loop(self) -> None:
        next_watch = 0.0
        while self._queue or self._active:
            if self._outcome.stopped and not self._active:
                break
            self._fill()
            for waiting in self._queue[-len(self._slots) :]:
                self._prepare(waiting.spec)
            for event in self._executor.poll(POLL_S):
                if event.key in self._active:
                    self._on_started(event) if isinstance(event, Started) else self._on_ended(event)
            if (now := time.monotonic()) >= next_watch:
                next_watch = now + WATCH_INTERVAL_S
                self._watch(now)
                self._update_eta(now)
            self._heed_signals()
            self._progress.tick()

    def _fill(self) -> None:
        while self._queue and self._free and not self._outcome.stopped:
            self._start(self._queue.pop(), self._free.pop())

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
            "OMP_NUM_THREADS": str(slot.threads),
            "CUDA_VISIBLE_DEVICES": (slot.device or "") if spec.uses_devices else "",
        }
        if attempt > 1:
            with open(spec.dir.log, "a", encoding="utf-8") as log:
                log.write(f"\n=== attempt {attempt} ===\n")
        now = time.monotonic()
        key = f"{spec.config}#{attempt}"
        active = _Active(waited=waiting, slot=slot, submitted_at=time.time(), submitted_mono=now, quiet_since=now)
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
        self._journal.add(
            "run_started", config=active.spec.config, attempt=active.attempt, pid=event.pid, slot=active.slot.number
        )

    # -- end ---------------------------------------------------------------------------------------------------

    def _on_ended(self, event: Ended) -> None:
        active = self._active.pop(event.key)
        spec = active.spec
        self._free.append(active.slot)
        self._board.running.pop(spec.config, None)
        self._fill()  # first of all: the slot does not wait for the records of this run
        verdict = judge(
            spec.dir,
            exit_code=event.exit_code,
            signal_number=event.signal,
            ended_because=active.ended_because,
            objective=self._settings.objective,
            attempt=active.attempt,
        )
        result = self._result(active, event, verdict)
        waited = active.waited
        if verdict.status.is_retried and waited.num_bad < self._settings.retries and not self._is_hasty:
            how = f"{verdict.status}: {verdict.reason}"
            self._journal.add("run_retried", config=spec.config, attempt=active.attempt, why=how)
            self._progress.say(f"{spec.config} {how}; trying again")
            earlier = [*waited.earlier, how]
            self._queue.append(_Waiting(spec=spec, attempt=active.attempt + 1, earlier=earlier, num_bad=waited.num_bad + 1))
            return
        if active.device_stats:
            write_json(spec.dir.gpu_stats, active.device_stats.to_dict(), sync=False)
        if verdict.status == Status.PASSED and not self._settings.keep_checkpoints:
            (spec.dir.checkpoints / "last.pt").unlink(missing_ok=True)
        write_json(spec.dir.result, result.to_dict())
        self._journal.add("run_ended", config=spec.config, attempt=active.attempt, status=result.status, reason=result.reason)
        if not result.status.is_final:
            return
        self._outcome.results[spec.id] = result
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
            wall_s=round(time.monotonic() - active.submitted_mono, 4),
            launch_s=launch_s,
            slot=active.slot.number,
            earlier=active.waited.earlier,
        )

    def _count(self, result: Result, values: Mapping[str, str]) -> None:
        self._board.done[result.status] += 1
        if result.status != Status.PASSED:
            return
        if result.attempt == 1:  # a continued run's time is that of its last part only
            self._durations.add(values, result.wall_s)
        value = result.metrics.get(self._settings.objective)
        best = self._board.best
        if value is not None and (best is None or ((value > best[1]) == self._settings.maximize and value != best[1])):
            self._board.best = result.config, value

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
                    self._last_report(active.spec.dir),
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

    def _last_report(self, dir: RunDir) -> str:
        if not sys.stdout.isatty():
            return ""  # nobody looks
        history = read_history(dir.metrics)
        if not history:
            return "no report yet"
        value = history[-1].get(self._settings.objective)
        return f"epoch {history[-1].get('epoch', '?')}" + (
            f", {self._settings.objective} {value:.4f}" if isinstance(value, float) else ""
        )

    def _end(self, key: str, status: Status, reason: str) -> None:
        active = self._active[key]
        active.ended_because = status, reason
        active.force_at = time.monotonic() + CANCEL_GRACE_S
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
        if now < self._eta_due or not len(self._durations):
            return
        left = [
            max(0.0, (self._durations.predict(a.spec.values) or 0.0) - (now - a.submitted_mono)) for a in self._active.values()
        ]
        waiting = [self._durations.predict(w.spec.values) or 0.0 for w in reversed(self._queue)]
        self._eta = makespan(waiting, left, len(self._slots))
        self._eta_due = now + 50 * (time.monotonic() - now)  # at most 2 % of the time, however long the queue
