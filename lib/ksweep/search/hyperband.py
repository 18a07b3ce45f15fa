"""Hyperband: brackets of successive halving, from many short first runs to a few complete ones.

Li et al. 2018, Algorithm 1. Departures: integer arithmetic; R / min_resource in place of R for s_max; runs that go on continue
from their checkpoints; while a bracket waits for its slowest run, the next bracket's points are started, and what the older
brackets let further comes first. The brackets are run once; a number of points cuts them, or repeats them from the first and
cuts the last one. A bracket that is cut, or gets fewer points as the space has no more, keeps its rungs and lets
n // eta**k of its n points to each, at least one.
"""

from itertools import cycle

from ksweep.search.base import Start
from ksweep.search.halving import Halving
from ksweep.search.rungs import Bracket, cut, hyperband_brackets


class Hyperband(Halving):
    """Several brackets; a point's bracket (from 1) stands in its notes and follows from its number."""

    NAME = "hyperband"
    ENDS_BY_ITSELF = True

    @property
    def num_points(self) -> int:
        return sum(bracket[0].num_points for bracket in self._brackets)

    @property
    def why_over(self) -> str:
        """Why there are fewer points, and how many each bracket got."""
        if not self._is_drained or not self.sampler.why_over:
            return ""
        got = [f"{sum(n in self._outcomes for n in span)} of {len(span)}" for span, _ in self._spans()]
        return f"{self.sampler.why_over}; points of the brackets: {', '.join(got)}"

    def loss_reason(self, number: int) -> str:
        reason = super().loss_reason(number)
        return reason and f"bracket {self._place(number)} of {len(self._brackets)}, {reason}"

    def _plan(self, num_points: int | None) -> tuple[Bracket, ...]:
        settings = self.settings
        once = hyperband_brackets(settings.min_resource, settings.max_resource, settings.eta)
        left = settings.num_points or sum(bracket[0].num_points for bracket in once)
        brackets: list[Bracket] = []
        for bracket in cycle(once):
            if left == 0:
                break
            brackets.append(cut(bracket, min(left, bracket[0].num_points), settings.eta))
            left -= brackets[-1][0].num_points
        return tuple(brackets)

    def _first_run(self) -> Start | None:
        number = self._next_number
        bracket = self._bracket(number)
        return self._new_point(self._stop(bracket[0].resource), {"bracket": self._place(number)}) if bracket else None

    def _place(self, number: int) -> int:
        return next(i for i, (span, _) in enumerate(self._spans(), start=1) if number in span)
