"""Which values a parameter may take: counted, listed and judged when they are written."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from ksweep.tuner.specs import Categorical, Float, Int, Spec, to_spec


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (Int(8, 32, step=8), [8, 16, 24, 32]),
        (Int(8, 30, step=8), [8, 16, 24]),
        (Int(3, 3), [3]),
        (Int(-1, 1), [-1, 0, 1]),
        (Int(2, 5, log=True), [2, 3, 4, 5]),
        (Float(0.1, 0.5, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (Float(0, 1, step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (Float(1e-7, 3e-7, step=1e-7), [1e-7, 2e-7, 3e-7]),
        (Float(0.25, 0.25), [0.25]),
        (Categorical([4, 1, "relu", 0.5]), [4, 1, "relu", 0.5]),
        (Categorical(range(1, 4)), [1, 2, 3]),
    ],
    ids=repr,
)
def test_values_are_all_of_them_in_order_and_as_written(spec: Spec, values: list[object]) -> None:
    assert spec.values() == values
    assert spec.num_values == len(values)


def test_each_tenth_below_100_is_the_float_that_the_literal_is() -> None:
    values = Float(0.0, 100.0, step=0.1).values()

    assert values == [float(f"{whole}.{tenth}") for whole, tenth in itertools.product(range(100), range(10))] + [100.0]


@pytest.mark.parametrize("spec", [Float(0.1, 0.5), Float(1e-5, 1e-1, log=True)], ids=repr)
def test_a_real_range_without_a_step_has_no_list_of_values(spec: Float) -> None:
    assert spec.values() is None
    assert spec.num_values is None


def test_a_vast_range_is_counted_without_a_list_of_it() -> None:
    assert Int(1, 10**15).num_values == 10**15
    assert Float(0.0, 1e9, step=1e-6).num_values == 10**15 + 1


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (lambda: Categorical([]), "no choices"),
        (lambda: Categorical("relu"), "found 'relu', allowed: a list of values"),
        (lambda: Categorical(7), "found 7, allowed: a list of values"),
        (lambda: Categorical({8, 16}), "allowed: a list of values"),
        (lambda: Categorical({"a": 1}), "allowed: a list of values"),
        (lambda: Categorical([1, 2, 1]), "1 stands twice in [1, 2, 1]"),
        (lambda: Categorical([1, 1.0]), "1.0 stands twice"),
        (lambda: Categorical([1, "1"]), "'1' stands twice"),
        (lambda: Categorical([None]), "found None"),
        (lambda: Categorical([[1]]), "found [1]"),
        (lambda: Categorical([float("nan")]), "found nan"),
        (lambda: Int(9, 8), "Int(9, 8): runs backwards; the lower end, 8, comes first"),
        (lambda: Int(1.0, 8), "low: found 1.0, allowed: a whole number"),
        (lambda: Int(1, True), "high: found True"),
        (lambda: Int(1, 8, 0), "step: found 0, allowed: 1 and above"),
        (lambda: Int(1, 8, -1), "step: found -1"),
        (lambda: Int(0, 8, log=True), "found low=0, allowed: 1 and above"),
        (lambda: Int(8, 64, step=8, log=True), "Int(8, 64, step=8, log=True): log and a step exclude each other"),
        (lambda: Int(1, 8, log="yes"), "log: found 'yes'"),
        (lambda: Float(1.0, 0.5), "Float(1.0, 0.5): runs backwards; the lower end, 0.5, comes first"),
        (lambda: Float(0, float("inf")), "high: found inf, allowed: a finite number"),
        (lambda: Float("0", 1), "low: found '0'"),
        (lambda: Float(0.0, 1.0, step=0.0), "step: found 0.0, allowed: above 0"),
        (lambda: Float(0.0, 1.0, log=True), "found low=0.0, allowed: above 0"),
        (lambda: Float(0.1, 1.0, step=0.1, log=True), "log and a step exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(define: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        define()
    assert words in str(refusal.value)


def test_repr_is_what_one_would_write() -> None:
    specs = [Int(8, 128, step=8), Int(1, 4), Int(1, 512, log=True), Float(0.1, 0.5, step=0.1), Float(0.1, 1.0, log=True)]
    specs.append(Categorical(("a", 2)))

    assert repr(specs) == (
        "[Int(8, 128, step=8), Int(1, 4), Int(1, 512, log=True), Float(0.1, 0.5, step=0.1), Float(0.1, 1.0, log=True),"
        " Categorical(['a', 2])]"
    )
    assert [eval(repr(spec)) for spec in specs] == specs


def test_equal_is_what_allows_the_same_values_in_the_same_way() -> None:
    assert Categorical([1, 2]) == Categorical((1, 2)) == to_spec([1, 2])
    assert Categorical([1, 2]) != Categorical([2, 1])
    assert Int(1, 2) != Categorical([1, 2])
    assert Int(1, 2) != Int(1, 2, log=True)


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ([1, 2, 3], Categorical([1, 2, 3])),
        ((8, 16), Categorical([8, 16])),
        (range(8, 25, 8), Categorical([8, 16, 24])),
        (64, Categorical([64])),
        (0.5, Categorical([0.5])),
        ("relu", Categorical(["relu"])),
        (Int(1, 3), Int(1, 3)),
    ],
    ids=repr,
)
def test_a_list_or_a_plain_value_becomes_choices(value: object, spec: Spec) -> None:
    assert to_spec(value) == spec


def test_numbers_of_numpy_become_pythons_own() -> None:
    choices = Categorical(np.array([8, 16])).values() + Categorical([np.float64(0.5)]).values()

    assert [type(choice) for choice in choices] == [int, int, float]
    assert type(Int(np.int64(1), np.int64(3)).low) is int


@pytest.mark.parametrize("value", [None, {1, 2}, {"low": 1}, object, float("nan")], ids=str)
def test_what_is_neither_spec_nor_list_nor_value_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"found .*, allowed"):
        to_spec(value)
