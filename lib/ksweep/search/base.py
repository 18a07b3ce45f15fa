"""The interfaces of a search. Nothing here starts a process, reads a clock or a file, or draws from a global random state.

  Sampler     where in the space: new, distinct, legal points         one class a file, or several that share a library
  Strategy    what to run next: a new point, or a known one further   ask() and tell(), driven by sweep/search.py
  Pruner      whether a live run is to be stopped

A point has a number, from 0, in the order in which points were first handed out. The history of a search is what was told
of each number; `restore` takes it back in after a restart, and the same questions then get the same answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ksweep.contract.outcome import Status
from ksweep.space.axes import Draft, Row, Space


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search is asked for, from the SWEEP_ symbols (see Kconfig).

    `num_points`: new points in all; None: all of a finite space. `maximize`: one flag an objective, the first one is what
    curves hold. `max_resource`: the resource (epochs) of a complete run; rungs lie between `min_resource` and it.
    `num_parallel`: runs at a time. `unit`: of the resource, epoch or step.
    """

    seed: int = 1
    num_points: int | None = None
    maximize: tuple[bool, ...] = (True,)
    num_constraints: int = 0
    min_resource: int = 1
    max_resource: int = 1
    eta: int = 3
    num_parallel: int = 1
    unit: str = "epoch"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a point stands after a run of it has ended.

    `status`: passed (complete), pruned (stopped before its end: by a pruner, or at a rung), else it went wrong.
    `values`: the objectives of a complete one, else empty. `curve`: resource (epoch) -> first objective, as far as it got.
    `violations`: one a constraint, by how much it is broken, 0 or less where it holds; empty when not known.
    """

    status: Status
    values: tuple[float, ...] = ()
    curve: Mapping[int, float] = field(default_factory=dict)
    violations: tuple[float, ...] = ()

    @property
    def resource(self) -> int:
        """How far it got."""
        return max(self.curve, default=0)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A point of the history: its rows (active axes only), the notes that came with it, and how it stands.

    No outcome, or one with status cancelled: its run has not ended (`curve`: so far); `ask` hands it out again."""

    number: int
    id: str
    rows: Mapping[str, Row]
    notes: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Start:
    """What to run next. `draft`: a new point's; None: point `number` goes on from its checkpoint.

    `until`: the resource (epoch) at which it stops for now; None: it runs to its end. `notes` (JSON) are kept with a new point
    and come back in Known. `parent`: the point whose checkpoint a new one starts from.
    """

    number: int
    draft: Draft | None = None
    until: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    parent: int | None = None


class Sampler(ABC):
    """Draws new points. Never hands out one twice (by content id), never an illegal one."""

    NAME: ClassVar[str]

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        self.space, self.settings = space, settings
        self.why_over = ""  # set when `draw` has returned None: the whole space was handed out, or no legal point was found

    @abstractmethod
    def draw(self, number: int) -> tuple[Draft, Mapping[str, Any]] | None:
        """The new point with this number, and notes to keep with it; None: there is none any more (`why_over` says why)."""

    @abstractmethod
    def adopt(self, number: int, draft: Draft) -> Mapping[str, Any]:
        """Take a point that was chosen elsewhere as the one with this number; notes to keep with it."""

    @abstractmethod
    def tell(self, number: int, outcome: Outcome) -> None:
        """Point `number` stands like this now. A point may be told several times: pruned at a rung, later passed."""

    @abstractmethod
    def restore(self, history: Sequence[Known]) -> None:
        """Take in the whole history, in order of numbers; called once, before anything else.

        Numbers below 0 are points of other sweeps, which have ended. Rows that the space does not have (it was changed since)
        still count as handed out, by their id.
        """


class Strategy(ABC):
    """What to run next. Built with its sampler; `restore` first, then `ask` and `tell` in any order."""

    NAME: ClassVar[str]

    def __init__(self, sampler: Sampler, settings: SearchSettings) -> None:
        self.sampler, self.settings = sampler, settings

    @abstractmethod
    def enqueue(self, drafts: Sequence[Draft]) -> None:
        """Hand out these points before any others, those that were handed out already left out. Called before `restore`."""

    @abstractmethod
    def restore(self, history: Sequence[Known]) -> None:
        """Take in the whole history, in order of numbers. Points without an outcome are handed out by `ask` first, again."""

    @abstractmethod
    def ask(self) -> Start | None:
        """What to run next; None: nothing as long as nothing is told. With nothing running, None means that it is over."""

    @abstractmethod
    def tell(self, number: int, outcome: Outcome) -> None:
        """A run of point `number` has ended and it stands like this now."""

    @property
    def num_points(self) -> int | None:
        """New points that it will ask for at most; None: as many as the space has."""
        return self.settings.num_points

    @property
    def total_resource(self) -> int | None:
        """What all its points are trained for together, at least; None: each is run to its end."""
        return None

    @property
    def why_over(self) -> str:
        """One line for people, once it is over: why there are fewer points than were asked for; else empty."""
        return self.sampler.why_over

    def loss_reason(self, number: int) -> str:
        """Why point `number` waits at a rung and has not been promoted, with the numbers it lost to; empty where it does not."""
        return ""

    def table(self) -> str:
        """What will happen, printed before the start (rungs, brackets); empty where there is nothing to tell."""
        return ""


class Pruner(ABC):
    """Decides, report by report, whether a live run is to be stopped."""

    NAME: ClassVar[str]

    @abstractmethod
    def decide(self, curve: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> str:
        """Why the run with this curve (resource -> objective, its newest report last) is to be stopped now; empty: go on.

        `others`: the curves of all other points, finished, stopped or running.
        """

    def of(self, id: str) -> "Pruner":
        """Who decides about the point with this id; only curves of points with the same one are `others`."""
        return self

    def problem(self) -> str:
        """Why it could never stop a run of these settings, and what to change; empty when it can."""
        return ""
