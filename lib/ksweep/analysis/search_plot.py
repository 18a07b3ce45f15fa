"""search.png: what a search found, and when. With several goals the front, with a strategy other than grid the best run so far
against the number of runs that have ended and against the epochs that they took."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ksweep.analysis.effort import epochs_trained
from ksweep.analysis.figures import BLUE, DARK, GREY, NOTE, ORANGE, png, style_values
from ksweep.analysis.formats import metric_name, one_line, plural
from ksweep.analysis.load import RunRecord, SweepState
from ksweep.analysis.ranking import Group, Ranking
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal, Objectives

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_WIDTH, _HEIGHT = 5.0, 4.6  # inches; a lone panel is wider
_OUTSIDE = 0.06  # of the shown range, beyond its ends


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A run that has ended, in the order of their ends. `spent`: epochs of all runs until then. `value`: of the first goal, None
    unless the run passed. `best`: the best value so far of those that keep to all constraints."""

    number: int
    spent: int
    value: float | None
    is_feasible: bool
    is_pruned: bool
    best: float | None


def search_png(state: SweepState, ranking: Ranking) -> bytes | None:
    """The picture. None when there is nothing to show: one goal and the strategy grid, or no run that counts."""
    is_search = state.record.strategy != "grid"
    if not (ranking.ranked or ranking.infeasible) or not (ranking.has_fronts or is_search):
        return None
    from matplotlib.figure import Figure

    num_panels = ranking.has_fronts + 2 * is_search
    figure = Figure(figsize=(_PANEL_WIDTH * max(num_panels, 1.6), _HEIGHT), layout="constrained")
    panels = list(figure.subplots(1, num_panels, squeeze=False)[0])
    if ranking.has_fronts:
        _draw_front(panels.pop(0), ranking)
    if is_search:
        ended = _in_order_of_their_ends(state)
        _draw_best_so_far(panels[0], state.objectives, ended, [run.number for run in ended], "runs that have ended")
        _draw_best_so_far(panels[1], state.objectives, ended, [run.spent for run in ended], "epochs trained, of all runs")
    name, strategy = one_line(state.record.name), one_line(state.record.strategy)
    figure.suptitle(
        f"{name}: {'what the search found' if is_search else 'the front'} ({strategy})", fontsize=11, parse_math=False
    )
    return png(figure)


def _in_order_of_their_ends(state: SweepState) -> list[_Ended]:
    goal = state.objectives.goals[0]
    runs = sorted((run for run in state.runs if run.result and run.status.is_final), key=_ended_at)
    spent = accumulate(epochs_trained(run) for run in runs)
    found: list[_Ended] = []
    best: float | None = None
    for position, (run, epochs) in enumerate(zip(runs, spent, strict=True), 1):
        value = run.value(goal) if run.status is Status.PASSED else None
        is_feasible = run.result is not None and state.objectives.is_feasible(run.result.metrics)
        if value is not None and is_feasible and (best is None or (value > best if goal.is_maximized else value < best)):
            best = value
        is_pruned = run.status is Status.PRUNED
        found.append(_Ended(number=position, spent=epochs, value=value, is_feasible=is_feasible, is_pruned=is_pruned, best=best))
    return found


def _ended_at(run: RunRecord) -> float:
    return run.result.started_at + run.result.wall_s if run.result else 0.0


