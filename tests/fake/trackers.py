"""Trackers of an installed package, as entry points name them: one that writes down what it is told, and bad ones."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence

from ksweep.track.base import End, Report, RunLog, TrackedRun, Tracker


class Records(Tracker):
    """A line in records.jsonl for each call."""

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        self.write("open", run.name, values=self.sweep.typed(run.values), tags=dict(run.tags))
        return _Log(self, run.name)

    def close(self) -> None:
        """See Tracker."""
        self.write("end", "")

    def write(self, what: str, run: str, **more: object) -> None:
        """Add a line."""
        with open(self.folder / "records.jsonl", "a") as file:
            file.write(json.dumps({"what": what, "run": run, **more}) + "\n")


class _Log(RunLog):
    def __init__(self, tracker: Records, name: str) -> None:
        self._tracker, self._name = tracker, name

    def log(self, reports: Sequence[Report]) -> None:
        told = [[report.step, report.at, dict(report.metrics)] for report in reports]
        self._tracker.write("log", self._name, reports=told)

    def close(self, end: End) -> None:
        self._tracker.write("close", self._name, status=str(end.status), metrics=dict(end.metrics), tags=dict(end.tags))


class _Bad(Records):
    """Writes its process id down, and those of what it starts."""

    def remember(self, *pids: int) -> None:
        """Add to `pids`."""
        with open(self.folder / "pids", "a") as file:
            file.write("".join(f"{pid}\n" for pid in pids))


class Hangs(_Bad):
    """Never returns, with a child that does not either."""

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.remember(os.getpid(), subprocess.Popen(["sleep", "3597"]).pid)
        time.sleep(3600)
        raise AssertionError


class Raises(_Bad):
    """Fails at its start."""

    def close(self) -> None:
        """See Tracker."""
        raise ValueError("raised on purpose")


class Talks(_Bad):
    """Says more than a disk can hold."""

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        self.remember(os.getpid())
        while True:
            print("x" * 100_000)


class Dies(_Bad):
    """Is killed."""

    def open(self, run: TrackedRun) -> RunLog:
        """See Tracker."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError
