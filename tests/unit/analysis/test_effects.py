import itertools
import random

import numpy as np
import optuna
import pytest
from optuna.importance._fanova._tree import _FanovaTree
from sklearn.tree import DecisionTreeRegressor

from ksweep.analysis.effects import Effects
from ksweep.analysis.findings import find
from ksweep.analysis.importance import _tree_shares
from ksweep.analysis.text import analysis_text
from ksweep.contract.outcome import Status
from tests.simulated import simulate

AB = {"A": ["0", "1", "2"], "B": ["0", "1"]}


def effects_of(path, axes, goal, **settings):
    """Of a simulated grid whose only metric is `goal(values, seed)`."""
    numbers = {"epochs": 1, **settings}
    return find(simulate(path, axes, lambda values, seed, _: {"val_acc": goal(values, seed)}, **numbers)).effects


def searched(make_sweep, points, *, axes=(), strategy="random", **settings):
    """Of points (values, val_acc or a status)."""
    maker = make_sweep(axes=list(axes), strategy=strategy, **settings)
    for values, how in points:
        if isinstance(how, Status):
            maker.add(values, status=how, reason="on purpose")
        else:
            maker.add(values, val_acc=how)
    return find(maker.save())


def product_of(values, seed=1):
    return (float(values["A"]) - 1) * (float(values["B"]) - 0.5)


def sum_of(values, seed=1):
    return float(values["A"]) + float(values["B"])


def noise_of(values, seed):
    return random.Random(f"{values} {seed}").gauss(0, 1)


# Main effects


def test_a_level_has_the_mean_of_its_settings_whatever_the_number_of_their_seeds(make_sweep):
    points = [({"A": "0", "B": "0", "SEED": str(seed)}, 1.0) for seed in range(9)]
    points += [({"A": "0", "B": "1", "SEED": "1"}, 2.0), ({"A": "1", "B": "0", "SEED": "1"}, 5.0)]

    level = searched(make_sweep, points, strategy="grid").effects.main[0].levels[0]

    assert (level.num_settings, level.num_runs) == (2, 10)
    assert level.goal.mean == 1.5
    assert level.goal.half_width == pytest.approx(12.706 * 0.5, rel=1e-3)  # t at 1 degree of freedom, sd of the mean 0.5


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_effect_is_the_difference_with_all_else_equal_above_0_where_the_goal_is_better(tmp_path, direction, sign):
    found = effects_of(tmp_path / "s", AB, lambda values, _: sum_of(values) ** 2, direction=direction)

    first = found.main[0].levels[2]  # A=2: 4 - mean(0, 1) at B=0; 9 - mean(1, 4) at B=1
    assert first.effect.n == 2
    assert first.effect.mean == pytest.approx(sign * (3.5 + 6.5) / 2)
    assert first.effect.half_width == pytest.approx(12.706 * 1.5, rel=1e-3)
    assert [level.value for level in found.main[0].levels] == ["0", "1", "2"]


def test_effect_is_not_misled_by_values_that_were_tried_in_better_company(make_sweep):
    # B alone matters (by 10), and A=1 was mostly tried where it is good: the means mislead, the effect does not.
    points = [({"A": a, "B": b, "C": c}, 10.0 * int(b)) for a, b, c in [
        ("0", "0", "0"), ("0", "0", "1"), ("0", "0", "2"), ("0", "1", "0"), ("1", "1", "0"), ("1", "1", "1"), ("1", "0", "0"),
    ]]  # fmt: skip

    low, high = searched(make_sweep, points).effects.main[0].levels

    assert high.goal.mean - low.goal.mean > 4
    assert high.effect.mean == low.effect.mean == 0
    assert high.effect.n == 2


def test_what_failed_is_no_number_and_its_value_is_shown_as_missing(tmp_path):
    found = effects_of(tmp_path / "s", AB, sum_of, status=lambda values, _: Status.OOM if values["A"] == "2" else Status.PASSED)

    level = found.main[0].levels[2]
    assert (level.value, level.num_settings, level.num_runs, level.goal.mean, level.effect) == ("2", 0, 0, None, None)
    assert "at A=2 all 2 runs failed: it has no mean" in found.warnings


