"""The launcher: the process that forks all runs of a sweep and outlives none of them.

How it works. The runner starts one launcher and talks with it over a socket, one JSON object a line:

  to it:    {"op": "start", "key", "argv", "env", "cwd", "log", "threads"}    {"op": "signal", "key", "signal"}
  from it:  {"event": "ready"}   {"event": "started", "key", "pid", "at"}   {"event": "ended", "key", "code", "signal", "at"}

Warm: with a list of modules to preload it imports them once, and a task `python -m X` is a fork that runs X at once, instead
of an interpreter that imports torch for seconds. It only imports: a process that has computed with several threads must not
fork (the child would hang at its first parallel region), and one that has touched CUDA must not either. Everything else is
fork and exec.

Nothing is left behind:
  - each run is a session and process group of its own; when its leader ends, the rest of the group is killed;
  - orphans that left the group come to the launcher, which is their subreaper, and are killed by the run directory in their
    environment;
  - when the socket closes (the runner ended, however), all groups are killed and the launcher exits;
  - when the launcher itself is killed, the kernel kills its warm runs (PR_SET_PDEATHSIG), and the runner the others.
"""

import ctypes
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from ksweep.execute.strays import ENV_RUN_DIR, kill, kill_group, run_dir_of

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FOLLOWED_BY_THE_RUNNER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the launcher itself only follows its socket


class Launcher:
    """Serves one runner until its socket closes."""

    def __init__(self, sock: socket.socket, inherited: list[int]) -> None:
        self._sock = sock
        self._leaders: dict[int, tuple[str, str]] = {}  # pid -> key, run directory
        self._is_warm = False
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._own = [sock.fileno(), self._wake_read, wake_write, *inherited]  # no run may keep these: the sweep's lock is one
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in FOLLOWED_BY_THE_RUNNER:
            signal.signal(number, signal.SIG_IGN)
        for fd in (sock.fileno(), *inherited):
            os.set_inheritable(fd, False)
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def preload(self, modules: list[str]) -> None:
        """Import `modules`. While this takes its seconds there is nothing to clean up: die with the runner at once."""
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for module in modules:
            importlib.import_module(module)
        self._libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
        self._is_warm = bool(modules)

    def serve(self) -> None:
        """Start, signal and reap until the runner is gone; then end all that is left."""
        self._send({"event": "ready"})
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        buffer = b""
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._sock.fileno() in ready:
                try:
                    data = self._sock.recv(1 << 16)
                except ConnectionError:
                    data = b""
                if not data:
                    break
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
        self._end_all()

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "start":
            is_module = order["argv"][1:2] == ["-m"]
            pid = self._fork_warm(order) if self._is_warm and is_module else _spawn_cold(order)
            if pid is None:
                self._send({"event": "ended", "key": order["key"], "code": 127, "signal": None, "at": time.time()})
                return
            self._leaders[pid] = order["key"], order["env"].get(ENV_RUN_DIR, "")
            self._send({"event": "started", "key": order["key"], "pid": pid, "at": time.time()})
            return
        for pid, (key, _) in self._leaders.items():
            if key == order["key"]:
                kill_group(pid, order["signal"])

    def _send(self, event: dict[str, Any]) -> None:
        try:
            self._sock.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            pass  # the runner is gone: the main loop sees it next

    # -- the end of a run --------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if found.si_pid in self._leaders:
                self._finish(found.si_pid)
            else:
                os.waitpid(found.si_pid, 0)  # an orphan that came to us

    def _finish(self, pid: int) -> None:
        # Before the leader is waited for, its id cannot be given to another process: the group is surely its own.
        kill_group(pid, signal.SIGKILL)
        key, run_dir = self._leaders.pop(pid)
        _, status = os.waitpid(pid, 0)
        self._kill_orphans(run_dir)
        code = os.waitstatus_to_exitcode(status)
        self._send(
            {
                "event": "ended",
                "key": key,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "at": time.time(),
            }
        )

    def _kill_orphans(self, run_dir: str) -> None:
        """Kill what the run left behind outside of its group; such orphans are children of the launcher now."""
        for pid in _children():
            if pid not in self._leaders and run_dir and run_dir_of(pid) == run_dir:
                kill(pid, signal.SIGKILL)

    def _end_all(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (children := _children()):
            for pid in children:
                kill_group(pid, signal.SIGKILL)
                kill(pid, signal.SIGKILL)
            while True:
                try:
                    if os.waitpid(-1, os.WNOHANG)[0] == 0:
                        break
                except ChildProcessError:
                    break
            time.sleep(0.01)

    # -- the child ---------------------------------------------------------------------------------------------

    def _fork_warm(self, order: dict[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            self._become(order)
        return pid

    def _become(self, order: dict[str, Any]) -> NoReturn:
        """In the forked child: turn into the run."""
        code = 127
        try:
            parent = os.getppid()
            os.setsid()
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(code)  # the launcher died before the line above
            signal.set_wakeup_fd(-1)
            for number in (*FOLLOWED_BY_THE_RUNNER, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            for fd in self._own:
                os.close(fd)
            os.chdir(order["cwd"])
            code = _run_module(order)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)


def _spawn_cold(order: dict[str, Any]) -> int | None:
    """Start a command in a session of its own; None, with the reason in its log, when it cannot be started.

    posix_spawn, since a fork of this process and its Python child code cost 2 ms more (measured). It cannot set
    PR_SET_PDEATHSIG, so the runner looks for strays when it loses its launcher, and when it continues a sweep.
    """
    os.chdir(order["cwd"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, order["log"], flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    argv = order["argv"]
    try:
        return os.posix_spawnp(
            argv[0], argv, order["env"], file_actions=actions, setsid=True, setsigdef=[*FOLLOWED_BY_THE_RUNNER, signal.SIGCHLD]
        )
    except OSError as error:
        with open(order["log"], "a") as log:
            log.write(f"{argv[0]}: cannot be started: {error.strerror}\n")
        return None


def _run_module(order: dict[str, Any]) -> int:
    """What `python -m X` does, here; returns its exit code."""
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["argv"][2], *order["argv"][3:]]
    sys.path[:0] = [entry for entry in order["env"].get("PYTHONPATH", "").split(os.pathsep) if entry and entry not in sys.path]
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(order["threads"])  # libgomp is loaded already and no longer looks at OMP_NUM_THREADS
    try:
        runpy.run_module(order["argv"][2], run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            return (exit.code or 0) & 0xFF
        print(exit.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: the groups are all that can be ended
        return []


def main() -> None:
    """`python -m ksweep.execute.launcher SOCKET_FD INHERITED_FD,... MODULE,...`"""
    sock_fd, inherited, modules = sys.argv[1:4]
    launcher = Launcher(socket.socket(fileno=int(sock_fd)), [int(fd) for fd in inherited.split(",") if fd])
    launcher.preload([module for module in modules.split(",") if module])
    launcher.serve()
    os._exit(0)  # nothing is left to tidy up, and the runner waits for this


if __name__ == "__main__":
    main()
