"""What must hold between symbols: Python's comparisons and arithmetic over them, exact, and nothing else.

In a range file:   require BATCH_SIZE * LEARNING_RATE <= 0.1
In the tree:       $(rule,PRUNING_RAMP_END_EPOCH < NUM_EPOCHS,the ramp must end before training does)
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

from ksweep.space.values import ValueProblem, decimal_text, parse_decimal


def _mod(a: Any, b: Any) -> Any:
    """Python's remainder, of the sign of `b`. A Decimal's own has that of `a`, so that -(-7 // 2) would be 3."""
    rest = a % b
    return rest + b if rest and (rest < 0) != (b < 0) else rest


_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: (a - _mod(a, b)) // b, ast.Mod: _mod, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos}
_STRUCTURE = (ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Name, ast.Load, ast.Constant, ast.Tuple)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One `require` line, or one rule of the tree. `names` are the symbols in it, without CONFIG_, as they appear.

    `meaning` is what a rule says to people; a `require` line has none.
    """

    text: str
    where: str
    names: tuple[str, ...]
    tree: ast.expr
    meaning: str = ""

    def holds(self, values: Mapping[str, str | None]) -> bool:
        """Whether a point satisfies it. A symbol that is inactive there (None) leaves nothing to require.

        ValueProblem when the expression cannot be computed from these values (text < number, division by 0).
        """
        if any(values[name] is None for name in self.names):
            return True
        try:
            return bool(_evaluate(self.tree, values))
        except (TypeError, DecimalException, ZeroDivisionError) as error:
            shown = ", ".join(f"{name}={values[name]}" for name in self.names)
            why = "a text stands where a number must" if isinstance(error, TypeError) else "a division by zero"
            raise ValueProblem(
                f"{self.where}: {_keyword(self.meaning)} {self.text}: cannot be computed for {shown}: {why}"
            ) from None

    def with_numbers(self, values: Mapping[str, str | None]) -> str:
        """Its comparisons with both sides computed, `15600 < 10560`, where all symbols are active."""
        return _with_numbers(self.tree, values)

    def compared_texts(self) -> Iterator[tuple[str, str]]:
        """Each symbol that is compared with a text, and the text: ("OPTIMIZER", "sgd") of `OPTIMIZER != "sgd"`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                pieces = [piece for side in sides for piece in (side.elts if isinstance(side, ast.Tuple) else [side])]
                for name in (piece.id for piece in pieces if isinstance(piece, ast.Name)):
                    for piece in pieces:
                        if isinstance(piece, ast.Constant) and isinstance(piece.value, str):
                            yield name, piece.value


def parse_requirement(text: str, where: str, meaning: str = "") -> Requirement:
    """Parse the part after `require`, or the expression of a rule. ValueProblem when it holds anything but what is allowed."""
    allowed = 'and or not, + - * / // %, == != < <= > >= in, symbols, numbers and "text"'
    keyword = _keyword(meaning)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueProblem(f"{keyword} {text}: not an expression; allowed: {allowed}") from None
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (*_STRUCTURE, *_BINARY, *_UNARY)):
            raise ValueProblem(f"{keyword} {text}: {type(node).__name__} is not allowed; allowed: {allowed}")
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
            raise ValueProblem(f"{keyword} {text}: {node.value!r} is not allowed; allowed: {allowed}")
        if isinstance(node, ast.Name):
            node.id = node.id.removeprefix("CONFIG_")
            found.append(node)
    if not found:
        raise ValueProblem(f"{keyword} {text}: no symbol was found in it; it would hold for all points or none")
    in_order = dict.fromkeys(node.id for node in sorted(found, key=lambda node: node.col_offset))
    return Requirement(
        text=text, where=where, names=tuple(name for name in in_order if name not in ("y", "n")), tree=tree, meaning=meaning
    )


def _keyword(meaning: str) -> str:
    return "rule" if meaning else "require"


def _with_numbers(node: ast.expr, values: Mapping[str, str | None]) -> str:
    if isinstance(node, ast.BoolOp):
        parts = (_with_numbers(part, values) for part in node.values)
        return (" and " if isinstance(node.op, ast.And) else " or ").join(
            f"({shown})" if isinstance(part, ast.BoolOp) else shown for part, shown in zip(node.values, parts, strict=True)
        )
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"not ({_with_numbers(node.operand, values)})"
    if isinstance(node, ast.Compare):
        others = zip(node.ops, node.comparators, strict=True)
        return " ".join([_text(node.left, values), *(f"{_SIGNS[type(op)]} {_text(item, values)}" for op, item in others)])
    return _text(node, values)


def _text(node: ast.expr, values: Mapping[str, str | None]) -> str:
    if isinstance(node, ast.Tuple):
        return f"({', '.join(_text(item, values) for item in node.elts)})"
    value = _evaluate(node, values)
    return decimal_text(value) if isinstance(value, Decimal) else {True: "y", False: "n"}.get(value, str(value))


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
