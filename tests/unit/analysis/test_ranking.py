import math

import pytest
from scipy import stats

from ksweep.analysis.load import load_sweep
from ksweep.analysis.ranking import Verdict, rank, spread, t_quantile
from ksweep.contract.outcome import Status


def ranking_of(maker):
    return rank(load_sweep(maker.save()))


def add_setting(maker, name, scores):
    for seed, score in enumerate(scores, 1):
        maker.add({"X": name, "SEED": str(seed)}, val_acc=score)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 30, 99, 998])
def test_t_quantile_agrees_with_scipy(df):
    assert t_quantile(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def test_spread_is_sample_deviation_and_t_interval():
    found = spread([0.90, 0.92, 0.94, None])

    assert (found.n, found.minimum, found.maximum) == (3, 0.90, 0.94)
    assert found.mean == pytest.approx(0.92)
    assert found.sd == pytest.approx(0.02)
    assert found.half_width == pytest.approx(4.302652729911275 * 0.02 / math.sqrt(3))


def test_spread_of_one_value_is_unknown_and_of_none_is_missing():
    assert (spread([0.5]).mean, spread([0.5]).sd, spread([0.5]).half_width) == (0.5, None, None)
    assert (spread([]).n, spread([]).mean) == (0, None)


def test_runaway_values_are_no_reason_to_crash():
    assert spread([1.7e308, 1.7e308]).mean == 1.7e308


def test_points_that_differ_only_in_seed_are_one_setting(two_settings):
    ranking = ranking_of(two_settings)

    assert [(group.values, group.rank, group.score.n) for group in ranking.ranked] == [
        ({"LEARNING_RATE": "0.1"}, 1, 3),
        ({"LEARNING_RATE": "0.01"}, 2, 3),
    ]
    assert ranking.columns == ["LEARNING_RATE"]
    assert ranking.best.over("test_acc").mean == pytest.approx(0.96)


def test_configs_without_known_values_are_not_taken_for_repeats(make_sweep):
    maker = make_sweep()
    maker.add(val_acc=0.9)
    maker.add(val_acc=0.8)

    assert [group.score.n for group in ranking_of(maker).ranked] == [1, 1]


def test_smaller_is_better_when_minimizing(make_sweep):
    maker = make_sweep(objective="val_loss", direction="minimize")
    for name, loss in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        maker.add({"X": name}, val_loss=loss)

    assert [group.values["X"] for group in ranking_of(maker).ranked] == ["b", "c", "a"]


def test_failed_runs_and_missing_or_nan_objectives_never_rank(make_sweep):
    maker = make_sweep()
    maker.add({"X": "good"}, val_acc=0.5)
    maker.add({"X": "oom"}, status=Status.OOM, val_acc=0.99)
    maker.add({"X": "pruned"}, status=Status.PRUNED, val_acc=0.99)
    maker.add({"X": "nan"}, val_acc=math.nan)
    maker.add({"X": "missing"}, test_acc=0.99)
    maker.add({"X": "planned"}, status=Status.PLANNED)

    ranking = ranking_of(maker)

    assert [group.values["X"] for group in ranking.ranked] == ["good"]
    assert [group.values["X"] for group in ranking.unranked] == ["oom", "pruned", "nan", "missing", "planned"]


def test_a_failed_seed_lowers_n_and_not_the_mean(make_sweep):
    maker = make_sweep()
    maker.add({"SEED": "1"}, val_acc=0.9)
    maker.add({"SEED": "2"}, status=Status.DIVERGED)
    maker.add({"SEED": "3"}, val_acc=0.8)

    (group,) = ranking_of(maker).ranked

    assert (group.score.n, len(group.runs)) == (2, 3)
    assert group.score.mean == pytest.approx(0.85)


def test_pairing_finds_a_difference_that_the_spread_over_seeds_hides(make_sweep):
    maker = make_sweep()
    add_setting(maker, "good", [0.90, 0.94, 0.98])
    add_setting(maker, "always 1 point less", [0.889, 0.930, 0.971])

    best, other = ranking_of(maker).ranked

    assert best.score.mean - best.score.half_width < other.score.mean  # their own intervals overlap
    assert (best.verdict, other.verdict) == (Verdict.BEST, Verdict.BEHIND)


def test_a_difference_within_noise_is_a_tie(make_sweep):
    maker = make_sweep()
    add_setting(maker, "good", [0.90, 0.94, 0.98])
    add_setting(maker, "now better, now worse", [0.97, 0.89, 0.94])

    assert [group.verdict for group in ranking_of(maker).ranked] == [Verdict.BEST, Verdict.TIED]


def test_with_one_seed_in_common_no_verdict_is_given(make_sweep):
    maker = make_sweep()
    add_setting(maker, "good", [0.90, 0.94])
    add_setting(maker, "one seed", [0.10])

    assert [group.verdict for group in ranking_of(maker).ranked] == [Verdict.BEST, Verdict.UNKNOWN]


def test_the_same_difference_on_two_seeds_is_not_certainty(make_sweep):
    maker = make_sweep()
    add_setting(maker, "good", [0.9861, 0.9916])
    add_setting(maker, "one example less, twice", [0.9861 - 1 / 359, 0.9916 - 1 / 359])
    add_setting(maker, "the same", [0.9861, 0.9916])

    assert [group.verdict for group in ranking_of(maker).ranked] == [Verdict.BEST, Verdict.TIED, Verdict.UNKNOWN]


def test_equal_means_share_a_rank_in_plan_order(make_sweep):
    maker = make_sweep()
    for name, score in (("a", 0.5), ("b", 0.9), ("c", 0.9), ("d", 0.7)):
        maker.add({"X": name}, val_acc=score)

    assert [(group.values["X"], group.rank) for group in ranking_of(maker).ranked] == [("b", 1), ("c", 1), ("d", 3), ("a", 4)]


def test_without_an_objective_nothing_is_ranked(make_sweep):
    maker = make_sweep(objective="")
    maker.add({"X": "a"}, val_acc=0.5)

    ranking = ranking_of(maker)

    assert (ranking.ranked, ranking.best, len(ranking.unranked)) == ([], None, 1)


def test_points_of_an_older_plan_are_left_out(make_sweep):
    maker = make_sweep()
    maker.add({"X": "a"}, val_acc=0.5)
    maker.add({"X": "old"}, val_acc=0.9)
    maker.points[1] = type(maker.points[1])(**{**vars(maker.points[1]), "is_active": False})

    assert [group.values["X"] for group in ranking_of(maker).ranked] == ["a"]
