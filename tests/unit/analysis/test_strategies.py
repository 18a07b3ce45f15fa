"""Strategies compared: which report came when, what it spent, what had been found by then."""

import io
import json
import math

import pytest

from ksweep.analysis.strategies import Swept, compare_strategies, comparison_text, write_comparison
from ksweep.contract.outcome import Status

START = 1_700_000_000.0


def report(epoch, time_s, value, **more):
    return {"step": epoch, "epoch": epoch, "time_s": time_s, "val_acc": value, **more}


def journal(dir, *events):
    """Events as (time after START, event, config, attempt[, reason])."""
    keys = ("time", "event", "config", "attempt", "reason")
    lines = [dict(zip(keys, (START + time, *rest), strict=False)) for time, *rest in events]
    dir.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def compared(*sweeps, budget, unit="epoch"):
    """Sweeps as (strategy, seed, maker)."""
    swept = [Swept(strategy=strategy, seed=seed, dir=maker.save()) for strategy, seed, maker in sweeps]
    return compare_strategies(swept, name="demo", unit=unit, budget=budget)


def steps_of(maker, budget=100):
    ((trace,),) = (entrant.traces for entrant in compared(("tpe", 1, maker), budget=budget).entrants)
    return list(trace.steps)


@pytest.fixture
def one_run_each(make_sweep):
    """`one_run_each(name, values)`: a sweep of one run whose epochs have these values."""

    def make(name, *values, **settings):
        maker = make_sweep(name, **settings)
        maker.add({"X": "1"}, val_acc=values[-1], history=tuple(report(n, float(n), v) for n, v in enumerate(values, 1)))
        journal(maker.dir, (0, "run_started", "config_001", 1), (99, "run_ended", "config_001", 1))
        return maker

    return make


def test_reports_of_parallel_runs_are_taken_in_the_order_in_which_they_came(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.6, history=(report(1, 1.0, 0.5), report(2, 3.0, 0.6)))
    maker.add({"X": "2"}, val_acc=0.9, history=(report(1, 1.0, 0.55), report(2, 5.0, 0.9)))
    journal(maker.dir, (0, "run_started", "config_001", 1), (1.5, "run_started", "config_002", 1))

    assert steps_of(maker) == [(1, 0.5), (2, 0.55), (3, 0.6), (4, 0.9)]


def test_run_that_goes_on_reports_when_it_does_and_spends_only_what_is_new(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.8, history=(report(1, 0.3, 0.5), report(2, 0.35, 0.7), report(3, 0.6, 0.8)))
    maker.add({"X": "2"}, status=Status.PRUNED, history=(report(1, 0.3, 0.6),))
    journal(
        maker.dir,
        (0, "run_started", "config_001", 1),
        (0.4, "run_ended", "config_001", 1, "stopped at epoch 1 for now"),  # its next report has a time before this
        (10, "run_started", "config_002", 1),
        (11, "run_ended", "config_002", 1, "stopped at epoch 1 for now"),
        (20, "run_started", "config_001", 2),
        (21, "run_ended", "config_001", 2, ""),
    )

    assert steps_of(maker) == [(1, 0.5), (2, 0.6), (3, 0.7), (4, 0.8)]


@pytest.mark.parametrize(
    "second", [(report(2, 0.1, 0.7),), (report(1, 3.0, 0.5), report(2, 3.5, 0.7))], ids=["time-falls", "epoch-is-repeated"]
)
def test_epochs_of_a_killed_attempt_are_spent_once(make_sweep, second):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.7, history=(report(1, 1.0, 0.5), *second))
    maker.add({"X": "2"}, val_acc=0.6, history=(report(1, 1.0, 0.6),))
    journal(
        maker.dir,
        (0, "run_started", "config_001", 1),
        (5, "run_started", "config_002", 1),
        (9, "run_started", "config_001", 2),
    )

    assert steps_of(maker) == [(1, 0.5), (2, 0.6), (3, 0.7)]


def test_what_was_found_beyond_the_budget_does_not_count(one_run_each):
    maker = one_run_each("a", 0.5, 0.6, 0.7)
    (entrant,) = compared(("tpe", 1, maker), budget=2).entrants

    assert entrant.traces[0].steps == ((1, 0.5), (2, 0.6))
    assert entrant.traces[0].spent == 3
    assert entrant.at(2).mean == 0.6


def test_smaller_is_better_where_the_objective_is_minimized(one_run_each):
    maker = one_run_each("a", 0.9, 0.4, 0.6, direction="minimize")

    assert steps_of(maker) == [(1, 0.9), (2, 0.4)]


