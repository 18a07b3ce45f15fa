"""Spaces in plain Python, for what searches: axes in the range language, conditions and rules as functions."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ksweep.space.axes import Axis, Draft, Row
from ksweep.space.values import Sampled, parse_tuples, parse_values

Values = Mapping[str, str]


def axis(name: str, expression: str) -> Axis:
    """An axis as a range file's line makes it; several symbols, joined by commas, are paired."""
    symbols = tuple(name.split(","))
    if len(symbols) > 1:
        return Axis(symbols=symbols, values=tuple(parse_tuples(expression, len(symbols))), where="mine:1")
    values = parse_values(expression)
    if isinstance(values, Sampled):
        return Axis(symbols=symbols, values=(), where="mine:1", sampled=values)
    return Axis(symbols=symbols, values=tuple((value,) for value in values), where="mine:1")


@dataclass(kw_only=True)
class PlainSpace:
    """`active`: axis name -> whether it is, given the values so far (missing: always). `reason`: why values are not legal."""

    axes: tuple[Axis, ...]
    active: Mapping[str, Callable[[Values], bool]] = field(default_factory=dict)
    reason: Callable[[Values], str] = lambda values: ""
    num_draws: int = 0

    def draw(self, choose: Callable[[Axis], Row]) -> Draft:
        """See Space."""
        self.num_draws += 1
        rows: dict[str, Row] = {}
        values: dict[str, str] = {}
        for axis in self.axes:
            if self.active.get(axis.name, lambda values: True)(values):
                row = choose(axis)
                assert axis.has(row), f"{axis.name}: {row} is not in the space"
                rows[axis.name] = row
                values |= zip(axis.symbols, row, strict=True)
        if reason := self.reason(values):
            return Draft(rows=rows, values=values, reason=reason)
        text = "".join(f"CONFIG_{name}={value}\n" for name, value in values.items())
        return Draft(rows=rows, values=values, id=hashlib.sha256(text.encode()).hexdigest()[:12], text=text)


def space(active: Mapping[str, Callable[[Values], bool]] | None = None, **expressions: str) -> PlainSpace:
    """A space with an axis for each keyword; A__B stands for the pair A,B."""
    axes = tuple(axis(name.replace("__", ","), expression) for name, expression in expressions.items())
    return PlainSpace(axes=axes, active=active or {})


def sampled_space() -> PlainSpace:
    """Every form of a sampled axis, values with and without an order, a pair, and an axis that one choice makes inactive."""
    return space(
        {"MOMENTUM": lambda values: values["OPTIMIZER"] == "sgd"},
        LR="loguniform(1e-5, 1e-1)",
        BATCH="int(4, 30, 4)",
        WIDTH="logint(8, 512)",
        DROPOUT="uniform(0, 0.5)",
        DEPTH="2|4|8",
        OPTIMIZER="sgd|adamw",
        MOMENTUM="0.8:0.05:0.95",
        A__B="(1, x)|(2, y)",
    )


def toy_space() -> PlainSpace:
    """A log-scaled, an integer and a categorical axis."""
    return space(LR="loguniform(1e-5, 1e-1)", BATCH="int(4, 32, 4)", KIND="a|b|c")


def toy_regret(values: Values) -> float:
    """At least 0, which it is at LR=1e-3, BATCH=20, KIND=b; axes that a space does not have stand there."""
    far = (math.log10(float(values["LR"])) + 3) / 4
    kind = {"a": 0.5, "b": 0.0, "c": 0.2}[values.get("KIND", "b")]
    return far**2 + ((int(values.get("BATCH", "20")) - 20) / 28) ** 2 + kind
