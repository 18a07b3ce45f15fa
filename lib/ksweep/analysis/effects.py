"""What each axis does to the first goal: main effects, pairwise interactions, importance.

The unit is a setting (its mean over seeds): seeds of one setting are repeats, and counting them as settings would make every
interval too narrow. Only settings that count are used, those that break a constraint too; one that failed or was stopped is no
number. Symbols that were paired in the range file are one axis, named `A,B`, with values `1, 2`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean

from ksweep.analysis.axes import SweptAxis, in_plan_order, swept_axes
from ksweep.analysis.load import SweepState
from ksweep.analysis.ranking import Group, Ranking, Spread, spread

_AXES_PAIRED = 8  # the most important ones: 28 pairs
_LARGEST = 1e100  # its square is still a float
_NOISE = 1e-12  # relative: differences below it are of rounding


@dataclass(frozen=True, kw_only=True)
class Level:
    """One value of an axis: over its settings the mean of the goal, with the 95 % t interval of that mean.

    `num_settings` and `num_runs` are those that count; 0 where none did. `effect`: how much better (above 0) or worse the goal is
    here than at the axis's other values *with all else equal*: over contexts, which are settings that differ in this axis only,
    the mean and interval of (goal here - mean of the goals at the other values). Axes that only some of its values have
    (momentum, of the optimizer sgd) are averaged over. None where there is no such context.
    """

    value: str
    num_settings: int
    num_runs: int
    goal: Spread
    effect: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class MainEffect:
    """One axis. `levels`: in the order of the range file; numbers of a sampled axis, and of a list of more than 8 with few
    settings each (or more than 20), in up to 5 bins with about as many settings each (`0.0012 to 0.0046`). `is_active_everywhere`
    is False for an axis that some settings do not have."""

    symbol: str
    levels: tuple[Level, ...]
    is_active_everywhere: bool = True


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """Two axes. `cells`: (value of the first, of the second) -> the goal over the settings there; of the `num_combinations` there
    are, those without a setting that counts are not in it.

    `share`: of the variance of the cells' means, the part that the sum of both axes' effects, fitted by least squares, does not
    explain, 0 to 1. `departure`: the root mean square of that part, in the goal's unit. Both are None where there are so few
    cells that such a sum fits any values, where a sampled axis leaves a gap, or the means are all the same. `chance`: the share
    to be expected if there were no interaction but only noise: that over seeds where all cells have the same settings otherwise,
    else that of the other axes as well; None where this is not known.
    """

    symbols: tuple[str, str]
    cells: dict[tuple[str, str], Spread]
    num_combinations: int
    share: float | None = None
    departure: float | None = None
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Share of the goal's variance that each axis explains by itself, 0 to 1, largest first; what is missing to 1 are
    interactions and noise. `method`: its name and source, for people.

    `partial`: axis that not every setting has -> number of settings that have it: its share is of the variance among these.
    `fit`: how well settings are predicted from the rest of them, R2, 1 being perfect; at 0 or below the shares are of noise.
    None where they are exact sums over a complete grid. `noise`: the part of the settings' variance to be expected from seeds
    alone, 0 to 1, which is spread over all shares; None with one seed each.
    """

    method: str
    shares: dict[str, float]
    num_settings: int
    partial: dict[str, int] = field(default_factory=dict)
    fit: float | None = None
    noise: float | None = None


