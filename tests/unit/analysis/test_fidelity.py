import random

import pytest
from scipy.stats import spearmanr

from ksweep.analysis.fidelity import rank_correlations, spearman
from ksweep.analysis.findings import find
from ksweep.analysis.text import analysis_text
from ksweep.contract.outcome import Status
from tests.simulated import simulate

AXES = {"A": [str(value) for value in range(12)]}


def test_spearman_is_scipys_with_and_without_ties():
    draw = random.Random(1)
    for num_values in (3, 1000):
        one, other = ([draw.randrange(num_values) for _ in range(40)] for _ in range(2))

        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_spearman_of_what_never_changes_is_not_known():
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_rank_correlations_are_of_a_few_epochs_with_the_whole_run(tmp_path):
    def turns(values, seed, epoch):  # what is best in the end is worst at first, and in the middle there is no order
        return {"val_loss": (float(values["A"]) - 5.5) * (6 - epoch)}

    dir = simulate(tmp_path / "s", AXES, turns, epochs=12, objective="val_loss", direction="minimize")

    found = rank_correlations(find(dir))

    assert [(at.epoch, at.num_runs) for at in found] == [(1, 12), (3, 12)]  # after 6, all are the same
    assert [at.correlation for at in found] == [pytest.approx(-1)] * 2
    assert [at.place_of_best for at in found] == [12, 12]


def test_only_runs_that_passed_and_went_on_are_compared(make_sweep):
    maker = make_sweep()
    for number in range(9):
        score = number / 10
        curve = [{"step": epoch, "epoch": epoch, "val_acc": score} for epoch in range(1, 3 if number == 8 else 9)]
        status = Status.PRUNED if number == 7 else Status.PASSED
        maker.add({"A": str(number)}, status=status, history=curve, **({} if number == 7 else {"val_acc": score}))

    found = find(maker.save())

    assert [(at.epoch, at.num_runs) for at in rank_correlations(found)] == [(1, 8), (2, 7), (4, 7)]
    text = analysis_text(found)
    assert "val_acc AFTER A FEW EPOCHS, AGAINST THE WHOLE RUN:" in text
    assert "Runs that were stopped early are not among them" in text


def test_the_interval_is_that_of_bonett_and_wright(tmp_path):
    def noisy(values, seed, epoch):
        return {"val_acc": float(values["A"]) + random.Random(f"{values}{epoch}").gauss(0, 5)}

    at = rank_correlations(find(simulate(tmp_path / "s", AXES, noisy)))[0]

    assert (at.num_runs, at.correlation) == (12, pytest.approx(0.5804, abs=1e-4))
    assert (at.low, at.high) == (pytest.approx(-0.0430, abs=1e-3), pytest.approx(0.8786, abs=1e-3))  # by hand


def test_where_epochs_are_not_told_there_is_nothing_to_say(make_sweep):
    maker = make_sweep(objective="test_acc")
    for number in range(6):
        maker.add({"A": str(number)}, history=[{"step": 1, "val_acc": 0.1}], val_acc=0.1, test_acc=number / 10)

    found = find(maker.save())

    assert rank_correlations(found) == []
    assert "AFTER A FEW EPOCHS" not in analysis_text(found)
