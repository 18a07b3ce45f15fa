"""`require` expressions: Python's comparisons and arithmetic over symbols, exact, and nothing else.

require BATCH_SIZE * LEARNING_RATE <= 0.1
require OPTIMIZER != "sgd" or LEARNING_RATE >= 0.01
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

from ksweep.space.values import ValueProblem, parse_decimal

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos}
_STRUCTURE = (ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Name, ast.Load, ast.Constant, ast.Tuple)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One `require` line. `names` are the symbols in it, without CONFIG_."""

    text: str
    where: str
    names: frozenset[str]
    tree: ast.expr

    def holds(self, values: Mapping[str, str | None]) -> bool:
        """Whether a point satisfies it. A symbol that is inactive there (None) leaves nothing to require.

        ValueProblem when the expression cannot be computed from these values (text < number, division by 0).
        """
        if any(values[name] is None for name in self.names):
            return True
        try:
            return bool(_evaluate(self.tree, values))
        except (TypeError, DecimalException, ZeroDivisionError) as error:
            shown = ", ".join(f"{name}={values[name]}" for name in sorted(self.names))
            why = "a text stands where a number must" if isinstance(error, TypeError) else "a division by zero"
            raise ValueProblem(f"{self.where}: require {self.text}: cannot be computed for {shown}: {why}") from None


def parse_requirement(text: str, where: str) -> Requirement:
    """Parse the part after `require`. ValueProblem when it holds anything but the allowed operators."""
    allowed = 'and or not, + - * / // %, == != < <= > >= in, symbols, numbers and "text"'
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueProblem(f"require {text}: not an expression; allowed: {allowed}") from None
    names = set()
    for node in ast.walk(tree):
        if not isinstance(node, (*_STRUCTURE, *_BINARY, *_UNARY)):
            raise ValueProblem(f"require {text}: {type(node).__name__} is not allowed; allowed: {allowed}")
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
            raise ValueProblem(f"require {text}: {node.value!r} is not allowed; allowed: {allowed}")
        if isinstance(node, ast.Name):
            node.id = node.id.removeprefix("CONFIG_")
            names.add(node.id)
    if not names:
        raise ValueProblem(f"require {text}: no symbol was found in it; it would hold for all points or none")
    return Requirement(text=text, where=where, names=frozenset(names - {"y", "n"}), tree=tree)


def _evaluate(node: ast.expr, values: Mapping[str, str | None]) -> Any:
    if isinstance(node, ast.Constant):
        return (
            Decimal(str(node.value)) if isinstance(node.value, int | float) and not isinstance(node.value, bool) else node.value
        )
    if isinstance(node, ast.Name):
        return _typed(node.id if node.id in ("y", "n") else values[node.id])
    if isinstance(node, ast.Tuple):
        return [_evaluate(item, values) for item in node.elts]
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_evaluate(node.operand, values))
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
    if isinstance(node, ast.BoolOp):
        results = (_evaluate(item, values) for item in node.values)
        return all(results) if isinstance(node.op, ast.And) else any(results)
    assert isinstance(node, ast.Compare)
    left = _evaluate(node.left, values)
    for op, item in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(item, values)
        if not _BINARY[type(op)](left, right):
            return False
        left = right
    return True


def _typed(text: str | None) -> Any:
    if text in ("y", "n"):
        return text == "y"
    number = parse_decimal(text or "")
    return text if number is None else number
