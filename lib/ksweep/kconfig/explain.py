"""Why a symbol does not have the value that was asked for: which term of its dependencies failed, or that there is none."""

import difflib
from typing import Any

from kconfiglib import AND, BOOL, OR, Choice, Kconfig, MenuNode, Symbol, expr_str, expr_value, split_expr

Expr = Any  # kconfiglib's own form: a Symbol, or a tuple of an operator and expressions


def is_known(kconf: Kconfig, name: str) -> bool:
    """Whether the tree declares a symbol of this name; kconfiglib also makes one of each that is only mentioned."""
    return name in kconf.syms and bool(kconf.syms[name].nodes)


def unknown(kconf: Kconfig, name: str) -> str:
    """The message for a symbol that the tree does not have."""
    known = [sym.name for sym in kconf.unique_defined_syms]
    near = difflib.get_close_matches(name, known, n=3)
    near += [other for other in known if name in other and other not in near][:2]
    return f"CONFIG_{name}: no such symbol in the Kconfig tree" + (
        f"; near it: {', '.join(near)}" if near else "; see make menuconfig"
    )


def failing_terms(item: Symbol | Choice) -> list[Expr]:
    """The top-level `&&` terms, over all places where the item has a prompt, that are n now.

    With several prompts the place with the fewest failing terms is taken: it is the nearest to being met.
    """
    candidates = [_failing(node) for node in item.nodes if node.prompt]
    return min(candidates, key=len, default=[])


def _failing(node: MenuNode) -> list[Expr]:
    return [term for term in split_expr(node.prompt[1], AND) if not expr_value(term)]


def unmet(item: Symbol | Choice) -> str:
    """In words: `needs OPTIMIZER_SELECT_SGD (OPTIMIZER_SELECT_ADAM is chosen)`."""
    terms = failing_terms(item)
    if not terms:
        return "has no prompt: it is computed from other symbols"
    return "needs " + " and ".join(map(_term, terms))


def _term(term: Expr) -> str:
    if not isinstance(term, Symbol):
        values = {f"{symbol.name} is {_shown(symbol)}" for symbol in _symbols(term)}
        return f"{expr_str(term)} ({', '.join(sorted(values))})"
    if term.choice and term.choice.selection:
        return f"{term.name} ({term.choice.selection.name} is chosen)"
    selected_by = [symbol.name for symbol in _symbols(term.rev_dep)]
    if selected_by and not any(node.prompt for node in term.nodes):
        return f"{term.name}, which {' or '.join(selected_by)} selects"
    return f"{term.name} (it is {_shown(term)})"


def _symbols(expr: Expr) -> list[Symbol]:
    if isinstance(expr, Symbol):
        return [] if expr.is_constant or not expr.nodes else [expr]  # the 0 of `X = 0` is a symbol without an entry
    if isinstance(expr, tuple):
        return [symbol for part in expr[1:] for symbol in _symbols(part)]
    return []


def _shown(symbol: Symbol) -> str:
    return symbol.str_value if symbol.orig_type == BOOL or symbol.str_value else '""'


def not_taken(symbol: Symbol, wanted: str) -> str:
    """Why a visible symbol has another value than `wanted`."""
    if symbol.orig_type == BOOL:
        if wanted == "n" and expr_value(symbol.rev_dep):
            return f"is selected by {expr_str(_true_part(symbol.rev_dep))}"
        return unmet(symbol) if not symbol.visibility else f"is {symbol.str_value}"
    for low, high, condition in symbol.ranges:
        if expr_value(condition):
            scope = "" if condition is symbol.kconfig.y else f" while {expr_str(condition)}"
            return f"allowed: {low.str_value} to {high.str_value}{scope}"
    return f"is {symbol.str_value}"


def _true_part(expr: Expr) -> Expr:
    for part in split_expr(expr, OR):
        if expr_value(part):
            return part
    return expr


def default_beside(symbol: Symbol) -> str:
    """The value that it would have beside all others as they are, had nobody set it. The tree is left as it was."""
    item, before = symbol.choice or symbol, symbol.user_value
    if before is None:
        return str(symbol.str_value)
    item.unset_value()
    default = str(symbol.str_value)
    symbol.set_value(before)
    return default
