"""The arithmetic of rungs: the papers' tables, and what floats got wrong."""

import pytest

from ksweep.search.rungs import (
    Bracket,
    asha_rungs,
    cost,
    cut,
    generation_ends,
    halving_bracket,
    hyperband_brackets,
    num_halvings,
    rung_table,
    value_at,
)


def pairs(bracket: Bracket) -> list[tuple[int, int]]:
    return [(rung.num_points, rung.resource) for rung in bracket]


def test_hyperband_has_the_brackets_of_the_papers_table_1() -> None:
    assert [pairs(bracket) for bracket in hyperband_brackets(1, 81, 3)] == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


@pytest.mark.parametrize(
    ("min_resource", "max_resource", "eta", "count"),
    [(1, 243, 3, 6), (1, 242, 3, 5), (1, 1000, 10, 4), (1, 3**20, 3, 21), (2, 9, 3, 2), (4, 9, 3, 1)],
)
def test_brackets_are_counted_in_integers(min_resource: int, max_resource: int, eta: int, count: int) -> None:
    brackets = hyperband_brackets(min_resource, max_resource, eta)

    assert len(brackets) == count == num_halvings(min_resource, max_resource, eta) + 1
    assert brackets[0][0].resource >= min_resource


@pytest.mark.parametrize(
    ("num_points", "max_resource", "expected"),
    [
        pytest.param(9, 9, [(9, 1), (3, 3), (1, 9)], id="nine"),
        pytest.param(9, 243, [(9, 27), (3, 81), (1, 243)], id="anchored at R"),
        pytest.param(10, 10, [(10, 1), (3, 3), (1, 10)], id="rounded down"),
        pytest.param(100, 9, [(100, 1), (33, 3), (11, 9)], id="no room for more rungs"),
    ],
)
def test_halving_divides_down_to_one(num_points: int, max_resource: int, expected: list[tuple[int, int]]) -> None:
    assert pairs(halving_bracket(num_points, 1, max_resource, 3)) == expected


@pytest.mark.parametrize(
    ("min_resource", "max_resource", "eta", "rungs"),
    [(1, 27, 3, (1, 3, 9, 27)), (1, 8, 3, (1, 3, 8)), (2, 100, 4, (2, 8, 32, 100)), (5, 5, 3, (5,))],
)
def test_asha_rungs_begin_at_min_and_end_at_r(min_resource: int, max_resource: int, eta: int, rungs: tuple[int, ...]) -> None:
    assert asha_rungs(min_resource, max_resource, eta) == rungs


def test_a_cut_bracket_keeps_its_rungs_and_at_least_one_point() -> None:
    bracket = hyperband_brackets(1, 9, 3)[0]

    assert pairs(cut(bracket, 4, 3)) == [(4, 1), (1, 3), (1, 9)]


@pytest.mark.parametrize(("interval", "ends"), [(3, (3, 6, 9)), (4, (4, 8, 9)), (9, (9,))])
def test_generations_end_at_r(interval: int, ends: tuple[int, ...]) -> None:
    assert generation_ends(interval, 9) == ends


def test_a_missing_report_is_the_newest_before_it() -> None:
    curve = {2: 0.2, 4: 0.4}

    assert [value_at(curve, resource) for resource in (1, 2, 3, 4, 9)] == [None, 0.2, 0.2, 0.4, 0.4]


def test_a_run_that_goes_on_is_paid_for_what_is_new() -> None:
    assert cost(halving_bracket(9, 1, 9, 3)) == 9 * 1 + 3 * 2 + 1 * 6


def test_table_tells_rungs_points_and_what_it_costs() -> None:
    assert rung_table("halving:", [halving_bracket(9, 1, 9, 3)], "epoch").splitlines() == [
        "halving:",
        "  rung 1 of 3:     9 to epoch 1",
        "  rung 2 of 3:     3 to epoch 3",
        "  rung 3 of 3:     1 to epoch 9",
        "  21 epochs, 25.9% of the 81 of 9 complete runs",
    ]
