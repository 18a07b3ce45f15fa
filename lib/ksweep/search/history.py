"""What the strategies share: the history of every point, what is running, what has to be started again.

Every decision is computed anew from the history; nothing else is remembered. So a strategy that lived through a sweep and one
that was restored from its records give the same answers.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, Sampler, SearchSettings, Start, Strategy
from ksweep.space.axes import Draft, Row, size


class HistoryStrategy(Strategy):
    """Starts unfinished points again, then does what `_next` says. A run that was cancelled is not ended."""

    ENDS_BY_ITSELF: ClassVar[bool] = False  # whether it knows how many points it wants when nobody says so

    def __init__(self, sampler: Sampler, settings: SearchSettings) -> None:
        super().__init__(sampler, settings)
        problems = self._problems()
        if problems:
            raise RequestError(*problems)
        self._limit = settings.num_points
        self._is_drained = False  # the sampler has no more points
        self._outcomes: dict[int, Outcome] = {}  # number -> how the point stands; cancelled as long as it never ended
        self._resources: dict[int, int] = {}  # number -> how far it got, as that outcome says; asked for very often
        self._rows: dict[int, Mapping[str, Row]] = {}
        self._notes: dict[int, Mapping[str, Any]] = {}
        self._ids: set[str] = set()
        self._running: set[int] = set()
        self._unfinished: list[int] = []
        self._queue: list[Draft] = []

    def restore(self, history: Sequence[Known]) -> None:
        """An outcome that is not final (cancelled, with the curve so far) means the same as none: started again.

        Points with a number below 0 are not of this sweep: the sampler learns from them, and they are not run.
        """
        is_final = {known.number: known.outcome is not None and known.outcome.status.is_final for known in history}
        drawn = [known for known in history if self._is_drawn(known.notes)]
        self.sampler.restore([known if is_final[known.number] else replace(known, outcome=None) for known in drawn])
        for known in history:
            self._ids.add(known.id)
            if known.number >= 0:
                self._add(known.number, known.id, known.rows, known.notes, known.outcome)
        self._unfinished = [number for number in self._outcomes if not is_final[number]]

    def enqueue(self, drafts: Sequence[Draft]) -> None:
        self._queue += drafts

    def ask(self) -> Start | None:
        start = self._restart(self._unfinished.pop(0)) if self._unfinished else self._next()
        if start is not None:
            self._running.add(start.number)
        return start

    def tell(self, number: int, outcome: Outcome) -> None:
        self._running.discard(number)
        self._outcomes[number], self._resources[number] = outcome, outcome.resource
        self._unfinished = [other for other in self._unfinished if other != number]
        if outcome.status.is_final and self._is_drawn(self._notes[number]):
            self.sampler.tell(number, outcome)
        if not outcome.status.is_final:
            self._unfinished.append(number)

    def _problems(self) -> list[str]:
        """Why it makes no sense with these settings, and what to change."""
        if self.settings.num_points is None and not self.ENDS_BY_ITSELF and size(self.sampler.space.axes) is None:
            sampled = next(axis for axis in self.sampler.space.axes if axis.sampled)
            return [
                f"{sampled.where}: {sampled.name}: found {sampled.sampled}, which has no end, and no number of points; "
                "set CONFIG_SWEEP_TRIALS, or TRIALS= on the command line"
            ]
        return []

    def _is_drawn(self, notes: Mapping[str, Any]) -> bool:
        """Whether a point with these notes came from the sampler."""
        return True

    @abstractmethod
    def _next(self) -> Start | None:
        """What to run next, once nothing is unfinished."""

    @abstractmethod
    def _restart(self, number: int) -> Start:
        """An unfinished point again, as far as it had to go."""

    def _new_point(self, until: int | None, notes: Mapping[str, Any] | None = None) -> Start | None:
        """The sampler's next point, with its notes and these; None: there are as many as were asked for, or no more."""
        if self._is_drained or (self._limit is not None and len(self._outcomes) >= self._limit):
            return None
        number = self._next_number
        drawn = self._draw(number)
        if drawn is None:
            self._is_drained = True
            return None
        draft, own_notes = drawn
        return self._started(number, draft, until, {**own_notes, **(notes or {})})

    def _draw(self, number: int) -> tuple[Draft, Mapping[str, Any]] | None:
        while self._queue:
            draft = self._queue.pop(0)
            if draft.id not in self._ids:
                return draft, self.sampler.adopt(number, draft)
        return self.sampler.draw(number)

    def _started(
        self, number: int, draft: Draft, until: int | None, notes: Mapping[str, Any], parent: int | None = None
    ) -> Start:
        self._add(number, draft.id, draft.rows, notes, None)
        return Start(number=number, draft=draft, until=until, notes=notes, parent=parent)

    def _add(self, number: int, id: str, rows: Mapping[str, Row], notes: Mapping[str, Any], outcome: Outcome | None) -> None:
        outcome = outcome or Outcome(status=Status.CANCELLED)
        self._outcomes[number], self._resources[number] = outcome, outcome.resource
        self._rows[number], self._notes[number] = rows, notes
        self._ids.add(id)

    @property
    def _next_number(self) -> int:
        return max(self._outcomes, default=-1) + 1