def test_conditional_axis_is_of_those_that_have_it_and_averaged_over_where_it_is_decided(make_sweep):
    axes = [
        {"symbols": ["OPTIMIZER"], "values": [["sgd"], ["adam"]]},
        {"symbols": ["MOMENTUM"], "values": [["0.8"], ["0.9"]]},
        {"symbols": ["LR"], "values": [["0.1"], ["0.2"]]},
    ]
    points = []
    for rate in ("0.1", "0.2"):
        points += [({"OPTIMIZER": "sgd", "MOMENTUM": m, "LR": rate}, float(rate) + float(m)) for m in ("0.8", "0.9")]
        points += [({"OPTIMIZER": "adam", "LR": rate}, float(rate) + 1)]

    optimizer, momentum, rate = searched(make_sweep, points, axes=axes, strategy="grid").effects.main

    assert [effect.is_active_everywhere for effect in (optimizer, momentum, rate)] == [True, False, True]
    assert [level.num_settings for level in momentum.levels] == [2, 2]
    assert optimizer.levels[1].effect.mean == pytest.approx(1 - 0.85)
    assert optimizer.levels[1].effect.n == 2
    assert momentum.levels[1].effect.mean == pytest.approx(0.1)
    assert rate.levels[1].effect.n == 3  # momentum 0.8, 0.9 and none


@pytest.mark.parametrize("sampled", ["loguniform(1e-5, 1e-1)", ""], ids=["sampled", "more than 8 values"])
def test_many_numbers_are_put_into_bins_of_about_as_many_settings(make_sweep, sampled):
    draw = random.Random(1)
    rates = [f"{10 ** draw.uniform(-5, -1):.6g}" for _ in range(41)]
    entry = (
        {"symbols": ["LR"], "values": [], "sampled": sampled} if sampled else {"symbols": ["LR"], "values": [[r] for r in rates]}
    )

    (effect,) = searched(make_sweep, [({"LR": rate}, 1.0 + i) for i, rate in enumerate(rates)], axes=[entry]).effects.main

    ordered = sorted(rates, key=float)
    assert len(effect.levels) == 5
    assert all(8 <= level.num_settings <= 9 for level in effect.levels)
    assert effect.levels[0].value == f"{float(ordered[0]):.2g} to {float(ordered[7]):.2g}"


def test_ten_values_of_a_grid_are_told_one_by_one(tmp_path):
    axes = {"A": [str(i) for i in range(10)], "B": list("abcd")}

    found = effects_of(tmp_path / "s", axes, lambda values, seed: float(values["A"])).main[0]

    assert [(level.value, level.num_settings, level.goal.mean) for level in found.levels] == [
        (str(i), 4, float(i)) for i in range(10)
    ]


def test_equal_numbers_stay_in_one_bin(make_sweep):
    axes = [{"symbols": ["N"], "values": [], "sampled": "int(1, 100)"}]
    points = [({"N": "7", "B": str(i)}, float(i)) for i in range(30)] + [({"N": str(i)}, 1.0) for i in range(8, 15)]

    effect = searched(make_sweep, points, axes=axes).effects.main[0]

    assert effect.levels[0].value == "7"
    assert effect.levels[0].num_settings == 30
    assert sum(level.num_settings for level in effect.levels) == 37


def test_paired_symbols_are_one_axis_and_that_is_said(make_sweep):
    axes = [{"symbols": ["W", "D"], "values": [["1", "2"], ["3", "4"]]}]

    found = searched(make_sweep, [({"W": "1", "D": "2"}, 1.0), ({"W": "3", "D": "4"}, 2.0)], axes=axes, strategy="grid").effects

    assert [(effect.symbol, [level.value for level in effect.levels]) for effect in found.main] == [("W,D", ["1, 2", "3, 4"])]
    assert any(line.startswith("W and D are paired in the range file") for line in found.warnings)


# Interactions


def test_a_sum_has_no_interaction_and_a_product_around_0_nothing_else(tmp_path):
    (added,) = effects_of(tmp_path / "a", AB, sum_of).interactions
    (multiplied,) = effects_of(tmp_path / "m", AB, product_of).interactions

    assert added.share == pytest.approx(0, abs=1e-20)
    assert added.departure == pytest.approx(0, abs=1e-12)
    assert multiplied.share == pytest.approx(1)
    assert multiplied.departure == pytest.approx(np.sqrt(2 / 3) / 2)
    assert multiplied.cells["2", "1"].mean == pytest.approx(0.5)


