"""Asks a pruner about the live runs of a sweep, with the curves of all the others."""

from collections.abc import Mapping

from ksweep.search.base import Pruner

Curve = Mapping[int, float]


class LivePruning:
    """One pruner at work. `finished`: the curves (resource -> first objective) of the runs that have ended, by point id."""

    def __init__(self, pruner: Pruner, finished: Mapping[str, Curve]) -> None:
        self._pruner = pruner
        self._curves: dict[str, Curve] = dict(finished)

    def add(self, id: str, curve: Curve) -> None:
        """The run of point `id` has come as far as `curve`; no question asked."""
        self._curves[id] = curve

    def reason(self, id: str, curve: Curve) -> str:
        """Why the run of point `id`, whose newest report is the last of `curve`, is to be stopped; empty: it goes on."""
        self._curves[id] = curve
        own = self._pruner.of(id)  # runs are compared with those that it has to judge by the same rungs
        others = [c for other, c in self._curves.items() if other != id and self._pruner.of(other) is own]
        return own.decide(curve, others)
