"""Which settings are best, and how sure that is: seeds grouped as repeats, t intervals, ties. Standard library only.

Points that differ only in SEED are one setting. Settings are ranked by the mean (or median) of the objective over the runs
that passed; nothing stands in for a run that did not, and where a seed was stopped early for being poor, the rest is no fair
sample: such a setting is not ranked. Whether a setting is really behind the best is asked of the differences seed by seed,
since both have met the same initial weights and the same order of examples.

Several objectives are never made into one: settings are ranked by the front on which they lie. A setting that breaks a
constraint, by the same mean over its seeds, is never ranked among those that keep to all.

Many settings are compared with the best one, so that some would look worse by chance alone: the p values of these comparisons
are corrected by Holm's method (Holm 1979, A simple sequentially rejective multiple test procedure). The best one is itself the
luckiest of all; two-sided comparisons make up for that: what is truly best is marked as behind in at most 1 sweep of 20.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache, partial
from operator import itemgetter
from typing import Any

from ksweep.analysis.load import SEED, RunRecord, SweepState, no_cycles
from ksweep.analysis.pareto import crowding, fronts
from ksweep.contract.outcome import Status
from ksweep.contract.records import record_of
from ksweep.space.objective import Goal, Objectives

CONFIDENCE = 0.95  # of every interval, and 1 minus the level of every comparison
POWER = 0.8
MANY_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """n values of one metric. `center`: their mean or, where that was asked for, their median. `sd`: sample standard deviation;
    `half_width`: of the mean's 95 % t interval; both need n >= 2, and a median has no interval."""

    n: int
    center: float | None = None
    mean: float | None = None
    sd: float | None = None
    half_width: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class Verdict(StrEnum):
    """A setting against the best one."""

    BEST = "best"  # the first of those with the best mean
    TIED = "tied"  # the difference, paired by seed, is within noise: p, corrected by Holm, is 0.05 or more
    BEHIND = "behind"  # it is worse, and p is below 0.05
    UNKNOWN = "unknown"  # the spread of the difference is not known: fewer than two seeds in common, or equal on all of them


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """One setting and its repeats. `values`: the swept symbols without SEED. `counted`: the runs that the scores, one a goal, are
    made of: passed, with a finite value of every goal. `violations`: one a constraint, by how much it is broken, 0 or less where
    it holds, None where that is not known.

    `rank` counts from 1, equal ones share one, and with several goals it is the number of the front; None when it is not ranked.
    `difference`: of the first goal from the best setting's, over the seeds that both have; `p_value`: that it is due to chance,
    two-sided, corrected for the number of settings; None for the best one, and where that difference has no spread. `by_seed`:
    seed -> value of the first goal, of the runs that count and whose seed is known.
    """

    values: dict[str, str]
    runs: list[RunRecord]
    counted: list[RunRecord]
    goals: tuple[Goal, ...]
    scores: tuple[Spread, ...]
    violations: tuple[float | None, ...] = ()
    aggregate: str = "mean"
    rank: int | None = None
    verdict: Verdict | None = None
    difference: Spread | None = None
    p_value: float | None = None
    by_seed: dict[str, float] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        """The first goal, which curves and lists show; empty when there is none."""
        return self.goals[0].text if self.goals else ""

    @property
    def score(self) -> Spread:
        """Of the first goal."""
        return self.scores[0] if self.scores else Spread(n=0)

    @property
    def is_feasible(self) -> bool:
        """True when it keeps to all constraints."""
        return not self.violations or all(violation is not None and violation <= 0 for violation in self.violations)

    def over(self, metric: str) -> Spread:
        """A final metric over the runs that count and have it."""
        return spread((run.metric(metric) for run in self.counted), self.aggregate)

    @property
    def wall_s(self) -> Spread:
        """The duration of the runs that count, in seconds."""
        return spread(run.wall_s for run in self.counted)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Settings, best first. `columns`: the swept symbols without SEED. `infeasible` break a constraint, the nearest first;
    `unranked` have no run that counts, in plan order.

    Without an objective all are unranked.
    """

    objectives: Objectives
    aggregate: str
    columns: list[str]
    ranked: list[Group]
    infeasible: list[Group]
    unranked: list[Group]

    @property
    def objective(self) -> str:
        """The first goal, which curves and lists show; empty when there is none."""
        return self.objectives.goals[0].text if self.objectives.goals else ""

    @property
    def direction(self) -> str:
        """maximize or minimize, of the first goal."""
        return "minimize" if self.objectives.goals and not self.objectives.goals[0].is_maximized else "maximize"

    @property
    def has_fronts(self) -> bool:
        """True when there are several goals: then no setting is the best one, but a front of them."""
        return len(self.objectives.goals) > 1

    @property
    def front(self) -> list[Group]:
        """Those that share the first rank."""
        return [group for group in self.ranked if group.rank == 1]

    @property
    def best(self) -> Group | None:
        """The first of those with the best mean, or of the front; None when no run counts."""
        return self.ranked[0] if self.ranked else None

    @property
    def has_repeats(self) -> bool:
        """True when some setting is planned with more than one seed."""
        return any(len(group.runs) > 1 for group in self.ranked + self.infeasible + self.unranked)

    @property
    def parts(self) -> list[str]:
        """The metrics that goals are computed from, and that are none themselves."""
        names = dict.fromkeys(name for goal in self.objectives.goals if not goal.is_plain for name in goal.names)
        return [name for name in names if all(name != goal.text for goal in self.objectives.goals)]

    def tests_of(self, groups: Sequence[Group]) -> list[str]:
        """The test metrics that tell how good these settings are, of those that they have: test_ppl where a goal is made of
        val_ppl, test_r1_mean of r1_mean, and test_acc."""
        names = [name for goal in self.objectives.goals for name in goal.names]
        tests = dict.fromkeys([*(f"test_{name.removeprefix('val_')}" for name in names), "test_acc"])
        return [name for name in tests if any(group.over(name).n for group in groups)]


@no_cycles()
def rank(state: SweepState) -> Ranking:
    """Group, score and order the runs of a sweep by its own objectives and constraints."""
    objectives, aggregate = state.objectives, state.record.aggregate
    score, runs = _scorer(objectives, aggregate), state.runs
    groups = [score(tuple([runs[place] for place in setting])) for setting in state.settings]
    scored = [group for group in groups if group.counted]
    feasible = [group for group in scored if group.is_feasible]
    return Ranking(
        objectives=objectives,
        aggregate=aggregate,
        columns=list(dict.fromkeys(name for group in groups for name in group.values)),
        ranked=_by_front(feasible) if len(objectives.goals) > 1 else _by_score(feasible),
        infeasible=sorted((group for group in scored if not group.is_feasible), key=_distance),
        unranked=[group for group in groups if not group.counted],
    )


@lru_cache(maxsize=8)
def _scorer(objectives: Objectives, aggregate: str) -> Callable[[tuple[RunRecord, ...]], Group]:
    """`_score` by these objectives, which remembers: records do not change, so that at the next look at a sweep only the groups
    with new ones are computed."""
    return lru_cache(maxsize=1 << 15)(partial(_score, objectives, aggregate))


def _score(objectives: Objectives, aggregate: str, runs: tuple[RunRecord, ...]) -> Group:
    statuses = [run.status for run in runs]
    scored: dict[RunRecord, tuple[float, ...]] = {}
    if Status.PRUNED not in statuses:  # else its poor seeds were stopped: what the others come to is no mean of this setting
        passed = [run for run in runs if run.status is Status.PASSED]
        scored = {run: values for run in passed if (values := objectives.values(run.metrics))}
    return record_of(
        Group,
        {
            "values": {name: value for name, value in runs[0].point.values.items() if name != SEED},
            "runs": list(runs),
            "counted": list(scored),
            "goals": objectives.goals,
            "scores": tuple([spread(column, aggregate) for column in zip(*scored.values(), strict=True)])
            or (Spread(n=0),) * len(objectives.goals),
            "violations": tuple(
                [
                    _over_seeds([constraint.violation(run.metrics) for run in scored], aggregate)
                    for constraint in objectives.constraints
                ]
            ),
            "aggregate": aggregate,
            "by_seed": {seed: values[0] for run, values in scored.items() if (seed := run.seed) is not None},
        },
    )


def _over_seeds(violations: list[float | None], aggregate: str) -> float | None:
    """Of the setting; None unless it is known for every seed."""
    return None if None in violations else spread(violations, aggregate).center


def _distance(group: Group) -> tuple[int, float]:
    """How far a setting is from keeping to all constraints; those of which this is not known come last."""
    return group.violations.count(None), sum(max(violation or 0.0, 0.0) for violation in group.violations)


@lru_cache(maxsize=1 << 15)
def _cost(group: Group) -> tuple[float, ...]:
    """Its scores, smaller being better."""
    pairs = zip(group.goals, group.scores, strict=True)
    return tuple([(-1 if goal.is_maximized else 1) * (score.center or 0.0) for goal, score in pairs])


def _by_score(groups: list[Group]) -> list[Group]:
    ordered = sorted(groups, key=_cost)  # stable: equal ones in plan order
    costs = [_cost(group) for group in ordered]
    against = [_against(group, ordered[0]) for group in ordered[1:]]
    p_values = holm([p for _, p in against])
    placed = [_placed(best, rank=1, verdict=Verdict.BEST) for best in ordered[:1]]
    for place, (group, (difference, _), p) in enumerate(zip(ordered[1:], against, p_values, strict=True), 1):
        number = placed[-1].rank if costs[place] == costs[place - 1] else place + 1
        verdict = _verdict(group.goals[0], difference, p)
        placed.append(_placed(group, rank=number, verdict=verdict, difference=difference, p_value=p))
    return placed


def _by_front(groups: list[Group]) -> list[Group]:
    """Front after front; within one, those first that have most room around them, so that the first few span it."""
    costs = [_cost(group) for group in groups]
    placed: list[Group] = []
    for number, front in enumerate(fronts(costs), 1):
        room = dict(zip(front, crowding([costs[index] for index in front]), strict=True))
        placed += [_placed(groups[index], rank=number) for index in sorted(front, key=lambda index: -room[index])]
    return placed


@lru_cache(maxsize=1 << 15)
def _against(group: Group, best: Group) -> tuple[Spread, float | None]:
    """The difference, and its p value before correction."""
    difference = paired_difference(group, best)
    return difference, p_value(difference)


def _placed(group: Group, **place: Any) -> Group:
    """dataclasses.replace, ten times as fast: thousands of settings are placed at each look at a large sweep."""
    return record_of(Group, group.__dict__ | place)


def _verdict(goal: Goal, difference: Spread, p: float | None) -> Verdict:
    if p is None or difference.mean is None:
        return Verdict.UNKNOWN
    is_worse = difference.mean < 0 if goal.is_maximized else difference.mean > 0
    return Verdict.BEHIND if is_worse and p < 1 - CONFIDENCE else Verdict.TIED


def p_value(difference: Spread) -> float | None:
    """Of a mean as far from 0, by Student's t, two-sided. None where there is no spread to judge it by."""
    if difference.mean is None or difference.sd is None:
        return None
    if difference.mean == 0:
        return 1.0
    # One validation example more on either of two seeds gives differences without any spread: that is not certainty.
    if difference.sd <= 1e-9 * abs(difference.mean):
        return None
    t = abs(difference.mean) / (difference.sd / math.sqrt(difference.n))
    return max(0.0, 1 - _central_probability(t, difference.n - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number, so that the chance of any wrong "behind" is below the level (Holm 1979). One that is
    None is no comparison."""
    known = sorted([(p, index) for index, p in enumerate(p_values) if p is not None], key=itemgetter(0))
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for left, (p, index) in zip(range(len(known), 0, -1), known, strict=True):
        corrected[index] = largest = max(largest, min(1.0, left * p))
    return corrected


def seeds_to_separate(ranking: Ranking) -> int | None:
    """How many more seeds each of the first two settings needs until their difference, if it and its spread are as they seem,
    is found (95 %, two-sided) four times out of five. None where they are apart already, or the spread is not known; MANY_SEEDS
    stands for that many or more."""
    if ranking.has_fronts or len(ranking.ranked) < 2:
        return None
    second = ranking.ranked[1]
    difference = second.difference
    if second.verdict is not Verdict.TIED or difference is None or not difference.mean or not difference.sd:
        return None
    for n in range(difference.n + 1, difference.n + MANY_SEEDS):
        if abs(difference.mean) * math.sqrt(n) >= (t_quantile(n - 1) + t_quantile(n - 1, 2 * POWER - 1)) * difference.sd:
            return n - difference.n
    return MANY_SEEDS


def paired_difference(group: Group, other: Group) -> Spread:
    """The first goal of `group` minus that of `other`, over the seeds that both have. An unknown seed pairs with nothing."""
    theirs = other.by_seed
    return spread(mine - theirs[seed] for seed, mine in group.by_seed.items() if seed in theirs)


def spread(values: Iterable[float | None], aggregate: str = "mean") -> Spread:
    """Mean or median, standard deviation and interval of the values that are there."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found:
        return Spread(n=0)
    n, least, most = len(found), min(found), max(found)
    mean, sd = _mean_and_sd(found) if least < most else (least, 0.0)  # of equal values it is theirs, to the last bit
    sd = sd if n > 1 else None
    is_median = aggregate == "median"
    return record_of(
        Spread,
        {
            "n": n,
            "center": _median(found) if is_median else mean,
            "mean": mean,
            "sd": sd,
            "half_width": t_quantile(n - 1) * sd / math.sqrt(n) if sd is not None and not is_median else None,
            "minimum": least,
            "maximum": most,
        },
    )


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Sums are exact. Where a loss has run away, so that squares are too large for a float, no deviation."""
    n = len(values)
    try:
        mean = math.fsum(values) / n
        return mean, math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (n - 1))
    except OverflowError:
        return math.fsum([value / n for value in values]), None


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return below / 2 + above / 2 if below < above else below


@cache
def t_quantile(df: int, central: float = CONFIDENCE) -> float:
    """t such that |T| < t with probability `central`, of Student's t with `df` >= 1 degrees of freedom: half the width of an
    interval, in standard errors."""
    low, high = 0.0, 13.0  # 12.706 at df = 1 and 95 %, falling to 1.960
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, df) < central else (low, middle)
    return high


def _central_probability(t: float, df: int) -> float:
    """P(|T| < t), exact for a whole `df`: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    is_odd = df % 2
    total, term = 0.0, cosine if is_odd else 1.0
    for exponent in range(is_odd, df - 1, 2):
        total += term
        term *= (exponent + 1) / (exponent + 2) * cosine * cosine
    return 2 / math.pi * (theta + sine * total) if is_odd else sine * total
