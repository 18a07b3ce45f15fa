"""Which settings are best, and how sure that is: seeds grouped as repeats, t intervals, ties. Standard library only.

Points that differ only in SEED are one setting. Settings are ranked by the mean (or median) of the objective over the runs
that passed; nothing stands in for a run that did not, and where a seed was stopped early for being poor, the rest is no fair
sample: such a setting is not ranked. Whether a setting is really behind the best is asked of the differences seed by seed,
since both have met the same initial weights and the same order of examples.

Several objectives are never made into one: settings are ranked by the front on which they lie. A setting that breaks a
constraint, by the same mean over its seeds, is never ranked among those that keep to all.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from ksweep.analysis.load import SEED, RunRecord, SweepState
from ksweep.analysis.pareto import crowding, fronts
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal, Objectives


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
    TIED = "tied"  # the 95 % interval of the paired difference includes 0, or lies on the better side
    BEHIND = "behind"  # it lies on the worse side
    UNKNOWN = "unknown"  # the spread of the difference is not known: fewer than two seeds in common, or equal on all of them


@dataclass(frozen=True, kw_only=True)
class Group:
    """One setting and its repeats. `values`: the swept symbols without SEED. `counted`: the runs that the scores, one a goal, are
    made of: passed, with a finite value of every goal. `violations`: one a constraint, by how much it is broken, 0 or less where
    it holds, None where that is not known.

    `rank` counts from 1, equal ones share one, and with several goals it is the number of the front; None when it is not ranked.
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
        return all(violation is not None and violation <= 0 for violation in self.violations)

    def over(self, metric: str) -> Spread:
        """A final metric over the runs that count and have it."""
        return spread((run.metric(metric) for run in self.counted), self.aggregate)

    @property
    def wall_s(self) -> Spread:
        """The duration of the runs that count, in seconds."""
        return spread(run.result.wall_s for run in self.counted if run.result)


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


def rank(state: SweepState) -> Ranking:
    """Group, score and order the runs of a sweep by its own objectives and constraints."""
    objectives, aggregate = state.objectives, state.record.aggregate
    groups = [_score(values, runs, objectives, aggregate) for values, runs in _group_repeats(state.runs)]
    scored = [group for group in groups if group.counted]
    feasible = [group for group in scored if group.is_feasible]
    return Ranking(
        objectives=objectives,
        aggregate=aggregate,
        columns=list(dict.fromkeys(name for run in state.runs for name in run.point.values if name != SEED)),
        ranked=_by_front(feasible) if len(objectives.goals) > 1 else _by_score(feasible),
        infeasible=sorted((group for group in scored if not group.is_feasible), key=_distance),
        unranked=[group for group in groups if not group.counted],
    )


def _group_repeats(runs: list[RunRecord]) -> Iterable[tuple[dict[str, str], list[RunRecord]]]:
    groups: dict[object, tuple[dict[str, str], list[RunRecord]]] = {}
    for run in runs:
        values = {name: value for name, value in run.point.values.items() if name != SEED}
        # Only a swept seed makes repeats: without it, points whose values are not known must not be taken for one setting.
        key = tuple(sorted(values.items())) if SEED in run.point.values else run.config
        groups.setdefault(key, (values, []))[1].append(run)
    return groups.values()


def _score(values: dict[str, str], runs: list[RunRecord], objectives: Objectives, aggregate: str) -> Group:
    counted = [run for run in runs if run.status is Status.PASSED and run.result and objectives.values(run.result.metrics)]
    if any(run.status is Status.PRUNED for run in runs):
        counted = []  # stopped were its poor seeds: what the others come to is no mean of this setting
    return Group(
        values=values,
        runs=runs,
        counted=counted,
        goals=objectives.goals,
        scores=tuple(spread((run.value(goal) for run in counted), aggregate) for goal in objectives.goals),
        violations=tuple(
            _over_seeds([constraint.violation(run.result.metrics) for run in counted if run.result], aggregate)
            for constraint in objectives.constraints
        ),
        aggregate=aggregate,
    )


def _over_seeds(violations: list[float | None], aggregate: str) -> float | None:
    """Of the setting; None unless it is known for every seed."""
    return None if None in violations else spread(violations, aggregate).center


def _distance(group: Group) -> tuple[int, float]:
    """How far a setting is from keeping to all constraints; those of which this is not known come last."""
    return group.violations.count(None), sum(max(violation or 0.0, 0.0) for violation in group.violations)


def _cost(group: Group) -> tuple[float, ...]:
    """Its scores, smaller being better."""
    pairs = zip(group.goals, group.scores, strict=True)
    return tuple((-1 if goal.is_maximized else 1) * (score.center or 0.0) for goal, score in pairs)


def _by_score(groups: list[Group]) -> list[Group]:
    scored = sorted(((_cost(group), group) for group in groups), key=lambda item: item[0])  # stable: equal ones in plan order
    placed: list[Group] = []
    for position, (score, group) in enumerate(scored):
        equal = position > 0 and score == scored[position - 1][0]
        verdict = _verdict(group, scored[0][1]) if position else Verdict.BEST
        placed.append(replace(group, rank=placed[-1].rank if equal else position + 1, verdict=verdict))
    return placed


def _by_front(groups: list[Group]) -> list[Group]:
    """Front after front; within one, those first that have most room around them, so that the first few span it."""
    costs = [_cost(group) for group in groups]
    placed: list[Group] = []
    for number, front in enumerate(fronts(costs), 1):
        room = dict(zip(front, crowding([costs[index] for index in front]), strict=True))
        placed += [replace(groups[index], rank=number) for index in sorted(front, key=lambda index: -room[index])]
    return placed


def _verdict(group: Group, best: Group) -> Verdict:
    difference = paired_difference(group, best)
    if difference.mean is None or difference.half_width is None:
        return Verdict.UNKNOWN
    if (-difference.mean if group.goals[0].is_maximized else difference.mean) <= difference.half_width:
        return Verdict.TIED
    # One validation example more on either of two seeds gives an interval of no width: that is not certainty.
    return Verdict.BEHIND if difference.half_width > 1e-9 * abs(difference.mean) else Verdict.UNKNOWN


def paired_difference(group: Group, other: Group) -> Spread:
    """The first goal of `group` minus that of `other`, over the seeds that both have. An unknown seed pairs with nothing."""
    goal = group.goals[0]
    theirs = {run.seed: run.value(goal) for run in other.counted}
    pairs = ((run.value(goal), theirs.get(run.seed)) for run in group.counted if run.seed is not None)
    return spread(mine - yours for mine, yours in pairs if mine is not None and yours is not None)


def spread(values: Iterable[float | None], aggregate: str = "mean") -> Spread:
    """Mean or median, standard deviation and interval of the values that are there."""
    found = [value for value in values if value is not None]
    if not found:
        return Spread(n=0)
    n = len(found)
    mean = statistics.mean(found) if n > 1 else found[0]  # exact: the faster fmean overflows where a loss has run away
    sd = statistics.stdev(found) if n > 1 else None
    is_median = aggregate == "median"
    return Spread(
        n=n,
        center=statistics.median(found) if is_median else mean,
        mean=mean,
        sd=sd,
        half_width=t_quantile(n - 1) * sd / math.sqrt(n) if sd is not None and not is_median else None,
        minimum=min(found),
        maximum=max(found),
    )


@cache
def t_quantile(df: int) -> float:
    """The 97.5 % point of Student's t with `df` >= 1 degrees of freedom: half of a 95 % interval, in standard errors."""
    low, high = 0.0, 13.0  # 12.706 at df = 1, falling to 1.960
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, df) < 0.95 else (low, middle)
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
