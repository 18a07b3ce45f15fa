"""heatmap_<A>_<B>.png: two axes, a panel a metric, each cell the mean over the settings there; a star on the best setting's cell.

A cell without a number says why: nobody ran it, all that ran there failed, all were stopped early. Where an axis is a scale
(sampled, or of many values), settings are points that are coloured by the metric, in place of cells.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import metric_name, number, plural
from ksweep.analysis.plots.figures import DARK, LABEL, NOTE, STAR, aside, drawable, panels_of, png, short, short_number, title
from ksweep.analysis.plots.metrics import direction, shown_metrics
from ksweep.analysis.plots.swept import DrawnAxis, Scale, drawn_axes, file_part, share
from ksweep.analysis.ranking import Group, Ranking
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

PAIRS = 6
METRICS = 4
_MOST_LEVELS = 30  # of an axis: more would be thinner than a letter
_MOST_TICKS = 8  # at the values of a list themselves


class Kind(StrEnum):
    """Why a cell has a number or none."""

    VALUE = "value"
    BROKEN = "breaks a constraint"  # all settings there do
    MISSING = "nobody ran it"
    FAILED = "all runs failed"
    STOPPED = "all runs stopped early"
    UNTOLD = "not reported"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`value`: mean over the settings there; `num_settings`, `num_runs`: what it is made of."""

    kind: Kind
    value: float | None = None
    num_settings: int = 0
    num_runs: int = 0


@dataclass(frozen=True)
class Pair:
    """The two axes of a figure: values of `down` are rows, those of `across` columns."""

    down: DrawnAxis
    across: DrawnAxis

    @property
    def file_name(self) -> str:
        """`heatmap_ACT_THRESHOLD_ACT_LAMBDA.png`."""
        return f"heatmap_{file_part(self.down)}_{file_part(self.across)}.png"

    @property
    def has_cells(self) -> bool:
        """False where settings are drawn as points."""
        return not (self.down.is_continuous or self.across.is_continuous)

    def place(self, group: Group) -> tuple[str, str] | None:
        """The levels of a setting; None where one of the axes is not active there."""
        down, across = self.down.level(group.values), self.across.level(group.values)
        return None if down is None or across is None else (down, across)


def heatmap_pngs(findings: Findings) -> dict[str, bytes]:
    """File name -> picture, of the pairs of axes that matter most. Empty with fewer than two axes, or when nothing counts."""
    ranking = findings.ranking
    if not (ranking.ranked or ranking.infeasible):
        return {}
    pairs, num_pairs = pairs_of(findings)
    return {pair.file_name: _heatmap_png(findings, pair, f"{len(pairs)} of {num_pairs}") for pair in pairs}


def pairs_of(findings: Findings) -> tuple[list[Pair], int]:
    """At most six pairs of axes, those of most importance first (else in file order), and how many there are in all."""
    importance = findings.effects.importance
    axes = [axis for axis in drawn_axes(findings) if axis.is_continuous or len(axis.levels) <= _MOST_LEVELS]
    pairs = [Pair(down, across) for down, across in combinations(axes, 2)]
    pairs.sort(key=lambda pair: -(share(pair.down, importance) + share(pair.across, importance)))
    return pairs[:PAIRS], len(pairs)


def cells_of(pair: Pair, ranking: Ranking, goal: Goal) -> dict[tuple[str, str], Cell]:
    """All cells of the pair, those that nobody ran as well. `goal`: one of the ranking's, else a metric as it stands."""
    there: dict[tuple[str, str], list[Group]] = {}
    for group in [*ranking.ranked, *ranking.infeasible, *ranking.unranked]:
        place = pair.place(group)
        if place is not None:
            there.setdefault(place, []).append(group)
    places = [(down, across) for down in pair.down.levels for across in pair.across.levels]
    return {place: _cell(there.get(place, []), goal) for place in places}


def _cell(groups: list[Group], goal: Goal) -> Cell:
    counted = [group for group in groups if group.counted]
    values = [value for group in counted if (value := value_of(group, goal)) is not None]
    if values:
        kind = Kind.VALUE if any(group.is_feasible for group in counted) else Kind.BROKEN
        num_runs = sum(len(group.counted) for group in counted)
        # Divided first: the sum of two finite numbers need not be one.
        return Cell(kind=kind, value=sum(v / len(values) for v in values), num_settings=len(values), num_runs=num_runs)
    statuses = {run.status for group in groups for run in group.runs}
    if counted or Status.PASSED in statuses:
        return Cell(kind=Kind.UNTOLD)
    if any(status.is_bad for status in statuses):
        return Cell(kind=Kind.FAILED)
    return Cell(kind=Kind.STOPPED if Status.PRUNED in statuses else Kind.MISSING)


