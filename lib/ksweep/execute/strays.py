"""Processes that a run left behind, found by the run directory in their environment."""

import os
import signal
from pathlib import Path

ENV_RUN_DIR = "KSWEEP_RUN_DIR"


def run_dir_of(pid: int) -> str:
    """The run directory in a process's environment; empty when it has none or cannot be asked."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = f"{ENV_RUN_DIR}=".encode()
    return next((entry[len(prefix) :].decode(errors="replace") for entry in environment if entry.startswith(prefix)), "")


def kill_strays(below: Path) -> int:
    """Kill every process whose run directory is `below` or in it; returns how many there were."""
    count = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid() and Path(run_dir_of(int(entry)) or "/").is_relative_to(below):
            count += kill(int(entry), signal.SIGKILL)
    return count


def kill(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_group(pid: int, number: int) -> None:
    """Send a signal to a process group; nothing happens when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
