"""The order in which points are started."""

from ksweep.space.grid import cells, space_filling_order


def test_last_axis_varies_fastest() -> None:
    assert list(cells([2, 3])) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_order_has_every_point_once_and_repeats_with_its_seed() -> None:
    points = [*cells([4, 3, 5]), (3, 2, 4)]  # the last one shares its cell

    order = space_filling_order(points, seed=7)

    assert sorted(order) == list(range(61))
    assert order == space_filling_order(points, seed=7)
    assert order != space_filling_order(points, seed=8)


def test_every_beginning_covers_each_axis() -> None:
    points = list(cells([5, 5, 4]))
    for seed in range(20):
        first = [points[i] for i in space_filling_order(points, seed)[:20]]
        for axis, size in enumerate((5, 5, 4)):
            counts = [sum(point[axis] == value for point in first) for value in range(size)]

            # In nested-loop order the first 20 of 100 would all have the first value of the first axis.
            assert min(counts) >= 1, (seed, axis, counts)
            assert max(counts) <= 9