def value_of(group: Group, goal: Goal) -> float | None:
    """Of a setting: the score of a goal, or a metric over its runs that count."""
    return group.scores[group.goals.index(goal)].center if goal in group.goals else group.over(goal.text).center


def starred(pair: Pair, ranking: Ranking) -> list[tuple[str, str]]:
    """The cell of the best setting; with several goals the cells of the front."""
    best = ranking.front if ranking.has_fronts else ranking.ranked[:1]
    return list(dict.fromkeys(place for group in best if (place := pair.place(group)) is not None))


def _heatmap_png(findings: Findings, pair: Pair, which: str) -> bytes:
    from matplotlib.figure import Figure

    state, ranking = findings.state, findings.ranking
    metrics = shown_metrics(state.objectives, most=METRICS)
    columns = len(metrics) if len(metrics) < 4 else 2
    rows = -(-len(metrics) // columns)
    width = {1: 7.5, 2: 6.0}.get(columns, 5.0)
    height = min(7.0, max(3.6, 1.4 + 0.42 * len(pair.down.levels))) if pair.has_cells else 4.4
    figure = Figure(figsize=(width * columns, height * rows + 1.1), layout="constrained")
    kinds: dict[Kind, None] = {}
    for axes, goal in zip(panels_of(figure, len(metrics), columns=columns), metrics, strict=True):
        draw = _draw_cells if pair.has_cells else _draw_points
        kinds |= dict.fromkeys(draw(figure, axes, pair, ranking, goal, (0.68 * width, 0.72 * height)))
        better = direction(goal.text, state.objectives) if goal not in state.objectives.goals else goal.is_maximized
        words = {True: " (larger is better)", False: " (smaller is better)", None: ""}[better]
        axes.set_title(short(metric_name(goal.text), 50) + words, fontsize=9, color=DARK, parse_math=False)
    figure.supxlabel("\n".join(_notes(pair, ranking, metrics[0], kinds, which)), **NOTE)
    title(figure, state, f"{', '.join(goal.text for goal in metrics)} over {pair.down.name} and {pair.across.name}")
    return png(figure)


def _colours(values: list[float], goal: Goal) -> tuple["Normalize", str, str]:
    """Range, map (bright is better), and at which ends of it values lie beyond: far ones would make all others look the same."""
    from matplotlib.colors import Normalize

    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    quarter, three = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    reach = 3 * (three - quarter)
    inner = max(low, quarter - reach), min(high, three + reach)
    if len(values) >= 5 and reach > 0 and high - low > 2 * (inner[1] - inner[0]):
        low, high = inner
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = ends[ordered[0] < low, ordered[-1] > high]
    if high - low == 0 or high - low == float("inf"):
        low, high = (low - 0.5, high + 0.5) if high == low else (low / 4, high / 4)
    return Normalize(*drawable(low, high)), "viridis" if goal.is_maximized else "viridis_r", extend


def _draw_cells(
    figure: "Figure", axes: "Axes", pair: Pair, ranking: Ranking, goal: Goal, size: tuple[float, float]
) -> list[Kind]:
    """`size`: of the panel without its labels, in inches, about."""
    import numpy as np

    cells = cells_of(pair, ranking, goal)
    down, across = pair.down.levels, pair.across.levels
    values = [cell.value for cell in cells.values() if cell.value is not None]
    grid = [[cells[row, column].value for column in across] for row in down]
    if values:
        norm, colours, extend = _colours(values, goal)
        image = axes.imshow(np.array(grid, dtype=float), cmap=colours, norm=norm, aspect="auto", origin="lower")
        _colour_bar(figure, axes, image, goal, extend)
    axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(-0.5, len(down) - 0.5))
    _mark_cells_without_number(axes, pair, cells)
    stars = [(across.index(column), down.index(row)) for row, column in starred(pair, ranking)]
    has_text = bool(values) and _write_values(axes, pair, cells, goal, norm, size)
    markersize = min(15.0, 200 / max(len(down), len(across)))
    axes.plot([x for x, _ in stars], [y + (0.27 if has_text else 0) for _, y in stars], "*", markersize=markersize, **STAR)
    axes.set_xticks(range(len(across)), [short(text, 14) for text in across], rotation=_turn(across), parse_math=False)
    axes.set_yticks(range(len(down)), [short(text, 18) for text in down], parse_math=False)
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlabel(short(pair.across.name, 40), **NOTE)
    axes.set_ylabel(short(pair.down.name, 40), **NOTE)
    return [cell.kind for cell in cells.values()]


