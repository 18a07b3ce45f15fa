"""Successive halving: all points to the first rung, the best 1/eta of them to the next, until few enough are run in full.

Jamieson & Talwalkar 2016, Algorithm 1, with eta in place of 2 and budgets R/eta**k as in Hyperband's inner loop (Li et al.
2018, Algorithm 1, lines 5 to 9). Departures: all budgets are rounded down to whole epochs; at least one point goes on; a run
that goes on continues from its checkpoint instead of starting anew; a run that fails is out, and where it failed before its
first report above a rung, the next best takes its place.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from ksweep.contract.errors import RequestError
from ksweep.search.base import Known, Sampler, SearchSettings, Start
from ksweep.search.rung_strategy import RungStrategy
from ksweep.search.rungs import Bracket, cost, cut, halving_bracket, num_halvings, rung_table
from ksweep.space.axes import Draft, size


class Halving(RungStrategy):
    """One bracket, synchronous. Without a number of points: the whole finite space, drawn at once, so that it is counted."""

    NAME = "halving"

    def __init__(self, sampler: Sampler, settings: SearchSettings) -> None:
        super().__init__(sampler, settings)
        self._drafts: dict[int, tuple[Draft, Mapping[str, Any]]] = {}  # drawn, not handed out yet
        self._brackets = self._plan(settings.num_points or size(sampler.space.axes))

    def restore(self, history: Sequence[Known]) -> None:
        super().restore(history)
        if self.settings.num_points is None and not self.ENDS_BY_ITSELF:
            self._draw_all()
            self._brackets = self._plan(len(self._outcomes) + len(self._drafts))

    @property
    def total_resource(self) -> int:
        return sum(map(cost, self._brackets))

    def table(self) -> str:
        return rung_table(f"{self.NAME}, eta {self.settings.eta}:", self._brackets, self.settings.unit)

    def loss_reason(self, number: int) -> str:
        for members, bracket in self._full_brackets():
            fields, rungs = self._fields(members, bracket), [rung.resource for rung in bracket]
            for i, (field, winners) in enumerate(pairwise(fields)):
                if number in field and number not in winners and self._is_waiting(number, rungs[i]):
                    return self._loss(number, rungs, i, winners, len(self._ranked(field, rungs[i])))
        return ""

    def _rung_problems(self) -> list[str]:
        if problems := super()._rung_problems():
            return problems
        settings = self.settings
        if num_halvings(settings.min_resource, settings.max_resource, settings.eta) == 0:
            return [
                f"strategy {self.NAME}: no rung at 1/{settings.eta} of {settings.max_resource} {settings.unit}s is at or above "
                f"{settings.min_resource}; take a lower CONFIG_SWEEP_MIN_RESOURCE or CONFIG_SWEEP_ETA, or longer runs"
            ]
        return []

    def _plan(self, num_points: int | None) -> tuple[Bracket, ...]:
        """`num_points` as asked for, or as many as the space has; before they are counted, as many as it has combinations."""
        settings = self.settings
        if num_points is None or num_points < settings.eta:
            raise RequestError(self._too_few(num_points))
        return (halving_bracket(num_points, settings.min_resource, settings.max_resource, settings.eta),)

    def _draw_all(self) -> None:
        number = self._next_number
        while (drawn := super()._draw(number)) is not None:
            self._drafts[number] = drawn
            number += 1

    def _draw(self, number: int) -> tuple[Draft, Mapping[str, Any]] | None:
        return self._drafts.pop(number, None) or super()._draw(number)

    def _next(self) -> Start | None:
        # The second look: the sampler may just have said that a bracket gets no more points.
        return self._promotion() or self._first_run() or self._promotion()

    def _first_run(self) -> Start | None:
        bracket = self._bracket(self._next_number)
        return self._new_point(until=self._stop(bracket[0].resource)) if bracket else None

    def _promotion(self) -> Start | None:
        for members, bracket in self._full_brackets():
            for (below, rung), field in zip(pairwise(bracket), self._fields(members, bracket)[1:], strict=False):
                for number in field:
                    if self._is_waiting(number, below.resource):
                        return self._go_on(number, rung.resource)
        return None

    def _fields(self, members: Sequence[int], bracket: Bracket) -> list[Sequence[int]]:
        """Who runs at each rung, as far as it is decided, best first from the second on."""
        fields = [members]
        for rung, above in pairwise(bracket):
            if not all(self._is_done(number, rung.resource) for number in fields[-1]):
                break
            fields.append(self._ranked(fields[-1], rung.resource)[: above.num_points])
        return fields

    def _spans(self) -> Iterator[tuple[range, Bracket]]:
        """The numbers of each bracket's points."""
        ends = accumulate((bracket[0].num_points for bracket in self._brackets), initial=0)
        for (first, end), bracket in zip(pairwise(ends), self._brackets, strict=True):
            yield range(first, end), bracket

    def _bracket(self, number: int) -> Bracket | None:
        return next((bracket for span, bracket in self._spans() if number in span), None)

    def _full_brackets(self) -> Iterator[tuple[list[int], Bracket]]:
        """The points of each bracket that gets no more, and its rungs for so many."""
        for span, bracket in self._spans():
            members = [number for number in span if number in self._outcomes]
            if members and (self._is_drained or self._next_number >= span.stop):
                yield members, cut(bracket, len(members), self.settings.eta)

    def _ladder(self, number: int) -> list[int]:
        return [rung.resource for rung in self._bracket(number) or ()]
