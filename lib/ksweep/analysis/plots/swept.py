"""The axes of a sweep as they are drawn: where each value stands on a scale."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

from ksweep.analysis.axes import as_float, row_text, swept_axes
from ksweep.analysis.effects import Importance
from ksweep.analysis.findings import Findings

_CLOSEST = 0.02  # of the extent of an axis: values nearer to each other could not be told apart on it
_LOG_FROM = 4.0  # largest by smallest value of a list: below it a logarithm changes nothing


class Scale(StrEnum):
    """How the values of an axis are set apart."""

    LINEAR = "linear"
    LOG = "log"
    LEVELS = "levels"  # one step from value to value, in the order of the range file


@dataclass(frozen=True)
class DrawnAxis:
    """`levels`: the texts that settings have on it, in the order of the range file, of a sampled one ascending; `sampled`: its
    distribution."""

    symbols: tuple[str, ...]
    levels: tuple[str, ...]
    sampled: str = ""

    @property
    def name(self) -> str:
        """The symbols, joined by commas."""
        return ",".join(self.symbols)

    @property
    def is_continuous(self) -> bool:
        """True when it is a scale with points on it rather than a few values."""
        return self.scale is not Scale.LEVELS and (bool(self.sampled) or len(self.levels) > 12)

    @cached_property
    def scale(self) -> Scale:
        """Logarithmic where it is sampled so, or a list's ratios are more even than its differences."""
        numbers = [as_float(level) for level in self.levels]
        known = sorted({number for number in numbers if number is not None})
        if len(known) < len(self.levels) or len(known) < 2:
            return Scale.LEVELS
        logs = [math.log10(number) for number in known] if known[0] > 0 else []
        if self.sampled:
            return Scale.LOG if logs and self.sampled.startswith("log") else Scale.LINEAR
        candidates = [(_unevenness(known), Scale.LINEAR, known)]
        if logs and known[-1] / known[0] >= _LOG_FROM:
            candidates.append((_unevenness(logs), Scale.LOG, logs))
        _, scale, places = min(candidates, key=lambda candidate: candidate[0])
        nearest = min(after - before for before, after in pairwise(places))
        is_readable = nearest >= _CLOSEST * (places[-1] - places[0]) or len(known) > 12
        return scale if is_readable else Scale.LEVELS

    @cached_property
    def _index(self) -> dict[str, int]:
        return {level: index for index, level in enumerate(self.levels)}

    def level(self, values: Mapping[str, str]) -> str | None:
        """The text of a setting's value; None where the axis is not active there."""
        return row_text(self.symbols, values)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest place."""
        places = [self.place(level) for level in self.levels]
        return min(places), max(places)

    def place(self, level: str) -> float:
        """Where a level stands: its number, that number's decimal logarithm, or its place in the list."""
        number = as_float(level) if self.scale is not Scale.LEVELS else None
        if number is None:
            return float(self._index[level])
        return math.log10(number) if self.scale is Scale.LOG else number


def drawn_axes(findings: Findings) -> list[DrawnAxis]:
    """The swept ones, the most important one for the first goal first; else in file order."""
    axes = swept_axes(findings.state, findings.ranking)
    drawn = [DrawnAxis(axis.symbols, axis.values, str(axis.sampled or "")) for axis in axes]
    return sorted(drawn, key=lambda axis: -share(axis, findings.effects.importance))


def share(axis: DrawnAxis, importance: Importance | None) -> float:
    """The share of the goal's variance that the axis explains, of all settings, those without it too; 0 where it is not known."""
    if importance is None:
        return 0.0
    having = importance.partial.get(axis.name, importance.num_settings)
    return importance.shares.get(axis.name, 0.0) * having / max(importance.num_settings, 1)


def _unevenness(places: Sequence[float]) -> float:
    """Largest step by smallest one."""
    steps = [after - before for before, after in pairwise(places)]
    return max(steps) / min(steps) if min(steps) > 0 else math.inf


def file_part(axis: DrawnAxis) -> str:
    """The axis in a file name."""
    return re.sub(r"[^\w-]", "", "-".join(axis.symbols))[:60] or "axis"