def test_interaction_share_is_what_a_least_squares_fit_of_the_sum_leaves(tmp_path):
    table = np.random.default_rng(1).normal(size=(4, 3))
    axes = {"A": list("0123"), "B": list("012")}
    rows = [(a, b) for a in range(4) for b in range(3)]
    terms = np.array([[float(a == i) for i in range(4)] + [float(b == j) for j in range(3)] for a, b in rows])
    goals = np.array([table[row] for row in rows])
    rest = goals - terms @ np.linalg.lstsq(terms, goals, rcond=None)[0]

    (pair,) = effects_of(tmp_path / "s", axes, lambda values, _: float(table[int(values["A"]), int(values["B"])])).interactions

    assert pair.share == pytest.approx(rest.var() / goals.var())


def test_the_share_that_noise_gives_by_chance_is_told(tmp_path):
    axes = {"A": list("01234567"), "B": list("01234567")}

    (noise,) = effects_of(tmp_path / "n", axes, noise_of, seeds=3).interactions
    (alone,) = effects_of(tmp_path / "o", axes, noise_of).interactions

    assert noise.share == pytest.approx(noise.chance, rel=0.4)  # a chi-square of 49 degrees: 20 % of spread
    assert noise.share > 0.5
    assert alone.chance is None


def test_of_two_pairs_the_one_beyond_chance_comes_first(tmp_path):
    axes = {"A": ["0", "1"], "B": ["0", "1"], "C": [str(i) for i in range(6)], "D": [str(i) for i in range(6)]}

    found = effects_of(tmp_path / "s", axes, lambda values, seed: product_of(values) + noise_of(values, seed), seeds=2)

    assert found.interactions[0].symbols == ("A", "B")


def test_where_a_combination_is_missing_cells_are_shown_without_a_share(make_sweep):
    points = [({"A": "0", "B": "0"}, 1.0), ({"A": "0", "B": "1"}, 2.0), ({"A": "1", "B": "0"}, 4.0)]

    (pair,) = searched(make_sweep, points).effects.interactions

    assert set(pair.cells) == {("0", "0"), ("0", "1"), ("1", "0")}
    assert (pair.share, pair.departure, pair.chance) == (None, None, None)


def test_one_combination_that_failed_leaves_the_interaction_of_the_others(tmp_path):
    grid = {"A": list("0123"), "B": list("012")}
    dir = simulate(
        tmp_path / "s",
        grid,
        lambda values, seed, epoch: {"val_acc": sum_of(values) + (values == {"A": "1", "B": "1"})},
        epochs=1,
        status=lambda values, seed: Status.OOM if values == {"A": "3", "B": "2"} else Status.PASSED,
    )
    rows = [(a, b) for a in range(4) for b in range(3) if (a, b) != (3, 2)]
    terms = np.array([[float(a == i) for i in range(4)] + [float(b == j) for j in range(3)] for a, b in rows])
    goals = np.array([float(a + b + ((a, b) == (1, 1))) for a, b in rows])
    rest = goals - terms @ np.linalg.lstsq(terms, goals, rcond=None)[0]

    findings = find(dir)
    (pair,) = findings.effects.interactions

    assert (len(pair.cells), pair.num_combinations) == (11, 12)
    assert pair.share == pytest.approx((rest**2).mean() / goals.var())
    assert "11 of 12" in analysis_text(findings)


def test_gaps_that_a_search_left_are_not_fitted(make_sweep):
    axes = [{"symbols": [name], "values": [], "sampled": "uniform(0, 1)"} for name in "AB"]
    draw = random.Random(1)
    points = [({"A": f"{draw.random():.4f}", "B": f"{draw.random():.4f}"}, draw.random()) for _ in range(20)]

    findings = searched(make_sweep, points, axes=axes)
    (pair,) = findings.effects.interactions

    assert len(pair.cells) < pair.num_combinations
    assert pair.share is None
    assert "Interactions: not known: of no two axes have enough combinations" in analysis_text(findings)


def test_a_goal_that_is_the_same_everywhere_has_no_interaction_and_the_text_says_why(tmp_path):
    dir = simulate(tmp_path / "s", AB, lambda values, seed, epoch: {"val_acc": 0.5}, epochs=1)

    assert "Interactions: not known: all combinations of values have the same mean." in analysis_text(find(dir))


