"""Axes, and what a search may do with a space: draw a point of it, axis by axis."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ksweep.space.values import Sampled, decimal_text, parse_decimal

Row = tuple[str, ...]  # one value of an axis: a text for each of its symbols


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a space: its symbols (several when paired) and value tuples in file order, or its distribution."""

    symbols: tuple[str, ...]
    values: tuple[Row, ...]
    where: str
    sampled: Sampled | None = None

    @property
    def name(self) -> str:
        """The symbols, joined by commas."""
        return ",".join(self.symbols)

    def row_in(self, values: Mapping[str, str]) -> Row | None:
        """The row that a point's values (symbol -> text) have on this axis; None where one is missing or not on the axis."""
        row = tuple(values[name] for name in self.symbols if name in values)
        return row if len(row) == len(self.symbols) and self.has(row) else None

    def has(self, row: Row) -> bool:
        """Whether `row` is one of this axis' values, or can be drawn from its distribution."""
        if self.sampled is None:
            return row in self.values
        number = parse_decimal(row[0])
        return number is not None and self.sampled.has(number)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A point that was drawn: rows of the axes that are active there (axis name -> row), values (symbol -> text), content id
    and complete text; or, with an empty id, the reason why it is not legal."""

    rows: dict[str, Row]
    values: dict[str, str]
    id: str = ""
    text: str = ""
    reason: str = ""


class Space(Protocol):
    """What a search sees of a space. `axes`: each after those that decide whether it is active."""

    @property
    def axes(self) -> tuple[Axis, ...]: ...

    def draw(self, choose: Callable[[Axis], Row]) -> Draft:
        """The point that `choose` makes. It is called for each axis that is active, given what was chosen before, in order."""
        ...


def size(axes: tuple[Axis, ...]) -> int | None:
    """Number of combinations, legal or not; None when an axis has no list of values."""
    return None if any(axis.sampled for axis in axes) else math.prod(len(axis.values) for axis in axes)


def rounded(axis: Axis, number: float) -> str:
    """The text of a number drawn for a sampled axis: six digits are plenty, and a text must be exactly what a model is told."""
    assert axis.sampled is not None
    return decimal_text(axis.sampled.nearest(number))
