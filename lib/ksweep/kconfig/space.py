"""A range file as a space to search: points are drawn axis by axis, and Kconfig says which axes are active and what is legal.

`depends on` is the conditional space: an axis whose symbol is not visible, given what was chosen before it, is not asked for.
"""

import random
from collections.abc import Callable

from kconfiglib import Choice, Symbol

from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import Dropped, Request, Resolver, Wish, counted, is_steering
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.axes import Axis, Draft, Row, rounded
from ksweep.space.rangefile import Assignment

NUM_PROBES = 300


class KconfigSpace:
    """The space of one request. Uses the resolver's tree: one draw at a time, and none while something else resolves."""

    def __init__(self, resolver: Resolver, request: Request) -> None:
        self._resolver, self._request = resolver, request
        self._conditions = resolver.conditions(request.file.requirements)
        resolver.set_base(request.fixed)
        self.base_text = resolver.text()  # all that is fixed, each axis at its default
        self.notes = self._without_effect()
        self._assignments = _in_order(resolver, request.axes)
        self.axes = tuple(Axis(symbols=a.symbols, values=a.values, where=a.where, sampled=a.sampled) for a in self._assignments)
        self._wishes: dict[tuple[str, Row], list[Wish]] = {}

    def _without_effect(self) -> list[str]:
        """Notes on steering lines that have no effect under this strategy; RequestError for what the command line asks for,
        and for values that are not allowed."""
        notes = []
        steering = [wish for wish in self._request.fixed if wish.name.startswith(STEERING_PREFIX)]
        if wrong := [self._resolver.lost(wish) for wish in steering if wish.state() == "illegal"]:
            raise RequestError(*wrong)
        for wish in steering:
            if wish.state() == "inactive":
                if not is_steering(wish):
                    raise RequestError(self._resolver.lost(wish))
                notes.append(f"no effect: {self._resolver.lost(wish)}")
        return notes

    def with_seed(self, draft: Draft, offset: int) -> Draft:
        """The same point with the seed that is `offset` larger, which then counts as one of its values."""
        again = self.draw(lambda axis: draft.rows[axis.name])
        symbol = self._resolver.kconf.syms["SEED"]
        seed = str(int(symbol.str_value) + offset)
        symbol.set_value(seed)
        text = self._resolver.text()
        return Draft(rows=again.rows, values=again.values | {"SEED": seed}, id=self._resolver.point_id(text), text=text)

    def draw(self, choose: Callable[[Axis], Row]) -> Draft:
        """See Space."""
        self._resolver.set_base(self._request.fixed)
        rows: dict[str, Row] = {}
        swept: list[Wish] = []
        for axis, assignment in zip(self.axes, self._assignments, strict=True):
            if not self._is_active(axis):
                continue
            rows[axis.name] = row = choose(axis)
            wishes = self._wishes_of(assignment, axis, row)
            for wish in wishes:
                wish.symbol.set_value(wish.value)
            swept += wishes
        values, _, reason = self._resolver.judge(self._request.fixed, swept)
        file = self._request.file
        reason = reason or "; ".join(self._conditions.broken(self._request.where, str(file.path or file.name)))
        if reason:
            return Draft(rows=rows, values=values, reason=reason)
        text = self._resolver.text()
        return Draft(rows=rows, values=values, id=self._resolver.point_id(text), text=text)

    def probe(self, seed: int) -> list[str]:
        """Draw some points; notes about what was found. RequestError when none of them is legal."""
        rng = random.Random(seed)
        drafts = [self.draw(lambda axis: _random_row(axis, rng)) for _ in range(NUM_PROBES)]
        illegal = [Dropped(values=draft.values, reason=draft.reason) for draft in drafts if not draft.id]
        if len(illegal) == len(drafts):
            file = self._request.file
            raise RequestError(f"{file.path or file.name}: of {NUM_PROBES} points drawn none is legal:", *counted(illegal))
        active = {name for draft in drafts for name in draft.rows}
        notes = [
            f"{axis.where}: CONFIG_{', CONFIG_'.join(axis.symbols)} was inactive at all of {NUM_PROBES} points drawn"
            for axis in self.axes
            if axis.name not in active
        ]
        return (
            notes
            + [f"of {NUM_PROBES} points drawn {NUM_PROBES - len(illegal)} are legal"]
            + [f"dropped: {line}" for line in counted(illegal)]
        )

    def _is_active(self, axis: Axis) -> bool:
        return any(node.visibility for name in axis.symbols for node in self._askable(name))

    def _askable(self, name: str) -> list[Symbol | Choice]:
        if name in self._resolver.selectors:
            return [next(iter(self._resolver.selectors[name].values())).choice]
        symbol = self._resolver.kconf.syms[name]
        return [symbol.choice or symbol]

    def _wishes_of(self, assignment: Assignment, axis: Axis, row: Row) -> list[Wish]:
        wishes = self._wishes.get((axis.name, row))
        if wishes is None:
            wishes = self._resolver.wishes(assignment, row)
            if axis.sampled is None:  # those of a distribution hardly come twice
                self._wishes[axis.name, row] = wishes
        return wishes


def _random_row(axis: Axis, rng: random.Random) -> Row:
    if axis.sampled is None:
        return rng.choice(axis.values)
    low, high = float(axis.sampled.low), float(axis.sampled.high)
    return (rounded(axis, low * (high / low) ** rng.random() if axis.sampled.is_log else rng.uniform(low, high)),)


def _in_order(resolver: Resolver, axes: list[Assignment]) -> list[Assignment]:
    """Each axis after those that its symbols depend on, else as in the file."""
    own = [{item for name in a.symbols for item in _items(resolver, name)} for a in axes]
    reached = [_closure(items) for items in own]
    left, order = list(range(len(axes))), []
    while left:
        free = [i for i in left if not any(own[i] & reached[j] for j in left if j != i)]
        first = (free or left)[0]
        left.remove(first)
        order.append(axes[first])
    return order


def _items(resolver: Resolver, name: str) -> set[Symbol | Choice]:
    if name in resolver.selectors:
        members = list(resolver.selectors[name].values())
        return {members[0].choice, *members}
    symbol = resolver.kconf.syms[name]
    return {symbol, symbol.choice, *symbol.choice.syms} if symbol.choice else {symbol}


def _closure(items: set[Symbol | Choice]) -> set[Symbol | Choice]:
    """All that may change with `items`, without themselves."""
    found: set[Symbol | Choice] = set()
    todo = list(items)
    while todo:
        for item in todo.pop()._dependents:
            if item not in found and item not in items:
                found.add(item)
                todo.append(item)
    return found
