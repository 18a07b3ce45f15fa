"""Comparisons of times: real work for what they find, a clock of the test's own for how they measure."""

import gc
import math
import random

import pytest
import torch
from torch import nn

from ksweep.nn.timing import Comparison, CostModel, compare, median_interval, p10, seconds_of


class World:
    """A clock that only stands still or is moved: each call of a function takes what is set for it."""

    def __init__(self, first: float, second: float) -> None:
        self.time = 0.0
        self.takes = {"first": first, "second": second}
        self.calls = list[str]()

    def now(self) -> float:
        return self.time

    def call(self, name: str) -> None:
        self.calls.append(name)
        self.time += self.takes[name]

    def compare(self, num_pairs: int = 6, **options: float) -> Comparison:
        return compare(lambda: self.call("first"), lambda: self.call("second"), num_pairs=num_pairs, now=self.now, **options)


def test_real_work_of_a_thousandth_is_measured_as_faster() -> None:
    small, large = torch.rand(48, 48), torch.rand(480, 480)  # a thousandth of the work: other load cannot hide that
    found = compare(lambda: small @ small, lambda: large @ large, num_pairs=12, min_seconds=0.001)
    assert found.speedup > 3
    assert found.low <= found.speedup <= found.high
    assert found.seconds[0] < found.seconds[1]
    assert found.p10[0] <= found.seconds[0]
    assert (found.num_pairs, found.num_threads, found.device) == (12, 1, "cpu")


def test_speedup_is_how_much_faster_the_first_is() -> None:
    found = World(first=0.01, second=0.04).compare()
    assert found.speedup == found.low == found.high == pytest.approx(4.0)
    assert found.seconds == pytest.approx((0.01, 0.04))
    assert World(first=0.04, second=0.01).compare().speedup == pytest.approx(0.25)


def test_a_slow_time_of_the_machine_hits_both_of_a_pair_and_not_the_ratio() -> None:
    world, chance = World(first=0.01, second=0.02), random.Random(0)

    def call(name: str) -> None:
        world.time += world.takes[name] * (1 + 9 * (int(world.time * 4) % 2))  # ten times slower, a quarter of a second long
        world.time += chance.random() * 1e-4

    found = compare(lambda: call("first"), lambda: call("second"), num_pairs=60, now=world.now)
    assert found.speedup == pytest.approx(2.0, rel=0.02)
    assert found.low > 1.5


def test_the_two_are_measured_in_turns_and_every_other_pair_in_the_other_order() -> None:
    world = World(first=0.01, second=0.01)
    world.compare(num_pairs=6, warmup=0)
    assert (
        world.calls[2:] == ["first", "second", "second", "first"] * 3
    )  # before: one call each, to see that it takes long enough


def test_short_functions_are_called_until_a_measurement_is_long_enough_and_long_ones_once() -> None:
    world = World(first=1e-5, second=0.5)
    found = world.compare(num_pairs=6, min_seconds=0.002, warmup=2)
    assert found.seconds == pytest.approx((1e-5, 0.5))
    assert world.calls.count("second") == 2 + 1 + 6
    per_measurement = (world.calls.count("first") - 2) / 6
    assert 200 <= per_measurement < 300


def test_threads_and_the_garbage_collector_are_as_before_whatever_happens() -> None:
    former = torch.get_num_threads()
    seen = list[tuple[int, bool]]()

    def fail() -> None:
        seen.append((torch.get_num_threads(), gc.isenabled()))
        if len(seen) == 3:
            raise RuntimeError("in the middle")

    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="in the middle"):
            compare(fail, fail, num_pairs=6, num_threads=1)
        assert set(seen) == {(1, False)}
        assert (torch.get_num_threads(), gc.isenabled()) == (2, True)
        assert compare(lambda: None, lambda: None, num_pairs=6, min_seconds=1e-6, num_threads=None).num_threads == 2
        gc.disable()
        World(0.01, 0.01).compare()
        assert not gc.isenabled()
    finally:
        gc.enable()
        torch.set_num_threads(former)


def test_too_few_pairs_for_an_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="num_pairs: found 5, allowed: 6 or more, or there is no interval of 95%"):
        World(0.01, 0.01).compare(num_pairs=5)


@pytest.mark.parametrize(("num_values", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6), (31, 10), (100, 40)])
def test_the_interval_of_the_median_is_that_of_the_tables_of_the_sign_test(num_values: int, rank: int) -> None:
    values = [float(value) for value in range(1, num_values + 1)]
    random.Random(0).shuffle(values)
    assert median_interval(values) == (rank, num_values + 1 - rank)


def test_with_fewer_than_six_values_there_is_no_interval() -> None:
    assert median_interval([1.0] * 5) == (-math.inf, math.inf)


def test_the_interval_covers_the_median_of_a_skewed_distribution_as_often_as_it_says() -> None:
    chance, median = random.Random(1), math.log(2)
    intervals = [median_interval([chance.expovariate(1.0) for _ in range(25)]) for _ in range(2000)]
    covered = sum(low <= median <= high for low, high in intervals) / len(intervals)
    assert 0.945 < covered < 0.975


def test_the_tenth_percentile_lies_between_its_neighbours() -> None:
    assert p10([float(value) for value in range(11)]) == 1.0
    assert p10([2.0, 1.0]) == pytest.approx(1.1)
    assert p10([3.0]) == 3.0


def test_the_cost_model_measures_each_kind_and_size_once_and_larger_layers_as_slower() -> None:
    costs = CostModel()
    small, large, x = nn.Linear(64, 64), nn.Linear(64, 4096), torch.rand(32, 64)
    large.train()
    assert costs.seconds(small, x) == costs.seconds(nn.Linear(64, 64), torch.rand(32, 64))
    assert len(costs) == 1
    assert costs.seconds(large, x) > costs.seconds(small, x)
    assert large.training
    for other in (torch.rand(33, 64), torch.rand(32, 1, 64)):
        costs.seconds(small, other)
    assert len(costs) == 4
    costs.seconds(nn.Linear(64, 64, bias=False), x)
    costs.seconds(nn.Conv2d(1, 1, 3, stride=1), torch.rand(1, 1, 9, 9))
    costs.seconds(nn.Conv2d(1, 1, 3, stride=2), torch.rand(1, 1, 9, 9))
    assert len(costs) == 7


def test_the_cost_model_calls_attention_with_its_input_three_times_and_knows_its_heads_and_layout() -> None:
    costs = CostModel()
    for heads, batch_first in ((2, True), (2, True), (4, True), (4, False)):
        assert costs.seconds(nn.MultiheadAttention(16, heads, batch_first=batch_first), torch.rand(2, 5, 16)) > 0
    assert len(costs) == 3


def test_the_time_of_one_call_is_a_plausible_number_of_seconds() -> None:
    matrix = torch.rand(256, 256)
    assert 1e-6 < seconds_of(lambda: matrix @ matrix) < 1.0