# Importance


def test_on_a_complete_grid_importance_is_the_exact_share_of_variance(tmp_path):
    found = effects_of(tmp_path / "s", AB, sum_of).importance

    assert found.shares == pytest.approx({"A": (2 / 3) / (2 / 3 + 1 / 4), "B": (1 / 4) / (2 / 3 + 1 / 4)})
    assert list(found.shares) == ["A", "B"]
    assert "exact" in found.method
    assert found.num_settings == 6


def test_elsewhere_importance_is_that_of_optunas_fanova(make_sweep):
    draw = random.Random(5)
    axes = [  # in the order of their names, as Optuna has them: a forest's draws depend on it
        {"symbols": ["KIND"], "values": [["a"], ["b"], ["c"]]},
        {"symbols": ["LR"], "values": [], "sampled": "loguniform(1e-4, 1e-1)"},
        {"symbols": ["X"], "values": [], "sampled": "uniform(0, 1)"},
    ]
    study, points = optuna.create_study(), []
    kinds = optuna.distributions.FloatDistribution(-0.5, 2.5)
    ends = {"X": (0, 1), "LR": (-4, -1)}
    distributions = {name: optuna.distributions.FloatDistribution(*end) for name, end in ends.items()} | {"KIND": kinds}
    for _ in range(30):
        x, exponent, kind = round(draw.random(), 6), draw.uniform(-4, -1), draw.choice("abc")
        rate = f"{10**exponent:.6g}"
        goal = 3 * x + "abc".index(kind) + exponent * x
        points.append(({"X": str(x), "LR": rate, "KIND": kind}, goal))
        places = {"X": x, "LR": float(np.log10(float(rate))), "KIND": float("abc".index(kind))}
        study.add_trial(optuna.trial.create_trial(params=places, distributions=distributions, value=goal))
    theirs = optuna.importance.FanovaImportanceEvaluator(seed=0).evaluate(study)

    found = searched(make_sweep, points, axes=axes).effects.importance

    assert found.shares == pytest.approx(theirs, abs=0.02)  # its goals are not scaled: equally good splits fall otherwise
    assert list(found.shares) == list(theirs)
    assert found.fit > 0.3


def test_the_shares_of_a_tree_are_exactly_those_that_optuna_walks_for():
    draw = np.random.default_rng(4)
    places, extents = draw.uniform(-2, 3, (40, 4)).round(1), np.array([[-2.0, 3.0], [-2.5, 3.5], [-2.0, 4.0], [-9.0, 9.0]])
    tree = DecisionTreeRegressor(random_state=0).fit(places, places[:, 0] * places[:, 1] + places[:, 2]).tree_
    theirs = _FanovaTree(tree, extents)

    shares = _tree_shares(tree, extents)

    expected = [theirs.get_marginal_variance(np.array([axis])) / theirs.variance for axis in range(4)]
    assert shares == pytest.approx(expected, rel=1e-9)
    assert min(expected) > 1e-4


def test_the_axis_that_matters_comes_first_and_the_same_sweep_gives_the_same_shares(make_sweep):
    draw = random.Random(2)
    axes = [{"symbols": [name], "values": [], "sampled": "uniform(0, 1)"} for name in "ABC"]
    points = []
    for _ in range(60):
        values = {name: f"{draw.random():.6g}" for name in "ABC"}
        points.append((values, 5 * float(values["B"]) + float(values["C"])))

    first, again = (searched(make_sweep, points, axes=axes, name=name).effects.importance for name in ("one", "two"))

    assert list(first.shares) == ["B", "C", "A"]
    assert first == again


def test_importance_of_a_conditional_axis_is_of_the_settings_that_have_it(make_sweep):
    points = [({"OPT": "adam", "LR": str(i)}, float(i % 7)) for i in range(20)]
    points += [({"OPT": "sgd", "LR": str(i), "MOM": str(i % 3)}, 100.0 * (i % 3)) for i in range(12)]

    found = searched(make_sweep, points).effects.importance

    assert found.partial == {"MOM": 12}
    assert found.shares["MOM"] > 0.7
    assert found.num_settings == 32


