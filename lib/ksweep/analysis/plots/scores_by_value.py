"""scores_by_value.png: the first goal at each value of each axis, all settings as points, with their mean and its interval."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import plural
from ksweep.analysis.plots.figures import (
    BLUE,
    GREY,
    NOTE,
    ORANGE,
    aside,
    goal_label,
    limits,
    outside_note,
    panels_of,
    plot_points,
    png,
    short,
    style_values,
    title,
)
from ksweep.analysis.plots.swept import DrawnAxis, drawn_axes
from ksweep.analysis.ranking import Group, Ranking, Spread, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 12
_LEVELS = 16
NOT_ACTIVE = "(not active)"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One value of an axis. `groups`: the settings there that count; `mean`: over those that keep to all constraints."""

    level: str
    groups: list[Group]
    mean: Spread


def scores_by_value_png(findings: Findings) -> bytes | None:
    """A panel an axis that has a list of values. None when there is none, or nothing counts."""
    state, ranking = findings.state, findings.ranking
    axes_of_sweep = [axis for axis in drawn_axes(findings) if not axis.is_continuous]
    groups = [*ranking.ranked, *ranking.infeasible]
    if not axes_of_sweep or not groups:
        return None
    from matplotlib.figure import Figure

    goal, shown = state.objectives.goals[0], axes_of_sweep[:_PANELS]
    per_row = min(3, len(shown))
    figure = Figure(figsize=(max(8.0, 4.2 * per_row), 3.4 * -(-len(shown) // per_row) + 0.7), layout="constrained")
    values = [group.score.center or 0.0 for group in ranking.ranked or groups]
    low, high = limits(values, is_maximized=goal.is_maximized)
    panels = panels_of(figure, len(shown), columns=per_row, sharey=True)
    for axis, panel in zip(shown, panels, strict=True):
        _draw_axis(panel, axis, ranking, low, high)
    for panel in panels:
        style_values(panel, goal.text, "y")
    figure.supylabel(goal_label(goal), **NOTE)
    zoom = outside_note([group.score.center or 0.0 for group in groups], low, high, "settings")
    more = [f"the first {_PANELS} of {len(axes_of_sweep)} axes"] if len(axes_of_sweep) > _PANELS else []
    rings = ["ring: breaks a constraint"] if ranking.infeasible else []
    best = "orange: the front" if ranking.has_fronts else "orange: the best"
    words = ["dot: a setting", *rings, best, "bar: mean over the settings and its 95% t interval", *more, zoom]
    figure.supxlabel("; ".join(filter(None, words)), **NOTE)
    title(figure, state, f"{ranking.objective} by value ({plural(len(groups), 'setting')})")
    return png(figure)


def columns_of(axis: DrawnAxis, ranking: Ranking) -> list[Column]:
    """The values of an axis where some setting counts, in order, and last the settings that do not have it. Of more values than
    there is room for, those with the best settings."""
    there: dict[str, list[Group]] = {level: [] for level in axis.levels}
    for group in [*ranking.ranked, *ranking.infeasible]:
        there.setdefault(axis.level(group.values) or NOT_ACTIVE, []).append(group)  # the best first
    found = [level for level, groups in there.items() if groups]
    best = set(sorted(found, key=lambda level: min(group.rank or len(ranking.ranked) + 1 for group in there[level]))[:_LEVELS])
    return [
        Column(
            level=level,
            groups=there[level],
            mean=spread(group.score.center for group in there[level] if group.rank is not None),
        )
        for level in found
        if level in best
    ]


def _draw_axis(axes: "Axes", axis: DrawnAxis, ranking: Ranking, low: float, high: float) -> None:
    axes.set_autoscaley_on(False)
    columns = columns_of(axis, ranking)
    at = [(x + aside(group.runs[0].config), group) for x, column in enumerate(columns) for group in column.groups]
    inside = [(x, group.score.center, group) for x, group in at if low <= (group.score.center or 0.0) <= high]
    alpha = max(0.25, min(0.8, 60 / (len(inside) or 1)))
    plot_points(axes, [(x, y) for x, y, group in inside if group.rank is not None], "o", color=GREY, markersize=4, alpha=alpha)
    broken = [(x, y) for x, y, group in inside if group.rank is None]
    plot_points(axes, broken, "o", color=GREY, markersize=4, fillstyle="none", alpha=alpha)
    best = ranking.front if ranking.has_fronts else ranking.ranked[:1]
    marked = [(x, y) for x, y, group in inside if group in best]
    plot_points(axes, marked, "o", color=ORANGE, markersize=5.5, zorder=4)
    for x, column in enumerate(columns):
        center, half = column.mean.center, column.mean.half_width
        if center is not None:
            axes.plot([x - 0.2, x + 0.2], [center, center], color=BLUE, linewidth=2.2, zorder=3)
            if half is not None:
                axes.plot([x, x], [center - half, center + half], color=BLUE, linewidth=1.2, zorder=3)
    axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(low, high))
    labels = [f"{short(column.level, 16)}\nn={len(column.groups)}" for column in columns]
    turned = sum(len(short(column.level, 16)) + 2 for column in columns) > 40
    axes.set_xticks(range(len(columns)), labels, rotation=50 if turned else 0, parse_math=False)
    left_out = len(axis.levels) - len(columns) if len(columns) >= _LEVELS else 0
    axes.set_title(short(axis.name, 44) + (f" (best {_LEVELS} values)" if left_out > 0 else ""), **NOTE)
    axes.spines[["right", "top"]].set_visible(False)
