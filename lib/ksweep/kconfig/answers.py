"""Answer the questions of a tree one by one: by a person, at random, or all alike.

A question is a symbol with a prompt that can be set now, or a choice with more than one member. An answer may open or
close others, so after each the tree is looked at again from its top, until no question is left.
"""

import math
import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

from kconfiglib import BOOL, HEX, INT, MENU, STRING, Choice, Kconfig, MenuNode, Symbol, expr_value

from ksweep.contract.errors import RequestError
from ksweep.kconfig.explain import not_taken
from ksweep.kconfig.functions import Real, declared_bounds


class Answers(Protocol):
    """Answers a question by setting it; leaving it as it is is an answer too."""

    def choose(self, node: MenuNode, members: list[Symbol]) -> None:
        """`node` is a choice, `members` those of its members that can be taken now, at least two."""

    def set(self, node: MenuNode) -> None:
        """`node` is a symbol outside of any choice."""


def answer_all(kconf: Kconfig, answers: Answers, wanted: Callable[[Symbol | Choice], bool]) -> None:
    """Put each open question that is `wanted` to `answers`, once, in the order of the tree."""
    asked: set[Symbol | Choice] = set()
    while node := next((node for node in _open_questions(kconf) if node.item not in asked and wanted(node.item)), None):
        asked.add(node.item)
        if isinstance(node.item, Choice):
            answers.choose(node, _members(node.item))
        else:
            answers.set(node)


def is_new(item: Symbol | Choice) -> bool:
    """Whether the loaded configuration says nothing about it. A choice is new too when one of its members is."""
    if isinstance(item, Symbol):
        return item.user_value is None
    chosen = item.user_selection
    return not chosen or not chosen.visibility or any(sym.user_value is None for sym in _members(item) if sym is not chosen)


def is_unset(item: Symbol | Choice) -> bool:
    """Whether nothing has been chosen or set: what a partial configuration leaves to others."""
    return (item.user_value if isinstance(item, Symbol) else item.user_selection) is None


def _open_questions(kconf: Kconfig) -> Iterable[MenuNode]:
    for node in kconf.node_iter():
        item = node.item
        if not isinstance(item, Symbol | Choice) or not node.prompt or not expr_value(node.prompt[1]):
            continue
        if isinstance(item, Choice):
            is_open = len(_members(item)) > 1
        else:
            is_open = not item.choice and (item.orig_type != BOOL or len(item.assignable) > 1)
        if is_open:
            yield node


def _members(choice: Choice) -> list[Symbol]:
    return [sym for sym in choice.syms if sym.visibility]


def set_checked(symbol: Symbol, text: str) -> str | None:
    """Give `symbol` a value. The problem when it does not take it, and then it keeps what it had."""
    bounds: Real | None = declared_bounds(symbol.kconfig).get(symbol.name)
    if bounds and (problem := bounds.problem(text)):
        return problem
    before = symbol.user_value
    if symbol.set_value(text) and symbol.str_value == text:
        return None
    symbol.unset_value()
    if before is not None:
        symbol.set_value(before)
    kind = {BOOL: "y | n", INT: "a whole number", HEX: "a hexadecimal number, 0x..."}.get(symbol.orig_type, "text")
    why = not_taken(symbol, text) if symbol.orig_type in (INT, HEX) and symbol.ranges else f"allowed: {kind}"
    return f'found "{text}", {why}'