def _turn(texts: tuple[str, ...]) -> int:
    """Degrees by which labels are turned so that they do not run into each other."""
    return 0 if sum(min(len(text), 14) + 2 for text in texts) <= 46 else 60


def _mark_cells_without_number(axes: "Axes", pair: Pair, cells: dict[tuple[str, str], Cell]) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    at = {place: (x, y) for y, row in enumerate(pair.down.levels) for x, column in enumerate(pair.across.levels)
          for place in [(row, column)]}  # fmt: skip
    for kind, style in _MARKS.items():
        found = [at[place] for place, cell in cells.items() if cell.kind is kind]
        boxes = [Rectangle((x - 0.5, y - 0.5), 1, 1) for x, y in found]
        hatch = style.get("hatch")
        axes.add_collection(
            PatchCollection(boxes, facecolor="white", edgecolor="#bbbbbb", linewidth=0.0 if hatch else 0.4, hatch=hatch)
        )
        if "marker" in style:
            axes.plot([x for x, _ in found], [y for _, y in found], style["marker"], color=DARK, markersize=7)


_MARKS: dict[Kind, dict[str, str]] = {
    Kind.MISSING: {"hatch": "////"},
    Kind.FAILED: {"marker": "x"},
    Kind.STOPPED: {"hatch": "...."},
    Kind.UNTOLD: {"marker": "_"},
}


def _write_values(
    axes: "Axes", pair: Pair, cells: dict[tuple[str, str], Cell], goal: Goal, norm: "Normalize", size: tuple[float, float]
) -> bool:
    """The numbers in their cells, dark on bright, where they fit; whether they do."""
    texts = {place: _text(cell, goal) for place, cell in cells.items() if cell.value is not None}
    width, height = size[0] / len(pair.across.levels), size[1] / len(pair.down.levels)
    room = 0.9 * width / max(map(len, texts.values())) / 0.6 * 72  # a letter is 0.6 of the type size wide
    letters = min(9.0, room, height * 72 / 2)
    if letters < 5:
        return False
    for (row, column), text in texts.items():
        place = norm(cells[row, column].value or 0.0)
        is_bright = (place if goal.is_maximized else 1 - place) > 0.55
        axes.text(
            pair.across.levels.index(column), pair.down.levels.index(row), text, ha="center", va="center",
            color="black" if is_bright else "white", **LABEL | {"fontsize": letters},
        )  # fmt: skip
    return True


def _text(cell: Cell, goal: Goal) -> str:
    text = short_number(goal.text, cell.value)
    return f"({text})" if cell.kind is Kind.BROKEN else text


