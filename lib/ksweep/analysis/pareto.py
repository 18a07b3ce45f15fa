"""Non-dominated sorting. A point dominates another one when it is nowhere larger and somewhere smaller."""

import math
from collections.abc import Sequence

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