class Person(Answers):
    """Asks at a terminal, in the words of the kernel's `make config`: Enter keeps, ? shows the help text."""

    def __init__(self, ask: Callable[[str], str], say: Callable[[str], None]) -> None:
        self._ask_line = ask
        self._say = say
        self._menu: MenuNode | None = None

    def choose(self, node: MenuNode, members: list[Symbol]) -> None:
        new = " (NEW)" if is_new(node.item) else ""
        self._enter_menu(node)
        self._say(node.prompt[0])
        for number, member in enumerate(members, 1):
            mark = ">" if member is node.item.selection else " "
            self._say(f"{mark} {number}. {member.nodes[0].prompt[0]} ({member.name})")
        allowed = {str(number): member for number, member in enumerate(members, 1)} | {"": node.item.selection}
        while (chosen := allowed.get(text := self._ask(node, f"choice[1-{len(members)}?]:{new} "))) is None:
            self._say(f'found "{text}", allowed: 1 to {len(members)}')
        for member in members:
            member.set_value("n")  # so that none of them is new next time
        chosen.set_value("y")

    def set(self, node: MenuNode) -> None:
        symbol = node.item
        new = " (NEW)" if is_new(symbol) else ""
        shown = symbol.str_value if symbol.orig_type != BOOL else "Y/n/?" if symbol.str_value == "y" else "N/y/?"
        self._enter_menu(node)
        while True:
            text = self._ask(node, f"{node.prompt[0]} ({symbol.name}) [{shown}]{new} ") or symbol.str_value
            problem = set_checked(symbol, text.lower() if symbol.orig_type == BOOL else text)
            if problem is None:
                return
            self._say(problem)

    def _ask(self, node: MenuNode, prompt: str) -> str:
        while True:
            try:
                text = self._ask_line(prompt).strip()
            except EOFError:
                raise RequestError(
                    f'the input ended at the question "{node.prompt[0]}"; nothing was saved. '
                    "Without a person to ask: make olddefconfig"
                ) from None
            if text != "?":
                return text
            self._say(node.help or "There is no help text.")

    def _enter_menu(self, node: MenuNode) -> None:
        menu = node.parent
        while menu.item != MENU:
            menu = menu.parent
        if menu is not self._menu and menu.prompt:
            self._say(f"*\n* {menu.prompt[0]}\n*")
            self._menu = menu


class AllAlike(Answers):
    """Sets every bool to one value and leaves all else at its default."""

    def __init__(self, value: str) -> None:
        self._value = value

    def choose(self, node: MenuNode, members: list[Symbol]) -> None:
        """The default member stays."""

    def set(self, node: MenuNode) -> None:
        if node.item.orig_type == BOOL:
            node.item.set_value(self._value)


class AtRandom(Answers):
    """Draws every answer from what is allowed. A bool is y with `percent_y` in a hundred. Text without bounds stays."""

    def __init__(self, rng: random.Random, percent_y: int) -> None:
        self._rng = rng
        self._percent_y = percent_y

    def choose(self, node: MenuNode, members: list[Symbol]) -> None:
        # A partial configuration may have ruled members out by "is not set".
        self._rng.choice([member for member in members if member.user_value != 0] or members).set_value("y")

    def set(self, node: MenuNode) -> None:
        symbol = node.item
        if symbol.orig_type == BOOL:
            symbol.set_value("y" if self._rng.random() * 100 < self._percent_y else "n")
        elif symbol.orig_type == INT:
            self._set_int(symbol)
        elif symbol.orig_type == STRING and symbol.name in declared_bounds(symbol.kconfig):
            self._set_real(symbol, declared_bounds(symbol.kconfig)[symbol.name])

    def _set_int(self, symbol: Symbol) -> None:
        for low, high, condition in symbol.ranges:
            if expr_value(condition):
                low, high = int(low.str_value), int(high.str_value)
                # Log-uniform above the lower limit: half of a uniform draw from 1..100000 epochs is above 50,000.
                offset = int(math.exp(self._rng.uniform(0, math.log(high - low + 2)))) - 1
                symbol.set_value(str(min(low + offset, high)))
                return

    def _set_real(self, symbol: Symbol, bounds: Real) -> None:
        low = next((float(limit) for sign, limit in bounds.bounds if sign[0] == ">"), None)
        high = next((float(limit) for sign, limit in bounds.bounds if sign[0] == "<"), None)
        if low is None:
            low = 0.0 if high is None or high > 0 else high - 1
        if high is None:
            high = low + 1
        text = symbol.str_value
        for _ in range(100):  # rounding may reach a limit that is excluded
            drawn = low + (high - low) * 10 ** self._rng.uniform(-6, 0)
            text = str(Decimal(f"{drawn:.3g}"))
            if set_checked(symbol, text) is None:
                return