def _colour_bar(figure: "Figure", axes: "Axes", image: Any, goal: Goal, extend: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bar = figure.colorbar(image, ax=axes, extend=extend, pad=0.02, aspect=25)
    bar.locator = MaxNLocator(5)
    bar.formatter = FuncFormatter(lambda value, _: number(goal.text, value))
    bar.ax.tick_params(labelsize=7)
    bar.update_ticks()


def _draw_points(
    figure: "Figure", axes: "Axes", pair: Pair, ranking: Ranking, goal: Goal, size: tuple[float, float]
) -> list[Kind]:
    groups = [group for group in [*ranking.infeasible, *reversed(ranking.ranked)] if pair.place(group)]  # the best on top
    known = [(group, value) for group in groups if (value := value_of(group, goal)) is not None]
    at = {id(group): _spot(pair, group) for group, _ in known}
    if known:
        norm, colours, extend = _colours([value for _, value in known], goal)
        for is_feasible, marker in ((False, "s"), (True, "o")):
            some = [(*at[id(group)], value) for group, value in known if group.is_feasible is is_feasible]
            if some:
                x, y, c = zip(*some, strict=True)
                image = axes.scatter(x, y, c=c, cmap=colours, norm=norm, s=30, marker=marker, edgecolors=DARK, linewidths=0.4)
        _colour_bar(figure, axes, image, goal, extend)
    left = [(_spot(pair, group), {run.status for run in group.runs}) for group in ranking.unranked if pair.place(group)]
    failed = [spot for spot, statuses in left if any(status.is_bad for status in statuses)]
    stopped = [spot for spot, statuses in left if Status.PRUNED in statuses]
    axes.plot([x for x, _ in stopped], [y for _, y in stopped], ".", color="#bbbbbb", markersize=4, zorder=0)
    axes.plot([x for x, _ in failed], [y for _, y in failed], "x", color=DARK, markersize=6)
    best = ranking.front if ranking.has_fronts else ranking.ranked[:1]
    stars = [at[id(group)] for group in best if id(group) in at]
    axes.plot([x for x, _ in stars], [y for _, y in stars], "*", markersize=15 if len(stars) == 1 else 9, **STAR)
    for axis, which in ((pair.across, "x"), (pair.down, "y")):
        style_scale(axes, axis, which)
    return [*[Kind.VALUE for _ in known], *[Kind.FAILED for _ in failed], *[Kind.STOPPED for _ in stopped]]


def _spot(pair: Pair, group: Group) -> tuple[float, float]:
    down, across = pair.place(group) or ("", "")
    jitter = 0.5 * aside(group.runs[0].config)
    x, y = pair.across.place(across), pair.down.place(down)
    return (
        x + (jitter if pair.across.scale is Scale.LEVELS else 0.0),
        y + (jitter if pair.down.scale is Scale.LEVELS else 0.0),
    )


def style_scale(axes: "Axes", axis: DrawnAxis, which: str) -> None:
    """Ticks and name of a swept axis along x or y of a panel; a logarithmic one stands there as its decimal logarithm."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    target = axes.xaxis if which == "x" else axes.yaxis
    if axis.scale is Scale.LEVELS:
        labels = [short(level, 14) for level in axis.levels]
        step = -(-len(labels) // 20)
        target.set_ticks(range(0, len(labels), step), labels[::step], parse_math=False)
        if which == "x":
            axes.tick_params(axis="x", rotation=_turn(tuple(labels[::step])))
    else:
        is_list = not axis.sampled and len(axis.levels) <= _MOST_TICKS
        places = sorted(axis.place(level) for level in axis.levels)
        target.set_major_locator(FixedLocator(places) if is_list else MaxNLocator(5))
        is_log = axis.scale is Scale.LOG
        target.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.2g}" if is_log else f"{value:.4g}"))
    axes.tick_params(labelsize=8)
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(short(axis.name, 40), **NOTE)


def _notes(pair: Pair, ranking: Ranking, goal: Goal, kinds: dict[Kind, None], which: str) -> list[str]:
    """What the marks mean, those that are there, and what a cell is made of."""
    marks = {
        Kind.BROKEN: "( ): breaks a constraint",
        Kind.MISSING: "hatched: nobody ran it",
        Kind.FAILED: "x: all runs failed",
        Kind.STOPPED: "dots: all runs stopped early",
        Kind.UNTOLD: "_: not reported",
    }
    places = starred(pair, ranking)
    star = f"star: the front ({plural(len(ranking.front), 'setting')})" if ranking.has_fronts else "star: the best setting"
    lines = ["; ".join([*[star for _ in places[:1]], *[words for kind, words in marks.items() if kind in kinds]])]
    if not ranking.has_fronts and ranking.best is not None and not places:
        lines.append("the best setting does not have both axes")
    if not pair.has_cells:
        lines.append("each point: a setting, the best ones on top; squares break a constraint" if ranking.infeasible else
                     "each point: a setting, the best ones on top")  # fmt: skip
        return [line for line in [*lines, _which(which)] if line]
    full = [cell for cell in cells_of(pair, ranking, goal).values() if cell.value is not None]
    settings, runs = ([cell.num_settings for cell in full], [cell.num_runs for cell in full])
    if full:
        over = _range(runs, "run") if max(settings) == 1 else f"{_range(settings, 'setting')} ({_range(runs, 'run')})"
        what = ranking.aggregate if max(settings) == 1 else "mean"
        lines.append(f"each cell: {what} over {over}; bright is better where a direction is given")
    return [line for line in [*lines, _which(which)] if line]


def _which(which: str) -> str:
    drawn, total = which.split(" of ")
    return "" if drawn == total else f"{which} pairs of axes are drawn"


def _range(counts: list[int], noun: str) -> str:
    low, high = min(counts), max(counts)
    return plural(low, noun) if low == high else f"{low} to {plural(high, noun)}"
