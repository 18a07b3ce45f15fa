"""What every pruner owes, and the same decisions as Optuna's, where there is one to compare with."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import optuna
import pytest
from optuna.pruners import BasePruner

from ksweep.contract.errors import RequestError
from ksweep.search.pruners import PRUNERS, CurvePruner, PrunerSettings
from ksweep.search.registry import build_pruner

Curve = dict[int, float]
SETTINGS = PrunerSettings(max_resource=12, num_points=30, min_others=3, patience=3, threshold=0.5)
every_pruner = pytest.mark.parametrize("name", PRUNERS)
both_directions = pytest.mark.parametrize("maximize", [True, False], ids=["maximize", "minimize"])


def decide(pruner: CurvePruner, curve: Curve, others: list[Curve]) -> str:
    """As the sweep asks: of the one that is responsible for the point, with others of which the same one is."""
    return pruner.of("this").decide(curve, others)


def curves(seed: int, count: int, length: int = 12) -> list[Curve]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        level = rng.random()
        made.append({epoch: level * (1 - 0.7**epoch) + 0.1 * rng.random() for epoch in range(1, length + 1)})
    return made


def rising_or_falling(made: list[Curve], maximize: bool) -> list[Curve]:
    """As curves go: up when the objective is maximized, else down."""
    return made if maximize else [{epoch: 1 - value for epoch, value in curve.items()} for curve in made]


def until(curve: Curve, epoch: int) -> Curve:
    return {reported: value for reported, value in curve.items() if reported <= epoch}


def falling(length: int = 12, top: float = 0.4) -> Curve:
    """A run that every pruner stops when the objective is maximized: low, and it becomes worse."""
    return {epoch: top - 0.01 * epoch for epoch in range(1, length + 1)}


def stopped_at(pruner: CurvePruner, curve: Curve, others: list[Curve]) -> int | None:
    return next((epoch for epoch in curve if decide(pruner, until(curve, epoch), others)), None)


# -- every pruner ------------------------------------------------------------------------------------------------------


@every_pruner
def test_stops_a_poor_run_and_says_what_it_lost_to(name: str) -> None:
    pruner = build_pruner(name, SETTINGS)
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(6)]
    reasons = [decide(pruner, until(falling(), epoch), others) for epoch in range(1, 13)]
    reason = next(reason for reason in reasons if reason)

    assert reason.startswith(f"{name} at ")
    assert sum(character.isdigit() for character in reason) >= 3


@every_pruner
def test_goes_on_with_a_good_run(name: str) -> None:
    good = {epoch: 0.9 + 0.005 * epoch for epoch in range(1, 13)}

    assert stopped_at(build_pruner(name, SETTINGS), good, curves(1, 10)) is None


@every_pruner
def test_never_stops_a_run_at_its_last_epoch(name: str) -> None:
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(6)]

    assert decide(build_pruner(name, SETTINGS), falling(), others) == ""


@every_pruner
def test_decides_alike_in_both_directions(name: str) -> None:
    up = build_pruner(name, SETTINGS)
    down = build_pruner(name, replace(SETTINGS, maximize=False, threshold=-SETTINGS.threshold))
    decisions = []
    for seed in range(10):
        own, *others = curves(seed, 12)
        mirrored = [{epoch: -value for epoch, value in curve.items()} for curve in (own, *others)]
        decisions.append((stopped_at(up, own, others), stopped_at(down, mirrored[0], mirrored[1:])))

    assert all(one == other for one, other in decisions)
    assert any(one is not None for one, _ in decisions)


@pytest.mark.parametrize("name", ["median", "percentile", "patience", "threshold"])
def test_honours_the_warm_up(name: str) -> None:
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(6)]

    assert stopped_at(build_pruner(name, replace(SETTINGS, warmup=7)), falling(), others) == 8


@pytest.mark.parametrize("name", ["median", "percentile"])
def test_honours_the_number_of_others(name: str) -> None:
    pruner = build_pruner(name, SETTINGS)
    far = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(2)]
    near = {1: 0.9, 2: 0.9}

    assert stopped_at(pruner, falling(), far) is None
    assert stopped_at(pruner, falling(), [*far, near]) == 1
    assert decide(pruner, until(falling(), 3), [*far, near]) == ""


@pytest.mark.parametrize("name", ["median", "percentile", "threshold"])
def test_looks_once_an_interval(name: str) -> None:
    pruner = build_pruner(name, replace(SETTINGS, warmup=2, interval=4))
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(6)]
    looked = [epoch for epoch in range(1, 13) if decide(pruner, until(falling(), epoch), others)]

    assert looked == [3, 7, 11]


NEVER = [
    *[(name, {"warmup": 11}, "shorter warm-up") for name in PRUNERS],
    *[(name, {"max_resource": 1}, "") for name in PRUNERS],
    *[(name, {"min_resource": 12}, "lower first rung") for name in ("asha", "hyperband")],
    *[(name, {"num_points": 1}, "more points") for name in ("asha", "hyperband")],
    *[(name, {"eta": 1}, "SWEEP_ETA") for name in ("asha", "hyperband")],
    *[(name, {"num_points": 3}, "MIN_TRIALS: found 3, allowed: below 3") for name in ("median", "percentile")],
    ("hyperband", {"min_resource": 5}, "lower first rung"),
    ("percentile", {"keep": 100.0}, "PERCENTILE: found 100"),
    ("percentile", {"keep": 0.0}, "PERCENTILE: found 0"),
    ("patience", {"patience": 11}, "PATIENCE: found 11, allowed: below 11"),
    ("patience", {"patience": 0}, "PATIENCE 0"),
]


@pytest.mark.parametrize(("name", "changes", "told"), [pytest.param(*case, id=f"{case[0]} {case[1]}") for case in NEVER])
def test_one_that_could_never_stop_a_run_says_so(name: str, changes: dict[str, int], told: str) -> None:
    problem = build_pruner(name, replace(SETTINGS, **changes)).problem()

    assert problem
    assert told in problem


@every_pruner
def test_one_that_can_has_no_problem(name: str) -> None:
    assert build_pruner(name, SETTINGS).problem() == ""


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("median", {"warmup": 10}),
        ("percentile", {"min_others": 29}),
        ("asha", {"min_resource": 11, "num_points": 2}),
        ("patience", {"patience": 10}),
        ("threshold", {"warmup": 10}),
    ],
    ids=lambda value: str(value),
)
def test_the_last_settings_without_a_problem_do_stop_a_run(name: str, changes: dict[str, int]) -> None:
    pruner = build_pruner(name, replace(SETTINGS, **changes))
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(changes.get("num_points", 30) - 1)]

    assert pruner.problem() == ""
    assert stopped_at(pruner, falling(), others) == (1 if name == "percentile" else 11)


def test_an_unknown_pruner_is_refused_with_the_list() -> None:
    with pytest.raises(RequestError, match=r'found "medium", allowed: none median percentile asha'):
        build_pruner("medium", SETTINGS)


# -- against Optuna ----------------------------------------------------------------------------------------------------


def optunas(pruner: BasePruner, *, maximize: bool, others: list[Curve]) -> Callable[[Curve], Iterator[bool]]:
    """What Optuna says to each report of a run, after `others` have run to their ends."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if maximize else "minimize", pruner=pruner)
    for other in others:
        trial = study.ask()
        for epoch, value in other.items():
            trial.report(value, epoch)
        study.tell(trial, other[max(other)])

    def decisions(curve: Curve) -> Iterator[bool]:
        trial = study.ask()
        for epoch, value in curve.items():
            trial.report(value, epoch)
            yield trial.should_prune()

    return decisions