@dataclass(frozen=True, kw_only=True)
class Effects:
    """`interactions`: the strongest first, by how far `departure` is beyond chance. `warnings`: one line each, why an effect is
    not to be read as it stands: what a search's own choice of points does to it."""

    main: tuple[MainEffect, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    importance: Importance | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that counts. `values`: axis -> its value, of the axes that it has; `goal`: mean (or median) over its seeds."""

    values: Mapping[str, str]
    goal: float
    group: Group


def find_effects(state: SweepState, ranking: Ranking) -> Effects:
    """Of the first goal. Empty where there is no goal, or fewer than two settings count."""
    from ksweep.analysis.bias import bias_warnings
    from ksweep.analysis.importance import find_importance

    axes = swept_axes(state, ranking)
    settings = counted_settings(axes, ranking)
    if len(settings) < 2 or not axes:
        return Effects()
    if (largest := max(abs(setting.goal) for setting in settings)) > _LARGEST:
        return Effects(warnings=(f"{ranking.objective} goes up to {largest:.3g}: no effects are computed above {_LARGEST:.0e}",))
    importance = find_importance(axes, settings)
    if importance:
        importance = replace(importance, noise=_noise_share(settings))
    sign = 1 if ranking.direction == "maximize" else -1
    main = tuple(main_effect(axis, axes, settings, ranking, sign) for axis in axes)
    return Effects(
        main=main,
        interactions=_interactions(axes, settings, importance),
        importance=importance,
        warnings=tuple(bias_warnings(state, settings, axes, main, importance)),
    )


def counted_settings(axes: Sequence[SweptAxis], ranking: Ranking) -> list[Setting]:
    """Those that have a value of the first goal, feasible or not, in plan order."""
    found = []
    for group in in_plan_order([*ranking.ranked, *ranking.infeasible]):
        if group.score.center is not None:
            values = {axis.name: value for axis in axes if (value := axis.value(group.values)) is not None}
            found.append(Setting(values=values, goal=group.score.center, group=group))
    return found


def main_effect(
    axis: SweptAxis, axes: Sequence[SweptAxis], settings: Sequence[Setting], ranking: Ranking, sign: int
) -> MainEffect:
    """One axis. `sign`: 1 where a larger goal is better, else -1."""
    here: list[list[Setting]] = [[] for _ in axis.levels]
    for setting in settings:
        if axis.name in setting.values:
            here[axis.level_of[setting.values[axis.name]]].append(setting)
    differences = _differences(axis, axes, here, sign)
    levels = [
        Level(
            value=label,
            num_settings=len(members),
            num_runs=sum(len(setting.group.counted) for setting in members),
            goal=spread(setting.goal for setting in members),
            effect=spread(differences[index]) if differences[index] else None,
        )
        for index, (label, members) in enumerate(zip(axis.levels, here, strict=True))
    ]
    groups = [*ranking.ranked, *ranking.infeasible, *ranking.unranked]
    is_everywhere = all(axis.value(group.values) is not None for group in groups)
    return MainEffect(symbol=axis.name, levels=tuple(levels), is_active_everywhere=is_everywhere)


def _differences(axis: SweptAxis, axes: Sequence[SweptAxis], here: list[list[Setting]], sign: int) -> list[list[float]]:
    """For each level, context by context, how much better it is than the mean of the other levels there."""
    others = _independent(axis, axes, here)
    contexts: dict[tuple[str | None, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for level, members in enumerate(here):
        for setting in members:
            contexts[tuple(setting.values.get(name) for name in others)][level].append(setting.goal)
    differences: list[list[float]] = [[] for _ in here]
    for goals in contexts.values():
        means = {level: fmean(values) for level, values in goals.items()}
        for level, mean in means.items() if len(means) > 1 else ():
            difference = sign * (mean - fmean(value for other, value in means.items() if other != level))
            if math.isfinite(difference):
                differences[level].append(difference)
    return differences


def _independent(axis: SweptAxis, axes: Sequence[SweptAxis], here: list[list[Setting]]) -> list[str]:
    """The other axes that every level of this one has settings with: they can be equal."""
    present = [{name for setting in members for name in setting.values} for members in here if members]
    return [other.name for other in axes if other is not axis and all(other.name in names for names in present)]


def _interactions(
    axes: Sequence[SweptAxis], settings: Sequence[Setting], importance: Importance | None
) -> tuple[Interaction, ...]:
    shares = importance.shares if importance else {}
    main = sorted(axes, key=lambda axis: -shares.get(axis.name, 0.0))[:_AXES_PAIRED]
    chosen = [axis for axis in axes if axis in main]
    found = [_interaction(first, second, axes, settings) for first, second in combinations(chosen, 2)]
    return tuple(sorted((pair for pair in found if pair), key=_strength, reverse=True))


def _strength(pair: Interaction) -> tuple[float, float]:
    """The departure that chance does not account for, then all of it."""
    departure = pair.departure or 0.0
    by_chance = pair.chance / pair.share if pair.chance and pair.share else 0.0
    return departure * math.sqrt(max(0.0, 1 - by_chance)), departure


def _interaction(
    first: SweptAxis, second: SweptAxis, axes: Sequence[SweptAxis], settings: Sequence[Setting]
) -> Interaction | None:
    """None where one of them has a single value among the settings that have both."""
    members: dict[tuple[int, int], list[Setting]] = defaultdict(list)
    for setting in settings:
        if first.name in setting.values and second.name in setting.values:
            place = first.level_of[setting.values[first.name]], second.level_of[setting.values[second.name]]
            members[place].append(setting)
    rows, columns = sorted({row for row, _ in members}), sorted({column for _, column in members})
    if len(rows) < 2 or len(columns) < 2:
        return None
    cells = {
        (first.levels[row], second.levels[column]): spread(setting.goal for setting in members[row, column])
        for row in rows
        for column in columns
        if (row, column) in members
    }
    pair = Interaction(symbols=(first.name, second.name), cells=cells, num_combinations=len(first.levels) * len(second.levels))
    is_search = any(axis.sampled or axis.is_binned for axis in (first, second))
    if is_search and len(cells) < pair.num_combinations:  # where a search has been or not is no accident
        return pair
    total, departure, degrees = _fit_of_sum({place: fmean(setting.goal for setting in cell) for place, cell in members.items()})
    if total == 0 or degrees == 0:
        return pair
    others = [axis.name for axis in axes if axis not in (first, second)]
    expected = _noise_of_means(list(members.values()), others)
    return replace(
        pair,
        share=departure / total,
        departure=math.sqrt(departure),
        chance=None if expected is None else min(1.0, expected * degrees / len(members) / total),
    )


def _fit_of_sum(means: Mapping[tuple[int, int], float]) -> tuple[float, float, int]:
    """Of a table, whole or with gaps: the variance of its cells, what is left of it when the best sum of a part for each row and
    one for each column is taken away, and the degrees of freedom of what is left."""
    import numpy as np

    total = _variance(list(means.values()))
    middle = fmean(means.values())
    rows, columns = (sorted({place[side] for place in means}) for side in (0, 1))
    terms = np.array([[*(row == r for r in rows), *(column == c for c in columns)] for row, column in means], dtype=float)
    spans = np.array([value - middle for value in means.values()])
    parts, _, rank, _ = np.linalg.lstsq(terms, spans)
    return total, float(np.mean((spans - terms @ parts) ** 2)) if total else 0.0, len(means) - int(rank)


def _variance(values: Sequence[float]) -> float:
    """0 when they are all the same, but for rounding, or too far apart for a float."""
    middle = fmean(values)
    largest = max(abs(value - middle) for value in values)
    if not 1e-150 < largest < 1e150 or largest <= _NOISE * max(map(abs, values)):
        return 0.0
    return fmean((value - middle) ** 2 for value in values)


def _noise_of_means(cells: Sequence[Sequence[Setting]], others: Sequence[str]) -> float | None:
    """The variance that the mean of a cell has by chance, averaged over cells; None where nothing was repeated."""
    contexts = [Counter(tuple(setting.values.get(name) for name in others) for setting in cell) for cell in cells]
    if all(context == contexts[0] for context in contexts):
        scores = [setting.group.score for cell in cells for setting in cell]
        variance = _pooled((score.n, score.sd) for score in scores)
        parts = [sum(1 / setting.group.score.n for setting in cell) / len(cell) ** 2 for cell in cells]
    else:
        spreads = [spread(setting.goal for setting in cell) for cell in cells]
        variance = _pooled((found.n, found.sd) for found in spreads)
        parts = [1 / len(cell) for cell in cells]
    return None if variance is None else variance * fmean(parts)


def _noise_share(settings: Sequence[Setting]) -> float | None:
    """Of the variance between settings, what the noise of their means would give by itself; None where seeds do not tell."""
    noise = _noise_of_means([[setting] for setting in settings], [])
    total = _variance([setting.goal for setting in settings])
    return None if noise is None or total == 0 else min(1.0, noise * (1 - 1 / len(settings)) / total)


def _pooled(spreads: Iterable[tuple[int, float | None]]) -> float | None:
    known = [(n - 1, sd) for n, sd in spreads if sd is not None]
    if not known or max(sd for _, sd in known) > 1e150:
        return None
    return sum(df * sd * sd for df, sd in known) / sum(df for df, _ in known)
