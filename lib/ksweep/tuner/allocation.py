"""Which candidate for which group: the multiple-choice knapsack over gains and damages that were measured one group at a time.

Damages add up well enough to order what is tried, and not well enough to be believed: each choice is evaluated as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """`gain`: what it alone saves; `damage`: what it alone costs, 0 or more. The dense one has 0 and 0."""

    gain: float
    damage: float


Choice = dict[str, int]  # group -> place of the candidate in its list


def frontier(candidates: Mapping[str, Sequence[Candidate]]) -> list[Choice]:
    """Choices of rising gain and damage, from all-dense on: each is the best for some price of damage (Lagrange multiplier).

    Per group only candidates on the upper hull of (damage, gain) are ever the best at a price; the steps between them, of all
    groups together, are taken in order of gain per damage.
    """
    choice = dict.fromkeys(candidates, 0)
    steps = []
    for order, (group, of_group) in enumerate(candidates.items()):
        hull = _hull(of_group)
        for before, after in pairwise(hull):
            a, b = of_group[before], of_group[after]
            steps.append((-(b.gain - a.gain) / max(b.damage - a.damage, 1e-300), order, b.damage, group, after))
    path = [dict(choice)]
    for *_, group, place in sorted(steps):
        choice[group] = place
        path.append(dict(choice))
    return path


def _hull(candidates: Sequence[Candidate]) -> list[int]:
    """Places of the upper hull from the dense one on, by rising damage and gain."""
    places = sorted(range(len(candidates)), key=lambda i: (candidates[i].damage, -candidates[i].gain, i))
    hull: list[int] = []
    for place in places:
        if hull and candidates[place].gain <= candidates[hull[-1]].gain:
            continue
        while len(hull) > 1 and _slope(candidates, hull[-2], place) >= _slope(candidates, hull[-2], hull[-1]):
            hull.pop()
        hull.append(place)
    return hull if hull and hull[0] == 0 else [0, *hull]


def _slope(candidates: Sequence[Candidate], a: int, b: int) -> float:
    return (candidates[b].gain - candidates[a].gain) / max(candidates[b].damage - candidates[a].damage, 1e-300)


def damage(drop: float, error: float | None, per_error: float) -> float:
    """Of a candidate: the accuracy that it alone lost, and what its error lets expect. A small evaluation set does not show small
    losses, and without the second term all candidates that show none would be taken at once.

    `error`: relative error of the outputs, whose square is the share of a layer's output energy that is lost.
    """
    return max(drop, 0.0) + per_error * (error or 0.0) ** 2


def per_error(drops_and_errors: Sequence[tuple[float, float]]) -> float:
    """Accuracy lost per squared error, by least squares through the origin over trials; a small number where none lost any."""
    energy = sum(error**4 for _, error in drops_and_errors)
    slope = sum(max(drop, 0.0) * error**2 for drop, error in drops_and_errors) / energy if energy else 0.0
    return max(slope, 1e-6)
