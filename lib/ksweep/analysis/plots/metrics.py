"""Which way a metric is better, and which metrics a picture of all that counts shows."""

import ast

from ksweep.space.objective import Goal, Objectives

_MONOTONE = ("log", "exp", "sqrt", "min", "max")


def shown_metrics(objectives: Objectives, *, most: int) -> list[Goal]:
    """The metrics that expressions are made of, the goals, the metrics of the constraints: at most `most`, goals before all.

    A metric that is no goal is maximized only where it is known to be; `has_direction` tells.
    """
    goals = list(objectives.goals)[:most]
    listed = {goal.text for goal in objectives.goals}
    parts = [name for goal in objectives.goals for name in goal.names if name not in listed]
    kept = [name for constraint in objectives.constraints for name in constraint.names if name not in [*listed, *parts]]
    free = most - len(goals)
    parts = list(dict.fromkeys(parts))[:free]
    kept = list(dict.fromkeys(kept))[: free - len(parts)]
    return [*[plain_goal(name, objectives) for name in parts], *goals, *[plain_goal(name, objectives) for name in kept]]


def plain_goal(name: str, objectives: Objectives) -> Goal:
    """A metric as it stands, in its direction where that is known; else as if it were maximized."""
    is_maximized = direction(name, objectives)
    tree = ast.Name(id=name) if name.isidentifier() else ast.Constant(value=name)
    return Goal(text=name, is_maximized=is_maximized is not False, names=(name,), tree=tree)


def direction(name: str, objectives: Objectives) -> bool | None:
    """True where larger is better, False where smaller is; None where that is not known.

    A goal's own direction counts first. A metric in an expression is better where the expression is, by the sign with which it
    stands there; that is known while the expression only rises or only falls in it (sums, differences, products and quotients
    with numbers, log, exp, sqrt, min, max). Where two goals say the opposite, it is not known.
    """
    for goal in objectives.goals:
        if goal.is_plain and goal.text == name:
            return goal.is_maximized
    found = set()
    for goal in objectives.goals:
        if name in goal.names:
            slope = _slope(goal.tree, name)
            found.add(None if slope is None else (slope > 0) == goal.is_maximized)
    return found.pop() if len(found) == 1 else None


def _slope(node: ast.AST, name: str) -> int | None:
    """1 where the value of `node` rises with the metric, -1 where it falls, 0 where the metric is not in it; None: not known."""
    if isinstance(node, ast.Name | ast.Constant):
        return int(name == (node.id if isinstance(node, ast.Name) else node.value))
    if isinstance(node, ast.UnaryOp):
        return _times(_slope(node.operand, name), -1 if isinstance(node.op, ast.USub) else 1)
    if isinstance(node, ast.Call):
        is_known = isinstance(node.func, ast.Name) and node.func.id in _MONOTONE
        slopes = [_slope(argument, name) for argument in node.args]
        return _together(slopes) if is_known or not any(slopes) else None
    if isinstance(node, ast.BinOp):
        left, right = _slope(node.left, name), _slope(node.right, name)
        if isinstance(node.op, ast.Add | ast.Sub):
            return _together([left, _times(right, -1 if isinstance(node.op, ast.Sub) else 1)])
        if left == right == 0:
            return 0
        if isinstance(node.op, ast.Mult | ast.Div) and right == 0:
            return _times(left, _sign(node.right))
        if isinstance(node.op, ast.Mult) and left == 0:
            return _times(right, _sign(node.left))
    return None


def _times(slope: int | None, sign: int | None) -> int | None:
    return None if slope is None or sign is None else slope * sign


def _together(slopes: list[int | None]) -> int | None:
    """Of a sum: known where all that are not 0 agree."""
    rising = {slope for slope in slopes if slope != 0}
    return 0 if not rising else rising.pop() if len(rising) == 1 else None


def _sign(node: ast.AST) -> int | None:
    """The sign of a number; None of anything else."""
    if isinstance(node, ast.UnaryOp):
        return _times(_sign(node.operand), -1 if isinstance(node.op, ast.USub) else 1)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return (node.value > 0) - (node.value < 0)
    return None
