"""How numbers, durations, foreign text and tables are shown. A missing number is shown as `-`, never as 0."""

import math
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ksweep.analysis.ranking import Spread

MISSING = "-"
_LONG = {
    "train_acc": "Training Accuracy",
    "val_acc": "Validation Accuracy",
    "test_acc": "Test Accuracy",
    "train_loss": "Training Loss",
    "val_loss": "Validation Loss",
    "test_loss": "Test Loss",
}
_SHORT = {"train_acc": "Train Acc", "val_acc": "Val Acc", "test_acc": "Test Acc"}
_SHORT |= {"train_loss": "Train Loss", "val_loss": "Val Loss", "test_loss": "Test Loss"}


def metric_name(metric: str, *, short: bool = False) -> str:
    """What a metric is called in a sentence: `Validation Accuracy`, `Val Acc`; a foreign one by its own name."""
    return (_SHORT if short else _LONG).get(metric, one_line(metric))


def is_share(metric: str) -> bool:
    """True for the metrics that are shares from 0 to 1 and are shown in per cent."""
    return metric.endswith(("_acc", "sparsity")) and metric.isidentifier()  # an expression over them may be anything


def number(metric: str, value: float | None) -> str:
    """`97.94%` for accuracies, `70.0%` for sparsities, five significant digits for all else, `123457` above that."""
    if value is None:
        return MISSING
    if is_share(metric):
        return f"{100 * value:.{2 if metric.endswith('_acc') else 1}f}%"
    return f"{value:.0f}" if 1e5 <= abs(value) < 1e9 else f"{value:.5g}"


def mean_and_spread(metric: str, spread: Spread) -> str:
    """`97.94% ± 0.21%`, `0.0872 ± 0.0011`: mean (or median) and sample standard deviation; the bare value where there is one."""
    if spread.sd is None or spread.center is None:
        return number(metric, spread.center)
    if is_share(metric):
        return f"{number(metric, spread.center)} ± {number(metric, spread.sd)}"
    decimals = 1 - math.floor(math.log10(spread.sd)) if spread.sd > 0 else 99  # two significant digits of the deviation
    if 0 <= decimals <= 8 and abs(spread.center) < 1e6:
        return f"{spread.center:.{decimals}f} ± {spread.sd:.{decimals}f}"
    return f"{number(metric, spread.center)} ± {spread.sd:.2g}"


def mean_and_interval(metric: str, spread: Spread) -> str:
    """`97.94% ± 0.21% (n=3, 95% interval of the mean 97.42% to 98.46%)`; `97.94% (n=1, no spread known)`."""
    text = mean_and_spread(metric, spread)
    if spread.n < 2:
        return f"{text} (n={spread.n}, no spread known)" if spread.n else text
    ends = interval_of(metric, spread)
    if ends is None:
        return f"{text} (n={spread.n}, median ± sample standard deviation)"
    return f"{text} (n={spread.n}, 95% interval of the mean {number(metric, ends[0])} to {number(metric, ends[1])})"


def interval_of(metric: str, spread: Spread) -> tuple[float, float] | None:
    """The ends of the mean's 95 % interval, those of a share within 0 to 1: that of two or three runs easily passes them."""
    if spread.mean is None or spread.half_width is None:
        return None
    low, high = spread.mean - spread.half_width, spread.mean + spread.half_width
    return (max(low, 0.0), min(high, 1.0)) if is_share(metric) else (low, high)


def duration(seconds: float | None) -> str:
    """`42 s`, `5 min 03 s`, `2 h 10 min`, `3 d 04 h`."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size:02d} {smaller}"
    raise AssertionError(whole)


def plural(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def path_from_here(path: Path) -> str:
    """As it would be typed: relative where it lies below the present directory."""
    full = path.absolute()
    return str(full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full)


def one_line(text: str) -> str:
    """`text` on one line, without anything that could steer a terminal or not be encoded."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def terminal_width() -> int | None:
    """Columns of the terminal that the output goes to; None where it goes into a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> list[str]:
    """Aligned columns. A header wider than its column is broken after underscores, so that long symbol names cost no width.

    Columns are aligned to the right, those whose headers are in `left` to the left. The last `len(rows)` lines are the rows.
    """
    columns = [[row[i] for row in rows] for i in range(len(headers))]
    stacks = [_stacked(header, max(map(len, ["", *column]))) for header, column in zip(headers, columns, strict=True)]
    height = max(map(len, stacks))
    stacks = [[""] * (height - len(stack)) + stack for stack in stacks]
    widths = [max(map(len, [*stack, *column])) for stack, column in zip(stacks, columns, strict=True)]
    pads = [str.ljust if header in left else str.rjust for header in headers]
    lines = [[stack[i] for stack in stacks] for i in range(height)] + [list(row) for row in rows]
    return ["  ".join(pad(text, width) for pad, text, width in zip(pads, line, widths, strict=True)).rstrip() for line in lines]


def _stacked(header: str, width: int) -> list[str]:
    """LEARNING_RATE over a narrow column -> LEARNING_ / RATE, an expression between its terms; as few lines as fit into `width`,
    or the longest piece."""
    pieces = re.split(r"(?<= )" if " " in header and "_" in header else r"(?<=_)", header)
    width = max(width, 8, *map(len, pieces))
    lines = [""]
    for piece in pieces:
        if len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
