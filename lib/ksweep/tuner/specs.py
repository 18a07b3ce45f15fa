"""Which values a parameter of a layer may take: choices, whole numbers, real numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real

Value = int | float | str


@dataclass(frozen=True, repr=False)
class Categorical:
    """One of `choices`, in the order given: texts, numbers, True, False. ValueError for none, for one twice and for a set."""

    choices: Sequence[Value]

    def __post_init__(self) -> None:
        # A text would be taken apart into letters; a set has another order in each process.
        if isinstance(self.choices, str | bytes | Set | Mapping) or not isinstance(self.choices, Iterable):
            raise ValueError(f"Categorical: found {self.choices!r}, allowed: a list of values")
        choices = tuple(_plain(choice, "Categorical") for choice in self.choices)
        if not choices:
            raise ValueError("Categorical: found no choices, allowed: a list of one or more values")
        for at, choice in enumerate(choices):  # as text too: 1 and "1" would be one point to whoever reads the results
            if choice in choices[:at] or str(choice) in map(str, choices[:at]):
                raise ValueError(f"Categorical: {choice!r} stands twice in {list(choices)}")
        object.__setattr__(self, "choices", choices)

    @property
    def num_values(self) -> int:
        """How many values there are."""
        return len(self.choices)

    def values(self) -> list[Value]:
        """All values, in the order given."""
        return list(self.choices)

    def __repr__(self) -> str:
        return f"Categorical({list(self.choices)})"


@dataclass(frozen=True, repr=False)
class Int:
    """A whole number from `low` to `high`, both among them (`high` where a step lands on it).

    `log`: a sampler draws it evenly in the logarithm; its values are all whole numbers of the range, so no step goes with it.
    ValueError for a range that runs backwards, a step below 1, `log` from below 1, and `log` with a step.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            found = getattr(self, name)
            if isinstance(found, bool) or not isinstance(found, Integral):
                raise ValueError(f"Int: {name}: found {found!r}, allowed: a whole number")
            object.__setattr__(self, name, int(found))
        _check_range(self)
        if self.step < 1:
            raise ValueError(f"{self!r}: step: found {self.step}, allowed: 1 and above")
        if self.log and self.low < 1:
            raise ValueError(f"{self!r}: log: found low={self.low}, allowed: 1 and above, as the logarithm needs")
        if self.log and self.step != 1:
            raise ValueError(f"{self!r}: log and a step exclude each other; for a coarse grid write Categorical([8, 16, 32])")

    @property
    def num_values(self) -> int:
        """How many values there are, without making a list of them."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> list[Value]:
        """All values, ascending; with `log` too."""
        return list(range(self.low, self.high + 1, self.step))

    def __repr__(self) -> str:
        return _told("Int", self.low, self.high, None if self.step == 1 else self.step, self.log)


@dataclass(frozen=True, repr=False)
class Float:
    """A real number from `low` to `high`, both among them (with `step`: `high` where a step lands on it).

    `log`: a sampler draws it evenly in the logarithm. ValueError for a range that runs backwards, what is not finite, a step of
    0 or below, `log` from 0 or below, and `log` with a step.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            found = getattr(self, name)
            if name == "step" and found is None:
                continue
            if isinstance(found, bool) or not isinstance(found, Real) or not math.isfinite(found):
                raise ValueError(f"Float: {name}: found {found!r}, allowed: a finite number")
            object.__setattr__(self, name, float(found))
        _check_range(self)
        if self.step is not None and self.step <= 0:
            raise ValueError(f"{self!r}: step: found {self.step}, allowed: above 0")
        if self.log and self.low <= 0:
            raise ValueError(f"{self!r}: log: found low={self.low}, allowed: above 0, as the logarithm needs")
        if self.log and self.step is not None:
            raise ValueError(f"{self!r}: log and a step exclude each other; leave one of them away")

    @property
    def num_values(self) -> int | None:
        """How many values there are; None for a range without a step, which cannot be counted."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return (_exact(self.high) - _exact(self.low)) // _exact(self.step) + 1

    def values(self) -> list[Value] | None:
        """All values, ascending, as exact decimals: 0.3, not 0.30000000000000004; None for a range without a step."""
        count = self.num_values
        if count is None:
            return None
        step = _exact(self.step or 0.0)
        return [float(_exact(self.low) + index * step) for index in range(count)]

    def __repr__(self) -> str:
        return _told("Float", self.low, self.high, self.step, self.log)


Spec = Categorical | Int | Float


def to_spec(value: object) -> Spec:
    """A spec as it is; a list, tuple or range as Categorical; a plain value as Categorical of that one. Otherwise ValueError."""
    if isinstance(value, Categorical | Int | Float):
        return value
    if isinstance(value, list | tuple | range):
        return Categorical(value)
    if isinstance(value, str | Real):
        return Categorical([_plain(value, "value")])
    raise ValueError(f"found {value!r}, allowed: Categorical, Int, Float, a list of values, or one value")


def _plain(value: object, where: str) -> Value:
    """A number of any library as Python's own, so that it can be written as JSON and stands in a message as itself."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{where}: found {value!r}, allowed: texts, finite numbers, True and False")


def _check_range(spec: Int | Float) -> None:
    if not isinstance(spec.log, bool):
        raise ValueError(f"{type(spec).__name__}: log: found {spec.log!r}, allowed: True and False")
    if spec.low > spec.high:
        raise ValueError(f"{spec!r}: runs backwards; the lower end, {spec.high!r}, comes first")


def _exact(number: float) -> Fraction:
    """The number as it is written, not as it is stored."""
    return Fraction(repr(number))


def _told(kind: str, low: float, high: float, step: float | None, log: bool) -> str:
    """As it would be written, options that are not given left away."""
    options = ("" if step is None else f", step={step!r}") + (f", log={log!r}" if log else "")
    return f"{kind}({low!r}, {high!r}{options})"
