"""Asks a pruner about the live runs of a sweep, with the curves of all the others."""

from collections.abc import Mapping

from ksweep.search.base import Pruner

Curve = Mapping[int, float]


class LivePruning:
    """One pruner at work. `finished`: the curves (resource -> first objective) of the runs that have ended, by point id."""

    def __init__(self, pruner: Pruner, finished: Mapping[str, Curve]) -> None:
        self._pruner = pruner
        self._curves: dict[str, Curve] = dict(finished)

    def reason(self, id: str, curve: Curve) -> str:
        """Why the run of point `id`, whose newest report is the last of `curve`, is to be stopped; empty: it goes on."""
        self._curves[id] = curve
        return self._pruner.decide(curve, [other for other_id, other in self._curves.items() if other_id != id])
