"""A Kconfig function that declares, beside a string symbol, what it may hold.

Kconfig has no real-valued type: a learning rate is a string, and `range` does not apply to it. So a symbol's entry says

    config LEARNING_RATE
            string "Learning rate"
            default "0.001"
            $(real,LEARNING_RATE,>0,<=10)

kconfiglib finds this module by the environment variable KCONFIG_FUNCTIONS and calls the function while it parses; it expands to
nothing.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

_COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt,
}  # fmt: skip
_BOUND = re.compile(r"(>=|>|<=|<)\s*(\S+)")


@dataclass(frozen=True)
class Real:
    """A real number within bounds, e.g. (">0", "<=10")."""

    bounds: tuple[tuple[str, Decimal], ...]

    def problem(self, value: str) -> str | None:
        """What is wrong with `value` and what is allowed, or None."""
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and all(_COMPARISONS[sign](number, limit) for sign, limit in self.bounds):
            return None
        return (
            f'found "{value}", allowed: a number {" and ".join(sign + " " + str(limit) for sign, limit in self.bounds)}'.rstrip()
        )


def declared_bounds(kconf: Any) -> dict[str, Real]:
    """Symbol name -> bounds, of one parsed tree."""
    # Kconfig objects have slots and no weak references; the table of preprocessor variables is the one place that takes
    # something of ours, and a name with a space in it cannot be a variable.
    bounds: dict[str, Real] = kconf.variables.setdefault("ksweep bounds", {})
    return bounds


def _real(kconf: Any, name: str, symbol: str, *bounds: str) -> str:
    parsed = []
    for bound in bounds:
        match = _BOUND.fullmatch(bound.strip())
        if not match:
            raise ValueError(f'{kconf.filename}:{kconf.linenr}: $({name},{symbol}): found "{bound}", allowed: >=N >N <=N <N')
        parsed.append((match[1], Decimal(match[2])))
    declared_bounds(kconf)[symbol] = Real(tuple(parsed))
    return ""


functions = {"real": (_real, 1, None)}
