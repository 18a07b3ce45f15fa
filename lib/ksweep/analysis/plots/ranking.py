"""ranking.png: the settings, best first, with means and intervals. A run that did not pass is named, never drawn as a value.

Each verdict has its own marker.
"""

from typing import TYPE_CHECKING, Any

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import MISSING, is_share, metric_name, number, plural, table
from ksweep.analysis.load import SweepState
from ksweep.analysis.plots.figures import BLUE, DARK, GREY, LABEL, NOTE, SKY, drawable, png, short, style_values, title
from ksweep.analysis.plots.swept import drawn_axes
from ksweep.analysis.ranking import Group, Ranking, Verdict
from ksweep.contract.outcome import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {  # verdict -> marker, colour, words of the legend
    Verdict.BEST: ("o", BLUE, "best"),
    Verdict.TIED: ("D", SKY, "tied with the best (within noise, paired by seed)"),
    Verdict.BEHIND: ("s", GREY, "behind the best"),
    Verdict.UNKNOWN: ("o", GREY, "not known (that difference has no spread)"),
}
_GROUPS_SHOWN = 20
_NAMES_SHOWN = 6
_NAMES_WIDTH = 62  # letters of a row: more would leave no room for the picture


def ranking_png(findings: Findings) -> bytes | None:
    """Means with 95 % intervals, each seed a small ring, best on top. None when nothing is ranked, or by several goals: a front
    is no list."""
    state, ranking = findings.state, findings.ranking
    groups = ranking.ranked[:_GROUPS_SHOWN]
    if not groups or ranking.has_fronts:
        return None
    from matplotlib.figure import Figure

    low, high = score_limits(groups)
    figure = Figure(figsize=(10, 1.9 + 0.28 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.4, -0.6))
    for row, group in enumerate(groups):
        _draw_group(axes, row, group, low, high)
    num_named = _label_rows(axes, findings, groups)
    style_values(axes, ranking.objective, "x")
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("\n".join([_score_label(ranking, low), *_not_drawn(state, ranking, num_named)]), **NOTE)
    title(figure, state, f"ranking by {ranking.objective}")
    if ranking.has_repeats:
        _legend_of_verdicts(figure, groups)
    return png(figure)


def score_limits(groups: list[Group]) -> tuple[float, float]:
    """The shown range: all seeds and, within reason, intervals; a setting that is far off may not squeeze the others."""
    near = [group.score for group in near_best(groups)]
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
    return drawable(low, high)


def near_best(groups: list[Group]) -> list[Group]:
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


def _label_rows(axes: "Axes", findings: Findings, groups: list[Group]) -> int:
    """The swept values to the left of the axis and the numbers to the right, each under its header; how many names there are."""
    ranking = findings.ranking
    names, left = named_settings(findings, groups, _NAMES_WIDTH)
    headers, right = [short(ranking.objective, 22)], [[number(ranking.objective, group.score.center)] for group in groups]
    for test in ranking.tests_of(groups)[:1]:
        headers.append(short(test, 22))
        right = [[*cells, number(test, group.over(test).center)] for cells, group in zip(right, groups, strict=True)]
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
    return len(names)


def named_settings(findings: Findings, groups: list[Group], width: int) -> tuple[list[str], list[list[str]]]:
    """Names of the columns that tell settings apart, and for each setting its rank and its values; of more symbols than fit into
    `width` letters the most important ones. By config where nothing is swept."""
    columns = findings.ranking.columns
    if not columns:
        return ["config"], [[str(group.rank or MISSING), group.runs[0].config] for group in groups]
    cells = {name: [short(group.values.get(name, MISSING), 20) for group in groups] for name in columns}
    symbols = dict.fromkeys(symbol for axis in drawn_axes(findings) for symbol in axis.symbols)
    kept: set[str] = set()
    for name in dict.fromkeys([*symbols, *columns]):
        width -= 2 + max(8, *map(len, name.split("_")), *map(len, cells.get(name, [""])))
        if width >= 0 or not kept:
            kept.add(name)
    names = [name for name in columns if name in kept]
    rows = [[str(group.rank or MISSING), *(cells[name][row] for name in names)] for row, group in enumerate(groups)]
    return [short(name, 40) for name in names], rows


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


def _not_drawn(state: SweepState, ranking: Ranking, num_named: int) -> list[str]:
    lines = []
    if num_named < len(ranking.columns):
        lines.append(f"Named: {num_named} of {len(ranking.columns)} swept symbols.")
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
