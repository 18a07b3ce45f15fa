"""strategies.png: the best so far of each strategy against the epochs spent, mean and 95 % t interval over the seeds."""

from typing import TYPE_CHECKING

from ksweep.analysis.formats import is_share, metric_name, number, one_line, plural
from ksweep.analysis.plots.figures import BLUE, DARK, GREEN, GREY, NOTE, ORANGE, PURPLE, SKY, YELLOW, png, style_values
from ksweep.analysis.strategies import BASELINE, Comparison, Entrant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
_DASHES = ("-", "--", ":")  # where there are more strategies than colours
_BARS_AT = (0.25, 0.5, 0.75, 1.0)  # of the budget; bands would hide each other
_DODGE = 0.011  # of the budget, from the bar of one strategy to that of the next


def comparison_png(comparison: Comparison) -> bytes:
    """The picture. A mean begins where all seeds have a value."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.add_subplot()
    styles = _styles(comparison)
    for place, (entrant, (colour, dash)) in enumerate(zip(comparison.entrants, styles, strict=True)):
        _draw_mean(axes, comparison, entrant, colour, dash)
        _draw_intervals(axes, comparison, entrant, colour, (place - (len(styles) - 1) / 2) * _DODGE * comparison.budget)
    axes.set_ylim(*_limits(comparison))
    style_values(axes, comparison.goal.text, "y")
    axes.set_xlim(0, comparison.budget * (1 + (len(styles) + 1) / 2 * _DODGE))
    axes.spines[["right", "top"]].set_visible(False)
    seeds = max(len(entrant.traces) for entrant in comparison.entrants)
    what = f"mean of {plural(seeds, 'seed')}; bars: 95% t interval of the mean, rings: the seeds" if seeds > 1 else "one seed"
    axes.set_xlabel(f"{comparison.unit}s trained, of all runs together ({what})", **NOTE)
    better = "larger" if comparison.goal.is_maximized else "smaller"
    axes.set_ylabel(f"best {metric_name(comparison.goal.text)} so far ({better} is better)", **NOTE)
    figure.suptitle(
        f"{one_line(comparison.name)}: strategies at {comparison.budget} {comparison.unit}s each", fontsize=11, parse_math=False
    )
    figure.legend(
        title="at the end, best first", title_fontsize=8, fontsize=8, frameon=False, labelcolor=DARK, loc="outside right center",
        alignment="left",
    )  # fmt: skip
    return png(figure)


def _styles(comparison: Comparison) -> list[tuple[str, str]]:
    """Colour and dash of each strategy; random search, against which the others stand, is grey."""
    styles, others = [], 0
    for entrant in comparison.entrants:
        if entrant.name == BASELINE:
            styles.append((GREY, "-"))
            continue
        styles.append((_COLOURS[others % len(_COLOURS)], _DASHES[others // len(_COLOURS) % len(_DASHES)]))
        others += 1
    return styles


def _draw_mean(axes: "Axes", comparison: Comparison, entrant: Entrant, colour: str, dash: str) -> None:
    means = [(place, mean) for place in comparison.places if (mean := entrant.mean_at(place)) is not None]
    end = number(comparison.goal.text, entrant.mean_at(comparison.budget))
    axes.plot(
        [place for place, _ in means], [mean for _, mean in means],
        color=colour, linestyle=dash, linewidth=2, drawstyle="steps-post", label=f"{entrant.name}  {end}", zorder=3,
    )  # fmt: skip


def _draw_intervals(axes: "Axes", comparison: Comparison, entrant: Entrant, colour: str, dodge: float) -> None:
    for share in _BARS_AT:
        spent = round(share * comparison.budget)
        at, x = entrant.at(spent), spent + dodge
        if at.mean is None or at.half_width is None or entrant.mean_at(spent) is None:
            continue
        axes.plot([x, x], [at.mean - at.half_width, at.mean + at.half_width], color=colour, linewidth=1.6, alpha=0.55, zorder=2)
        seeds = [best for trace in entrant.traces if (best := trace.best_at(spent)) is not None]
        axes.plot([x] * len(seeds), seeds, "o", color=colour, markerfacecolor="white", markersize=4, markeredgewidth=1, zorder=4)


def _limits(comparison: Comparison) -> tuple[float, float]:
    """Of the means from the first bar on and the seeds at the bars: what is before would squeeze them. Intervals may run out."""
    late = [place for place in comparison.places if place >= _BARS_AT[0] * comparison.budget]
    values = [mean for entrant in comparison.entrants for place in late if (mean := entrant.mean_at(place)) is not None]
    bars = [round(share * comparison.budget) for share in _BARS_AT]
    traces = [trace for entrant in comparison.entrants for trace in entrant.traces]
    values += [best for trace in traces for spent in bars if (best := trace.best_at(spent)) is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * ((high - low) or abs(high) * 0.1 or 1.0)
    return low - room, min(high + room, 1 + room / 3) if is_share(comparison.goal.text) else high + room
