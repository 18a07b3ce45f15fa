"""What runs took, and so what the rest will take: order of starts, ETA, estimates."""

import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

SHRINKAGE = 0.5  # runs' worth of doubt in each factor: one noisy run must not decide an order


class Durations:
    """Predicts the wall time of a point from finished ones: the median, times one factor for each of its values.

    A main-effects model in logarithms, so that 20 epochs are expected to take longer than 5
    after one run of each.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Mapping[str, str], float]] = []
        self._effects: dict[tuple[str, str], float] = {}
        self._middle = 0.0
        self._fitted = 0

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, values: Mapping[str, str], wall_s: float) -> None:
        """Take one finished run into account."""
        self._seen.append((values, math.log(max(wall_s, 1e-3))))

    def predict(self, values: Mapping[str, str]) -> float | None:
        """Expected wall time in seconds, or None while nothing has finished."""
        if not self._seen:
            return None
        if len(self._seen) > 1.1 * self._fitted:  # each fit costs time in proportion to the runs: not after every run
            self._fit()
        return math.exp(self._middle + sum(self._effects.get(item, 0.0) for item in values.items()))

    def _fit(self) -> None:
        """Backfitting, axis after axis: an effect is the mean of what the other effects leave over."""
        self._fitted = len(self._seen)
        self._middle = statistics.median(log for _, log in self._seen)
        self._effects = {}
        axes = {name for values, _ in self._seen for name in values}
        for axis in sorted(axes) * 3:
            left_over = defaultdict(list)
            for values, log in self._seen:
                if axis in values:
                    others = sum(self._effects.get(item, 0.0) for item in values.items() if item[0] != axis)
                    left_over[axis, values[axis]].append(log - self._middle - others)
            self._effects |= {item: sum(found) / (len(found) + SHRINKAGE) for item, found in left_over.items()}

    def longest_first(self, order: Sequence[str], values: Mapping[str, Mapping[str, str]]) -> list[str]:
        """`order` with clearly longer points first: sorted by the power of two of the predicted time, else as given.

        Coarse on purpose: equal-looking points keep their space-filling order.
        """
        if not self._seen:
            return list(order)
        return sorted(order, key=lambda id: -round(math.log2(self.predict(values[id]) or 1.0)))


def makespan(durations: Sequence[float], running_left: Sequence[float], slots: int) -> float:
    """Seconds until all is done, when started in this order on `slots` places of which some are still busy."""
    free = [*running_left, *[0.0] * (slots - len(running_left))][:slots]
    heapq.heapify(free)
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free, default=0.0)
