"""What a sweep is to achieve: goals over the metrics of a run, and constraints on them. Arithmetic, and nothing else.

SWEEP_OBJECTIVE     val_acc    val_loss:min    val_acc:max, train_time_s:min    val_ppl + 10*layers_mean:min
SWEEP_CONSTRAINTS   val_acc >= 0.95, pruning_mib <= 2, 0.5 <= final_sparsity < 0.9

A metric whose name is no plain word is quoted: "eval/acc":max. What cannot be computed from the metrics of a run (one is
missing or not finite, a division by zero, the root of a negative number, an overflow) is None, never an exception.
"""

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ksweep.space.values import ValueProblem, split_outside

_ALLOWED = "metrics, numbers, + - * / // % **, parentheses, min max abs log exp sqrt"
_BINARY: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: math.pow,  # of floats: neither giant nor complex
}  # fmt: skip
_UNARY: dict[type[ast.AST], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "log": math.log, "exp": math.exp, "sqrt": math.sqrt,
}  # fmt: skip
_COMPARISONS = (ast.LtE, ast.Lt, ast.GtE, ast.Gt, ast.Eq)
_STRUCTURE = (ast.UnaryOp, ast.BinOp, ast.Call, ast.Name, ast.Load, ast.Constant, *_BINARY, *_UNARY)
_MAX_DEPTH = 100  # of an expression that is computed by recursion
_DIRECTIONS = {"max": True, "min": False}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One thing to maximize or minimize. `text`: the expression, or the name of the metric; `names`: the metrics in it."""

    text: str
    is_maximized: bool
    names: tuple[str, ...]
    tree: ast.expr = field(repr=False, compare=False)

    @property
    def is_plain(self) -> bool:
        """True when it is a metric as it stands."""
        return self.names == (self.text,)

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """Its value for these metrics (a run's final ones, or one report of it)."""
        if self.is_plain:  # as nearly all are; it is asked of every run at every look at a sweep
            value = metrics.get(self.text)
            return float(value) if _is_finite(value) else None  # type: ignore[arg-type]
        return _computed(self.tree, metrics)


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """One comparison that a run must satisfy, or a chain of them. `sides`: one more than `comparisons`."""

    text: str
    names: tuple[str, ...]
    sides: tuple[ast.expr, ...] = field(repr=False, compare=False)
    comparisons: tuple[ast.cmpop, ...] = field(repr=False, compare=False)

    def violation(self, metrics: Mapping[str, Any]) -> float | None:
        """By how much it is broken; 0 or less where it holds."""
        values = [_computed(side, metrics) for side in self.sides]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        worst = max(_excess(op, left, right) for op, (left, right) in zip(self.comparisons, pairwise(known), strict=True))
        return worst if math.isfinite(worst) else None


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """The goals of a sweep, the first one being what curves show, and its constraints. No goals: nothing is ranked."""

    goals: tuple[Goal, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def text(self) -> str:
        """The goals without their directions, `val_acc, train_time_s`."""
        return ", ".join(goal.text for goal in self.goals)

    def values(self, metrics: Mapping[str, Any]) -> tuple[float, ...]:
        """One value a goal; empty when not all of them are known."""
        if len(self.goals) == 1:
            value = self.goals[0].value(metrics)
            return () if value is None else (value,)
        return _all_known([goal.value(metrics) for goal in self.goals])

    def violations(self, metrics: Mapping[str, Any]) -> tuple[float, ...]:
        """One a constraint; empty when not all of them are known."""
        return _all_known([constraint.violation(metrics) for constraint in self.constraints])

    def is_feasible(self, metrics: Mapping[str, Any]) -> bool:
        """Whether all constraints are known to hold."""
        violations = self.violations(metrics)
        return len(violations) == len(self.constraints) and all(violation <= 0 for violation in violations)


def _all_known(values: list[float | None]) -> tuple[float, ...]:
    known = [value for value in values if value is not None]
    return tuple(known) if len(known) == len(values) else ()


def parse_objectives(text: str, direction: str, constraints: str = "") -> Objectives:
    """Parse SWEEP_OBJECTIVE and SWEEP_CONSTRAINTS; `direction` (maximize or minimize) holds where no :max or :min stands.

    ValueProblem when either holds anything but what is allowed.
    """
    try:
        goals = tuple(_parse_goal(piece, direction) for piece in _pieces(text))
    except ValueProblem as problem:
        raise ValueProblem(f"CONFIG_SWEEP_OBJECTIVE: {problem}") from None
    texts = [goal.text for goal in goals]
    if twice := next((name for name in texts if texts.count(name) > 1), None):
        raise ValueProblem(f'CONFIG_SWEEP_OBJECTIVE: found "{text}": {twice} stands in it twice; name it once')
    found = parse_constraints(constraints)
    if found and not goals:
        raise ValueProblem(f'CONFIG_SWEEP_CONSTRAINTS: found "{constraints}" without an objective: nothing is ranked; give one')
    return Objectives(goals=goals, constraints=found)


def parse_constraints(text: str) -> tuple[Constraint, ...]:
    """Parse SWEEP_CONSTRAINTS: comparisons, apart by commas."""
    try:
        return tuple(_parse_constraint(piece) for piece in _pieces(text))
    except ValueProblem as problem:
        raise ValueProblem(f"CONFIG_SWEEP_CONSTRAINTS: {problem}") from None


def check_objectives(objectives: Objectives, known: Collection[str] | None) -> list[str]:
    """What of the goals and constraints no model reports, one line a metric. `known`: all that is reported; None: not known."""
    import difflib  # a leaderboard needs none of it

    asked = [("SWEEP_OBJECTIVE", goal.text, goal.names) for goal in objectives.goals]
    asked += [("SWEEP_CONSTRAINTS", constraint.text, constraint.names) for constraint in objectives.constraints]
    problems = []
    for symbol, text, names in asked if known is not None else ():
        for name in (name for name in names if name not in (known or ())):
            near = difflib.get_close_matches(name, known or (), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            where = "" if name == text else f' in "{text}"'
            listed = ", ".join(sorted(known or ())) or "nothing"
            problems.append(f"CONFIG_{symbol}: found {name}{where}, which the model does not report.{hint} It reports: {listed}")
    return problems


def _pieces(text: str) -> list[str]:
    """The parts between commas; none of an empty text."""
    pieces = split_outside(text, ",") if text.strip() else []
    if "" in pieces:
        raise ValueProblem(f'found "{text}": nothing stands before or behind a comma of it; remove the comma')
    return pieces


def _parse_goal(piece: str, direction: str) -> Goal:
    expression, *ends = split_outside(piece, ":")
    if len(ends) > 1 or any(end not in _DIRECTIONS for end in ends):
        raise ValueProblem(f'found "{piece}": "{":".join(ends)}" is no direction; write {expression}:max or {expression}:min')
    tree = _parse(expression, _short(piece))
    names = _check(tree, _short(piece))
    text = names[0] if isinstance(tree, ast.Name | ast.Constant) else " ".join(expression.split())
    return Goal(text=text, is_maximized=_DIRECTIONS[ends[0]] if ends else direction != "minimize", names=names, tree=tree)


def _parse_constraint(piece: str) -> Constraint:
    tree = _parse(piece, _short(piece))
    if not isinstance(tree, ast.Compare):
        raise ValueProblem(f'found "{piece}", allowed: an expression, <= < >= > or ==, an expression (val_acc >= 0.95)')
    for comparison in tree.ops:
        if not isinstance(comparison, _COMPARISONS):
            raise ValueProblem(f'found "{piece}": its comparison is not allowed; allowed: <= < >= > ==')
    sides = (tree.left, *tree.comparators)
    names = tuple(dict.fromkeys(name for side in sides for name in _check(side, _short(piece), needs_metric=False)))
    if not names:
        raise ValueProblem(f'found "{piece}": no metric is in it; it would hold for all runs or none')
    return Constraint(text=" ".join(piece.split()), names=names, sides=sides, comparisons=tuple(tree.ops))


def _parse(expression: str, piece: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueProblem(f'found "{piece}": not an expression; allowed: {_ALLOWED}') from None


def _check(tree: ast.expr, piece: str, *, needs_metric: bool = True) -> tuple[str, ...]:
    """The metrics in an expression, as they appear. ValueProblem when anything but what is allowed is in it."""
    called: set[ast.expr] = set()
    names: dict[ast.Name | ast.Constant, str] = {}
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        for node in level:
            if isinstance(node, ast.Call):
                _check_call(node, piece)
                called.add(node.func)
            elif isinstance(node, ast.Name) and node not in called:
                names[node] = node.id
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str) and node.value:
                    names[node] = node.value
                elif not _is_finite(node.value):
                    raise ValueProblem(f'found "{piece}": {_short(repr(node.value))} is not allowed; allowed: {_ALLOWED}')
            elif not isinstance(node, _STRUCTURE):
                raise ValueProblem(f'found "{piece}": {type(node).__name__} is not allowed; allowed: {_ALLOWED}')
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ValueProblem(f'found "{piece}": nested deeper than {_MAX_DEPTH} levels; write it shorter')
    if needs_metric and not names:
        raise ValueProblem(f'found "{piece}": no metric is in it; every run would be as good as any other')
    in_order = sorted(names, key=lambda node: node.col_offset)
    return tuple(dict.fromkeys(names[node] for node in in_order))


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."


def _check_call(node: ast.Call, piece: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else "what is called"
    if name not in _FUNCTIONS or node.keywords:
        raise ValueProblem(f'found "{piece}": {name} is no function here; allowed: {_ALLOWED}')
    wants_several = name in ("min", "max")
    if (len(node.args) < 2) if wants_several else (len(node.args) != 1):
        raise ValueProblem(f'found "{piece}": {name} takes {"two values or more" if wants_several else "one value"}')


def _is_finite(value: object) -> bool:
    """Whether `value` is a number, no truth value, and finite as a float."""
    try:
        return type(value) in (float, int) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _computed(tree: ast.expr, metrics: Mapping[str, Any]) -> float | None:
    try:
        return _evaluate(tree, metrics)
    except (ArithmeticError, ValueError):
        return None


def _evaluate(node: ast.expr, metrics: Mapping[str, Any]) -> float:
    """ValueError or ArithmeticError where there is no finite value, of this node or of any below it."""
    value: Any
    if isinstance(node, ast.Name):  # first, as it is by far the most frequent one
        value = metrics.get(node.id)
    elif isinstance(node, ast.BinOp):
        value = _BINARY[type(node.op)](_evaluate(node.left, metrics), _evaluate(node.right, metrics))
    elif isinstance(node, ast.UnaryOp):
        value = _UNARY[type(node.op)](_evaluate(node.operand, metrics))
    elif isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        value = _FUNCTIONS[node.func.id](*[_evaluate(argument, metrics) for argument in node.args])
    else:
        assert isinstance(node, ast.Constant)
        value = metrics.get(node.value) if isinstance(node.value, str) else node.value
    if not _is_finite(value):
        raise ValueError
    return float(value)


def _excess(comparison: ast.cmpop, left: float, right: float) -> float:
    """By how much `left comparison right` is broken, 0 or less where it holds."""
    if isinstance(comparison, ast.Eq):
        return abs(left - right)
    excess = left - right if isinstance(comparison, ast.LtE | ast.Lt) else right - left
    if isinstance(comparison, ast.Lt | ast.Gt) and excess == 0:
        return math.ulp(left)  # equal is already too much
    return excess
