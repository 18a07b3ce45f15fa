"""What all pictures share: colours, type, axes, PNG. matplotlib is imported when something is drawn, and without pyplot: half
the time.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers.
"""

import io
import warnings
from typing import TYPE_CHECKING, Any

from ksweep.analysis.formats import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY, DARK = "#9a9a9a", "#333333"
LABEL: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 8, "parse_math": False}  # a $ in a value is no formula
NOTE: dict[str, Any] = {"fontsize": 8, "color": DARK, "parse_math": False}


def style_values(axes: "Axes", metric: str, which: str) -> None:
    """Ticks of the axis (`which`: x or y) on which a metric stands, in its unit, and light lines at them."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(7))
    if is_share(metric):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    axes.tick_params(labelsize=8)
    axes.grid(axis="x" if which == "x" else "y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def png(figure: "Figure") -> bytes:
    """The figure as a file, 150 dots an inch."""
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # values may be in any script; the font is not
        figure.savefig(image, format="png", dpi=150)
    return image.getvalue()
