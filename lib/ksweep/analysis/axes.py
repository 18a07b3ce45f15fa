"""The axes of a sweep as its settings show them: which value each setting has; the numbers of a long axis in bins.

Symbols that were paired in the range file are one axis, as they were varied together. SEED is none: its values are repeats.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ksweep.analysis.load import SEED, SweepState
from ksweep.analysis.ranking import Group, Ranking
from ksweep.space.values import Sampled, ValueProblem, parse_values

_MOST_VALUES = 8  # of an axis of numbers; one with more is put into bins,
_MOST_REPEATED = 20  # unless it is a list of up to so many that have some settings each
_MOST_BINS = 5
_LEAST_IN_BIN = 4


@dataclass(frozen=True, kw_only=True)
class SweptAxis:
    """One axis. `values`: the texts that settings have on it, numbers in bins ascending, else in the order of the range file.

    `levels`: what effects are shown for: the values, or bins of them (`0.0012 to 0.0046`); `level_of`: value -> index of its
    level. Of paired symbols a value is the row's texts, joined by commas.
    """

    symbols: tuple[str, ...]
    values: tuple[str, ...]
    levels: tuple[str, ...]
    level_of: Mapping[str, int]
    sampled: Sampled | None = None

    @property
    def name(self) -> str:
        """The symbols, joined by commas."""
        return ",".join(self.symbols)

    @property
    def is_binned(self) -> bool:
        """True when a level may hold several values."""
        return len(self.levels) < len(self.values)

    def value(self, values: Mapping[str, str]) -> str | None:
        """What a setting has; None where the axis is not active there."""
        return row_text(self.symbols, values)

    @property
    def extent(self) -> tuple[float, float]:
        """Both ends of the scale on which `place` puts values, half a step beyond the values of a list."""
        if self.sampled is None:
            return -0.5, len(self.values) - 0.5
        half = 0.5 if self.sampled.is_whole and not self.sampled.is_log else 0.0
        return self._on_scale(float(self.sampled.low)) - half, self._on_scale(float(self.sampled.high)) + half

    def place(self, value: str) -> float:
        """Where a value stands: even steps along a list, a number of a distribution so that equal lengths are drawn equally
        often (the logarithm of a log one)."""
        if self.sampled is None:
            return float(self._index[value])
        low, high = self.extent
        return min(max(self._on_scale(as_float(value) or 0.0), low), high)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {value: index for index, value in enumerate(self.values)}

    def _on_scale(self, number: float) -> float:
        if self.sampled is None or not self.sampled.is_log:
            return number
        return math.log10(number) if number > 0 else -math.inf


def swept_axes(state: SweepState, ranking: Ranking) -> list[SweptAxis]:
    """Those with two values or more at the settings of the newest plan, in the order of the range file."""
    groups = in_plan_order([*ranking.ranked, *ranking.infeasible, *ranking.unranked])
    entries = [
        (tuple(map(str, entry.get("symbols") or ())), entry.get("values") or [], str(entry.get("sampled") or ""))
        for entry in state.record.axes
    ]
    listed = {symbol for symbols, _, _ in entries for symbol in symbols}
    entries += [((name,), [], "") for name in ranking.columns if name not in listed]
    axes = [
        _axis(symbols, [", ".join(map(str, row)) for row in rows], sampled, groups)
        for symbols, rows, sampled in entries
        if symbols and symbols != (SEED,)
    ]
    return [axis for axis in axes if len(axis.values) > 1]


def in_plan_order(groups: Sequence[Group]) -> list[Group]:
    """As they were planned, so that nothing that is made of them knows their ranks."""
    return sorted(groups, key=lambda group: (len(group.runs[0].config), group.runs[0].config))


def row_text(symbols: Sequence[str], values: Mapping[str, str]) -> str | None:
    """The values of one axis as one text; None unless all of them are there."""
    row = [values[symbol] for symbol in symbols if symbol in values]
    return ", ".join(row) if len(row) == len(symbols) else None


def as_float(text: str) -> float | None:
    """The finite number that a text is; None where it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _axis(symbols: tuple[str, ...], planned: list[str], sampled_text: str, groups: list[Group]) -> SweptAxis:
    found = Counter(value for group in groups if (value := row_text(symbols, group.values)) is not None)
    values = list(dict.fromkeys([*(value for value in planned if value in found), *found]))
    are_numbers = all(as_float(value) is not None for value in values)
    sampled = _sampled(sampled_text) if are_numbers else None
    if not planned and are_numbers:
        values.sort(key=lambda value: (as_float(value), value))
    if not are_numbers or (sampled is None and not _needs_bins(values, found)):
        level_of = {value: index for index, value in enumerate(values)}
        return SweptAxis(symbols=symbols, values=tuple(values), levels=tuple(values), level_of=level_of)
    values.sort(key=lambda value: (as_float(value), value))
    bins = _bins(values, found)
    return SweptAxis(
        symbols=symbols,
        values=tuple(values),
        levels=tuple(_bin_label(members) for members in bins),
        level_of={value: index for index, members in enumerate(bins) for value in members},
        sampled=sampled,
    )


def _sampled(text: str) -> Sampled | None:
    try:
        found = parse_values(text) if text else None
    except ValueProblem:
        return None
    return found if isinstance(found, Sampled) else None


def _needs_bins(values: Sequence[str], counts: Mapping[str, int]) -> bool:
    """Whether a value by itself says too little."""
    is_repeated = sum(counts.values()) >= _LEAST_IN_BIN * len(values)
    return len(values) > (_MOST_REPEATED if is_repeated else _MOST_VALUES)


def _bins(values: list[str], counts: Mapping[str, int]) -> list[list[str]]:
    """Ascending values in up to five parts with about as many settings each; equal values stay together."""
    total = sum(counts[value] for value in values)
    num_bins = min(_MOST_BINS, max(2, total // _LEAST_IN_BIN))
    bins: dict[int, list[str]] = {}
    before = 0
    for value in values:
        middle = before + counts[value] / 2
        bins.setdefault(int(middle * num_bins / total), []).append(value)
        before += counts[value]
    return [bins[index] for index in sorted(bins)]


def _bin_label(members: list[str]) -> str:
    if len(members) == 1:
        return members[0]
    low, high = float(members[0]), float(members[-1])
    for digits in () if low.is_integer() and high.is_integer() else (2, 3, 4, 6):
        ends = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if ends[0] != ends[1]:
            return " to ".join(ends)
    return f"{members[0]} to {members[-1]}"
