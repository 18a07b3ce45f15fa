"""Statistics on simulated sweeps whose truth is known: coverage of intervals, who is marked as tied, seeds that are needed."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ksweep.analysis.load import RunRecord, SweepState, settings_of
from ksweep.analysis.ranking import MANY_SEEDS, Spread, Verdict, holm, p_value, rank, seeds_to_separate, spread
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.objective import parse_objectives

REPEATS = 2000


def sweep_of(values):
    """A finished sweep whose setting i had `values[i, j]` as val_acc with seed j."""
    runs = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            label = f"config_{len(runs)}"
            point = PointRecord(config=label, id=label, run_dir=label, values={"X": str(i), "SEED": str(j)})
            result = Result(id=label, config=label, status=Status.PASSED, reason="", metrics={"val_acc": float(value)})
            runs.append(RunRecord(point=point, dir=RunDir(Path(label)), status=Status.PASSED, result=result))
    record = SweepRecord(
        name="", range_file=None, range_text="", axes=[], objective="val_acc", direction="maximize", strategy="grid",
        created_at=0.0, git={}, kconfig_hash="", counts={}, points=[run.point for run in runs],
    )  # fmt: skip
    objectives = parse_objectives("val_acc", "maximize")
    settings = settings_of(record.points)
    return SweepState(dir=SweepDir(Path()), record=record, objectives=objectives, runs=runs, settings=settings, runner=None)


def draw(rng, means, *, num_seeds, common, own):
    """val_acc of settings with these true means. Deviations: `common` of what all share of a seed, `own` of the rest."""
    shape = (len(means), num_seeds)
    return np.asarray(means)[:, None] + rng.normal(0, common, num_seeds)[None, :] + rng.normal(0, own, shape)


def test_intervals_cover_the_true_mean_and_the_truly_best_is_not_marked_behind():
    rng = np.random.default_rng(5)
    for means in (np.full(6, 0.9), 0.9 - np.array([0, 0.001, 0.02, 0.02, 0.05, 0.2])):
        covered, not_behind = np.zeros(len(means)), 0
        for _ in range(REPEATS // 4):
            ranking = rank(sweep_of(draw(rng, means, num_seeds=4, common=0.005, own=0.003)))
            for group in ranking.ranked:
                i = int(group.values["X"])
                covered[i] += abs(group.score.mean - means[i]) <= group.score.half_width
                not_behind += i == 0 and group.verdict in (Verdict.BEST, Verdict.TIED)
        assert 0.93 <= covered.mean() / (REPEATS // 4) <= 0.97
        assert not_behind / (REPEATS // 4) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("num_settings", [2, 6, 20])
@pytest.mark.parametrize("gap", [0.0, 0.001, 0.003, 0.02])
def test_the_same_over_2000_sweeps_of_many_shapes(num_seeds, num_settings, gap):
    rng = np.random.default_rng(7)
    means = 0.9 - gap * np.arange(num_settings)
    covered, not_behind = np.zeros(num_settings), 0
    for _ in range(REPEATS):
        ranking = rank(sweep_of(draw(rng, means, num_seeds=num_seeds, common=0.004, own=0.004)))
        for group in ranking.ranked:
            i = int(group.values["X"])
            covered[i] += abs(group.score.mean - means[i]) <= group.score.half_width
            not_behind += i == 0 and group.verdict in (Verdict.BEST, Verdict.TIED)
    print(f"coverage {covered.mean() / REPEATS:.4f} ({covered.min() / REPEATS:.4f} to {covered.max() / REPEATS:.4f}), "
          f"the best is marked tied or best: {not_behind / REPEATS:.4f}")  # fmt: skip
    assert covered.min() / REPEATS >= 0.93
    assert covered.max() / REPEATS <= 0.97
    assert not_behind / REPEATS >= 0.95


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(1)
    for n in (2, 3, 7, 30):
        differences = rng.normal(0.3, 1, n)

        assert p_value(spread(differences)) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5, 0.5, 0.5], None), ([0.0, 0.0], 1.0), ([0.1, 0.1], None), ([0.1], None), ([], None)],
    ids=["a spread of 0 and a mean", "equal on all seeds", "the same difference twice", "one seed", "none"],
)
def test_without_a_spread_there_is_no_p_value(values, expected):
    assert p_value(spread(values)) == expected


def test_holm_is_that_of_the_paper():
    # By hand: sorted .01 .02 .03 .04 times 4 3 2 1, and never falling.
    assert holm([0.04, None, 0.01, 0.03, 0.02]) == [pytest.approx(0.06), None, 0.04, pytest.approx(0.06), 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_with_many_settings_one_unlucky_comparison_is_no_verdict():
    values = np.full((30, 3), 0.5) + np.random.default_rng(3).normal(0, 0.01, (30, 3))

    assert Verdict.BEHIND not in {group.verdict for group in rank(sweep_of(values)).ranked}


def test_the_seeds_that_are_said_to_be_needed_are_enough_four_times_out_of_five():
    rng = np.random.default_rng(11)
    n = 4
    values = np.stack([0.9 + rng.normal(0, 0.01, n), 0.9 + rng.normal(0, 0.01, n)])
    ranking = rank(sweep_of(values))
    difference = ranking.ranked[1].difference
    more = seeds_to_separate(ranking)

    assert 0 < more < MANY_SEEDS
    for extra, least, most in ((more, 0.77, 1.0), (more // 2, 0.0, 0.75)):
        draws = rng.normal(difference.mean, difference.sd, (4000, n + extra))
        found = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
        assert least <= found <= most


def test_no_number_of_seeds_is_named_where_the_first_two_are_apart_or_nothing_is_known():
    apart = rank(sweep_of(np.array([[0.9, 0.91, 0.92], [0.5, 0.511, 0.519]])))
    single = rank(sweep_of(np.array([[0.9], [0.5]])))
    equal = rank(sweep_of(np.array([[0.9, 0.91], [0.9, 0.91]])))

    assert [seeds_to_separate(ranking) for ranking in (apart, single, equal)] == [None, None, None]


def test_differences_are_paired_by_seed_and_shown_with_the_group():
    best, other = rank(sweep_of(np.array([[0.90, 0.94, 0.98], [0.89, 0.93, 0.96]]))).ranked

    assert best.difference is None
    assert isinstance(other.difference, Spread)
    assert other.difference.mean == pytest.approx(-0.04 / 3)
    assert other.p_value == pytest.approx(stats.ttest_rel([0.90, 0.94, 0.98], [0.89, 0.93, 0.96]).pvalue)
