"""Whether a short run tells which setting is good: the goal after a few epochs against that of the whole run, by rank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ksweep.analysis.findings import Findings
from ksweep.analysis.load import as_number
from ksweep.contract.outcome import Status

_SHARES = (0.25, 0.5)  # of the longest run, besides the first epoch
_Z = 1.959964  # 97.5 % point of the normal distribution
_LEAST = 4  # runs: with 3 an interval has no width that means anything


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """The first goal after `epoch` against that of the whole run, over the `num_runs` runs that passed, went on after it and
    reported the goal there.

    `correlation`: of ranks (Spearman), -1 to 1; `low` and `high`: its 95 % interval (Bonett and Wright 2000, Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations). `place_of_best`: where the run that was best in the
    end stood at that epoch, from 1.
    """

    epoch: int
    num_runs: int
    correlation: float
    low: float
    high: float
    place_of_best: int


def rank_correlations(findings: Findings) -> list[Fidelity]:
    """At the first epoch and at 25 and 50 % of the longest run. An epoch where fewer than 4 runs can be compared, or all are the
    same, is left out; empty for a goal that is known at the end only."""
    goals = findings.state.objectives.goals
    if not goals:
        return []
    curves: list[tuple[float, dict[int, float]]] = []
    for run in findings.state.runs:
        final = run.value(goals[0]) if run.status is Status.PASSED else None
        if final is None:
            continue
        reports = [(as_number(report.get("epoch")), goals[0].value(report)) for report in findings.histories[run.config]]
        curve = {int(epoch): value for epoch, value in reports if epoch is not None and value is not None}
        if curve:
            curves.append((final, curve))
    longest = max((max(curve) for _, curve in curves), default=0)
    epochs = sorted({1, *(max(1, round(share * longest)) for share in _SHARES)})
    found = [_at(epoch, curves, goals[0].is_maximized) for epoch in epochs if epoch < longest]
    return [fidelity for fidelity in found if fidelity]


def _at(epoch: int, curves: Sequence[tuple[float, dict[int, float]]], is_maximized: bool) -> Fidelity | None:
    pairs = [(curve[epoch], final) for final, curve in curves if epoch in curve and max(curve) > epoch]
    if len(pairs) < _LEAST:
        return None
    early, final = [first for first, _ in pairs], [last for _, last in pairs]
    correlation = spearman(early, final)
    if correlation is None:
        return None
    bound = max(min(correlation, 1 - 1e-15), -1 + 1e-15)
    width = _Z * math.sqrt((1 + correlation**2 / 2) / (len(pairs) - 3))
    best = final.index(max(final) if is_maximized else min(final))
    ahead = sum(value > early[best] if is_maximized else value < early[best] for value in early)
    return Fidelity(
        epoch=epoch,
        num_runs=len(pairs),
        correlation=correlation,
        low=math.tanh(math.atanh(bound) - width),
        high=math.tanh(math.atanh(bound) + width),
        place_of_best=ahead + 1,
    )


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The correlation of two lists' ranks, equal values sharing their mean rank; None where one list is the same throughout."""
    one, other = _ranks(first), _ranks(second)
    middle = (len(one) + 1) / 2
    product = sum((x - middle) * (y - middle) for x, y in zip(one, other, strict=True))
    size = math.sqrt(sum((x - middle) ** 2 for x in one) * sum((y - middle) ** 2 for y in other))
    return product / size if size > 0 else None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for index in order[start:end]:
            ranks[index] = (start + 1 + end) / 2
        start = end
    return ranks
