"""The first goal of each run over its epochs, from the reports."""

from collections.abc import Mapping
from typing import Any

from ksweep.analysis.load import as_number
from ksweep.space.objective import Goal

Curve = list[tuple[float, float]]  # (epoch or step, goal), rising in the first


def curves_of(histories: Mapping[str, list[dict[str, Any]]], goal: Goal) -> tuple[str, dict[str, Curve]]:
    """What the curves run over (`epoch`, or `step` where some report names no epoch), and config -> curve where there is one."""
    values = {config: [(report, goal.value(report)) for report in history] for config, history in histories.items()}
    known = {config: [(report, y) for report, y in pairs if y is not None] for config, pairs in values.items()}
    has_epochs = all(as_number(report.get("epoch")) is not None for pairs in known.values() for report, _ in pairs)
    time = "epoch" if has_epochs else "step"
    curves = {config: _curve(pairs, time) for config, pairs in known.items()}
    return time, {config: curve for config, curve in curves.items() if curve}


def _curve(pairs: list[tuple[dict[str, Any], float]], time: str) -> Curve:
    """The last finite value of each epoch."""
    points = {x: y for report, y in pairs if (x := as_number(report.get(time))) is not None}
    return sorted(points.items())
