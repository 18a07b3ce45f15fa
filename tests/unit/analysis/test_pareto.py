import math
import random
import time

import pytest

from ksweep.analysis.pareto import crowding, fronts


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def fronts_by_definition(points):
    found, left = [], list(range(len(points)))
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        found.append(front)
        left = [i for i in left if i not in front]
    return found


@pytest.mark.parametrize("num_goals", [1, 2, 3, 4])
@pytest.mark.parametrize("num_values", [3, 1000], ids=["many equal", "few equal"])
def test_fronts_are_those_of_the_definition(num_goals, num_values):
    draw = random.Random(num_goals)
    for count in (0, 1, 2, 17, 60):
        points = [tuple(draw.randrange(num_values) / 7 for _ in range(num_goals)) for _ in range(count)]

        assert fronts(points) == fronts_by_definition(points)


def test_equal_points_share_a_front():
    assert fronts([(1.0, 2.0), (1.0, 2.0), (1.0, 3.0)]) == [[0, 1], [2]]


@pytest.mark.parametrize("shape", ["all on one front", "a front each", "cloud"])
def test_thousands_of_points_are_sorted_in_a_moment(shape):
    draw = random.Random(1)
    points = {
        "all on one front": [(x, -x, draw.random()) for x in range(3000)],
        "a front each": [(x, x, x) for x in range(3000)],
        "cloud": [(draw.random(), draw.random(), draw.random()) for _ in range(3000)],
    }[shape]
    start = time.process_time()

    found = fronts(points)

    assert time.process_time() - start < 5
    assert sum(map(len, found)) == 3000


def test_crowding_is_infinite_at_the_ends_and_the_gap_between_neighbours_elsewhere():
    points = [(0.0, 10.0), (4.0, 0.0), (1.0, 8.0), (3.0, 2.0)]

    assert crowding(points) == [math.inf, math.inf, pytest.approx(3 / 4 + 8 / 10), pytest.approx(3 / 4 + 8 / 10)]


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 1.0)] * 3, [(-1e308, 1e308), (1e308, -1e308), (0.0, 0.0)]], ids=len)
def test_crowding_of_any_finite_points_is_a_number(points):
    assert not any(math.isnan(room) for room in crowding(points))