def _draw_best_so_far(axes: "Axes", objectives: Objectives, ended: list[_Ended], x: list[int], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    goal = objectives.goals[0]
    at = list(zip(x, ended, strict=True))
    kept = [(place, run.value) for place, run in at if run.value is not None and run.is_feasible]
    broken = [(place, run.value) for place, run in at if run.value is not None and not run.is_feasible]
    steps = [(place, run.best) for place, run in at if run.best is not None]
    stopped = [place for place, run in at if run.is_pruned]
    _plot(axes, kept, "o", color=GREY, markersize=3.5, alpha=0.7, label="a run that passed")
    _plot(axes, broken, "o", color=GREY, markersize=3.5, fillstyle="none", label="breaks a constraint")
    if steps:
        steps.append((x[-1], steps[-1][1]))
        axes.plot(
            *zip(*steps, strict=True), drawstyle="steps-post", color=BLUE, linewidth=2, label="the best one so far", zorder=3
        )
    low, high = _limits([value for _, value in kept or broken if value is not None], goal)
    axes.set_ylim(low, high)
    num_outside = sum(not low <= value <= high for _, value in [*kept, *broken])
    _plot(axes, [(place, 0.015) for place in stopped], "|", color=ORANGE, markersize=7, markeredgewidth=0.8,
          transform=axes.get_xaxis_transform(), label=f"stopped early ({len(stopped)})")  # fmt: skip
    zoom = f"\n(axis zoomed: {num_outside} of {len(kept) + len(broken)} runs lie outside)" if num_outside else ""
    _finish(axes, goal, label, _goal_label(goal) + zoom)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, max(x[-1], 1) * (1 + _OUTSIDE / 3))  # 0 epochs: a program that never said how far it was


def _plot(axes: "Axes", points: list[Any], marker: str, **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), marker, linestyle="none", **style)


def _limits(values: list[float], goal: Goal) -> tuple[float, float]:
    """The range that is shown: the better half of the values with some room, for the worst ones would squeeze it."""
    ordered = sorted(values, reverse=goal.is_maximized)
    best, middle = ordered[0], ordered[len(ordered) // 2]
    far = best + 2.5 * (middle - best)
    worst = max(ordered[-1], far) if goal.is_maximized else min(ordered[-1], far)
    room = _OUTSIDE * (abs(worst - best) or abs(best) * 0.1 or 1.0)
    return min(best, worst) - 2 * room, max(best, worst) + room


def _draw_front(axes: "Axes", ranking: Ranking) -> None:
    """All settings by their first two goals; the front joined where these two are all."""
    first, second = ranking.objectives.goals[:2]
    front = sorted(ranking.front, key=lambda group: _at(group)[0])
    beaten = ranking.ranked[len(front) :]
    _plot(axes, [_at(group) for group in beaten], "o", color=GREY, markersize=4, alpha=0.7, label=f"beaten ({len(beaten)})")
    broken = [_at(group) for group in ranking.infeasible]
    _plot(axes, broken, "o", color=GREY, markersize=4, fillstyle="none", label=f"breaks a constraint ({len(broken)})")
    points = [_at(group) for group in front]
    is_whole = len(ranking.objectives.goals) == 2
    if points and is_whole:
        # A point is as good as all that is worse in the first goal, so its level reaches to that side.
        where = "steps-pre" if first.is_maximized else "steps-post"
        axes.plot(*zip(*points, strict=True), drawstyle=where, color=BLUE, linewidth=1.2, alpha=0.6, zorder=2)
    _plot(axes, points, "D", color=BLUE, markersize=5.5, zorder=3, label=f"front ({plural(len(front), 'setting')})")
    style_values(axes, first.text, "x")
    _finish(axes, second, _goal_label(first), _goal_label(second))
    if not is_whole:
        axes.set_title(f"{len(ranking.objectives.goals)} goals, of which this shows two", **NOTE)


def _at(group: Group) -> tuple[float, float]:
    return group.scores[0].center or 0.0, group.scores[1].center or 0.0


def _goal_label(goal: Goal) -> str:
    return f"{metric_name(goal.text)} ({'larger' if goal.is_maximized else 'smaller'} is better)"


def _finish(axes: "Axes", goal: Goal, x_label: str, y_label: str) -> None:
    style_values(axes, goal.text, "y")
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_xlabel(x_label, **NOTE)
    axes.set_ylabel(y_label, **NOTE)
    axes.legend(fontsize=8, frameon=False, labelcolor=DARK, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
