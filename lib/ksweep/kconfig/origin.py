"""Where the tree itself takes a symbol's value from: which default line, with which condition, or what selects it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kconfiglib import AND, BOOL, OR, Choice, MenuNode, Symbol, expr_str, expr_value, split_expr

from ksweep.kconfig.explain import default_beside

_DEFAULT_WORDS = ("default", "def_bool", "def_string", "def_int", "def_hex", "def_tristate")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """`how`: `if X` where a default has a condition, `selected by X`, ...; empty for a plain default. `where`: file:line.

    `is_recipe`: a default that another entry than the one with the prompt gives, as models do for symbols of all.
    """

    how: str
    where: str = ""
    is_recipe: bool = False


def origin(symbol: Symbol) -> Origin:
    """Of the value that the symbol has, or would have had nobody set it, beside all others as they are."""
    if symbol.choice:
        return _of_choice(symbol.choice)
    if expr_value(symbol.rev_dep):
        selector = _true_part(symbol.rev_dep)
        return Origin(how=f"selected by {_named(selector)}", where=_place_of_first(selector))
    found = _first_default(symbol)
    if found is None and expr_value(symbol.weak_rev_dep):
        return Origin(how=f"implied by {_named(_true_part(symbol.weak_rev_dep))}", where=entry(symbol))
    return found or Origin(how="", where=entry(symbol))


def entry(symbol: Symbol) -> str:
    """file:line of its entry, that with the prompt where there is one."""
    return _place(next((node for node in symbol.nodes if node.prompt), symbol.nodes[0]))


def is_bool(symbol: Symbol) -> bool:
    """y or n: where such a symbol is not in a configuration, it is n."""
    return bool(symbol.orig_type == BOOL)


def set_and_default(symbol: Symbol) -> tuple[str, str]:
    """The value, and the one that it would have had nobody set it; of a member of a choice, the names of the members chosen."""
    choice = symbol.choice
    if not choice:
        return str(symbol.str_value), default_beside(symbol)
    chosen, before = choice.selection, choice.user_selection
    choice.unset_value()
    default = choice.selection
    if before is not None:
        before.set_value("y")
    return _name_of(chosen), _name_of(default)


def _name_of(member: Symbol | None) -> str:
    return str(member.name) if member else "none"


def _of_choice(choice: Choice) -> Origin:
    return _first_default(choice) or Origin(how="first member of its choice", where=_place(choice.nodes[0]))


def _first_default(item: Symbol | Choice) -> Origin | None:
    has_prompt = any(node.prompt for node in item.nodes)
    for node in item.nodes:
        for index, (_, condition) in enumerate(node.defaults):
            if expr_value(condition):
                own = _own_terms(condition, node)
                return Origin(
                    how=f"if {own}" if own else "",
                    where=_default_place(node, index),
                    is_recipe=has_prompt and not node.prompt,
                )
    return None


def _own_terms(condition: Any, node: MenuNode) -> str:
    """The condition as the line has it: kconfiglib adds the dependencies of the entry."""
    inherited = {expr_str(term) for term in split_expr(node.dep, AND)} | {"y"}
    return " && ".join(text for term in split_expr(condition, AND) if (text := expr_str(term)) not in inherited)


def _true_part(expr: Any) -> Any:
    return next((part for part in split_expr(expr, OR) if expr_value(part)), expr)


def _named(expr: Any) -> str:
    """Without the choices that kconfiglib adds to the members' names."""
    return " && ".join(expr_str(term) for term in split_expr(expr, AND) if not isinstance(term, Choice))


def _place_of_first(expr: Any) -> str:
    first = split_expr(expr, AND)[0]
    return _place(first.nodes[0]) if isinstance(first, Symbol) and first.nodes else ""


def _place(node: MenuNode) -> str:
    return f"{node.filename}:{node.linenr}"


def _default_place(node: MenuNode, index: int) -> str:
    """The line of an entry's default number `index`; that of the entry where it cannot be told."""
    try:
        lines = (Path(os.environ.get("srctree", ".")) / node.filename).read_text(encoding="utf-8").splitlines()
    except OSError:
        return _place(node)
    for number, line in enumerate(lines[node.linenr :], node.linenr + 1):
        if line.split(maxsplit=1)[:1] and line.split(maxsplit=1)[0] in _DEFAULT_WORDS:
            if index == 0:
                return f"{node.filename}:{number}"
            index -= 1
    return _place(node)