@both_directions
@pytest.mark.parametrize(
    ("name", "changes", "theirs"),
    [
        ("median", {}, lambda: optuna.pruners.MedianPruner(n_startup_trials=0, n_min_trials=3)),
        (
            "median",
            {"warmup": 4, "interval": 3},
            lambda: optuna.pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=5, interval_steps=3, n_min_trials=3),
        ),
        ("percentile", {"keep": 25.0}, lambda: optuna.pruners.PercentilePruner(25.0, n_startup_trials=0, n_min_trials=3)),
        ("percentile", {"keep": 80.0}, lambda: optuna.pruners.PercentilePruner(80.0, n_startup_trials=0, n_min_trials=3)),
    ],
    ids=["median", "median with warm-up and interval", "percentile 25", "percentile 80"],
)
def test_median_and_percentile_decide_as_optunas(
    name: str, changes: dict[str, float], theirs: Callable[[], BasePruner], maximize: bool
) -> None:
    ours = build_pruner(name, replace(SETTINGS, maximize=maximize, **changes))
    num_stops = 0
    for seed in range(8):
        own, *others = rising_or_falling(curves(seed, 3 + seed), maximize)
        decisions = optunas(theirs(), maximize=maximize, others=others)(own)
        expected = [stop and epoch < 12 for epoch, stop in zip(own, decisions, strict=True)]

        assert [bool(decide(ours, until(own, epoch), others)) for epoch in own] == expected
        num_stops += sum(expected)
    assert num_stops > 5


