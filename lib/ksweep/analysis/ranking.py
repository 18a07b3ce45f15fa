"""Which settings are best, and how sure that is: seeds grouped as repeats, t intervals, ties. Standard library only.

Points that differ only in SEED are one setting. Settings are ranked by the mean of the objective over the runs that
passed; nothing stands in for a run that did not. Whether a setting is really behind the best is asked of the
differences seed by seed, since both have met the same initial weights and the same order of examples.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from ksweep.analysis.load import SEED, RunRecord, SweepState
from ksweep.contract.outcome import Status


@dataclass(frozen=True, kw_only=True)
class Spread:
    """n values of one metric. `sd`: sample standard deviation; `half_width`: of the mean's 95 % t interval; both need n >= 2."""

    n: int
    mean: float | None = None
    sd: float | None = None
    half_width: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class Verdict(StrEnum):
    """A setting against the best one."""

    BEST = "best"  # the first of those with the best mean
    TIED = "tied"  # the 95 % interval of the paired difference includes 0
    BEHIND = "behind"  # it does not
    UNKNOWN = "unknown"  # the spread of the difference is not known: fewer than two seeds in common, or equal on all of them


@dataclass(frozen=True, kw_only=True)
class Group:
    """One setting and its repeats. `values`: the swept symbols without SEED. `rank` counts from 1, equal means share one;
    None when no run of it counts."""

    values: dict[str, str]
    runs: list[RunRecord]
    objective: str
    score: Spread
    rank: int | None = None
    verdict: Verdict | None = None

    @property
    def counted(self) -> list[RunRecord]:
        """The runs that the score is made of: passed, with a finite objective."""
        return [run for run in self.runs if _counts(run, self.objective)]

    def over(self, metric: str) -> Spread:
        """A final metric over the runs that count and have it."""
        return spread(run.metric(metric) for run in self.counted)

    @property
    def wall_s(self) -> Spread:
        """The duration of the runs that count, in seconds."""
        return spread(run.result.wall_s for run in self.counted if run.result)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Settings, best first. `columns`: the swept symbols without SEED. `unranked` have no run that counts, in plan order.

    Without an objective all are unranked.
    """

    objective: str
    direction: str
    columns: list[str]
    ranked: list[Group]
    unranked: list[Group]

    @property
    def best(self) -> Group | None:
        """The first of those with the best mean, None when no run counts."""
        return self.ranked[0] if self.ranked else None

    @property
    def has_repeats(self) -> bool:
        """True when some setting is planned with more than one seed."""
        return any(len(group.runs) > 1 for group in self.ranked + self.unranked)


def rank(state: SweepState) -> Ranking:
    """Group, score and order the runs of a sweep by its own objective and direction."""
    objective, direction = state.record.objective, state.record.direction
    groups = [_score(values, runs, objective) for values, runs in _group_repeats(state.runs)]
    sign = 1 if direction == "minimize" else -1
    scored = [(sign * group.score.mean, group) for group in groups if group.score.mean is not None]
    scored.sort(key=lambda item: item[0])  # stable: equal means stay in plan order
    return Ranking(
        objective=objective,
        direction=direction,
        columns=list(dict.fromkeys(name for run in state.runs for name in run.point.values if name != SEED)),
        ranked=_place(scored),
        unranked=[group for group in groups if group.score.mean is None],
    )


def _group_repeats(runs: list[RunRecord]) -> Iterable[tuple[dict[str, str], list[RunRecord]]]:
    groups: dict[object, tuple[dict[str, str], list[RunRecord]]] = {}
    for run in runs:
        values = {name: value for name, value in run.point.values.items() if name != SEED}
        # Only a swept seed makes repeats: without it, points whose values are not known must not be taken for one setting.
        key = tuple(sorted(values.items())) if SEED in run.point.values else run.config
        groups.setdefault(key, (values, []))[1].append(run)
    return groups.values()


def _score(values: dict[str, str], runs: list[RunRecord], objective: str) -> Group:
    score = spread(run.metric(objective) for run in runs if _counts(run, objective))
    return Group(values=values, runs=runs, objective=objective, score=score)


def _counts(run: RunRecord, objective: str) -> bool:
    return run.status is Status.PASSED and run.metric(objective) is not None


def _place(scored: list[tuple[float, Group]]) -> list[Group]:
    placed: list[Group] = []
    for position, (score, group) in enumerate(scored):
        equal = position > 0 and score == scored[position - 1][0]
        verdict = _verdict(group, scored[0][1]) if position else Verdict.BEST
        placed.append(replace(group, rank=placed[-1].rank if equal else position + 1, verdict=verdict))
    return placed


def _verdict(group: Group, best: Group) -> Verdict:
    difference = paired_difference(group, best)
    if difference.mean is None or difference.half_width is None:
        return Verdict.UNKNOWN
    if abs(difference.mean) <= difference.half_width:
        return Verdict.TIED
    # One validation example more on either of two seeds gives an interval of no width: that is not certainty.
    return Verdict.BEHIND if difference.half_width > 1e-9 * abs(difference.mean) else Verdict.UNKNOWN


def paired_difference(group: Group, other: Group) -> Spread:
    """The objective of `group` minus that of `other`, over the seeds that both have. An unknown seed pairs with nothing."""
    theirs = {run.seed: run.metric(other.objective) for run in other.counted}
    pairs = ((run.metric(group.objective), theirs.get(run.seed)) for run in group.counted if run.seed is not None)
    return spread(mine - yours for mine, yours in pairs if mine is not None and yours is not None)


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, standard deviation and interval of the values that are there."""
    found = [value for value in values if value is not None]
    if not found:
        return Spread(n=0)
    n = len(found)
    mean = statistics.mean(found) if n > 1 else found[0]  # exact: the faster fmean overflows where a loss has run away
    sd = statistics.stdev(found) if n > 1 else None
    half_width = t_quantile(n - 1) * sd / math.sqrt(n) if sd is not None else None
    return Spread(n=n, mean=mean, sd=sd, half_width=half_width, minimum=min(found), maximum=max(found))


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
