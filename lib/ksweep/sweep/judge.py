"""Evidence of one ended run -> its outcome. Starts nothing; a run is guilty until proven passed."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksweep.contract.atomic import read_json
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Status
from ksweep.contract.paths import RunDir
from ksweep.space.objective import Constraint, Goal, Objectives

REFUSED = 2  # exit code by which a trainer says that its configuration is not acceptable
STOPPED = 143  # exit code of a trainer that has saved and stopped, as it was asked to
LOG_TAIL_BYTES = 16_384
_OUT_OF_MEMORY = re.compile(
    r"out of memory|_STATUS_ALLOC_FAILED"  # torch and CUDA, cuBLAS and cuDNN, on a device
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory|could not create a memory object"  # torch, oneDNN
    r"|^[\w.]*MemoryError\b|std::bad_alloc|Cannot allocate memory",  # Python and numpy, C++, the system
    re.IGNORECASE,
)
_ATTEMPT = re.compile(r"^=== attempt \d+ ===$", re.MULTILINE)  # the runner writes it between the words of two attempts
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_LAST_WORDS = 10  # lines, of a log that ends without a traceback
_NOT_METRICS = {"step", "epoch", "time_s"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Status with its one-line reason, and what the trainer told: final metrics, symbols read, effective settings."""

    status: Status
    reason: str
    metrics: dict[str, float | None]
    symbols_read: dict[str, str] | None
    effective: dict[str, Any] | None
    opened_at: float | None


def judge(
    dir: RunDir,
    *,
    exit_code: int | None,
    signal_number: int | None,
    ended_because: tuple[Status, str] | None,
    objectives: Objectives,
    attempt: int,
    paused: str = "",
) -> Verdict:
    """The verdict on one attempt.

    `exit_code` or `signal_number` say how the process ended (neither: it vanished); `ended_because` is set when the
    runner ended it. An exit code of 0 is not enough: each goal must have a finite value, each constraint its metrics.
    `paused` says why the run was to stop where its last report stands; if it has left by itself with no final word, it is pruned
    for that reason, and its metrics are those of its last report.
    """
    told = _told(dir, attempt)
    metrics = _final_metrics(dir, told)
    if paused and ended_because is None and not told and exit_code in (0, STOPPED):
        status, reason = Status.PRUNED, paused
    else:
        status, reason = _status(dir, exit_code, signal_number, ended_because, objectives, metrics, told)
    return Verdict(
        status=status,
        reason=reason,
        metrics=metrics,
        symbols_read=told.get("symbols_read"),
        effective=told.get("effective"),
        opened_at=told.get("opened_at"),
    )


def _told(dir: RunDir, attempt: int) -> dict[str, Any]:
    """`training_metrics.json` of this attempt, without what is not of its type: any program may have written it."""
    told = read_json(dir.training_metrics)
    if not isinstance(told, dict) or told.get("attempt") != attempt:
        return {}
    types = {"metrics": dict, "symbols_read": dict, "effective": dict, "opened_at": float, "status": str, "reason": str}
    return {name: told[name] for name, type in types.items() if isinstance(told.get(name), type)}


def _final_metrics(dir: RunDir, told: dict[str, Any]) -> dict[str, float | None]:
    if "metrics" in told:
        found = told["metrics"]
    else:
        history = read_history(dir.metrics)
        found = history[-1] if history else {}
    return {name: _finite(value) for name, value in found.items() if name not in _NOT_METRICS and _is_number(value)}


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _finite(value: float | None) -> float | None:
    return value if value is not None and value - value == 0 else None


def _status(
    dir: RunDir,
    exit_code: int | None,
    signal_number: int | None,
    ended_because: tuple[Status, str] | None,
    objectives: Objectives,
    metrics: dict[str, float | None],
    told: dict[str, Any],
) -> tuple[Status, str]:
    if ended_because and (exit_code != 0 or not told):
        return ended_because  # an exit code of 0 after a SIGTERM is no proof that the run was finished
    if exit_code == 0:
        return _judge_clean_exit(objectives, metrics, told)
    tail = _ATTEMPT.split(log_tail(dir.log))[-1]
    if reason := _out_of_memory(tail):
        return Status.OOM, reason
    if signal_number is not None:
        name = signal.Signals(signal_number).name if signal_number in signal.valid_signals() else str(signal_number)
        hint = " (the system's out-of-memory killer does this)" if signal_number == signal.SIGKILL else ""
        return Status.CRASHED, f"ended by {name}{hint}"
    if exit_code is None:
        return Status.CRASHED, "vanished: its launcher ended"
    if exit_code == REFUSED:
        return Status.INVALID, _last_line(tail) or "the trainer refused its configuration (exit code 2)"
    return Status.FAILED, f"exit code {exit_code}: {_last_line(tail) or 'no output'}"


def _judge_clean_exit(objectives: Objectives, metrics: dict[str, float | None], told: dict[str, Any]) -> tuple[Status, str]:
    if told.get("status") == "diverged":
        return Status.DIVERGED, told.get("reason") or "the trainer said so"
    asked: list[Goal | Constraint] = [*objectives.goals, *objectives.constraints]
    for item in asked:
        what = f"the {'objective' if isinstance(item, Goal) else 'constraint'} {item.text}"
        for name in item.names:
            if name not in metrics:
                problem = "was not reported" if name == item.text else f"needs {name}, which was not reported"
                reported = ", ".join(sorted(metrics)) or "nothing"
                return Status.FAILED, f"exit code 0, but {what} {problem}; reported: {reported}"
    for goal in objectives.goals:
        if goal.value(metrics) is None:
            return Status.DIVERGED, f"the objective {goal.text} is not a finite number"
    return Status.PASSED, ""


def log_tail(log: Path) -> str:
    """The last 16 KiB of a log; empty where there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _out_of_memory(log: str) -> str:
    """The line by which a run says that it died of this, the one with the amount where there is one; else empty.

    Only its last words count: a run may well have been out of memory earlier, have said so and gone on.
    """
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    while len(starts) > 1 and any(line.startswith(_CHAINED) for line in lines[starts[-2] : starts[-1]]):
        starts.pop()
    last_words = lines[starts[-1] :] if starts else lines[-_LAST_WORDS:]
    found = [line for line in last_words if _OUT_OF_MEMORY.search(line) and not line.startswith("    ")]  # those are source code
    found.sort(key=lambda line: "allocate" in line)
    return _last_line("\n".join(found))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