def test_runs_that_went_wrong_spend_but_are_never_best(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.DIVERGED, history=(report(1, 1.0, 0.99),))
    maker.add({"X": "2"}, val_acc=0.6, history=(report(1, 1.0, 0.6),))
    journal(maker.dir, (0, "run_started", "config_001", 1), (5, "run_started", "config_002", 1))

    assert steps_of(maker) == [(2, 0.6)]
    assert "tpe, seed 1: 1 run diverged" in comparison_text(compared(("tpe", 1, maker), budget=2))


def test_value_counts_only_where_the_constraints_hold(make_sweep):
    maker = make_sweep(constraints="train_loss < 1")
    history = (report(1, 1.0, 0.9, train_loss=2.0), report(2, 2.0, 0.8, train_loss=0.5), report(3, 3.0, 0.95))
    maker.add({"X": "1"}, status=Status.PRUNED, history=history)
    journal(maker.dir, (0, "run_started", "config_001", 1))

    assert steps_of(maker) == [(2, 0.8)]


def test_objective_of_the_end_of_a_run_counts_at_its_last_report(make_sweep):
    maker = make_sweep(objective="test_acc")
    maker.add({"X": "1"}, test_acc=0.7, history=(report(1, 1.0, 0.5), report(2, 2.0, 0.9)))
    journal(maker.dir, (0, "run_started", "config_001", 1))

    assert steps_of(maker) == [(2, 0.7)]


def test_mean_and_interval_are_those_of_the_seeds(one_run_each):
    sweeps = [("tpe", seed, one_run_each(f"s{seed}", value)) for seed, value in enumerate((0.5, 0.6, 0.7), 1)]
    (entrant,) = compared(*sweeps, budget=5).entrants

    at = entrant.at(5)
    assert (at.n, at.mean) == (3, pytest.approx(0.6))
    assert at.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_mean_begins_where_all_seeds_have_a_value(one_run_each):
    first, second = one_run_each("a", 0.5, 0.6), one_run_each("b", math.nan, 0.8)
    comparison = compared(("tpe", 1, first), ("tpe", 2, second), budget=8)
    (entrant,) = comparison.entrants

    assert entrant.mean_at(1) is None
    assert entrant.mean_at(2) == pytest.approx(0.7)
    assert entrant.at(1).n == 1
    assert entrant.at(0).mean is None


def test_epochs_until_the_mean_is_as_good_as_that_of_random_at_the_end(one_run_each):
    comparison = compared(
        ("random", 1, one_run_each("a", 0.5, 0.6, 0.7, 0.7)),
        ("tpe", 1, one_run_each("b", 0.5, 0.7, 0.8, 0.8)),
        ("gp", 1, one_run_each("c", 0.1, 0.1, 0.1, 0.1)),
        budget=4,
    )

    assert [entrant.name for entrant in comparison.entrants] == ["tpe", "random", "gp"]
    assert [comparison.reaches_baseline_at(entrant) for entrant in comparison.entrants] == [2, 3, None]


def test_text_has_best_so_far_at_shares_of_the_budget_and_shows_what_is_missing(one_run_each):
    comparison = compared(
        ("tpe", 1, one_run_each("a", math.nan, 0.5, 0.7, 0.8)),
        ("tpe", 2, one_run_each("b", 0.5, 0.5, 0.7, 0.9)),
        ("random", 1, one_run_each("c", math.nan, math.nan, math.nan, 0.4)),
        ("random", 2, one_run_each("d", math.nan, math.nan, math.nan)),
        budget=4,
    )
    lines = comparison_text(comparison).splitlines()
    tpe, random = (next(line.split() for line in lines if line.startswith(name)) for name in ("tpe ", "random "))

    assert tpe == ["tpe", "50.00%", "(n=1)", "50.00%", "±", "0.00%", "85.00%", "±", "7.07%", "2", "-"]
    assert random == ["random", "-", "-", "40.00%", "(n=1)", "2", "-"]
    assert "random, seed 2: spent 3 of 4 epochs; its best stands from there" in lines
    assert "random, seed 2: no value within the budget" in lines


def test_files_are_written_and_the_json_is_strict(one_run_each, tmp_path):
    from PIL import Image

    comparison = compared(("tpe", 1, one_run_each("a", 0.5, 0.7)), ("random", 1, one_run_each("b", math.nan, math.nan)), budget=2)
    text = write_comparison(comparison, tmp_path)
    record = json.loads((tmp_path / "strategies.json").read_text(), parse_constant=pytest.fail)

    assert (tmp_path / "strategies.txt").read_text() == text
    assert Image.open(io.BytesIO((tmp_path / "strategies.png").read_bytes())).size == (1350, 840)
    assert [entry["strategy"] for entry in record["strategies"]] == ["tpe", "random"]
    assert record["strategies"][0]["sweeps"][0]["best"] == [[1, 0.5], [2, 0.7]]
    assert record["strategies"][1]["best"]["100%"] == {
        "n": 0, "mean": None, "sd": None, "interval_95": None, "min": None, "max": None,
    }  # fmt: skip
