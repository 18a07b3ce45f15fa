"""slices.png: the first goal against each axis that is a scale, all settings as points, by when they were asked for."""

from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import plural
from ksweep.analysis.plots.figures import (
    DARK,
    GREY,
    NOTE,
    ORANGE,
    goal_label,
    limits,
    outside_note,
    panels_of,
    plot_points,
    png,
    style_values,
    title,
)
from ksweep.analysis.plots.heatmaps import style_scale
from ksweep.analysis.plots.swept import DrawnAxis, drawn_axes
from ksweep.analysis.ranking import Group
from ksweep.contract.outcome import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

_PANELS = 12


def slices_png(findings: Findings) -> bytes | None:
    """A panel an axis that is sampled, or has many numbers. None when there is none, or nothing counts."""
    state, ranking = findings.state, findings.ranking
    scales = [axis for axis in drawn_axes(findings) if axis.is_continuous]
    groups = [*ranking.ranked, *ranking.infeasible]
    if not scales or not groups:
        return None
    from matplotlib.figure import Figure

    goal, shown = state.objectives.goals[0], scales[:_PANELS]
    per_row = min(3, len(shown))
    figure = Figure(figsize=(max(7.0, 4.2 * per_row), 3.4 * -(-len(shown) // per_row) + 0.7), layout="constrained")
    low, high = limits([group.score.center or 0.0 for group in ranking.ranked or groups], is_maximized=goal.is_maximized)
    best = ranking.front if ranking.has_fronts else ranking.ranked[:1]
    order = {run.config: number for number, run in enumerate(state.runs, 1)}
    panels = panels_of(figure, len(shown), columns=per_row, sharey=True)
    for axis, axes in zip(shown, panels, strict=True):
        axes.set_autoscaley_on(False)
        drawn = _draw_slice(axes, axis, groups, order, len(state.runs))
        stars = [(axis.place(level), group.score.center or 0.0) for group in best if (level := axis.level(group.values))]
        plot_points(axes, stars, "*", color=ORANGE, markersize=12 if len(best) == 1 else 9, markeredgecolor=DARK)
        _draw_rug(axes, axis, ranking.unranked)
        axes.set_ylim(low, high)
        style_scale(axes, axis, "x")
        style_values(axes, goal.text, "y")
        axes.spines[["right", "top"]].set_visible(False)
    bar = figure.colorbar(drawn, ax=panels, pad=0.02, aspect=30)
    bar.set_label("place in the order in which runs were asked for", **NOTE)
    bar.ax.tick_params(labelsize=7)
    figure.supylabel(goal_label(goal), **NOTE)
    rug = ["at the lower edge: | stopped early, x failed"] if any(_has_ended(group) for group in ranking.unranked) else []
    zoom = outside_note([group.score.center or 0.0 for group in groups], low, high, "settings")
    more = [f"the first {_PANELS} of {len(scales)} axes"] if len(scales) > _PANELS else []
    star = f"star: the front ({plural(len(best), 'setting')})" if ranking.has_fronts else "star: the best setting"
    squares = ["squares break a constraint"] if ranking.infeasible else []
    figure.supxlabel("; ".join(filter(None, [star, *squares, *rug, *more, zoom])), **NOTE)
    title(figure, state, f"{ranking.objective} along each axis ({plural(len(groups), 'setting')})")
    return png(figure)


def _has_ended(group: Group) -> bool:
    return any(run.status.is_final for run in group.runs)


def _draw_rug(axes: "Axes", axis: DrawnAxis, unranked: list[Group]) -> None:
    """Along the lower edge: where settings failed or were stopped, which have no value."""
    ended = [(level, {run.status for run in group.runs}) for group in unranked if (level := axis.level(group.values))]
    failed = [axis.place(level) for level, statuses in ended if any(status.is_bad for status in statuses)]
    stopped = [axis.place(level) for level, statuses in ended if Status.PRUNED in statuses]
    edge = axes.get_xaxis_transform()
    plot_points(axes, [(x, 0.02) for x in stopped], "|", color=GREY, markersize=8, transform=edge)
    plot_points(axes, [(x, 0.02) for x in failed], "x", color=ORANGE, markersize=5, transform=edge)


def _draw_slice(axes: "Axes", axis: DrawnAxis, groups: list[Group], order: dict[str, int], num_runs: int) -> "PathCollection":
    for is_feasible, marker in ((False, "s"), (True, "o")):
        some = [(group, level) for group in groups if group.is_feasible is is_feasible and (level := axis.level(group.values))]
        drawn = axes.scatter(
            [axis.place(level) for _, level in some],
            [group.score.center or 0.0 for group, _ in some],
            c=[order[group.runs[0].config] for group, _ in some],
            cmap="cividis", vmin=1, vmax=max(num_runs, 2), s=20, marker=marker, linewidths=0.3, edgecolors=DARK,
        )  # fmt: skip
    return drawn
