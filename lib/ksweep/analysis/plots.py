"""ranking.png and learning_curves.png. A run that did not pass is named, never drawn as a value.

In the ranking each verdict has its own marker. Curves of runs that were stopped early are thin and grey and end in a cross.
"""

from typing import TYPE_CHECKING, Any

from ksweep.analysis.figures import BLUE, DARK, GREEN, GREY, LABEL, NOTE, ORANGE, PURPLE, SKY, YELLOW, png, style_values
from ksweep.analysis.formats import MISSING, is_share, metric_name, number, one_line, plural, table
from ksweep.analysis.load import SweepState, as_number
from ksweep.analysis.ranking import Group, Ranking, Verdict
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = list[tuple[float, float]]  # (epoch or step, objective), rising in the first

_CURVE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
_MARKERS = {  # verdict -> marker, colour, words of the legend
    Verdict.BEST: ("o", BLUE, "best"),
    Verdict.TIED: ("D", SKY, "tied with the best (95%, paired by seed)"),
    Verdict.BEHIND: ("s", GREY, "behind the best"),
    Verdict.UNKNOWN: ("o", GREY, "not known (that difference has no spread)"),
}
_GROUPS_SHOWN = 20
_NAMES_SHOWN = 6


def ranking_png(state: SweepState, ranking: Ranking) -> bytes | None:
    """Means with 95 % intervals, each seed a small ring, best on top. None when nothing is ranked, or by several goals: a front
    is no list."""
    groups = ranking.ranked[:_GROUPS_SHOWN]
    if not groups or ranking.has_fronts:
        return None
    from matplotlib.figure import Figure

    low, high = _score_limits(groups, ranking.direction)
    figure = Figure(figsize=(10, 1.9 + 0.28 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.4, -0.6))
    for row, group in enumerate(groups):
        _draw_group(axes, row, group, low, high)
    _label_rows(axes, ranking, groups)
    style_values(axes, ranking.objective, "x")
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("\n".join([_score_label(ranking, low), *_not_drawn(state, ranking)]), **NOTE)
    figure.suptitle(f"{one_line(state.record.name)}: ranking by {one_line(ranking.objective)}", fontsize=11, parse_math=False)
    if ranking.has_repeats:
        _legend_of_verdicts(figure, groups)
    return png(figure)


def _score_limits(groups: list[Group], direction: str) -> tuple[float, float]:
    """The shown range: all seeds and, within reason, intervals; a setting that is far off may not squeeze the others."""
    near = [group.score for group in _near(groups)]
    low = min(score.minimum for score in near if score.minimum is not None)
    high = max(score.maximum for score in near if score.maximum is not None)
    span = (high - low) or abs(high) * 0.01 or 1.0
    ends = [
        (score.center - score.half_width, score.center + score.half_width) for score in near if score.center and score.half_width
    ]
    # The interval of two seeds is 9 standard deviations to each side; it is cut off rather than shown at the cost of all else.
    low = max(low - 0.6 * span, min([low, *(end[0] for end in ends)])) - 0.08 * span
    high = min(high + 0.6 * span, max([high, *(end[1] for end in ends)])) + 0.08 * span
    if is_share(groups[0].objective):
        low, high = max(low, 0.0), min(high, 1 + 0.02 * span)
    return low, high