def test_the_part_of_importance_that_seeds_alone_would_give_is_told(tmp_path):
    axes = {"A": list("01234567"), "B": list("01234567")}

    noise = effects_of(tmp_path / "n", axes, noise_of, seeds=3)
    mixed = effects_of(tmp_path / "m", AB, lambda values, seed: 10 * sum_of(values) + 2 * seed, seeds=3)
    alone = effects_of(tmp_path / "a", AB, sum_of)

    assert noise.importance.noise == pytest.approx(1, abs=0.2)
    assert any(line.startswith("importance: seeds alone would give") for line in noise.warnings)
    assert mixed.importance.noise == pytest.approx(4 / 3 * 5 / 6 / (100 * (2 / 3 + 1 / 4)))
    assert alone.importance.noise is None


@pytest.mark.parametrize("goals", [[1.0, 2.0, 3.0], [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3], [0.0] * 6], ids=["3", "constant", "zeros"])
def test_no_importance_where_there_is_nothing_to_explain(make_sweep, goals):
    assert searched(make_sweep, [({"A": str(i)}, goal) for i, goal in enumerate(goals)]).effects.importance is None


# Warnings


def warned(found, start):
    return [line for line in found.effects.warnings if line.startswith(start)]


def grid_points(goal=1.0):
    return [({"A": a, "B": b}, goal + int(a) * int(b)) for a, b in itertools.product("012", "012")]


@pytest.mark.parametrize(("strategy", "sampler", "warns"), [
    ("grid", "", False), ("random", "", False), ("qmc", "", False), ("halving", "random", False),
    ("tpe", "", True), ("gp", "", True), ("halving", "tpe", True), ("pbt", "", True),
])  # fmt: skip
def test_points_chosen_by_results_are_warned_of(make_sweep, strategy, sampler, warns):
    found = searched(make_sweep, grid_points(), strategy=strategy, sampler=sampler)

    assert bool(warned(found, strategy) or warned(found, "tpe")) == warns


def test_a_full_grid_with_repeats_that_all_passed_has_no_warning(tmp_path):
    assert effects_of(tmp_path / "s", AB, lambda values, seed: sum_of(values) + seed / 100, seeds=2).warnings == ()


def test_stopped_and_open_runs_are_counted(make_sweep):
    points = [*grid_points(), ({"A": "3", "B": "0"}, Status.PRUNED), ({"A": "3", "B": "1"}, Status.RUNNING)]

    found = searched(make_sweep, points)

    assert warned(found, "1 of 11 runs were stopped early for being behind: means are over the 9 that were not")
    assert warned(found, "1 of 11 runs have not ended")


def test_failures_are_named_where_they_are_more_than_chance_and_not_where_they_are_spread(tmp_path):
    axes = {"LR": ["0.1", "0.3"], "B": [str(i) for i in range(8)], "C": ["n", "y"]}

    def fails(values, _):
        return Status.DIVERGED if values["LR"] == "0.3" and int(values["B"]) < 5 else Status.PASSED

    def once_each(values, _):
        return Status.CRASHED if values["B"] == "0" and values["C"] == "y" else Status.PASSED

    named = effects_of(tmp_path / "a", axes, noise_of, status=fails).warnings
    spread = effects_of(tmp_path / "b", axes, noise_of, status=once_each).warnings

    assert "at LR=0.3 10 of 16 runs failed (0 of 16 elsewhere): its mean is of the survivors" in named
    assert not [line for line in spread if "LR" in line]


def test_axes_that_were_only_changed_together_are_named_once(make_sweep):
    points = [({"A": str(i), "B": str(-i), "C": str(10 * i), "D": d}, float(i)) for i in range(3) for d in "01"]

    found = searched(make_sweep, points)

    assert len(warned(found, "A, B, C: changed only together")) == 1
    assert not any("D" in line and "together" in line for line in found.effects.warnings)


