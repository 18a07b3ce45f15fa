"""Why an effect is not to be read as it stands: what the choice of points, and of what became of them, does to it. One line each.

A mean over settings is fair where the settings of one value are like those of another. They are not where a search chose them by
their results, where only those that were ahead ran to the end, where runs failed at one value more than at others, or where two
axes were changed together.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb

from ksweep.analysis.axes import SweptAxis
from ksweep.analysis.effects import Importance, MainEffect, Setting
from ksweep.analysis.formats import one_line, plural
from ksweep.analysis.load import RunRecord, SweepState
from ksweep.contract.outcome import Status

_FAIR = ("grid", "random", "qmc")  # samplers whose points do not depend on results
_WITH_RUNGS = ("halving", "asha", "hyperband", "pbt")
_UNEVEN = 3.0  # most by fewest settings of two values
_CHANCE = 0.05  # that as many runs of a value fail by chance
_POOR_FIT = 0.3  # R2 of the forest
_MUCH_NOISE = 0.3  # of the variance between settings
_LISTED = 4


def bias_warnings(
    state: SweepState,
    settings: Sequence[Setting],
    axes: Sequence[SweptAxis],
    main: Sequence[MainEffect],
    importance: Importance | None,
) -> list[str]:
    """The most important one first. `settings`: those that count. Empty where the effects may be read as they stand."""
    lines = [*_of_strategy(state, main), *_of_what_is_open(state)]
    for axis, effect in zip(axes, main, strict=True):
        lines += _of_failures(axis, state.runs)
        lines += _of_numbers(axis, effect)
    lines += [*_of_pairs(axes), *_of_confounding(axes, settings), *_of_fit(importance)]
    return [one_line(line) for line in lines]


def _of_strategy(state: SweepState, main: Sequence[MainEffect]) -> Iterable[str]:
    strategy, sampler = state.record.strategy, state.record.sampler
    if strategy == "pbt":
        yield "pbt changed values while runs were trained: a run's mean is not that of its values alone"
    chooser = (sampler or "random") if strategy in _WITH_RUNGS else strategy
    if chooser not in _FAIR:
        uneven = max(main, key=_largest_part, default=None)
        level = max(uneven.levels, key=lambda level: level.num_settings) if uneven else None
        total = sum(other.num_settings for other in uneven.levels) if uneven else 0
        example = f" ({level.num_settings} of {total} at {uneven.symbol}={level.value})" if uneven and level else ""
        yield f"{chooser} chose points by earlier results, most where it was good{example}: means are over unlike settings"
    stopped = sum(run.status is Status.PRUNED for run in state.runs)
    if stopped:
        passed = sum(run.status is Status.PASSED for run in state.runs)
        yield (
            f"{stopped} of {len(state.runs)} runs were stopped early for being behind: means are over the {passed} that were "
            "not, so an effect looks smaller than it is"
        )


def _largest_part(effect: MainEffect) -> float:
    total = sum(level.num_settings for level in effect.levels)
    return max(level.num_settings for level in effect.levels) * len(effect.levels) / total if total else 0.0


def _of_what_is_open(state: SweepState) -> Iterable[str]:
    left = len(state.runs) - state.num_finished
    if left:
        yield f"{left} of {len(state.runs)} runs have not ended: all of this may change"


def _of_failures(axis: SweptAxis, runs: Sequence[RunRecord]) -> Iterable[str]:
    """Levels at which more runs went wrong than chance would have it (Fisher's exact test, one-sided), or all did."""
    ended = [
        (axis.level_of[value], run.status.is_bad)
        for run in runs
        if run.status.is_final and (value := axis.value(run.point.values)) is not None
    ]
    num, num_bad = len(ended), sum(bad for _, bad in ended)
    for index, label in enumerate(axis.levels):
        here = [bad for level, bad in ended if level == index]
        failed = sum(here)
        if not failed or num_bad == num:
            continue
        where = f"at {axis.name}={label}" if axis.sampled is None and not axis.is_binned else f"at {axis.name} {label}"
        if failed == len(here):
            yield f"{where} all {plural(failed, 'run')} failed: it has no mean" if failed > 1 else f"{where} the only run failed"
        elif _chance(failed, len(here), num_bad, num) < _CHANCE:
            rest = f"({num_bad - failed} of {num - len(here)} elsewhere)"
            yield f"{where} {failed} of {len(here)} runs failed {rest}: its mean is of the survivors"


def _chance(failed: int, here: int, num_bad: int, num: int) -> float:
    """Of `failed` or more among `here` runs, when `num_bad` of `num` fail wherever they are (hypergeometric)."""
    ways = sum(comb(num_bad, k) * comb(num - num_bad, here - k) for k in range(failed, min(here, num_bad) + 1))
    return ways / comb(num, here)


def _of_numbers(axis: SweptAxis, effect: MainEffect) -> Iterable[str]:
    counts = {level.value: level.num_settings for level in effect.levels if level.num_settings}
    if len(counts) < 2:
        value = next(iter(counts), "")
        yield (
            f"{axis.name}: all settings that count have {value}: no effect can be seen"
            if counts
            else (f"{axis.name}: no setting that counts has it")
        )
        return
    alone = [value for value, count in counts.items() if count == 1]
    if alone:
        which = "each value has" if len(alone) == len(counts) else f"{_some(alone)} {'have' if len(alone) > 1 else 'has'}"
        yield f"{axis.name}: {which} one setting only, hence no interval"
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= _UNEVEN * counts[fewest] and not alone:
        ends = f"{plural(counts[most], 'setting')} at {most}, {counts[fewest]} at {fewest}"
        yield f"{axis.name}: {ends}: the mean of the few says less"


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(values[:_LISTED]) + more


def _of_pairs(axes: Sequence[SweptAxis]) -> Iterable[str]:
    for axis in axes:
        if len(axis.symbols) > 1:
            yield f"{' and '.join(axis.symbols)} are paired in the range file: what is shown is the effect of both together"


def _of_confounding(axes: Sequence[SweptAxis], settings: Sequence[Setting]) -> Iterable[str]:
    """Axes of which one is known when the other is."""
    levels = [
        {axis.name: axis.level_of[setting.values[axis.name]] for axis in axes if axis.name in setting.values}
        for setting in settings
    ]
    together: list[set[str]] = []
    for first, second in combinations([axis.name for axis in axes], 2):
        both = [(level[first], level[second]) for level in levels if first in level and second in level]
        places = set(both)
        rows, columns = {row for row, _ in places}, {column for _, column in places}
        if len(rows) < 2 or len(columns) < 2:
            continue
        if len(places) == len(rows) == len(columns):
            _join(together, first, second)
        elif len(places) == max(len(rows), len(columns)) and len(both) >= 2 * len(places):
            finer, coarser = (first, second) if len(rows) > len(columns) else (second, first)
            yield f"{coarser} has one value only at each value of {finer}: what these do cannot be told apart"
    for names in together:
        listed = ", ".join(axis.name for axis in axes if axis.name in names)
        yield f"{listed}: changed only together, one value of each with one of the others: their effects cannot be told apart"


def _join(together: list[set[str]], first: str, second: str) -> None:
    for names in together:
        if first in names or second in names:
            names |= {first, second}
            return
    together.append({first, second})


def _of_fit(importance: Importance | None) -> Iterable[str]:
    if importance and importance.noise is not None and importance.noise > _MUCH_NOISE:
        yield (
            f"importance: seeds alone would give {100 * importance.noise:.0f}% of the variance between settings: so much of the "
            "shares is noise"
        )
    if importance and importance.fit is not None and importance.fit < _POOR_FIT:
        yield (
            f"importance: from {plural(importance.num_settings, 'setting')}, a setting left out is predicted poorly "
            f"(R2 {importance.fit:.2f}, 1 is perfect): the shares are rough"
        )