def _near(groups: list[Group]) -> list[Group]:
    """Those of the ranked `groups` (best first) that are at most four times as far from the best as half of them are."""
    centers = [group.score.center or 0.0 for group in groups]
    distances = [abs(center - centers[0]) for center in centers]
    reach = 4 * sorted(distances)[len(distances) // 2] or max(distances) if groups else 0.0
    return [group for group, distance in zip(groups, distances, strict=True) if distance <= reach]


def _draw_group(axes: "Axes", row: int, group: Group, low: float, high: float) -> None:
    score, center = group.score, group.score.center or 0.0
    marker, colour, _ = _MARKERS[group.verdict or Verdict.UNKNOWN]
    axes.axhline(row, color="#eeeeee", linewidth=0.8, zorder=0)
    if not low <= center <= high:
        edge, arrow = (low, "<") if center < low else (high, ">")
        axes.plot([edge], [row], marker=arrow, color=colour, markersize=7, clip_on=False)
        return
    if score.half_width is not None:
        ends = [center - score.half_width, center + score.half_width]
        axes.plot(ends, [row, row], color=colour, linewidth=2, alpha=0.6, zorder=1)
    if score.n > 1:
        seeds = [run.value(group.goals[0]) or 0.0 for run in group.counted]
        axes.plot(seeds, [row] * len(seeds), "o", color=DARK, fillstyle="none", markersize=4, markeredgewidth=0.8, zorder=2)
    axes.plot([center], [row], marker=marker, color=colour, markersize=7, zorder=3, linestyle="none")


def _label_rows(axes: "Axes", ranking: Ranking, groups: list[Group]) -> None:
    """The swept values to the left of the axis and the numbers to the right, each under its header."""
    names = ranking.columns or ["config"]
    left = [[str(group.rank), *(one_line(group.values.get(name, MISSING)) for name in names)] for group in groups]
    if not ranking.columns:
        left = [[str(group.rank), group.counted[0].config] for group in groups]
    right = [
        [number(ranking.objective, group.score.center), number("test_acc", group.over("test_acc").center)] for group in groups
    ]
    headers = [one_line(ranking.objective), "test_acc"]
    if ranking.has_repeats:
        headers.append("n")
        right = [[*cells, f"{group.score.n}/{len(group.runs)}"] for cells, group in zip(right, groups, strict=True)]
    columns = ((-0.015, "right", table(["#", *names], left, left=names)), (1.015, "left", table(headers, right)))
    for x, side, lines in columns:
        head, rows = lines[: -len(groups)], lines[-len(groups) :]
        width = max(map(len, lines))
        at: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": side, **LABEL}
        axes.text(x, -0.6, "\n".join(line.ljust(width) for line in head), va="bottom", color="#666666", **at)
        for row, line in enumerate(rows):
            axes.text(x, row, line.ljust(width), va="center", **at)


def _score_label(ranking: Ranking, low: float) -> str:
    name = metric_name(ranking.objective)
    interval = "" if ranking.aggregate == "median" else ", 95% t interval (cut at the edges)"
    what = f"{name}: {ranking.aggregate} over seeds{interval}, each seed a ring" if ranking.has_repeats else name
    better = "smaller" if ranking.direction == "minimize" else "larger"
    starts = f"; the axis starts at {number(ranking.objective, low)}, not at 0" if low > 0 else ""
    return f"{what} ({better} is better{starts})"


def _legend_of_verdicts(figure: "Figure", groups: list[Group]) -> None:
    from matplotlib.lines import Line2D

    present = [verdict for verdict in Verdict if any(group.verdict is verdict for group in groups)]
    handles = []
    for verdict in present:
        marker, colour, words = _MARKERS[verdict]
        handles.append(Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=7, label=words))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)


def _not_drawn(state: SweepState, ranking: Ranking) -> list[str]:
    lines = []
    if len(ranking.ranked) > _GROUPS_SHOWN:
        lines.append(f"The best {_GROUPS_SHOWN} of {len(ranking.ranked)} settings.")
    if ranking.infeasible:
        lines.append(f"Break a constraint, not drawn: {plural(len(ranking.infeasible), 'setting')}.")
    pruned = state.counts.get(Status.PRUNED, 0)
    if pruned:
        lines.append(f"Stopped early, not drawn: {plural(pruned, 'run')}.")
    missing = [f"{run.config} {run.status}" for run in state.bad_runs]
    if missing:
        more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
        lines.append(f"Did not pass, not drawn: {', '.join(missing[:_NAMES_SHOWN])}{more}.")
    open_runs = len(state.runs) - state.num_finished
    if open_runs:
        lines.append(f"Not finished: {plural(open_runs, 'run')} of {len(state.runs)}.")
    return lines


def learning_curves_png(state: SweepState, ranking: Ranking) -> bytes | None:
    """The first goal over the epochs of every run; the first settings in colour. None when no run reported it."""
    if not state.objectives.goals:
        return None
    goal = state.objectives.goals[0]
    histories = {run.config: read_history(run.dir.metrics) for run in state.runs}
    reports = [report for history in histories.values() for report in history if goal.value(report) is not None]
    if not reports:
        return None
    time = "epoch" if all(as_number(report.get("epoch")) is not None for report in reports) else "step"
    curves = {config: _curve(history, time, goal) for config, history in histories.items()}
    return _draw_curves(state, ranking, {config: curve for config, curve in curves.items() if curve}, time)


def _curve(history: list[dict[str, Any]], time: str, goal: Goal) -> Curve:
    """The last finite value of each epoch."""
    points: dict[float, float] = {}
    for report in history:
        x, y = as_number(report.get(time)), goal.value(report)
        if x is not None and y is not None:
            points[x] = y
    return sorted(points.items())


