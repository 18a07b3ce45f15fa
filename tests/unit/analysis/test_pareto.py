import math
import random
import time

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from ksweep.analysis.findings import find
from ksweep.analysis.pareto import crowding, front_facts, fronts, hypervolume, knee
from ksweep.analysis.text import analysis_text


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


def test_hypervolume_of_steps_is_the_sum_of_their_boxes():
    assert hypervolume([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)], (4.0, 4.0)) == 3 + 2 + 1
    assert hypervolume([(1.0, 1.0, 1.0)], (3.0, 4.0, 5.0)) == 2 * 3 * 4
    assert hypervolume([(0.0, 0.0, 1.0), (1.0, 1.0, 0.0)], (2.0, 2.0, 2.0)) == 4 + 1
    assert hypervolume([(2.0,), (5.0,)], (9.0,)) == 7


@pytest.mark.parametrize("num_goals", [2, 3, 4, 5])
def test_hypervolume_is_optunas(num_goals):
    draw = np.random.default_rng(num_goals)
    for count in (1, 7, 30):
        points = draw.integers(0, 12, (count, num_goals)) / 10  # equal values, dominated points, and some beyond the reference
        reference = np.ones(num_goals)
        inside = points[(points < 1).all(axis=1)]

        expected = compute_hypervolume(inside, reference) if len(inside) else 0.0

        assert hypervolume(points.tolist(), reference.tolist()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_goals", [2, 3, 4])
def test_hypervolume_is_the_share_of_random_points_that_are_dominated(num_goals):
    draw = np.random.default_rng(1)
    points, darts = draw.random((15, num_goals)), draw.random((200_000, num_goals))
    hit = np.zeros(len(darts), dtype=bool)
    for point in points:
        hit |= (darts >= point).all(axis=1)

    assert hypervolume(points.tolist(), [1.0] * num_goals) == pytest.approx(hit.mean(), abs=0.005)


def test_what_lies_beyond_the_reference_adds_nothing():
    assert hypervolume([], (1.0, 1.0)) == 0
    assert hypervolume([(0.0, 1.0), (1.0, 0.0), (5.0, -5.0)], (1.0, 1.0)) == 0


def test_a_hypervolume_that_would_take_too_long_is_refused():
    points = np.random.default_rng(1).random((47, 5)).tolist()

    assert hypervolume(points, [1.0] * 5) is None
    assert hypervolume(points[:20], [1.0] * 5) is not None


def test_thousands_of_points_have_their_hypervolume_in_a_moment():
    angles = np.random.default_rng(1).random((2, 3000)) * math.pi / 2
    points = 1 - np.array([np.cos(angles[0]), np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.sin(angles[1])]).T
    start = time.process_time()

    volume = hypervolume(points.tolist(), (1.0, 1.0, 1.0))

    assert time.process_time() - start < 5
    assert volume == pytest.approx(math.pi / 6, abs=0.02)  # an eighth of a ball


def test_knee_is_where_the_front_bends_most():
    assert knee([(0.0, 10.0), (100.0, 0.0), (20.0, 1.0), (50.0, 0.5)]) == 2
    assert knee([(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0), (0.2, 0.3, 0.1), (0.6, 0.6, 0.6)]) == 3


@pytest.mark.parametrize("points", [
    [], [(1.0, 2.0)], [(1.0, 2.0), (2.0, 1.0)], [(0.0, 2.0), (1.0, 1.0), (2.0, 0.0)], [(0.0, 2.0), (1.8, 1.8), (2.0, 0.0)],
    [(1.0, 1.0)] * 3, [(-1e308, 1e308), (1e308, -1e308), (5e307, 5e307)],
], ids=["none", "one", "two", "a line", "bent outwards", "equal", "huge and bent outwards"])  # fmt: skip
def test_a_front_that_does_not_bend_has_no_knee(points):
    assert knee(points) is None


def two_goals(make_sweep, points, **settings):
    maker = make_sweep(objective="val_acc, train_time_s:min", **settings)
    for number, (accuracy, seconds) in enumerate(points):
        maker.add({"A": str(number)}, val_acc=accuracy, train_time_s=seconds)
    return find(maker.save())


def test_front_facts_are_in_the_units_of_the_goals_and_share_the_box_of_all_that_counts(make_sweep):
    found = two_goals(make_sweep, [(0.9, 100.0), (0.8, 20.0), (0.5, 10.0), (0.4, 60.0), (0.5, 110.0)])

    facts = front_facts(found.ranking)

    assert (facts.best, facts.reference, facts.num_settings) == ((0.9, 10.0), (0.4, 110.0), 5)
    assert facts.hypervolume == pytest.approx((0.1 * 10 + 0.3 * 90 + 0.1 * 100) / (0.5 * 100))
    assert facts.knee.runs[0].config == "config_002"
    text = analysis_text(found)
    assert "Reference point, the worst of each goal over the 5 settings that count: val_acc 40.00%, train_time_s 110\n" in text
    assert "Hypervolume: 0.76 of the box" in text
    assert "Knee: config_002, farthest from the line" in text


def test_what_breaks_a_constraint_is_never_the_knee(make_sweep):
    points = [(0.9, 100.0), (0.89, 11.0), (0.8, 40.0), (0.5, 10.0)]

    facts = front_facts(two_goals(make_sweep, points, constraints="train_time_s >= 12").ranking)

    assert facts.best == (0.9, 10.0)
    assert facts.knee is None or facts.knee.runs[0].config == "config_003"


def test_a_single_goal_has_no_front_and_a_constant_one_no_volume(make_sweep):
    maker = make_sweep(name="one")
    maker.add({"A": "1"}, val_acc=0.5)

    assert front_facts(find(maker.save()).ranking) is None
    found = two_goals(make_sweep, [(0.5, 1.0), (0.5, 2.0)], name="two")
    assert front_facts(found.ranking).hypervolume is None
    assert "Hypervolume: not computed: val_acc is the same for all settings." in analysis_text(found)
