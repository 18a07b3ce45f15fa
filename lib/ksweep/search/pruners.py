"""Which live runs are stopped, report by report. Pure functions of the curves, in both directions of the objective.

  median, percentile   worse than most others at this epoch         Golovin et al. 2017 (Vizier), 3.2.1; Optuna's PercentilePruner
  asha, hyperband      not among the best 1/eta at a rung           Li et al. 2020, 2018; Optuna's SuccessiveHalvingPruner
  patience             no better than its own best for some reports
  threshold            worse than a bound                           Optuna's ThresholdPruner

Departures from Optuna; decisions are equal where these do not matter (tests/contracts/test_pruners.py): compared is with all
others that got as far, not only with complete ones, of which there are none when it matters most; the values at a rung are read
from the curves, so a restart forgets none; a run is never stopped at its last epoch, where nothing can be saved. As in Optuna,
median and percentile compare the best that a run had so far with what the others had at this epoch, so that one poor epoch
does not end a good run. A NaN ends a run without any pruner.
"""

import math
import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ksweep.search.base import Pruner
from ksweep.search.rungs import asha_rungs, hyperband_brackets, value_at

Curve = Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class PrunerSettings:
    """What a pruner is told, from the SWEEP_PRUNER_ symbols; each reads what concerns it.

    `max_resource`: of a complete run; `num_points`: runs in all (None: not known). No run is stopped in its first `warmup`
    epochs; after them it is looked at every `interval` epochs, once `min_others` others have got as far. `keep`: percent of the
    runs, the best ones, that go on. `patience` counts reports.
    """

    maximize: bool = True
    max_resource: int
    num_points: int | None = None
    warmup: int = 0
    interval: int = 1
    min_others: int = 5
    keep: float = 25.0
    min_resource: int = 1
    eta: int = 3
    patience: int = 5
    min_delta: float = 0.0
    threshold: float = 0.0
    unit: str = "epoch"


class CurvePruner(Pruner):
    """Looks at a run after its warm-up and before its last epoch."""

    def __init__(self, settings: PrunerSettings) -> None:
        self.settings = settings

    def decide(self, curve: Curve, others: Sequence[Curve]) -> str:
        resource = max(curve, default=0)
        if not self.settings.warmup < resource < self.settings.max_resource:
            return ""
        return self._reason(resource, curve, others)

    @abstractmethod
    def _reason(self, resource: int, curve: Curve, others: Sequence[Curve]) -> str:
        """As `decide`; `resource` is that of the newest report."""

    def problem(self) -> str:
        settings = self.settings
        if settings.warmup < 0 or settings.interval < 1:
            found = f"warm-up {settings.warmup}, interval {settings.interval}"
            return f"found {found}; allowed: 0 or more, 1 or more"
        if settings.warmup + 1 >= settings.max_resource:
            return (
                f"it stops no run in its first {settings.warmup} {settings.unit}s (CONFIG_SWEEP_PRUNER_WARMUP), and a "
                f"complete run is {settings.max_resource}, so it could never save one; take a shorter warm-up or longer runs"
            )
        return ""

    def _is_better(self, one: float, other: float) -> bool:
        return one > other if self.settings.maximize else one < other

    def _is_due(self, resource: int, curve: Curve) -> bool:
        """Whether this is the first report of an interval; intervals begin with the first epoch after the warm-up."""
        first = self.settings.warmup + 1
        begin = first + (resource - first) // self.settings.interval * self.settings.interval
        return _previous(resource, curve) < begin


class PercentilePruner(CurvePruner):
    """Stops a run whose best so far is not among the best `keep` percent of what the others had at this epoch."""

    NAME = "percentile"

    @property
    def _keep(self) -> float:
        return self.settings.keep

    def _reason(self, resource: int, curve: Curve, others: Sequence[Curve]) -> str:
        values = _values_at(resource, others)
        if len(values) < max(1, self.settings.min_others) or not self._is_due(resource, curve):
            return ""
        best = max(curve.values()) if self.settings.maximize else min(curve.values())
        bound = _quantile(sorted(values, reverse=self.settings.maximize), self._keep / 100)
        if not self._is_better(bound, best):
            return ""
        place = f"{self.NAME} at {self.settings.unit} {resource}"
        return f"{place}: {best:.4g} at best so far; {self._bound_text(len(values))} {bound:.4g}"

    def _bound_text(self, num_others: int) -> str:
        return f"the best {self._keep:g} % of {num_others} others begin at"

    def problem(self) -> str:
        settings = self.settings
        if not 0 < self._keep < 100:
            return f"CONFIG_SWEEP_PRUNER_PERCENTILE: found {self._keep:g}, allowed: above 0 and below 100, else all or none stop"
        if settings.num_points is not None and settings.min_others >= settings.num_points:
            return (
                f"CONFIG_SWEEP_PRUNER_MIN_TRIALS: found {settings.min_others}, allowed: below {settings.num_points}, the number "
                f"of runs, else there are never so many others to compare with"
            )
        return super().problem()


class MedianPruner(PercentilePruner):
    """Keeps the best half."""

    NAME = "median"

    @property
    def _keep(self) -> float:
        return 50.0

    def _bound_text(self, num_others: int) -> str:
        return f"the median of {num_others} others is"


