"""The knapsack's frontier: right where it can be checked by going through everything."""

import itertools
import random

import pytest

from ksweep.tuner.allocation import Candidate, damage, frontier, per_error


def total(choice: dict[str, int], candidates: dict[str, list[Candidate]]) -> tuple[float, float]:
    chosen = [candidates[group][place] for group, place in choice.items()]
    return sum(c.gain for c in chosen), sum(c.damage for c in chosen)


def drawn(seed: int) -> dict[str, list[Candidate]]:
    """Three groups of dense and four candidates each."""
    rng = random.Random(seed)
    dense = Candidate(gain=0.0, damage=0.0)
    return {
        group: [dense, *(Candidate(gain=rng.uniform(0.1, 5), damage=rng.uniform(0.001, 1)) for _ in range(4))] for group in "abc"
    }


@pytest.mark.parametrize("seed", range(30))
def test_nothing_beats_a_point_of_the_frontier_in_both(seed: int) -> None:
    candidates = drawn(seed)
    everything = [
        total(dict(zip("abc", places, strict=True)), candidates) for places in itertools.product(range(5), repeat=len(candidates))
    ]

    for choice in frontier(candidates):
        gain, lost = total(choice, candidates)
        assert not any(other_gain > gain + 1e-12 and other_lost <= lost + 1e-12 for other_gain, other_lost in everything)


@pytest.mark.parametrize("seed", range(30))
def test_gain_and_damage_rise_from_all_dense_to_the_largest_gain(seed: int) -> None:
    candidates = drawn(seed)
    path = [total(choice, candidates) for choice in frontier(candidates)]

    assert path[0] == (0.0, 0.0)
    assert path[-1][0] == pytest.approx(sum(max(c.gain for c in of_group) for of_group in candidates.values()))
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(path))


def test_group_without_a_candidate_stays_dense() -> None:
    assert frontier({"a": [Candidate(gain=0.0, damage=0.0)]}) == [{"a": 0}]


def test_losses_that_do_not_show_are_expected_from_the_error() -> None:
    slope = per_error([(0.02, 0.2), (0.08, 0.4), (0.0, 0.05)])

    assert slope == pytest.approx(0.5, rel=0.01)
    assert damage(-0.01, 0.2, slope) == pytest.approx(0.02, rel=0.01)
    assert damage(0.0, 0.1, slope) < damage(0.0, 0.2, slope)
    assert per_error([(0.0, 0.1), (-0.5, 0.3)]) > 0
