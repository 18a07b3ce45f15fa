"""The final test in words and as a record: what may be compared with what, and what is not known."""

from pathlib import Path
from typing import Any

import pytest

from ksweep.analysis.final import FinalTest, Place, counterpart, final_text
from ksweep.analysis.findings import Findings, find
from ksweep.analysis.load import load_sweep
from ksweep.contract.atomic import read_json, to_json
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status
from tests.simulated import SweepMaker


def swept(path: Path, *values: float, **settings: Any) -> Findings:
    """A sweep of one setting, one seed for each value of test_acc."""
    maker = SweepMaker(path / "sweep", **settings)
    for seed, value in enumerate(values, 1):
        maker.add({"LR": "0.1", "SEED": str(seed)}, val_acc=0.9, test_acc=value, val_loss=0.3, test_loss=0.4)
    return find(maker.save())


def final_of(path: Path, sweep: Findings, *values: float | None) -> FinalTest:
    """With new runs; None for one that failed."""
    maker = SweepMaker(path / "final", objective="test_acc:max")
    for seed, value in enumerate(values, 11):
        if value is None:
            maker.add({"SEED": str(seed)}, status=Status.OOM, reason="out of\nmemory")
        else:
            maker.add({"SEED": str(seed)}, test_acc=value, test_loss=0.4)
    assert sweep.ranking.best
    return FinalTest(sweep.state, sweep.ranking.best, load_sweep(maker.save()))


@pytest.mark.parametrize(
    ("before", "new", "place", "words"),
    [
        ((0.90, 0.92, 0.94), (0.91, 0.92), Place.WITHIN, "lies in the 95% interval of the sweep's (87.03% to 96.97%)"),
        ((0.90, 0.91, 0.90), (0.97, 0.98), Place.ABOVE, "lies above the 95% interval of the sweep's (88.90% to 91.77%): better"),
        ((0.90, 0.91, 0.90), (0.81, 0.82), Place.BELOW, "lies below the 95% interval of the sweep's (88.90% to 91.77%): worse"),
        (
            (0.90,),
            (0.88, 0.90, 0.92),
            Place.WITHIN,
            "one run of it, hence no interval; its 90.00% lies within the range",
        ),
        ((0.70,), (0.88, 0.90, 0.92), Place.ABOVE, "its 70.00% lies outside the range of 95% of single runs like the new ones"),
        ((0.90,), (0.90,), Place.UNKNOWN, "cannot be said: no spread is known on either side"),
        ((0.90, 0.91), (None, None), Place.UNKNOWN, "cannot be said: there is no new value"),
    ],
)
def test_verdict_is_by_the_interval_of_the_sweep_or_the_spread_of_the_new_runs(tmp_path, before, new, place, words) -> None:
    test = final_of(tmp_path, swept(tmp_path, *before), *new)

    assert test.place == place
    assert words in " ".join(final_text(test).split())
    assert to_json(test.record())


def test_range_of_single_runs_is_the_prediction_interval(tmp_path: Path) -> None:
    """Mean 0.9, deviation 0.02, n 3: t(2) is 4.3027, so 0.9 +- 4.3027 * 0.02 * sqrt(4 / 3)."""
    test = final_of(tmp_path, swept(tmp_path, 0.9), 0.88, 0.90, 0.92)

    assert test.allowed == pytest.approx((0.9 - 0.099366, 0.9 + 0.099366), abs=1e-5)


def test_better_by_more_data_is_said_to_be_so(tmp_path: Path) -> None:
    test = final_of(tmp_path, swept(tmp_path, 0.9, 0.91, 0.9), 0.97, 0.98)
    for state, size in ((test.sweep, 300), (test.final, 400)):
        for run in state.runs:
            run.dir.result.write_text(to_json(read_json(run.dir.result) | {"effective": {"num_examples": {"train": size}}}))

    assert "33% more examples, and as many more steps in an epoch" in " ".join(final_text(test).split())


def test_smaller_is_better_of_a_loss(tmp_path: Path) -> None:
    sweep = swept(tmp_path, 0.9, 0.91, 0.9, objective="val_loss", direction="minimize")
    maker = SweepMaker(tmp_path / "final", objective="test_loss:min")
    for seed in ("4", "5"):
        maker.add({"SEED": seed}, test_loss=0.1, test_acc=0.9)
    assert sweep.ranking.best
    test = FinalTest(sweep.state, sweep.ranking.best, load_sweep(maker.save()))

    assert (test.metric, test.place) == ("test_loss", Place.BELOW)
    assert "(0.4 to 0.4): better." in final_text(test)


def test_runs_that_failed_come_first_and_are_no_numbers(tmp_path: Path) -> None:
    test = final_of(tmp_path, swept(tmp_path, 0.9, 0.91), 0.9, None, 0.92)
    text = final_text(test)

    assert text.startswith("1 OF 3 RUNS HAVE NO RESULT; the numbers are of the others.\n")
    assert text.endswith("\nconfig_002: oom: out of memory\n")
    assert (test.new.n, test.new.mean) == (2, pytest.approx(0.91))
    assert [run["test_acc"] for run in test.record()["runs"]] == [0.9, None, 0.92]
    assert [line.split()[:3] for line in text.splitlines() if line.endswith("  config_002")] == [["12", "-", "-"]]


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("val_acc", "test_acc:max"),
        ("val_loss:min", "test_loss:min"),
        ("1 - val_acc:min", "test_acc:max"),
        ("0.1 * val_loss:min", "test_loss:min"),
        ("val_loss:min, val_acc:max", "test_loss:min"),
        ("final_sparsity:max, val_acc:max", "test_acc:max"),
        ("test_acc:max", "test_acc:max"),
        ("test_acc - test_loss:max", "test_acc:max"),
    ],
)
def test_goal_stands_for_its_counterpart_on_the_test_part(tmp_path: Path, objective: str, expected: str) -> None:
    maker = SweepMaker(tmp_path / "sweep", objective=objective)
    maker.add({"LR": "1"}, val_acc=0.9, test_acc=0.9, val_loss=0.3, test_loss=0.4, final_sparsity=0.5)
    findings = find(maker.save())
    assert findings.ranking.best

    assert counterpart(findings, findings.ranking.best) == expected


def test_metric_that_not_all_of_the_best_runs_have_is_none(tmp_path: Path) -> None:
    maker = SweepMaker(tmp_path / "sweep")
    maker.add({"LR": "1", "SEED": "1"}, val_acc=0.9, test_acc=0.9)
    maker.add({"LR": "1", "SEED": "2"}, val_acc=0.9)
    findings = find(maker.save())
    assert findings.ranking.best

    with pytest.raises(RequestError, match="the goal val_acc has no counterpart on the test part"):
        counterpart(findings, findings.ranking.best)
