"""Which numbers a symbol may hold, whatever else is set."""

from dataclasses import dataclass
from decimal import Decimal

from kconfiglib import INT

from ksweep.kconfig.resolve import Resolver


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A symbol that holds a number, within `low` and `high` (None: no limit on that side)."""

    is_whole: bool = False
    low: Decimal | None = None
    high: Decimal | None = None
    is_low_allowed: bool = True
    is_high_allowed: bool = True

    def allow(self, number: Decimal) -> bool:
        """Whether the symbol may hold `number`."""
        if self.low is not None and (number < self.low or (number == self.low and not self.is_low_allowed)):
            return False
        return self.high is None or number < self.high or (number == self.high and self.is_high_allowed)


def limits_of(resolver: Resolver, name: str) -> Limits | None:
    """Of an int with its unconditional range, or of a real number with its bounds; None for all else."""
    symbol = resolver.kconf.syms[name]
    if name in resolver.selectors:
        return None
    if symbol.orig_type == INT:
        for low, high, condition in symbol.ranges:
            if condition is resolver.kconf.y:
                return Limits(is_whole=True, low=Decimal(low.str_value), high=Decimal(high.str_value))
        return Limits(is_whole=True)
    if name not in resolver.bounds:
        return None
    bounds = resolver.bounds[name].bounds
    low = max(((limit, sign == ">") for sign, limit in bounds if sign.startswith(">")), default=None)
    high = min(((limit, sign != "<") for sign, limit in bounds if sign.startswith("<")), default=None)
    return Limits(
        low=low[0] if low else None,
        high=high[0] if high else None,
        is_low_allowed=not (low and low[1]),
        is_high_allowed=bool(not high or high[1]),
    )
