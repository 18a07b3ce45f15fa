"""What the strategies share that stop runs at rungs and let some of them go on.

A run's configuration is always the complete one; a rung only says where it stops for now, with a checkpoint. It then counts
as pruned until it is let further, and goes on in its own directory. How a point stands follows from its newest outcome:

  passed                              complete; where it ended early by itself, its last value counts at all later rungs
  pruned, at one of its rungs         waits there
  pruned, between rungs               out: a live pruner stopped it
  any other final status              out: it went wrong; it is never let further, and nobody waits for it
  cancelled, or none                  not ended; started again, until the first rung at or above what it has reached
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ksweep.contract.outcome import Status
from ksweep.search.base import Start
from ksweep.search.history import HistoryStrategy
from ksweep.search.rungs import counted, value_at


class RungStrategy(HistoryStrategy):
    """Curves are compared by the first objective; of two equal ones, the earlier number is the better."""

    @abstractmethod
    def _ladder(self, number: int) -> Sequence[int]:
        """The rungs of a point, the last one being R."""

    def _problems(self) -> list[str]:
        return super()._problems() or self._rung_problems()

    def _rung_problems(self) -> list[str]:
        settings, problems = self.settings, []
        if settings.eta < 2:
            problems.append(f"CONFIG_SWEEP_ETA: found {settings.eta}, allowed: 2 or more (one in so many goes on)")
        if settings.min_resource < 1:
            problems.append(f"CONFIG_SWEEP_MIN_RESOURCE: found {settings.min_resource}, allowed: 1 or more")
        if settings.max_resource <= settings.min_resource:
            problems.append(
                f"strategy {self.NAME}: a complete run is {counted(settings.max_resource, settings.unit)} and the first rung "
                f"(CONFIG_SWEEP_MIN_RESOURCE) is at {settings.min_resource}, so no run could be stopped before its end; "
                "take a lower first rung, longer runs, or the strategy random"
            )
        return problems

    def _too_few(self, num_points: int | None) -> str:
        eta = self.settings.eta
        return (
            f"strategy {self.NAME}: found {num_points} points, allowed: {eta} (CONFIG_SWEEP_ETA) or more, of which one "
            f"in {eta} goes on; ask for more points (CONFIG_SWEEP_TRIALS) or take the strategy random"
        )

    def _restart(self, number: int) -> Start:
        resource = max(self._resources[number], 1)
        rung = next((rung for rung in self._ladder(number) if rung >= resource), self.settings.max_resource)
        return self._go_on(number, rung)

    def _go_on(self, number: int, rung: int, parent: int | None = None) -> Start:
        return Start(number=number, until=self._stop(rung), parent=parent)

    def _stop(self, rung: int) -> int | None:
        """`until` of a run to this rung."""
        return rung if rung < self.settings.max_resource else None

    def _reached(self, number: int) -> int:
        is_complete = self._outcomes[number].status is Status.PASSED
        return self.settings.max_resource if is_complete else self._resources[number]

    def _is_waiting(self, number: int, rung: int) -> bool:
        stopped = self._outcomes[number].status is Status.PRUNED
        return stopped and self._resources[number] == rung and number not in self._running

    def _is_out(self, number: int) -> bool:
        outcome = self._outcomes[number]
        if number in self._running or not outcome.status.is_final or outcome.status is Status.PASSED:
            return False
        return outcome.status is not Status.PRUNED or self._resources[number] not in self._ladder(number)

    def _is_done(self, number: int, rung: int) -> bool:
        return self._reached(number) >= rung or self._is_out(number)

    def _value(self, number: int, rung: int) -> float | None:
        """The value with which a point takes part at a rung; None: it has not got there, or went wrong just there."""
        outcome = self._outcomes[number]
        if self._reached(number) < rung or (outcome.status.is_bad and self._resources[number] == rung):
            return None
        value = self._reported(number, rung)
        return value if value is not None and math.isfinite(value) else None

    def _reported(self, number: int, rung: int) -> float | None:
        """At a rung; what it reported first, where that was later."""
        curve = self._outcomes[number].curve
        value = value_at(curve, rung)
        return curve[min(curve)] if value is None and curve else value

    def _shown(self, number: int, rung: int) -> str:
        value = self._reported(number, rung)
        return "no value" if value is None else f"{value:.4g}"

    def _ranked(self, numbers: Iterable[int], rung: int) -> list[int]:
        """Those that have a value at a rung, best first."""
        sign = -1.0 if self.settings.maximize[0] else 1.0
        values = ((self._value(number, rung), number) for number in numbers)
        return [number for _, number in sorted((sign * value, number) for value, number in values if value is not None)]

    def _loss(self, number: int, rungs: Sequence[int], index: int, winners: Sequence[int], num_ranked: int) -> str:
        rung = rungs[index]
        last = "" if not winners else f", the last of them has {self._shown(winners[-1], rung)}"
        place = f"rung {index + 1} of {len(rungs)} ({counted(rung, self.settings.unit)})"
        return f"{place}: {self._shown(number, rung)}, best {len(winners)} of {num_ranked} go on{last}"


def next_above(rungs: Sequence[int], rung: int) -> int | None:
    """The rung above; None: it is the last, or none of them."""
    return next((above for below, above in pairwise(rungs) if below == rung), None)
