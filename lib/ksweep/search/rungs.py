"""The arithmetic of rungs, in integers: logarithms of floats put 5 brackets where R = 243, eta = 3 has 6.

A rung is a resource (epoch) at which runs stop and only the best go on. Complete runs have resource R.

  halving     anchored at R     R/9, R/3, R       Jamieson & Talwalkar 2016, Algorithm 1; budgets as in Hyperband's inner loop
  asha        anchored at min   min, 3 min, ... R  Li et al. 2020, Algorithm 2, s = 0
  hyperband   anchored at R     one bracket for each first rung   Li et al. 2018, Algorithm 1
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat, takewhile


@dataclass(frozen=True, kw_only=True)
class Rung:
    """`num_points` are trained until `resource`."""

    num_points: int
    resource: int


Bracket = tuple[Rung, ...]


def num_halvings(min_resource: int, max_resource: int, eta: int) -> int:
    """The largest s with min_resource * eta**s <= max_resource."""
    s = 0
    while min_resource * eta ** (s + 1) <= max_resource:
        s += 1
    return s


def bracket_of(num_points: int, num_halvings: int, max_resource: int, eta: int) -> Bracket:
    """`num_points`, of which 1/eta go on at each rung, at least one; the last rung is R and the others are R/eta**k."""
    return tuple(
        Rung(num_points=num_points // eta**i or 1, resource=max_resource // eta ** (num_halvings - i))
        for i in range(num_halvings + 1)
    )


def halving_bracket(num_points: int, min_resource: int, max_resource: int, eta: int) -> Bracket:
    """As many rungs as divide `num_points` down to one, or as many as there is room for above `min_resource`."""
    wanted = num_halvings(1, num_points, eta)
    return bracket_of(num_points, min(wanted, num_halvings(min_resource, max_resource, eta)), max_resource, eta)


def hyperband_brackets(min_resource: int, max_resource: int, eta: int) -> tuple[Bracket, ...]:
    """Algorithm 1: s = s_max ... 0, n = ceil((s_max + 1) eta**s / (s + 1)) points, first rung R / eta**s."""
    s_max = num_halvings(min_resource, max_resource, eta)
    sizes = {s: -(-(s_max + 1) * eta**s // (s + 1)) for s in range(s_max, -1, -1)}
    return tuple(bracket_of(n, s, max_resource, eta) for s, n in sizes.items())


def cut(bracket: Bracket, num_points: int, eta: int) -> Bracket:
    """The same rungs for another number of points."""
    return bracket_of(num_points, len(bracket) - 1, bracket[-1].resource, eta)


def asha_rungs(min_resource: int, max_resource: int, eta: int) -> tuple[int, ...]:
    """min, min eta, min eta**2 ... below R, then R."""
    below = takewhile(lambda rung: rung < max_resource, accumulate(repeat(eta), int.__mul__, initial=min_resource))
    return (*below, max_resource)


def generation_ends(interval: int, max_resource: int) -> tuple[int, ...]:
    """interval, 2 interval ... below R, then R."""
    return (*range(interval, max_resource, interval), max_resource)


def value_at(curve: Mapping[int, float], resource: int) -> float | None:
    """The report at `resource`, else the newest below it; None: there is none."""
    if resource in curve:
        return curve[resource]
    below = [reported for reported in curve if reported < resource]
    return curve[max(below)] if below else None


def cost(bracket: Bracket) -> int:
    """Resource that it spends: each point goes on from where it stopped."""
    befores = (0, *(rung.resource for rung in bracket))
    return sum(rung.num_points * (rung.resource - before) for rung, before in zip(bracket, befores, strict=False))


def counted(number: int, unit: str) -> str:
    """`1 epoch`, `1,200 epochs`."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def rung_table(title: str, brackets: Sequence[Bracket], unit: str) -> str:
    """What will be run, rung by rung, and what it costs beside running every point to its end."""
    lines = [title]
    for i, bracket in enumerate(brackets, start=1):
        name = f"bracket {i} of {len(brackets)}: " if len(brackets) > 1 else ""
        lines += [
            f"  {name}rung {k} of {len(bracket)}: {rung.num_points:>5,} to {unit} {rung.resource:,}"
            for k, rung in enumerate(bracket, start=1)
        ]
    spent = sum(map(cost, brackets))
    num_points = sum(bracket[0].num_points for bracket in brackets)
    in_full = num_points * brackets[0][-1].resource
    return "\n".join(
        [*lines, f"  {counted(spent, unit)}, {spent / in_full:.1%} of the {in_full:,} of {counted(num_points, 'complete run')}"]
    )
