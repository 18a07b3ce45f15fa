"""ASHA, asynchronous successive halving with promotion: a run goes on as soon as it is among the best 1/eta of its rung.

Li et al. 2020, Algorithm 2 (get_job), s = 0: rungs from the top down, the best of the top |rung|/eta that has not gone on yet;
none: a new point. Departures: the last rung is R even where R is not min eta**k; runs continue from their checkpoints. And two
that follow from a number of points that is finite:

  - As long as there are new points, a rung lets nobody go on before 2 eta**2 have completed it: who is the best of the first
    three is chance, and each wrong choice is paid with a longer run. As printed, 81 points over 27 epochs spend 13.8 % of
    all complete runs, but more than 16 % in one sweep of ten; so they spend 12.1 %, 15.6 % at most (150 simulated sweeps).
  - At the end, when nothing runs and nothing may go on, the best point of the highest rung goes on alone, rung by rung, until
    one is complete (9 points over rungs 1, 3, 9, 27 would leave none).
"""

from collections.abc import Sequence
from itertools import pairwise

from ksweep.search.base import Sampler, SearchSettings, Start
from ksweep.search.rung_strategy import RungStrategy, next_above
from ksweep.search.rungs import Bracket, Rung, asha_rungs, cost, rung_table
from ksweep.space.axes import size


class Asha(RungStrategy):
    """Never waits as long as there is a new point; lets nobody go on twice."""

    NAME = "asha"

    def __init__(self, sampler: Sampler, settings: SearchSettings) -> None:
        super().__init__(sampler, settings)
        self._rungs = asha_rungs(settings.min_resource, settings.max_resource, settings.eta)

    def _rung_problems(self) -> list[str]:
        if problems := super()._rung_problems():
            return problems
        num_points = self.settings.num_points
        return [self._too_few(num_points)] if num_points is not None and num_points < self.settings.eta else []

    @property
    def total_resource(self) -> int:
        return cost(self._bracket())

    def table(self) -> str:
        title = f"{self.NAME}, eta {self.settings.eta}: at least this, more where a run goes on that later ones overtake"
        return rung_table(title, [self._bracket()], self.settings.unit)

    def _bracket(self) -> Bracket:
        num_points = self.settings.num_points or size(self.sampler.space.axes) or 1
        return tuple(Rung(num_points=num_points // self.settings.eta**k or 1, resource=r) for k, r in enumerate(self._rungs))

    def loss_reason(self, number: int) -> str:
        """As of now: more may go on as more get to its rung."""
        rung = self._resources[number]
        if rung not in self._rungs[:-1] or not self._is_waiting(number, rung):
            return ""
        ranked = self._ranked(self._outcomes, rung)
        winners = ranked[: len(ranked) // self.settings.eta]
        return "" if number in winners else self._loss(number, self._rungs, self._rungs.index(rung), winners, len(ranked))

    def _next(self) -> Start | None:
        return (
            self._promotion(at_least=2 * self.settings.eta**2)
            or self._new_point(until=self._stop(self._rungs[0]))
            or self._promotion(at_least=self.settings.eta)
            or self._last_promotion()
        )

    def _promotion(self, at_least: int) -> Start | None:
        for rung, above in reversed(list(pairwise(self._rungs))):
            ranked = self._ranked(self._outcomes, rung)
            for number in ranked[: len(ranked) // self.settings.eta] if len(ranked) >= at_least else ():
                if self._is_waiting(number, rung):
                    return self._go_on(number, above)
        return None

    def _last_promotion(self) -> Start | None:
        farthest = max(map(self._reached, self._outcomes), default=0)
        above = next_above(self._rungs, farthest)
        if self._running or above is None:
            return None
        waiting = [number for number in self._ranked(self._outcomes, farthest) if self._is_waiting(number, farthest)]
        return self._go_on(waiting[0], above) if waiting else None

    def _ladder(self, number: int) -> Sequence[int]:
        return self._rungs
