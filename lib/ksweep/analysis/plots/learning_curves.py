"""learning_curves.png: the first goal over the epochs. Curves of runs that were stopped early are thin and grey and end in a
cross."""

from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import is_share, metric_name, plural, table
from ksweep.analysis.plots.curves import Curve, curves_of
from ksweep.analysis.plots.figures import (
    BLUE,
    GREEN,
    GREY,
    LABEL,
    NOTE,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    drawable,
    png,
    style_values,
    title,
)
from ksweep.analysis.plots.ranking import named_settings, near_best
from ksweep.analysis.ranking import Group
from ksweep.contract.outcome import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
_NAMES_WIDTH = 110  # letters of a row of the legend


def learning_curves_png(findings: Findings) -> bytes | None:
    """The first goal over the epochs of every run; the first settings in colour. None when no run reported it."""
    state = findings.state
    if not state.objectives.goals:
        return None
    goal = state.objectives.goals[0]
    time, curves = curves_of(findings.histories, goal)
    return _draw_curves(findings, curves, time) if curves else None


def _draw_curves(findings: Findings, curves: dict[str, Curve], time: str) -> bytes:
    state, ranking = findings.state, findings.ranking
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups = [*ranking.ranked, *ranking.infeasible, *ranking.unranked]
    groups = [group for group in groups if any(run.config in curves for run in group.runs)]
    shown = [group for group in groups if not _is_stopped(group)][: len(_CURVE_COLOURS)]
    others = [group for group in groups if group not in shown]
    stopped = [curves[run.config] for run in state.runs if run.status is Status.PRUNED and run.config in curves]
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_autoscaley_on(False)
    _draw_others(axes, [curves[run.config] for group in others for run in group.runs if run.config in curves])
    axes.plot([curve[-1][0] for curve in stopped], [curve[-1][1] for curve in stopped], "x", color=GREY, markersize=4)
    for colour, group in zip(_CURVE_COLOURS, shown, strict=False):
        _draw_curves_of(axes, group, curves, colour)
    near = near_best([group for group in shown if group.rank]) or shown or others
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
    title(figure, state, f"{ranking.objective} by {time}")
    _legend_of_curves(figure, axes, findings, shown, num_others=len(others), num_stopped=len(stopped))
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
    return drawable(low - pad, high + pad)


def _legend_of_curves(
    figure: "Figure", axes: "Axes", findings: Findings, shown: list[Group], *, num_others: int, num_stopped: int
) -> None:
    from matplotlib.lines import Line2D

    names, rows = named_settings(findings, shown, _NAMES_WIDTH)
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
