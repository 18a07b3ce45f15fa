"""parallel_coordinates.png: each setting a line over its values to its goals, the best at the top in front of the others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import metric_name, plural
from ksweep.analysis.plots.figures import DARK, GREY, NOTE, ORANGE, limits, png, short, short_number, title
from ksweep.analysis.plots.swept import DrawnAxis, Scale, drawn_axes
from ksweep.analysis.ranking import Group, Ranking
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXES, _GOALS = 10, 3
_LABELS = 12  # at one axis
_NOT_ACTIVE = -0.1  # where a line passes an axis that its setting does not have
Line = list[tuple[float, float]]


@dataclass(frozen=True)
class _GoalAxis:
    goal: Goal
    index: int
    low: float
    high: float

    def height(self, group: Group) -> float:
        """0 to 1, the better the higher; what lies beyond the shown range stands at its end."""
        value = (group.scores[self.index].center or 0.0) / 2 - self.low / 2  # halved: a difference of finite numbers stays one
        share = min(1.0, max(0.0, 2 * value / ((self.high - self.low) or 1.0)))
        return share if self.goal.is_maximized else 1 - share


def parallel_coordinates_png(findings: Findings) -> bytes | None:
    """None with fewer than two axes, or when nothing counts."""
    state, ranking = findings.state, findings.ranking
    swept = drawn_axes(findings)
    counted = [*ranking.ranked, *ranking.infeasible]
    if len(swept) < 2 or not counted:
        return None
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    shown = swept[:_AXES]
    goals = _goal_axes(ranking)
    figure = Figure(figsize=(max(9.0, 1.55 * (len(shown) + len(goals)) + 1), 5.4), layout="constrained")
    axes = figure.add_subplot()
    open_ended = [group for group in ranking.unranked if any(run.status.is_final for run in group.runs)]
    open_ended = [group for group in open_ended if group.values]
    dashed = [line_of(shown, group) for group in open_ended]
    axes.add_collection(LineCollection(dashed, colors=GREY, linewidths=0.8, linestyles="dashed", alpha=_alpha(len(dashed))))
    lines = [(group, [*line_of(shown, group), *_ends(group, goals, len(shown))]) for group in reversed(counted)]
    drawn = LineCollection(
        [line for _, line in lines], array=[goals[0].height(group) for group, _ in lines], cmap="viridis_r",
        linewidths=1.1, alpha=_alpha(len(lines)),
    )  # fmt: skip
    drawn.set_clim(0, 1)
    axes.add_collection(drawn)
    for group, line in lines:
        if group is ranking.best or (ranking.has_fronts and group.rank == 1 and len(ranking.front) <= 12):
            axes.plot(*zip(*line, strict=True), color=ORANGE, linewidth=2.4, zorder=4)
    for x, axis in enumerate(shown):
        _draw_ticks(axes, x, _ticks(axis), short(axis.name, 18))
    for x, goal in enumerate(goals, len(shown)):
        _draw_ticks(axes, x, _goal_ticks(goal), short(metric_name(goal.goal.text, short=True), 20))
    axes.set(xlim=(-0.35, len(shown) + len(goals) - 0.6), ylim=(-0.16 if _has_inactive(lines) else -0.04, 1.12))
    axes.axis("off")
    figure.supxlabel("\n".join(_notes(ranking, open_ended, len(swept), lines, goals[0])), **NOTE)
    title(figure, state, f"{plural(len(counted), 'setting')} by value and {ranking.objectives.text}")
    return png(figure)


def _goal_axes(ranking: Ranking) -> list[_GoalAxis]:
    found = []
    for index, goal in enumerate(ranking.objectives.goals[:_GOALS]):
        groups = ranking.ranked or ranking.infeasible
        low, high = limits([group.scores[index].center or 0.0 for group in groups], is_maximized=goal.is_maximized)
        found.append(_GoalAxis(goal, index, low, high))
    return found


def line_of(axes: list[DrawnAxis], group: Group) -> Line:
    """(number of the axis, 0 to 1) of a setting; below 0 where it does not have the axis."""
    return [(float(x), _height(axis, group)) for x, axis in enumerate(axes)]


def _height(axis: DrawnAxis, group: Group) -> float:
    level = axis.level(group.values)
    if level is None:
        return _NOT_ACTIVE
    places = axis.ends
    return (axis.place(level) - places[0]) / ((places[1] - places[0]) or 1.0)


def _ends(group: Group, goals: list[_GoalAxis], first: int) -> Line:
    return [(float(x), goal.height(group)) for x, goal in enumerate(goals, first)]


def _ticks(axis: DrawnAxis) -> list[tuple[float, str]]:
    low, high = axis.ends
    if axis.scale is Scale.LEVELS or (not axis.sampled and len(axis.levels) <= _LABELS):
        kept = axis.levels[:: -(-len(axis.levels) // _LABELS)]
        return [((axis.place(level) - low) / ((high - low) or 1.0), short(level, 14)) for level in kept]
    values = [low + (high - low) * k / 4 for k in range(5)]
    is_log = axis.scale is Scale.LOG
    return [(k / 4, f"{10**value:.2g}" if is_log else f"{value:.3g}") for k, value in enumerate(values)]


def _goal_ticks(axis: _GoalAxis) -> list[tuple[float, str]]:
    shares = [k / 4 for k in range(5)]
    values = [axis.low * (1 - share) + axis.high * share for share in (shares if axis.goal.is_maximized else shares[::-1])]
    return [(share, short_number(axis.goal.text, value)) for share, value in zip(shares, values, strict=True)]


def _draw_ticks(axes: "Axes", x: int, ticks: list[tuple[float, str]], name: str) -> None:
    axes.plot([x, x], [0, 1], color=DARK, linewidth=1, zorder=5)
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for y, text in ticks:
        axes.plot([x - 0.02, x], [y, y], color=DARK, linewidth=0.8, zorder=5)
        axes.text(x - 0.04, y, text, ha="right", va="center", zorder=6, bbox=box, **NOTE | {"fontsize": 7})
    axes.text(x, 1.07, name, ha="center", va="bottom", **NOTE)


def _has_inactive(lines: list[tuple[Group, Line]]) -> bool:
    return any(y == _NOT_ACTIVE for _, line in lines for _, y in line)


def _alpha(count: int) -> float:
    return max(0.12, min(0.9, 60 / (count or 1)))


def _notes(
    ranking: Ranking, open_ended: list[Group], num_axes: int, lines: list[tuple[Group, Line]], goal: _GoalAxis
) -> list[str]:
    best = "the front" if ranking.has_fronts else "the best setting"
    what = [f"orange: {best}" if ranking.ranked else "no setting keeps to the constraints",
            f"dark is better, bright worse ({short(goal.goal.text, 40)}); goals: best at the top, cut at the ends"]  # fmt: skip
    if _has_inactive(lines):
        what.append("below an axis: not active there")
    second = []
    if num_axes > _AXES:
        second.append(f"{_AXES} of {num_axes} axes")
    failed = sum(any(run.status.is_bad for run in group.runs) for group in open_ended)
    stopped = sum(any(run.status is Status.PRUNED for run in group.runs) for group in open_ended)
    if failed or stopped:
        second.append(f"dashed, without an end: {plural(failed, 'setting')} failed, {stopped} stopped early")
    if ranking.infeasible:
        second.append(f"{plural(len(ranking.infeasible), 'setting')} of these break a constraint")
    return ["; ".join(what), *(["; ".join(second)] if second else [])]
