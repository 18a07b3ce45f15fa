"""Tells others what happens to a sweep: a command, and Python functions of installed packages.

  the command     CONFIG_SWEEP_CALLBACK="python3 notify.py": started anew for each event, with {"event", "time", ...} as JSON
                  on its standard input, at the top of the tree
  a function      entry point group "ksweep.callbacks" of an installed package: called as function(event, details)

How it works. `emit` puts an event into one queue a callback and returns; a thread each takes them out, in order. So no run waits,
and one that hangs holds up nobody else. Whatever a callback does is its own affair: a failure is a line in callbacks.log, the
first one of each callback is also said to people, and nothing else changes. At the end `close` waits a while for what is still
to be delivered, then ends it.
"""

import json
import os
import queue
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from ksweep.contract.atomic import to_json

GROUP = "ksweep.callbacks"
COMMAND_TIMEOUT_S = 30.0  # of one event
CLOSE_PATIENCE_S = 30.0  # for all that is not delivered when a sweep ends


class Event(StrEnum):
    """What is told, and the details that go with it; `sweep`, the sweep's directory, with each."""

    SWEEP_STARTED = "sweep_started"  # before the first run: name, strategy, num_runs (planned; null: not known)
    RUN_STARTED = "run_started"  # its process exists: config, attempt, slot
    RUN_ENDED = "run_ended"  # it passed: config, run_dir, values (swept), metrics, wall_s
    RUN_PRUNED = "run_pruned"  # ended early by the search: the same, and reason
    RUN_FAILED = "run_failed"  # any bad end, after its last attempt: the same, status and reason
    NEW_BEST = "new_best"  # better than all before it: config, objective, value, previous and margin (null: it is the first)
    SWEEP_ENDED = "sweep_ended"  # after the last run or an interruption: counts (status -> runs), stopped (why, or empty)


