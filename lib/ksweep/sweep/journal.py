"""`journal.jsonl`: what happened to a sweep, in order. Append-only; for people and programs that follow along.

The run directories are the truth: nothing is decided from the journal, so a lost line loses nothing.
"""

import time
from typing import Any

from ksweep.contract.atomic import LineFile
from ksweep.contract.paths import SweepDir


class Journal:
    """Appends events. What ends something is on disk when `add` returns, and with it all before it."""

    def __init__(self, dir: SweepDir) -> None:
        self._file = LineFile(dir.journal, sync=True)

    def add(self, event: str, **details: Any) -> None:
        """One line: Unix time in seconds, the event, its details."""
        self._file.append({"time": round(time.time(), 3), "event": event, **details}, sync=event != "run_started")

    def close(self) -> None:
        """Release the file."""
        self._file.close()
