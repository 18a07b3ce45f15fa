"""pareto.png: what is to be had of one goal for what of another. Of several goals the front; of one goal that is an expression
over two metrics or more, these metrics and what no other setting beats in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import plural
from ksweep.analysis.pareto import FrontFacts, front_facts, fronts
from ksweep.analysis.plots.figures import (
    BLUE,
    GREY,
    NOTE,
    ORANGE,
    STAR,
    drawable,
    goal_label,
    legend_below,
    limits,
    outside_note,
    panels_of,
    plot_points,
    png,
    style_values,
    title,
)
from ksweep.analysis.plots.metrics import direction, plain_goal
from ksweep.analysis.ranking import Group, Ranking
from ksweep.space.objective import Goal, Objectives

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 3


@dataclass(frozen=True, kw_only=True)
class Trade:
    """Settings by several metrics, of which each is better one way. `front`: those that no other feasible one beats."""

    goals: tuple[Goal, ...]
    points: dict[int, tuple[float, ...]]  # id of the group -> one value a goal
    front: list[Group]
    beaten: list[Group]
    infeasible: list[Group]


def pareto_png(findings: Findings) -> bytes | None:
    """The picture, a panel for each pair of the first three. None when there is one goal without parts, or nothing counts."""
    state, ranking = findings.state, findings.ranking
    trade = trade_of(ranking)
    if trade is None:
        return None
    from matplotlib.figure import Figure

    facts = front_facts(ranking)
    pairs = list(combinations(range(min(len(trade.goals), 3)), 2))[:_PANELS]
    figure = Figure(figsize=(max(5.0 * len(pairs), 8.0), 5.2), layout="constrained")
    for axes, (first, second) in zip(panels_of(figure, len(pairs), columns=_PANELS), pairs, strict=True):
        _draw(axes, trade, first, second, None if ranking.has_fronts else ranking.best)
        if facts is not None:
            _draw_facts(axes, facts, first, second, trade)
        axes.spines[["right", "top"]].set_visible(False)
        legend_below(axes, y=-0.14)
    names = " against ".join(goal.text for goal in trade.goals[:3])
    what = f"the front of {names}" if ranking.has_fronts else f"{names}, of which {ranking.objective} is made"
    more = f" (the first 3 of {len(trade.goals)} drawn)" if len(trade.goals) > 3 else ""
    if facts is not None and facts.hypervolume is not None:
        volume = f"the front dominates {100 * facts.hypervolume:.1f}% of the box between the best and the worst values"
        figure.supxlabel(f"hypervolume: {volume} ({plural(facts.num_settings, 'setting')})", **NOTE)
    title(figure, state, what + more)
    return png(figure)


def trade_of(ranking: Ranking) -> Trade | None:
    """The goals, or the metrics of the only goal whose directions are known; None where that makes fewer than two."""
    goals = _traded(ranking.objectives)
    groups = [*ranking.ranked, *ranking.infeasible]
    points = {id(group): point for group in groups if len(point := _point(group, goals, ranking)) == len(goals)}
    if len(goals) < 2 or not points:
        return None
    feasible = [group for group in ranking.ranked if id(group) in points]
    costs = [
        [-value if goal.is_maximized else value for goal, value in zip(goals, points[id(group)], strict=True)]
        for group in feasible
    ]
    first = set(fronts(costs)[0]) if feasible else set()
    return Trade(
        goals=goals,
        points=points,
        front=[group for index, group in enumerate(feasible) if index in first],
        beaten=[group for index, group in enumerate(feasible) if index not in first],
        infeasible=[group for group in ranking.infeasible if id(group) in points],
    )


def _traded(objectives: Objectives) -> tuple[Goal, ...]:
    if len(objectives.goals) != 1:
        return objectives.goals
    names = [name for name in objectives.goals[0].names if direction(name, objectives) is not None]
    return tuple(plain_goal(name, objectives) for name in names)


def _point(group: Group, goals: Sequence[Goal], ranking: Ranking) -> tuple[float, ...]:
    centers = [score.center for score in group.scores] if ranking.has_fronts else [group.over(goal.text).center for goal in goals]
    return tuple(center for center in centers if center is not None)


def _draw(axes: "Axes", trade: Trade, first: int, second: int, best: Group | None) -> None:
    axes.autoscale(False)  # the limits are set below; values near the largest float would overflow its own
    goals = trade.goals[first], trade.goals[second]
    at = {key: (point[first], point[second]) for key, point in trade.points.items()}
    front = sorted(at[id(group)] for group in trade.front)
    beaten, broken = ([at[id(group)] for group in groups] for groups in (trade.beaten, trade.infeasible))
    plot_points(axes, beaten, "o", color=GREY, markersize=4, alpha=0.7, label=f"beaten ({len(beaten)})")
    plot_points(axes, broken, "o", color=GREY, markersize=4, fillstyle="none", label=f"breaks a constraint ({len(broken)})")
    if front and len(trade.goals) == 2:
        # A point is as good as all that is worse in the first goal, so its level reaches to that side.
        where = "steps-pre" if goals[0].is_maximized else "steps-post"
        axes.plot(*zip(*front, strict=True), drawstyle=where, color=BLUE, linewidth=1.2, alpha=0.6, zorder=2)
    plot_points(axes, front, "D", color=BLUE, markersize=5.5, zorder=3, label=f"beaten by none ({plural(len(front), 'setting')})")
    if best is not None and id(best) in at:
        plot_points(axes, [at[id(best)]], "*", **STAR | {"markersize": 14, "zorder": 4, "label": "best of the ranking"})
    for which, goal, values in (("x", goals[0], [x for x, _ in at.values()]), ("y", goals[1], [y for _, y in at.values()])):
        shown = [point["xy".index(which)] for point in [*front, *beaten]] or values
        low, high = limits(shown, is_maximized=goal.is_maximized)
        seen = [point["xy".index(which)] for point in front] or shown  # the front is always seen whole
        room = 0.04 * (high - low)
        low, high = min(low, min(seen) - room), max(high, max(seen) + room)
        low, high = drawable(low, high)
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
        style_values(axes, goal.text, which)
        label = "\n".join(filter(None, [goal_label(goal), outside_note(values, low, high, "settings")]))
        (axes.set_xlabel if which == "x" else axes.set_ylabel)(label, **NOTE)


def _draw_facts(axes: "Axes", facts: FrontFacts, first: int, second: int, trade: Trade) -> None:
    """The knee, and the worst values up to which the hypervolume is taken where they lie within what is shown."""
    knee = facts.knee
    if knee is not None and id(knee) in trade.points:
        point = trade.points[id(knee)]
        plot_points(axes, [(point[first], point[second])], "o", color=ORANGE, fillstyle="none", markersize=13,
                    markeredgewidth=1.6, zorder=4, label="knee: gives up least of one for the other")  # fmt: skip
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    x, y = facts.reference[first], facts.reference[second]
    if left <= x <= right and low <= y <= high:
        plot_points(axes, [(x, y)], "P", color=GREY, markersize=7, label="worst values (reference)")