def check_command(text: str, cwd: Path) -> str:
    """What is wrong with a callback command that is to run in `cwd`, and what to do; empty when it can be started."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        return f'CONFIG_SWEEP_CALLBACK: found "{text}": {error}; write it as for a shell, quotes closed'
    if argv and shutil.which(cwd / argv[0] if "/" in argv[0] else argv[0]) is None:
        return f'CONFIG_SWEEP_CALLBACK: found "{text}": no such program: {argv[0]}; install it, or give its path from {cwd}'
    return ""


class Callbacks:
    """All callbacks of one sweep. `command` is one that `check_command` has nothing against; empty: none.

    `log`: where failures and the command's output go; made when there is something to write. `say` shows a line to people, and
    is called within `emit` and `close` only.
    """

    def __init__(self, command: str, log: Path, cwd: Path, say: Callable[[str], None]) -> None:
        self._log, self._say = log, say
        self._unsaid: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._workers = [_Worker(name, call, self._failed) for name, call in self._functions()]
        if argv := shlex.split(command):
            self._workers.append(_CommandWorker(argv, cwd, log, self._failed))

    def emit(self, event: Event, **details: Any) -> None:
        """Tell all callbacks, soon. `details` can be written as JSON."""
        self._say_all()
        if self._workers:
            text = to_json({"event": event, "time": round(time.time(), 3), **details})
            for worker in self._workers:
                worker.put(text)

    def close(self) -> None:
        """Deliver what is left, as far as that takes no longer than 30 s; then nothing of a command is left running."""
        start = time.monotonic()
        try:
            for worker in self._workers:
                worker.close()
            for patience_s in (1.0, CLOSE_PATIENCE_S):
                for worker in self._workers:
                    worker.join(start + patience_s)
                if patience_s == 1.0 and (late := [worker.name for worker in self._workers if worker.num_left]):
                    self._say(f"waiting up to {CLOSE_PATIENCE_S:.0f} s for callbacks: {', '.join(late)}")
        finally:
            for worker in self._workers:
                worker.abandon()
            self._workers = []
            self._say_all()

    def _functions(self) -> list[tuple[str, Callable[[str], str]]]:
        found = []
        for point in _entry_points():
            try:
                found.append((point.name, _delivery_to(point.load())))
            except Exception as error:  # any package's code
                self._failed(point.name, True, f"cannot be loaded from {point.value}: {_in_words(error)}")
        return found

    def _failed(self, name: str, is_first: bool, problem: str) -> None:
        """Called from any thread."""
        try:
            with open(self._log, "a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%F %T')} callback {name}: {problem}\n")
        except OSError:
            pass  # a full disk is not for a callback to report
        if is_first:
            self._unsaid.put(f"callback {name}: {problem}; the sweep goes on, further ones are in {self._log}")

    def _say_all(self) -> None:
        while not self._unsaid.empty():
            self._say(self._unsaid.get())


class _Worker:
    """A thread that delivers events to one callback, in order. `deliver` takes the JSON of an event and returns a problem."""

    def __init__(self, name: str, deliver: Callable[[str], str], failed: Callable[[str, bool, str], None]) -> None:
        self.name = name
        self._deliver, self._failed = deliver, failed
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._num_put = self._num_done = 0
        self._has_failed = False
        # A daemon: a function that never returns must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, name=f"callback {name}", daemon=True)

    @property
    def num_left(self) -> int:
        """Events that are not delivered yet."""
        return self._num_put - self._num_done

    def put(self, text: str) -> None:
        self._num_put += 1
        self._queue.put(text)
        if self._num_put == 1:
            self._thread.start()

    def close(self) -> None:
        """Let the thread end after what was put."""
        self._queue.put("")

    def join(self, deadline: float) -> None:
        """Wait for that."""
        if self._num_put:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """Deliver no more."""
        if self.num_left:
            self._report(f"{self.num_left} events were not delivered: it is too slow, or hangs")

    def _work(self) -> None:
        while text := self._queue.get():
            try:
                problem = self._deliver(text)
            except BaseException as error:  # also SystemExit: this is any package's code, and ends nothing here
                problem = _in_words(error)
            if problem:
                self._report(f"{json.loads(text)['event']}: {problem}")
            self._num_done += 1

    def _report(self, problem: str) -> None:
        self._failed(self.name, not self._has_failed, problem)
        self._has_failed = True


class _CommandWorker(_Worker):
    """Delivers to a command: a process an event, a session of its own, so that Ctrl-C at the terminal is not meant for it."""

    def __init__(self, argv: list[str], cwd: Path, log: Path, failed: Callable[[str, bool, str], None]) -> None:
        super().__init__("command", self._run, failed)
        self._argv, self._cwd, self._log = argv, cwd, log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_abandoned = False

    def abandon(self) -> None:
        super().abandon()
        with self._lock:
            self._is_abandoned = True
            self._kill()
        self.join(time.monotonic() + 1.0)

    def _run(self, text: str) -> str:
        with tempfile.TemporaryFile() as given, open(self._log, "ab") as log:  # a file: never full, and may be left unread
            given.write(text.encode() + b"\n")
            given.seek(0)
            with self._lock:
                if self._is_abandoned:
                    return ""
                try:
                    self._process = process = subprocess.Popen(
                        self._argv, cwd=self._cwd, stdin=given, stdout=log, stderr=log, start_new_session=True
                    )
                except OSError as error:
                    return f"{self._argv[0]} cannot be started: {error.strerror}"
        is_over = _wait(process.pid, COMMAND_TIMEOUT_S)
        with self._lock:
            self._kill()
            self._process = None
            code = process.wait()
        if self._is_abandoned:
            return ""
        if not is_over:
            return f"took longer than {COMMAND_TIMEOUT_S:.0f} s and was ended"
        return f"exit code {code}" if code else ""

    def _kill(self) -> None:
        """All that the command started. Its process is not waited for before, so that its id is surely its own."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)


def _wait(pid: int, timeout_s: float) -> bool:
    """Whether a child ended in time; it stays to be waited for."""
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)


def _delivery_to(function: Callable[[str, dict[str, Any]], object]) -> Callable[[str], str]:
    def deliver(text: str) -> str:
        details = json.loads(text)
        function(details.pop("event"), details)
        return ""

    return deliver


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].strip()


def _entry_points() -> list[Any]:
    """Those of our group, by name."""
    # Importing importlib.metadata takes 50 ms; to see first that hardly anybody has such an entry point takes 2.
    files = (path for folder in sys.path for path in Path(folder or ".").glob("*.*-info/entry_points.txt"))
    if not any(f"[{GROUP}]" in path.read_text(encoding="utf-8", errors="replace") for path in files):
        return []
    from importlib.metadata import entry_points

    return sorted(entry_points(group=GROUP), key=lambda point: point.name)
