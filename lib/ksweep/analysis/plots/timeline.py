"""timeline.png: what ran when in which slot, and how it ended; idle slots are gaps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import duration, plural
from ksweep.analysis.plots.figures import BLUE, DARK, GREEN, GREY, NOTE, ORANGE, PURPLE, SKY, YELLOW, png, title
from ksweep.analysis.plots.spans import Span, spans
from ksweep.contract.outcome import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    Status.PASSED: BLUE, Status.PRUNED: SKY, Status.CANCELLED: GREY, Status.RUNNING: "#d8d8d8", Status.FAILED: ORANGE,
    Status.CRASHED: ORANGE, Status.INVALID: ORANGE, Status.OOM: PURPLE, Status.DIVERGED: YELLOW, Status.TIMEOUT: GREEN,
}  # fmt: skip
_HATCHES = {Status.CRASHED: "////", Status.INVALID: "....", Status.CANCELLED: "\\\\\\\\"}
_LONG_PAUSE = 0.15  # of the time in which something ran: a longer pause of all slots is cut short
_UNITS = ((2 * 86400, 86400, "days"), (3 * 3600, 3600, "hours"), (300, 60, "minutes"), (0, 1, "seconds"))


@dataclass(frozen=True)
class Pause:
    """All slots were idle from `start` for `length_s` seconds; in the picture for `drawn_s`."""

    start: float
    length_s: float
    drawn_s: float


def timeline_png(findings: Findings) -> bytes | None:
    """A row a slot. None before a run has ended."""
    state = findings.state
    found = [span for span in spans(state) if span.end > span.start]
    if not found:
        return None
    from matplotlib.figure import Figure

    slots = sorted({span.slot for span in found})
    rows = {slot: row for row, slot in enumerate(slots)}
    figure = Figure(figsize=(10, 1.9 + min(7.0, 0.42 * len(slots))), layout="constrained")
    axes = figure.add_subplot()
    pauses = pauses_of(found)
    begin = found[0].start
    total = max(_at(span.end, pauses) for span in found) - begin
    size, unit = next((size, unit) for least, size, unit in _UNITS if total >= least)
    _draw_bars(axes, found, rows, pauses, begin, size)
    for pause in pauses:
        x = (_at(pause.start, pauses) - begin + pause.drawn_s / 2) / size
        axes.axvline(x, color=DARK, linewidth=1, linestyle=":")
        axes.text(x, 1.0, duration(pause.length_s), transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  **NOTE | {"fontsize": 7})  # fmt: skip
    axes.set(xlim=(0, total / size * 1.005 or 1), ylim=(len(slots) - 0.4, -0.6))
    step = -(-len(slots) // 24)
    axes.set_yticks(range(0, len(slots), step), [f"slot {slot}" for slot in slots[::step]])
    axes.tick_params(labelsize=8)
    axes.spines[["right", "top", "left"]].set_visible(False)
    busy = sum(span.end - span.start for span in found)
    free = len(slots) * (total - sum(pause.drawn_s for pause in pauses))
    cut = f"; dotted: nothing ran, cut short ({plural(len(pauses), 'pause')})" if pauses else ""
    axes.set_xlabel(
        f"{unit} since the first start; {plural(len(found), 'piece')} of work, {duration(busy)} in all; "
        f"slots busy {100 * min(1.0, busy / free):.0f}% of the time{cut}",
        **NOTE,
    )
    _legend(figure, found)
    title(figure, state, f"{plural(len(slots), 'slot')} over time")
    return png(figure)


def pauses_of(found: list[Span]) -> list[Pause]:
    """Times in which no slot worked, that are long beside those in which some did; `found` in order of starts."""
    gaps, end = [], found[0].end
    for span in found:
        if span.start > end:
            gaps.append((end, span.start - end))
        end = max(end, span.end)
    at_work = end - found[0].start - sum(length for _, length in gaps)
    return [Pause(start, length, 0.02 * at_work) for start, length in gaps if length > _LONG_PAUSE * at_work]


def _at(time: float, pauses: list[Pause]) -> float:
    """Where a time is drawn: pauses before it are cut short."""
    return time - sum(pause.length_s - pause.drawn_s for pause in pauses if pause.start < time)


def _draw_bars(axes: "Axes", found: list[Span], rows: dict[int, int], pauses: list[Pause], begin: float, unit_s: float) -> None:
    for status in dict.fromkeys(span.status for span in found):
        for row in dict.fromkeys(rows.values()):
            pieces = [span for span in found if span.status is status and rows[span.slot] == row]
            bars = [((_at(span.start, pauses) - begin) / unit_s, (span.end - span.start) / unit_s) for span in pieces]
            if bars:
                axes.broken_barh(
                    bars, (row - 0.38, 0.76), facecolor=_COLOURS[status], edgecolor="white", hatch=_HATCHES.get(status),
                    linewidth=0.6 if len(found) < 300 else 0.0,
                )  # fmt: skip
    again = [span for span in found if span.attempt > 1]
    axes.plot([(_at(s.start, pauses) - begin) / unit_s for s in again], [rows[s.slot] - 0.42 for s in again], "v",
              color=DARK, markersize=4)  # fmt: skip


def _legend(figure: "object", found: list[Span]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    assert isinstance(figure, Figure)
    counts = {status: sum(span.status is status for span in found) for status in _COLOURS}
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_COLOURS[status], hatch=_HATCHES.get(status), edgecolor="white",
              label=f"{'end not known' if status is Status.RUNNING else status} ({count})")
        for status, count in counts.items() if count
    ]  # fmt: skip
    if any(span.attempt > 1 for span in found):
        handles.append(Line2D([], [], marker="v", color=DARK, linestyle="none", markersize=4, label="another attempt"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), fontsize=8, frameon=False)