def _draw_curves(state: SweepState, ranking: Ranking, curves: dict[str, Curve], time: str) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups = [*ranking.ranked, *ranking.infeasible, *ranking.unranked]
    groups = [group for group in groups if any(run.config in curves for run in group.runs)]
    shown = [group for group in groups if not _is_stopped(group)][: len(_CURVE_COLOURS)]
    others = [group for group in groups if group not in shown]
    stopped = [curves[run.config] for run in state.runs if run.status is Status.PRUNED and run.config in curves]
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    _draw_others(axes, [curves[run.config] for group in others for run in group.runs if run.config in curves])
    axes.plot([curve[-1][0] for curve in stopped], [curve[-1][1] for curve in stopped], "x", color=GREY, markersize=4)
    for colour, group in zip(_CURVE_COLOURS, shown, strict=False):
        _draw_curves_of(axes, group, curves, colour)
    near = _near([group for group in shown if group.rank]) or shown or others
    stops = sorted((curve[-1][1] for curve in stopped), reverse=ranking.direction == "maximize")
    low, high = _curve_limits(
        [curves[run.config] for group in near for run in group.runs if run.config in curves], stops[: (len(stops) + 1) // 2]
    )
    axes.set_ylim(low, min(high, 1 + 0.02 * (high - low)) if is_share(ranking.objective) else high)
    style_values(axes, ranking.objective, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_xlabel(f"{time} (thin: single seeds, thick: their mean)" if ranking.has_repeats else time, **NOTE)
    cut = sum(not low <= y <= high for curve in curves.values() for _, y in curve)
    zoom = f" (axis zoomed: {cut} of {sum(map(len, curves.values()))} values lie outside)" if cut else ""
    axes.set_ylabel(metric_name(ranking.objective) + zoom, **NOTE)
    figure.suptitle(f"{one_line(state.record.name)}: {one_line(ranking.objective)} by {time}", fontsize=11, parse_math=False)
    _legend_of_curves(figure, axes, ranking, shown, num_others=len(others), num_stopped=len(stopped))
    return png(figure)


def _is_stopped(group: Group) -> bool:
    """True when all that there is of a setting was stopped early."""
    return not group.counted and any(run.status is Status.PRUNED for run in group.runs)


def _draw_others(axes: "Axes", curves: list[Curve]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(curves, colors=GREY, linewidths=0.7, alpha=max(0.15, min(0.6, 20 / (len(curves) or 1)))))
    points = [curve[0] for curve in curves if len(curve) == 1]  # a line of one point would be invisible
    axes.plot([x for x, _ in points], [y for _, y in points], "o", color=GREY, markersize=3)


def _draw_curves_of(axes: "Axes", group: Group, curves: dict[str, Curve], colour: str) -> None:
    drawn = [curves[run.config] for run in group.runs if run.config in curves]
    if len(drawn) > 1:
        for curve in drawn:
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=0.7, alpha=0.45)
    counted = [curves[run.config] for run in group.counted if run.config in curves]
    mean = _mean_curve(counted or drawn)
    if mean:
        marker = "o" if len(mean) <= 30 else None
        axes.plot(*zip(*mean, strict=True), color=colour, linewidth=2, marker=marker, markersize=3.5, zorder=3)


def _mean_curve(curves: list[Curve]) -> Curve:
    """The mean over the seeds, where all of them have a value: a seed that ends early may not bend it."""
    values = [dict(curve) for curve in curves]
    common = [x for x, _ in curves[0] if all(x in value for value in values)]
    return [(x, sum(value[x] for value in values) / len(values)) for x in common]


def _curve_limits(curves: list[Curve], stops: list[float]) -> tuple[float, float]:
    """The range of the coloured curves after the first quarter of training: the start would squeeze what sets them apart.

    `stops`: values at which runs were stopped, that are to be seen as well.
    """
    last = max(curve[-1][0] for curve in curves)
    late = [y for curve in curves for x, y in curve if x >= last / 4] + stops
    low, high = min(late), max(late)
    pad = 0.06 * ((high - low) or abs(high) * 0.1 or 1.0)
    return low - pad, high + pad


def _legend_of_curves(
    figure: "Figure", axes: "Axes", ranking: Ranking, shown: list[Group], *, num_others: int, num_stopped: int
) -> None:
    from matplotlib.lines import Line2D

    names = ranking.columns or ["config"]
    rows = [[str(group.rank or MISSING), *(one_line(group.values.get(name, MISSING)) for name in names)] for group in shown]
    if not ranking.columns:
        rows = [[str(group.rank or MISSING), group.runs[0].config] for group in shown]
    lines = table(["#", *names], rows, left=names)
    head, labels = lines[: len(lines) - len(rows)], lines[len(lines) - len(rows) :]
    handles = [Line2D([], [], color=colour, linewidth=2) for colour, _ in zip(_CURVE_COLOURS, shown, strict=False)]
    if num_others:
        handles.append(Line2D([], [], color=GREY, linewidth=0.8))
        labels.append(f"{plural(num_others, 'other')}")
    if num_stopped:
        handles.append(Line2D([], [], color=GREY, linestyle="none", marker="x", markersize=4))
        labels.append(f"{plural(num_stopped, 'run')} stopped here")
    # A letter is 0.602 em wide: handle and pad together take the room of five, by which the header is moved to its columns.
    legend = figure.legend(
        handles, labels, title="\n".join(" " * 5 + line for line in head), handlelength=2.2, handletextpad=5 * 0.602 - 2.2,
        loc="outside lower center", frameon=False, alignment="left",
        prop={"family": LABEL["family"], "size": 8}, title_fontproperties={"family": LABEL["family"], "size": 8},
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
