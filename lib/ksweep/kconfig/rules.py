"""What must hold between symbols, asked of a tree: `require` lines of a range file, and the rules that the tree declares.

A rule is a `require` of everybody: it holds for each point of every plan and for each configuration, wherever that comes from.
"""

from collections.abc import Iterable, Mapping

import kconfiglib
from kconfiglib import BOOL, HEX, INT, Kconfig, Symbol

from ksweep.contract.errors import RequestError
from ksweep.kconfig.explain import is_known, unknown
from ksweep.kconfig.functions import declared_bounds
from ksweep.space.require import Requirement
from ksweep.space.values import ValueProblem

Words = dict[str, Symbol]  # word -> member, of the string that follows a choice


def choice_words(kconf: Kconfig) -> dict[str, Words]:
    """The strings that follow a choice, promptless, each default naming a member (`default "sgd" if OPTIMIZER_SELECT_SGD`).

    Assigning such a string chooses the member: CONFIG_OPTIMIZER=sgd|adamw.
    """
    return {symbol.name: words for symbol in kconf.unique_defined_syms if (words := _words(symbol))}


def _words(symbol: Symbol) -> Words:
    if symbol.orig_type != kconfiglib.STRING or any(node.prompt for node in symbol.nodes):
        return {}
    words = {}
    for value, condition in symbol.defaults:
        # A dependency of the string's own entry is and-ed to the condition of each default.
        members = [term for term in kconfiglib.split_expr(condition, kconfiglib.AND) if isinstance(term, Symbol) and term.choice]
        if not members or not isinstance(value, Symbol):
            return {}
        words[value.str_value] = members[0]
    return words


def requirement_problems(kconf: Kconfig, words: Mapping[str, Words], requirement: Requirement) -> list[str]:
    """What is wrong with it whatever the point: symbols that the tree does not have, texts that no symbol ever equals."""
    start = f"{requirement.where}: {'rule' if requirement.meaning else 'require'}: "
    missing = sorted(name for name in requirement.names if not is_known(kconf, name))
    problems = [f'{start}{unknown(kconf, name)}; for a text write "{name}"' for name in missing]
    for name, text in requirement.compared_texts():
        if name in words and text not in words[name]:
            problems.append(f'{start}CONFIG_{name}: found "{text}", allowed: {" | ".join(words[name])}')
        elif name not in missing and _is_no_text(kconf, name):
            problems.append(f'{start}CONFIG_{name}: found the text "{text}", which it never equals; write it without quotes')
    return problems


def _is_no_text(kconf: Kconfig, name: str) -> bool:
    return name in kconf.syms and (kconf.syms[name].orig_type in (BOOL, INT, HEX) or name in declared_bounds(kconf))


class Conditions:
    """Requirements, asked of the values that a tree has now. Each combination of values is computed once."""

    def __init__(self, kconf: Kconfig, requirements: Iterable[Requirement]) -> None:
        self._all = [_Condition(kconf, requirement) for requirement in requirements]

    def broken(self, where: Mapping[str, str], file: str) -> list[str]:
        """One message for each that does not hold.

        `where` maps symbols to the lines that set them; `file` is named where none does. RequestError when one cannot be
        computed from the values.
        """
        return [message for condition in self._all if (message := condition.broken(where, file))]


class _Condition:
    def __init__(self, kconf: Kconfig, requirement: Requirement) -> None:
        self._requirement = requirement
        self._symbols = [(sym := kconf.syms[name], any(node.prompt for node in sym.nodes)) for name in requirement.names]
        self._broken: dict[tuple[str, ...], bool] = {}

    def broken(self, where: Mapping[str, str], file: str) -> str:
        found = []
        for symbol, has_prompt in self._symbols:
            value = _active_value(symbol, has_prompt)
            if value is None:
                return ""
            found.append(value)
        key = tuple(found)
        is_broken = self._broken.get(key)
        if is_broken is None:
            is_broken = self._broken[key] = not self._holds(key)
        return self._message(key, where, file) if is_broken else ""

    def _holds(self, key: tuple[str, ...]) -> bool:
        try:
            return self._requirement.holds(dict(zip(self._requirement.names, key, strict=True)))
        except ValueProblem as problem:
            raise RequestError(str(problem)) from None

    def _message(self, key: tuple[str, ...], where: Mapping[str, str], file: str) -> str:
        rule = self._requirement
        if not rule.meaning:
            return f"{rule.where}: require {rule.text}: does not hold"
        values = dict(zip(rule.names, key, strict=True))
        first = next((name for name in rule.names if name in where), rule.names[0])
        others = ", ".join(f"{name}={value}" for name, value in values.items() if name != first)
        return (
            f"{where.get(first, file)}: CONFIG_{first}={values[first]}: {rule.meaning}: "
            f"{rule.text}: {rule.with_numbers(values)} does not hold" + (f" ({others})" if others else "") + f"; {rule.where}"
        )


def _active_value(symbol: Symbol, has_prompt: bool) -> str | None:
    is_visible = symbol.visibility or (symbol.choice and symbol.choice.visibility)
    if has_prompt and not is_visible and not symbol.config_string:
        return None
    value: str = symbol.str_value
    return value if has_prompt or value else None
