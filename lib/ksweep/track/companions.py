"""One process a tracker beside a running sweep: it can neither stop nor delay the sweep, nor outlive it.

Each is `ksweep track --follow`, which reads the sweep's directory. When the sweep has ended it is told so (its standard input is
closed) and given FINISH_PATIENCE_S to hand over the rest; then all that is left of it is killed. What went wrong is one line to
people, and its own words are in trackers/<name>.log. If the runner is killed, the kernel kills it (PR_SET_PDEATHSIG, set by
itself).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from ksweep.contract.paths import SweepDir
from ksweep.execute.local import base_environment

FINISH_PATIENCE_S = 5.0


class Companions:
    """The trackers `names` of a sweep, as a context: started on entry. `root`: top of the tree; `warn` shows people a line."""

    def __init__(self, names: Sequence[str], dir: SweepDir, root: Path, warn: Callable[[str], None]) -> None:
        self._names, self._dir, self._root, self._warn = names, dir, root, warn
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._told_at: float | None = None

    def __enter__(self) -> "Companions":
        try:
            for name in self._names:
                self._start(name)
        except OSError as error:  # no room for a log, no more processes: a sweep without trackers
            self._warn(f"trackers cannot be started: {error}; the sweep goes on without")
        return self

    def _start(self, name: str) -> None:
        self._dir.trackers.mkdir(exist_ok=True)
        script, log_path = self._root / "scripts" / "ksweep.py", self._log(name)
        arguments = ["track", "--results", self._dir.path, "--tracker", name, "--parent", os.getpid(), "--follow"]
        with open(log_path, "wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, str(script), *map(str, arguments)],
                env=base_environment(self._root, threads=1),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self) -> None:
        """Tell them that the sweep has ended, and go on: they finish while others work, too."""
        if self._told_at is None:
            self._told_at = time.monotonic()
            for process in self._processes.values():
                if process.stdin:
                    process.stdin.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish()
        deadline = (self._told_at or 0.0) + FINISH_PATIENCE_S
        try:
            is_over = {name: _wait(process.pid, deadline) for name, process in self._processes.items()}
        finally:  # also after a Ctrl-C in there
            for process in self._processes.values():
                os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so that its id is surely its own
                process.wait()
        for name, process in self._processes.items():
            if not is_over[name]:
                self._say(name, f"had not finished {FINISH_PATIENCE_S:.0f} s after the sweep and was ended")
            elif process.returncode:
                self._say(name, "failed" if process.returncode > 0 else f"was ended by signal {-process.returncode}")

    def _say(self, name: str, what: str) -> None:
        again = f"make sweep-track TRACKER={name} RESULTS={self._dir.path}"
        self._warn(f"tracker {name} {what}: see {self._log(name)}; the sweep is complete without it, `{again}` hands it over")

    def _log(self, name: str) -> Path:
        return self._dir.trackers / f"{name}.log"


def _wait(pid: int, deadline: float) -> bool:
    """Whether a child ended in time; it stays to be waited for."""
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))[0])
    finally:
        os.close(pidfd)