def test_an_axis_that_another_one_decides_is_named(make_sweep):
    points = [({"A": a, "B": str(int(a) // 2), "C": c}, 1.0 + int(a) + int(c)) for a in "0123" for c in "01"]

    assert warned(searched(make_sweep, points), "B has one value only at each value of A")


def test_values_with_one_setting_or_few_are_told(make_sweep):
    single = searched(make_sweep, [({"A": "0"}, 1.0), ({"A": "1"}, 2.0)], name="single")
    uneven = searched(
        make_sweep, [({"A": str(int(i > 1)), "B": str(i)}, float(i)) for i in range(9)], name="uneven", strategy="grid"
    )

    assert warned(single, "A: each value has one setting only, hence no interval")
    assert warned(uneven, "A: 7 settings at 1, 2 at 0")


def test_importance_of_noise_is_called_rough(make_sweep):
    draw = random.Random(3)
    points = [({"A": f"{draw.random():.4f}", "B": f"{draw.random():.4f}"}, draw.random()) for _ in range(30)]

    assert warned(searched(make_sweep, points), "importance: from 30 settings, a setting left out is predicted poorly")


# Text, and what must not break it


def test_text_tells_effects_importance_and_interactions_with_the_warnings_first(tmp_path):
    dir = simulate(
        tmp_path / "s", AB, lambda values, seed, epoch: {"val_acc": 0.5 + 0.1 * product_of(values) + 0.001 * seed}, seeds=2
    )
    text = analysis_text(find(dir))

    lines = text[text.index("EFFECTS ON val_acc:") :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("B  settings"))
    assert " ".join(lines[start].split()) == "B settings runs mean 95% interval better by 95% interval n"
    assert " ".join(lines[start + 1].split()) == "0 3 6 50.15% 37.73% to 62.57% 0.00% -24.84% to +24.84% 3"
    assert any(line.startswith("A x B") and " 100.0% " in line for line in lines)
    assert any("Hutter, Hoos, Leyton-Brown 2014" in line for line in lines)


def test_differences_that_happen_to_be_equal_are_no_interval_of_no_width(tmp_path):
    dir = simulate(tmp_path / "s", AB, lambda values, seed, epoch: {"val_acc": sum_of(values) / 8}, epochs=1)
    text = analysis_text(find(dir))

    assert "better by, in points: " in text
    (row,) = (line.split() for line in text[text.index("B  settings") :].splitlines()[1:2])
    assert row[-3:] == ["-12.50%", "-", "3"]


def test_a_search_in_which_nothing_is_comparable_has_no_columns_for_it(make_sweep):
    points = [({"A": str(i / 7), "B": str(-i / 3)}, 1.0 + i) for i in range(12)]

    text = analysis_text(searched(make_sweep, points, strategy="tpe"))

    assert "better by" not in text
    assert "Note: tpe chose points by earlier results" in text


def test_text_from_files_cannot_steer_the_terminal(make_sweep):
    points = [({"A": value}, float(i)) for i, value in enumerate(["x\x1b[31m", "y\ny", "z\u202e"])]

    text = analysis_text(searched(make_sweep, points))

    assert all(letter.isprintable() for letter in text.replace("\n", ""))


@pytest.mark.parametrize("objective", ["val_acc", "val_acc, val_loss:min", ""], ids=["one goal", "two goals", "no goal"])
@pytest.mark.parametrize("goals", [
    [], [1.0], [None, None], [1.0, None], [1e308, -1e308, 1e308, -1e308, 5.0], [float("inf"), 1.0, 2.0], [0.1] * 9,
    [1e-310, 2e-310, 3e-310, 4e-310, 9e-310],
], ids=["none", "one", "failed", "one of two", "huge", "infinite", "constant", "tiny"])  # fmt: skip
def test_whatever_the_numbers_there_is_a_text(make_sweep, goals, objective):
    maker = make_sweep(objective=objective)
    for i, goal in enumerate(goals):
        status = Status.FAILED if goal is None else Status.PASSED
        metrics = {} if goal is None else {"val_acc": goal, "val_loss": -goal}
        maker.add({"A": str(i % 3), "B": str(i // 3), "C": str(i)}, status=status, **metrics)

    text = analysis_text(find(maker.save()))

    assert "Total configurations tested" in text
    assert " nan" not in text


def test_that_numbers_are_too_large_for_effects_is_said(tmp_path):
    dir = simulate(tmp_path / "s", AB, lambda values, seed, epoch: {"val_loss": 1e200}, epochs=1, objective="val_loss:min")

    assert "Note: val_loss goes up to 1e+200: no effects are computed" in analysis_text(find(dir))


def test_fewer_than_two_settings_have_no_effects(make_sweep):
    assert searched(make_sweep, [({"A": "0"}, 1.0), ({"A": "1"}, Status.OOM)]).effects == Effects()
