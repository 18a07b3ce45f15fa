"""How a run ended: the statuses, and the record that marks its completion."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ksweep.contract.atomic import read_json
from ksweep.contract.paths import RunDir

SCHEMA = 1


class Status(StrEnum):
    """State of a run. Everything from `passed` on is final: the point is never run again by itself."""

    PLANNED = "planned"  # in the plan, not started
    RUNNING = "running"  # started, no result yet
    CANCELLED = "cancelled"  # ended by the user or with its runner; continued by the same command
    PASSED = "passed"  # exit code 0 and the objective was reported
    PRUNED = "pruned"  # ended early by the search; its partial record counts as such
    FAILED = "failed"  # exit code other than 0, or 0 without the objective
    OOM = "oom"  # out of memory, on the device or the host
    DIVERGED = "diverged"  # a metric became NaN or infinite
    TIMEOUT = "timeout"  # over the time limit, or silent for too long
    CRASHED = "crashed"  # ended by a signal, or vanished
    INVALID = "invalid"  # the trainer refused its configuration (exit code 2)

    @property
    def is_final(self) -> bool:
        """True when the point counts as done, well or badly."""
        return self not in (Status.PLANNED, Status.RUNNING, Status.CANCELLED)

    @property
    def is_bad(self) -> bool:
        """True when the run makes its sweep exit with 1."""
        return self.is_final and self not in (Status.PASSED, Status.PRUNED)

    @property
    def is_retried(self) -> bool:
        """True when another attempt may end differently (bounded by SWEEP_RETRIES)."""
        return self in (Status.FAILED, Status.OOM, Status.TIMEOUT, Status.CRASHED)


@dataclass(frozen=True, kw_only=True)
class Result:
    """`result.json`: the last file of a run directory, the mark of completion.

    `metrics` are the trainer's final numbers (None: not finite); `symbols_read` maps each symbol that the trainer asked for to
    the value it got, or is None for a program that does not tell. `until`: the epoch (or step) at which it was to stop for now,
    and did. Times: Unix seconds for `started_at`, else seconds, `wall_s` over all attempts that it went on from.
    """

    id: str
    config: str
    status: Status = Status.CRASHED
    reason: str = "no evidence of an end was found"
    attempt: int = 1
    exit_code: int | None = None
    signal: int | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    symbols_read: dict[str, str] | None = None
    effective: dict[str, Any] | None = None
    started_at: float = 0.0
    wall_s: float = 0.0
    launch_s: float | None = None
    slot: int | None = None
    earlier: list[str] = field(default_factory=list)
    until: int | None = None
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """As written to JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Result":
        """From JSON, of this schema or an older one; unknown keys are ignored, missing ones take their defaults."""
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        known["status"] = Status(known["status"])
        return cls(**known)


def read_result(dir: RunDir) -> Result | None:
    """The result of a run directory, or None while it has no whole one."""
    record = read_json(dir.result)
    return Result.from_dict(record) if isinstance(record, dict) else None
