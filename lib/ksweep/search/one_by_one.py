"""Points as the sampler gives them, each run to its end: random, qmc, tpe, gp, cmaes, nsga2, grid."""

from ksweep.search.base import Start
from ksweep.search.history import HistoryStrategy


class OneByOne(HistoryStrategy):
    """A new point whenever there is room, until there are as many as were asked for or the sampler has no more."""

    NAME = "one-by-one"  # never asked for by this name: a sampler's name means this strategy (see registry.py)

    def _next(self) -> Start | None:
        return self._new_point(until=None)

    def _restart(self, number: int) -> Start:
        return Start(number=number)
