"""What a tracker is given, and what it has to do. It writes below one directory and needs no network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ksweep.contract.outcome import Status
from ksweep.space.values import parse_decimal

FINAL = "final/"  # before the name of a metric of the whole run: val_acc of the selected weights is not that of the last epoch


@dataclass(frozen=True, kw_only=True)
class TrackedSweep:
    """A sweep, as trackers are told of it. `numeric`: the swept symbols (and SEED) all of whose values are numbers."""

    name: str
    path: Path
    numeric: frozenset[str]

    def typed(self, values: Mapping[str, str]) -> dict[str, float | str]:
        """Symbol -> value: a number where all values of the symbol are numbers, else text; so it is the same in all runs."""
        return {name: _number(text) if name in self.numeric else text for name, text in values.items()}


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run before its first report. `name`: unique in the sweep, and a file name; `id`: the content id of its point; `values`:
    swept symbols and SEED -> text; `tags`: where it comes from; `started_at`: Unix seconds, known exactly when it has ended."""

    name: str
    id: str
    values: Mapping[str, str]
    tags: Mapping[str, str]
    started_at: float = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run reported at a step (its epoch, where it counts epochs). `at`: Unix seconds. All metrics are finite."""

    step: int
    at: float = field(compare=False)
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class End:
    """How a run stands when it is left: metrics of the whole run (finite), status, `tags` (status and reason), Unix seconds."""

    status: Status
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    at: float


class RunLog(ABC):
    """One run in a tracker, open."""

    @abstractmethod
    def log(self, reports: Sequence[Report]) -> None:
        """Add reports, in order of their steps."""

    @abstractmethod
    def close(self, end: End) -> None:
        """The run has ended, or (planned, running, cancelled: not a final status) is left as it stands."""


class Tracker(ABC):
    """Writes runs below `folder`, which exists. Several may be open at a time. Whatever it raises ends its process only."""

    PACKAGES: ClassVar[Mapping[str, str]] = {}  # module that it imports -> package that brings it
    HOW_TO_SEE: ClassVar[str] = ""  # the command that shows it, with {folder}

    def __init__(self, folder: Path, sweep: TrackedSweep) -> None:
        self.folder, self.sweep = folder, sweep

    @abstractmethod
    def open(self, run: TrackedRun) -> RunLog:
        """Begin a run. What an earlier export wrote of it (the same name) is replaced."""

    def close(self) -> None:  # noqa: B027  # most have nothing to do
        """All runs are closed; nothing follows."""


def _number(text: str) -> float | str:
    number = parse_decimal(text)
    return text if number is None else float(number)
