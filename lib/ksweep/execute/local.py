"""The local backend: processes of this machine, by way of one launcher process (launcher.py)."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ksweep.contract.errors import KsweepError
from ksweep.execute.base import Ended, Executor, Started, Task
from ksweep.execute.strays import ENV_RUN_DIR, kill_strays

CLOSE_PATIENCE_S = 40.0  # the launcher gives up after 30 s of killing


class LocalExecutor(Executor):
    """Runs tasks as children of a launcher. A launcher that dies is reported (its tasks end without a code) and replaced.

    `preload`: modules that the launcher imports once, so that `python -m` tasks start warm; empty: every task starts cold.
    `env`: the launcher's own environment. `log`: where its own messages go. `keep_open`: descriptors that the
    launcher is to hold as long as it lives (the sweep's lock: it is free only when runner and launcher are gone).
    """

    def __init__(self, *, preload: tuple[str, ...], env: dict[str, str], log: Path, keep_open: tuple[int, ...] = ()) -> None:
        self._preload, self._env, self._log, self._keep_open = preload, env, log, keep_open
        self._running: dict[str, str] = {}  # key -> run directory
        self._sock: socket.socket | None = None
        self._start_launcher()

    def _start_launcher(self) -> None:
        self._buffer = b""
        self._sock, theirs = socket.socketpair()
        fds = ",".join(map(str, self._keep_open))
        with theirs, open(self._log, "ab") as log:
            # Cold, it needs the standard library only: -S leaves out the search for installed packages.
            options = ["-m"] if self._preload else ["-S", "-m"]
            arguments = [str(theirs.fileno()), fds, ",".join(self._preload)]
            self._process = subprocess.Popen(
                [sys.executable, *options, "ksweep.execute.launcher", *arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), *self._keep_open),
                start_new_session=True,
            )
        self._is_ready = False

    def wait_ready(self, timeout_s: float = 600.0) -> None:
        """Wait until the launcher has imported what it preloads; an import that fails is an error with the launcher's words."""
        deadline = time.monotonic() + timeout_s
        while not self._is_ready:
            for event in self._receive(1.0):
                self._is_ready |= event["event"] == "ready"
            if self._sock is None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace").strip().splitlines()[-3:]
                raise KsweepError(f"the launcher did not start: {' / '.join(tail) or 'it said nothing'} (see {self._log})")

    def submit(self, task: Task) -> None:
        """See Executor."""
        if self._sock is None:
            self._start_launcher()
            self.wait_ready()
        self._running[task.key] = task.env.get(ENV_RUN_DIR, "")
        order = {"op": "start", "key": task.key, "argv": task.argv, "env": task.env, "cwd": str(task.cwd), "log": str(task.log)}
        self._order(order | {"threads": task.threads})

    def poll(self, timeout_s: float) -> list[Started | Ended]:
        """See Executor."""
        found: list[Started | Ended] = []
        for event in self._receive(timeout_s):
            if event["event"] == "started":
                found.append(Started(key=event["key"], pid=event["pid"], at=event["at"]))
            elif event["event"] == "ended":
                del self._running[event["key"]]
                found.append(Ended(key=event["key"], exit_code=event["code"], signal=event["signal"], at=event["at"]))
        if self._sock is None and self._running:
            found += [Ended(key=key, exit_code=None, signal=None, at=time.time()) for key in sorted(self._running)]
            self._running.clear()
        return found

    def cancel(self, key: str, *, force: bool = False) -> None:
        """See Executor."""
        if key in self._running:
            self._order({"op": "signal", "key": key, "signal": int(signal.SIGKILL if force else signal.SIGTERM)})

    def close(self) -> None:
        """See Executor. Closing the socket is what makes the launcher end everything."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process.returncode is None:
            pidfd = os.pidfd_open(self._process.pid)
            if not select.select([pidfd], [], [], CLOSE_PATIENCE_S)[0]:
                self._process.kill()
            os.close(pidfd)
            self._process.wait()
        self._running.clear()

    def _order(self, order: dict[str, Any]) -> None:
        if self._sock is None:
            return
        try:
            self._sock.sendall(json.dumps(order).encode() + b"\n")
        except OSError:
            self._lost()

    def _receive(self, timeout_s: float) -> list[dict[str, Any]]:
        if self._sock is None:
            return []
        if not select.select([self._sock], [], [], timeout_s)[0]:
            return []
        try:
            data = self._sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self._lost()
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _lost(self) -> None:
        """The launcher is gone: its warm runs with it, by PR_SET_PDEATHSIG; the others are ended here."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._process.wait()
        for run_dir in self._running.values():
            if run_dir:
                kill_strays(Path(run_dir))


def base_environment(root: Path, threads: int) -> dict[str, str]:
    """The environment that launcher and runs share: this process's, with what would leak or differ taken care of.

    Thread pools are sized before a process starts, and do not spin while they wait.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith(("KSWEEP_", "MAKE")) and key != "MFLAGS"}
    paths = [str(root / "lib"), str(root), *env.get("PYTHONPATH", "").split(os.pathsep)]
    return env | {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # NVML's order, so that a slot's device is the one that is sampled
    }