class AshaPruner(CurvePruner):
    """Stops a run that at a rung is not among the best 1/eta of those that have got there, itself included (one at least).

    The stopping variant of ASHA: nobody waits, so early runs go on that a later comparison would have stopped.
    """

    NAME = "asha"

    def __init__(self, settings: PrunerSettings, rungs: Sequence[int] = ()) -> None:
        super().__init__(settings)
        # What is out of range is told by `problem`; here it must only come to an end.
        self._rungs = tuple(rungs) or asha_rungs(max(1, settings.min_resource), settings.max_resource, max(2, settings.eta))

    def _reason(self, resource: int, curve: Curve, others: Sequence[Curve]) -> str:
        previous = _previous(resource, curve)
        rung = max((rung for rung in self._rungs if previous < rung <= resource), default=0)
        own = value_at(curve, rung)
        if own is None:
            return ""
        values = sorted([own, *_values_at(rung, others)], reverse=self.settings.maximize)
        num_kept = max(1, len(values) // self.settings.eta)
        last = values[num_kept - 1]
        if not self._is_better(last, own):
            return ""
        place = f"rung {self._rungs.index(rung) + 1} of {len(self._rungs)} ({self.settings.unit} {rung})"
        return f"{self.NAME} at {place}: {own:.4g}; best {num_kept} of {len(values)} go on, the last of them has {last:.4g}"

    def problem(self) -> str:
        settings = self.settings
        if settings.eta < 2 or settings.min_resource < 1:
            return (
                f"found CONFIG_SWEEP_ETA {settings.eta}, CONFIG_SWEEP_MIN_RESOURCE {settings.min_resource}; "
                "allowed: 2 or more, 1 or more"
            )
        if settings.num_points == 1:
            return "one run has no others to lose to; run more points or take no pruner"
        if not any(settings.warmup < rung < settings.max_resource for rung in self._rungs):
            return (
                f"none of its rungs ({settings.unit}s {', '.join(map(str, self._rungs))}) comes after {settings.warmup} of "
                f"warm-up and before a complete run's {settings.max_resource}, so it could never stop one; take a lower "
                "first rung (CONFIG_SWEEP_MIN_RESOURCE), a shorter warm-up or longer runs"
            )
        return super().problem()


class HyperbandPruner(AshaPruner):
    """ASHA with several first rungs side by side, so that a slow starter may land where it is given time.

    A point belongs to one bracket, drawn by its id with the sizes of Hyperband's brackets as weights (as in Optuna), and is
    compared within it only; the last bracket stops nobody.
    """

    NAME = "hyperband"

    def __init__(self, settings: PrunerSettings) -> None:
        brackets = hyperband_brackets(max(1, settings.min_resource), settings.max_resource, max(2, settings.eta))
        self._sizes = [bracket[0].num_points for bracket in brackets]
        self._brackets = [_Bracket(settings, [rung.resource for rung in bracket]) for bracket in brackets]
        super().__init__(settings, [rung.resource for rung in brackets[0]])

    def of(self, id: str) -> Pruner:
        return random.Random(f"hyperband {id}").choices(self._brackets, self._sizes)[0]

    def decide(self, curve: Curve, others: Sequence[Curve]) -> str:
        raise TypeError("a curve alone does not tell its bracket; ask pruner.of(id)")


class _Bracket(AshaPruner):
    NAME = "hyperband"


class PatiencePruner(CurvePruner):
    """Stops a run whose last `patience` reports were no better than its best before them by more than `min_delta`."""

    NAME = "patience"

    def _reason(self, resource: int, curve: Curve, others: Sequence[Curve]) -> str:
        settings = self.settings
        sign = 1.0 if settings.maximize else -1.0
        best_at, num_since = min(curve), 0
        for reported in sorted(curve)[1:]:
            if sign * (curve[reported] - curve[best_at]) > settings.min_delta:
                best_at, num_since = reported, 0
            else:
                num_since += 1
        if num_since < settings.patience:
            return ""
        by = f" by more than {settings.min_delta:g}" if settings.min_delta else ""
        unit = self.settings.unit
        best = f"{curve[best_at]:.4g} ({unit} {best_at})"
        return f"patience at {unit} {resource}: no better than {best}{by} in {num_since} reports"

    def problem(self) -> str:
        settings = self.settings
        if settings.patience < 1 or settings.min_delta < 0:
            return (
                f"found CONFIG_SWEEP_PRUNER_PATIENCE {settings.patience}, CONFIG_SWEEP_PRUNER_MIN_DELTA "
                f"{settings.min_delta:g}; allowed: 1 or more, 0 or more"
            )
        if settings.patience + 1 >= settings.max_resource:
            allowed = f"below {settings.max_resource - 1}" if settings.max_resource > 2 else "none"
            return (
                f"CONFIG_SWEEP_PRUNER_PATIENCE: found {settings.patience}, allowed: {allowed}: with one report each "
                f"{settings.unit}, a complete run of {settings.max_resource} ends before more can pass without improvement"
            )
        return super().problem()


class ThresholdPruner(CurvePruner):
    """Stops a run whose newest report is worse than `threshold`."""

    NAME = "threshold"

    def _reason(self, resource: int, curve: Curve, others: Sequence[Curve]) -> str:
        newest, threshold = curve[resource], self.settings.threshold
        if not self._is_better(threshold, newest) or not self._is_due(resource, curve):
            return ""
        side = "below" if self.settings.maximize else "above"
        return f"threshold at {self.settings.unit} {resource}: {newest:.4g} is {side} {threshold:g}"


PRUNERS: dict[str, type[CurvePruner]] = {
    pruner.NAME: pruner
    for pruner in (MedianPruner, PercentilePruner, AshaPruner, HyperbandPruner, PatiencePruner, ThresholdPruner)
}


def _previous(resource: int, curve: Curve) -> int:
    return max((reported for reported in curve if reported < resource), default=0)


def _values_at(resource: int, curves: Sequence[Curve]) -> list[float]:
    """What those that got as far had there."""
    values = (value_at(curve, resource) for curve in curves if max(curve, default=0) >= resource)
    return [value for value in values if value is not None and math.isfinite(value)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest, from the first (share 0) to the last (1): numpy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
