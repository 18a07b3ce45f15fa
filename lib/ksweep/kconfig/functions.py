"""Kconfig functions that declare, beside the symbols, what these may hold.

Kconfig has no real-valued type: a learning rate is a string, and `range` does not apply to it. So a symbol's entry says

    config LEARNING_RATE
            string "Learning rate"
            default "0.001"
            $(real,LEARNING_RATE,>0,<=10)

Nor has it arithmetic: what must hold between symbols is a rule, on a line of its own, in the words of `require`:

    steps-per-epoch = (-(-TRAIN_EXAMPLES // BATCH_SIZE))
    $(rule,PRUNING_WARMUP < PRUNING_RAMP_END_EPOCH * $(steps-per-epoch),the warm-up must end before the ramp does)

A variable is put in as text, hence its own parentheses. Where a symbol of a rule is inactive there is nothing to hold.

And further names by which a search space in YAML may call a symbol, in its entry (its own name in small letters is one anyway):

            $(alias,LEARNING_RATE,lr)

One of a member of a choice is a further word for it, beside the one that the string behind the choice has:

            $(alias,HEAD_LOSS_SELECT_SOFTMAX,softmax_infonce)

kconfiglib finds this module by the environment variable KCONFIG_FUNCTIONS and calls the functions while it parses; they expand
to nothing.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from ksweep.space.require import Requirement, parse_requirement
from ksweep.space.values import ValueProblem

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


def declared_rules(kconf: Any) -> list[Requirement]:
    """The rules of one parsed tree, in its order."""
    rules: list[Requirement] = kconf.variables.setdefault("ksweep rules", [])
    return rules


def declared_aliases(kconf: Any) -> dict[str, str]:
    """Alias -> symbol name, of one parsed tree."""
    aliases: dict[str, str] = kconf.variables.setdefault("ksweep aliases", {})
    return aliases


def alias_problems(kconf: Any) -> list[str]:
    """Aliases of symbols that one parsed tree does not have."""
    defined = {symbol.name for symbol in kconf.unique_defined_syms}
    missing = [(alias, symbol) for alias, symbol in declared_aliases(kconf).items() if symbol not in defined]
    return [f"$(alias,{symbol},{alias}): found {symbol}, allowed: a symbol of this tree" for alias, symbol in missing]


def declaration_problems(kconf: Any) -> list[str]:
    """What is wrong with the declarations of one parsed tree: raising amid the parse would leave its files open."""
    problems: list[str] = kconf.variables.setdefault("ksweep problems", [])
    return problems


def _real(kconf: Any, name: str, symbol: str, *bounds: str) -> str:
    parsed = []
    for bound in bounds:
        match = _BOUND.fullmatch(bound.strip())
        if not match:
            problem = f'$({name},{symbol}): found "{bound}", allowed: >=N >N <=N <N'
            declaration_problems(kconf).append(f"{kconf.filename}:{kconf.linenr}: {problem}")
            return ""
        parsed.append((match[1], Decimal(match[2])))
    declared_bounds(kconf)[symbol] = Real(tuple(parsed))
    return ""


def _rule(kconf: Any, name: str, expression: str, *meaning: str) -> str:
    where = f"{kconf.filename}:{kconf.linenr}"
    words = ",".join(meaning).strip()  # commas cut a macro into arguments
    if not words:
        problem = f"$({name},{expression}): found no words, allowed: $({name},<expression>,<what must hold>)"
        declaration_problems(kconf).append(f"{where}: {problem}")
        return ""
    try:
        declared_rules(kconf).append(parse_requirement(expression.strip(), where, words))
    except ValueProblem as problem:
        declaration_problems(kconf).append(f"{where}: {problem}")
    return ""


def _alias(kconf: Any, name: str, symbol: str, *aliases: str) -> str:
    for alias in (alias.strip() for alias in aliases):
        if declared_aliases(kconf).setdefault(alias, symbol) != symbol:
            problem = f"$({name},{symbol},{alias}): {alias} means {declared_aliases(kconf)[alias]} already; choose another"
            declaration_problems(kconf).append(f"{kconf.filename}:{kconf.linenr}: {problem}")
    return ""


functions = {"real": (_real, 1, None), "rule": (_rule, 2, None), "alias": (_alias, 2, None)}
