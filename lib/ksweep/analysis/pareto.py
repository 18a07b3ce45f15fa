"""The mathematics of several goals: non-dominated sorting, hypervolume, knee. A point dominates another one when it is nowhere
larger and somewhere smaller."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksweep.analysis.ranking import Group, Ranking

Point = Sequence[float]  # one finite value a goal, smaller is better


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Indices of `points` by front: the first holds what nothing dominates, the next what is then not dominated, and so on.

    Equal points share a front. Each front is in order of its points.
    """
    import numpy as np

    costs = np.asarray(points, dtype=float)
    left = np.lexsort(costs.T[::-1]) if len(points) else np.empty(0, dtype=int)
    found: list[list[int]] = []
    while left.size:
        candidates, front, dominated = left, [], []
        while candidates.size:  # by the order, nothing that comes later dominates the first one
            first, others = candidates[0], candidates[1:]
            is_free = (costs[others] < costs[first]).any(axis=1) | (costs[others] == costs[first]).all(axis=1)
            front.append(int(first))
            dominated.append(others[~is_free])
            candidates = others[is_free]
        found.append(sorted(front))
        # Sorting anew by place in the first order keeps what the inner loop relies on.
        is_left = np.zeros(len(costs), dtype=bool)
        is_left[np.concatenate(dominated)] = True
        left = left[is_left[left]]
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """How much room each of the points of one front has: the sum over goals of the distance between its two neighbours, as a
    share of the front's extent; infinite at the ends (Deb et al. 2002, A fast and elitist multiobjective genetic algorithm:
    NSGA-II, section III-B)."""
    room = [0.0] * len(points)
    for goal in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda index: points[index][goal])
        extent = points[order[-1]][goal] - points[order[0]][goal]
        room[order[0]] = room[order[-1]] = math.inf
        if 0 < extent < math.inf:
            for before, index, after in zip(order, order[1:], order[2:], strict=False):
                room[index] += (points[after][goal] - points[before][goal]) / extent
    return room


_MOST_POINTS, _MOST_WORK = 10_000, 100_000  # work: points ** (goals - 2); some seconds
_FLAT = 1e-9  # of the front's extent: bends smaller than that are of rounding


def hypervolume(points: Sequence[Point], reference: Point) -> float | None:
    """The volume of what the points dominate, up to `reference`, which is worse than what counts: what lies beyond it in any goal
    adds nothing. None where it would take too long: with up to 3 goals above 10,000 points, with 4 above 316, with 5 above 46.

    By slicing along the last goal (While, Hingston, Barone, Huband 2006, A faster algorithm for calculating hypervolume).
    """
    import numpy as np

    costs = np.array(points, dtype=float).reshape(-1, len(reference))
    costs = costs[(costs < np.asarray(reference)).all(axis=1)]
    if len(costs) > _MOST_POINTS or len(costs) ** (len(reference) - 2) > _MOST_WORK:
        return None
    return _volume(costs, np.asarray(reference, dtype=float)) if len(costs) else 0.0


def _volume(costs: Any, reference: Any) -> float:
    import numpy as np

    if len(reference) == 1:
        return float(reference[0] - costs.min())
    costs = costs[np.argsort(costs[:, -1], kind="stable")]
    depths = np.diff(np.append(costs[:, -1], reference[-1]))
    if len(reference) == 2:
        return float(depths @ (reference[0] - np.minimum.accumulate(costs[:, 0])))
    slices = [_volume(costs[: count + 1, :-1], reference[:-1]) * depth for count, depth in enumerate(depths) if depth > 0]
    return math.fsum(slices)


def knee(points: Sequence[Point]) -> int | None:
    """Index of the point of a front that gives up least of one goal for another: the farthest below the line (with more goals:
    the plane) through the front's ends, once each goal is scaled to the front's extent (Das 1999, On characterizing the knee of
    the Pareto curve based on normal-boundary intersection). None with fewer than 3 points, or where the front does not bend
    that way."""
    goals = list(zip(*points, strict=True))
    ends = [(min(goal), max(goal)) for goal in goals]
    if len(points) < 3 or any(high == low for low, high in ends):
        return None
    # Halved, so that the difference of any two finite numbers is finite.
    scaled = [[(x / 2 - low / 2) / (high / 2 - low / 2) for x, (low, high) in zip(p, ends, strict=True)] for p in points]
    distance = [1 - math.fsum(point) for point in scaled]  # the plane is where the sum is 1: each end is 1 in one goal
    best = max(range(len(points)), key=distance.__getitem__)
    return best if distance[best] > _FLAT else None


@dataclass(frozen=True, kw_only=True)
class FrontFacts:
    """A front, as numbers. `best` and `reference`: for each goal the best and the worst value of the settings that count, in the
    goals' own units; those that break a constraint are among the settings, never in the front.

    `hypervolume`: the share of the box between both that the front dominates, 0 to 1; a setting at the worst value of a goal adds
    nothing. None where a goal is the same for all settings, or there are too many (`hypervolume` above). `knee`: see `knee`.
    """

    best: tuple[float, ...]
    reference: tuple[float, ...]
    num_settings: int
    hypervolume: float | None
    knee: "Group | None"


def front_facts(ranking: "Ranking") -> FrontFacts | None:
    """Of the first front. None with a single goal, or when no setting is ranked."""
    if not ranking.has_fronts or not ranking.front:
        return None
    signs = [-1 if goal.is_maximized else 1 for goal in ranking.objectives.goals]
    counted, front = [_costs(group, signs) for group in [*ranking.ranked, *ranking.infeasible]], ranking.front
    best, worst = [min(goal) for goal in zip(*counted, strict=True)], [max(goal) for goal in zip(*counted, strict=True)]
    points = [_costs(group, signs) for group in front]
    volume = None
    if all(low < high for low, high in zip(best, worst, strict=True)):
        scaled = [
            [(x / 2 - low / 2) / (high / 2 - low / 2) for x, low, high in zip(point, best, worst, strict=True)]
            for point in points
        ]
        volume = hypervolume(scaled, [1.0] * len(signs))
    bend = knee(points)
    return FrontFacts(
        best=tuple(sign * value for sign, value in zip(signs, best, strict=True)),
        reference=tuple(sign * value for sign, value in zip(signs, worst, strict=True)),
        num_settings=len(counted),
        hypervolume=volume,
        knee=None if bend is None else front[bend],
    )


def chosen_of_front(ranking: "Ranking") -> "Group":
    """The one setting to go on with: the knee or, where the front (which is not empty) has none, the best in the first goal."""
    facts = front_facts(ranking)
    if facts and facts.knee:
        return facts.knee
    sign = -1 if ranking.objectives.goals[0].is_maximized else 1
    return min(ranking.front, key=lambda group: sign * (group.score.center or 0.0))


def _costs(group: "Group", signs: Sequence[int]) -> tuple[float, ...]:
    return tuple(sign * (score.center or 0.0) for sign, score in zip(signs, group.scores, strict=True))
