"""`journal.jsonl`: what happened to a sweep, in order. Append-only; for people and programs that follow along.

The run directories are the truth: nothing is decided from the journal, so a lost line loses nothing.
"""

import time
from collections.abc import Mapping
from typing import Any

from ksweep.contract.atomic import LineFile, read_lines
from ksweep.contract.outcome import Result
from ksweep.contract.paths import SweepDir


class Journal:
    """Appends events. What ends something is on disk when `add` returns, and with it all before it."""

    def __init__(self, dir: SweepDir) -> None:
        self._path = dir.journal
        self._file = LineFile(dir.journal, sync=True)

    def add(self, event: str, **details: Any) -> None:
        """One line: Unix time in seconds, the event, its details."""
        self._file.append({"time": round(time.time(), 3), "event": event, **details}, sync=event != "run_started")

    def add_missing_ends(self, results: Mapping[str, Result]) -> None:
        """The end of each run (config -> its result) of which no line tells: the runner was killed right after the result."""
        told = {(e.get("config"), e.get("attempt")) for e in read_lines(self._path) if e.get("event") == "run_ended"}
        for config, result in results.items():
            if (config, result.attempt) not in told:
                self.add("run_ended", config=config, attempt=result.attempt, status=result.status, reason=result.reason)

    def close(self) -> None:
        """Release the file."""
        self._file.close()
