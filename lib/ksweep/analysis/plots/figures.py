"""What all pictures share: colours, type, axes, PNG. matplotlib is imported when something is drawn, and without pyplot: half
the time.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers; scales are viridis, which also print in grey.
"""

import io
import textwrap
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ksweep.analysis.formats import is_share, metric_name, number, one_line
from ksweep.analysis.load import SweepState
from ksweep.space.objective import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY, DARK = "#9a9a9a", "#333333"
LABEL: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 8, "parse_math": False}  # a $ in a value is no formula
NOTE: dict[str, Any] = {"fontsize": 8, "color": DARK, "parse_math": False}
STAR: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "markeredgewidth": 0.9}
_LARGEST = 1e305  # a hundred times it, as per cent, is still a float
_NO_SHARE = 1e4  # whatever its name says: as per cent it would be hundreds of digits wide
_CHARACTERS_AN_INCH = 11  # of a title, at most
_OUTSIDE = 0.06  # of the shown range, beyond its ends
_SQUEEZED = 5.0  # times the better half: a range beyond which that would take less than a fifth of an axis


def style_values(axes: "Axes", metric: str, which: str) -> None:
    """Ticks of the axis (`which`: x or y) on which a metric stands, in its unit, and light lines at them."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(7))
    if is_share(metric) and max(map(abs, axis.get_view_interval())) < _NO_SHARE:
        axis.set_major_formatter(PercentFormatter(xmax=1))
    axes.tick_params(labelsize=8)
    axes.grid(axis="x" if which == "x" else "y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def title(figure: "Figure", state: SweepState, text: str) -> None:
    """Name of the sweep, and what is seen."""
    words = f"{short(state.record.name, 60)}: {short(text, 100)}"
    figure.suptitle(textwrap.fill(words, int(_CHARACTERS_AN_INCH * figure.get_figwidth())), fontsize=11, parse_math=False)


def panels_of(figure: "Figure", count: int, *, columns: int, sharey: bool = False) -> list["Axes"]:
    """`count` panels in rows of at most `columns`; those that are left over are taken out."""
    rows = -(-count // columns)
    grid = figure.subplots(rows, min(columns, count), squeeze=False, sharey=sharey).ravel()
    for left_over in grid[count:]:
        left_over.remove()
    return list(grid[:count])


def plot_points(axes: "Axes", points: Sequence[Any], marker: str, **style: Any) -> None:
    """Markers without lines; nothing, and no entry of the legend, where there are no points."""
    if points:
        axes.plot(*zip(*points, strict=True), marker, linestyle="none", **style)


def goal_label(goal: Goal) -> str:
    """`Validation Accuracy (larger is better)`."""
    return f"{short(metric_name(goal.text), 36)} ({'larger' if goal.is_maximized else 'smaller'} is better)"


def limits(values: Sequence[float], *, is_maximized: bool) -> tuple[float, float]:
    """The range that is shown: all of the values with some room; the better half where the worst ones would squeeze it."""
    ordered = sorted(values, reverse=is_maximized)
    best, middle, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    if middle != best and abs(worst - best) > _SQUEEZED * abs(middle - best):
        worst = best + 2.5 * (middle - best)
    room = _OUTSIDE * (abs(worst - best) or abs(best) * 0.1 or 1.0)
    return drawable(min(best, worst) - 2 * room, max(best, worst) + room)


def drawable(low: float, high: float) -> tuple[float, float]:
    """Limits that matplotlib can compute with: the length of an axis must be a finite number too."""
    low, high = (min(max(end, -_LARGEST), _LARGEST) for end in (low, high))
    return (low, high) if low < high else (low - 1.0, low + 1.0) if abs(low) < 1e6 else (low - abs(low) / 9, low + abs(low) / 9)


def outside_note(values: Sequence[float], low: float, high: float, noun: str) -> str:
    """`axis zoomed: 3 of 40 runs lie outside`, empty where all lie inside."""
    num_outside = sum(not low <= value <= high for value in values)
    return f"axis zoomed: {num_outside} of {len(values)} {noun} lie outside" if num_outside else ""


def short(text: str, length: int = 24) -> str:
    """Foreign text on one line, cut where it is longer."""
    line = one_line(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def short_number(metric: str, value: float | None) -> str:
    """A number in a cell or at a tick: four significant digits."""
    if value is None or is_share(metric):
        return number(metric, value)
    return f"{value:.4g}" if value == round(value) else f"{value:#.4g}".rstrip(".")


def aside(text: str) -> float:
    """How far from the middle of its column (-0.25 to 0.25) a point stands, so that equal ones are seen: the same each time."""
    return (zlib.crc32(text.encode()) % 1000 / 1000 - 0.5) * 0.5


def legend_below(axes: "Axes", *, ncols: int = 2, y: float = -0.13) -> None:
    """The legend under a panel."""
    axes.legend(fontsize=8, frameon=False, labelcolor=DARK, loc="upper center", bbox_to_anchor=(0.5, y), ncols=ncols)


def png(figure: "Figure") -> bytes:
    """The figure as a file, 150 dots an inch. Drawn once: savefig would do so twice, the first time for the layout alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(150)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # values may be in any script; the font is not
        canvas.draw()
    image = io.BytesIO()
    size = canvas.get_width_height()
    Image.frombuffer("RGBA", size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB").save(image, "PNG", dpi=(150, 150))
    return image.getvalue()