@both_directions
@pytest.mark.parametrize("eta", [2, 3, 4])
def test_asha_decides_as_optunas(eta: int, maximize: bool) -> None:
    ours = build_pruner("asha", replace(SETTINGS, maximize=maximize, eta=eta))
    seen: list[Curve] = []
    theirs = optuna.create_study(
        direction="maximize" if maximize else "minimize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta, min_early_stopping_rate=0),
    )
    stops = set()
    for curve in rising_or_falling(curves(7, 40), maximize):
        trial = theirs.ask()
        for epoch, value in curve.items():
            trial.report(value, epoch)
            ours_stops = bool(decide(ours, until(curve, epoch), seen))
            theirs_stops = trial.should_prune()

            assert ours_stops == theirs_stops or epoch == 12
            if theirs_stops:
                stops.add(epoch)
                break
        theirs.tell(trial, state=optuna.trial.TrialState.PRUNED if theirs_stops else None, values=None if theirs_stops else value)
        seen.append(until(curve, epoch))
    assert len(stops) >= 2


@both_directions
def test_threshold_decides_as_optunas(maximize: bool) -> None:
    bound = {"lower": 0.5} if maximize else {"upper": 0.5}
    pruner = optuna.pruners.ThresholdPruner(**bound, n_warmup_steps=5)
    ours = build_pruner("threshold", replace(SETTINGS, maximize=maximize, warmup=4))
    for own in curves(3, 10):
        decisions = optunas(pruner, maximize=maximize, others=[])(own)
        expected = [stop and epoch < 12 for epoch, stop in zip(own, decisions, strict=True)]

        assert [bool(decide(ours, until(own, epoch), [])) for epoch in own] == expected


# -- one by one --------------------------------------------------------------------------------------------------------


def test_reasons_tell_the_numbers() -> None:
    others = [{1: 0.5, 2: 0.5, 3: value} for value in (0.2, 0.4, 0.6, 0.8)]
    own = {1: 0.1, 2: 0.3, 3: 0.25}

    assert (
        build_pruner("median", SETTINGS).decide(own, others)
        == "median at epoch 3: 0.3 at best so far; the median of 4 others is 0.5"
    )
    assert build_pruner("percentile", SETTINGS).decide(own, others) == (
        "percentile at epoch 3: 0.3 at best so far; the best 25 % of 4 others begin at 0.65"
    )
    assert build_pruner("asha", SETTINGS).decide(own, others) == (
        "asha at rung 2 of 4 (epoch 3): 0.25; best 1 of 5 go on, the last of them has 0.8"
    )
    assert build_pruner("threshold", SETTINGS).decide(own, []) == "threshold at epoch 3: 0.25 is below 0.5"


def test_patience_counts_reports_since_the_last_improvement_by_min_delta() -> None:
    pruner = build_pruner("patience", replace(SETTINGS, patience=3, min_delta=0.01))
    curve = dict(enumerate([0.5, 0.505, 0.6, 0.605, 0.609, 0.59, 0.9], start=1))

    assert stopped_at(pruner, curve, []) == 6
    assert (
        decide(pruner, until(curve, 6), []) == "patience at epoch 6: no better than 0.6 (epoch 3) by more than 0.01 in 3 reports"
    )


def test_asha_looks_only_at_rungs() -> None:
    pruner = build_pruner("asha", SETTINGS)
    others = [{epoch: 0.9 for epoch in range(1, 13)} for _ in range(6)]
    looked = [epoch for epoch in range(1, 13) if decide(pruner, until(falling(), epoch), others)]

    assert looked == [1, 3, 9]


def test_hyperband_gives_points_brackets_by_their_ids_as_hyperband_is_sized() -> None:
    pruner = build_pruner("hyperband", replace(SETTINGS, max_resource=9))
    brackets = [pruner.of(f"id {i}") for i in range(1700)]
    counts = sorted(brackets.count(bracket) for bracket in set(brackets))

    assert [pruner.of(f"id {i}") for i in range(1700)] == brackets
    assert counts == [pytest.approx(share, rel=0.2) for share in (300, 500, 900)]


def test_hyperband_stops_at_the_rungs_of_the_bracket_and_never_in_the_last() -> None:
    pruner = build_pruner("hyperband", replace(SETTINGS, max_resource=9))
    others = [{epoch: 0.9 for epoch in range(1, 10)} for _ in range(6)]
    firsts = {stopped_at_by(pruner, f"id {i}", others) for i in range(50)}

    assert firsts == {1, 3, None}


def stopped_at_by(pruner: CurvePruner, id: str, others: list[Curve]) -> int | None:
    return next((epoch for epoch in range(1, 10) if pruner.of(id).decide(until(falling(), epoch), others)), None)
