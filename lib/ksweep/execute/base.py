"""What every backend promises: submit a task, report its start and its end, end it on request.

A backend is one file here with one Executor subclass; tests/contracts/test_executors.py runs on each of them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Task:
    """One process to run. `env` is its whole environment; output goes to the end of `log`; `threads` are CPU threads."""

    key: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: Path
    log: Path
    threads: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """The task's process exists."""

    key: str
    pid: int
    at: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The task and all its children are gone. Neither exit code nor signal: its end was not seen."""

    key: str
    exit_code: int | None
    signal: int | None
    at: float


class Executor(ABC):
    """Runs tasks. Not thread-safe; everything it started is gone when `close` returns, or when its own process dies."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Start a task. Its Started and Ended come from `poll`; a command that cannot be started ends with exit code 127."""

    @abstractmethod
    def poll(self, timeout_s: float) -> list[Started | Ended]:
        """What happened since the last call, waiting up to `timeout_s` for something to happen."""

    @abstractmethod
    def cancel(self, key: str, *, force: bool = False) -> None:
        """Ask the task to end (SIGTERM), or end it and all its children (`force`, SIGKILL). Its Ended follows."""

    @abstractmethod
    def close(self) -> None:
        """End everything that still runs and release what is held."""
