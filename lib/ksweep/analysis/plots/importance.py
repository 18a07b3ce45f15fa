"""importance.png: how much of the first goal's variance each axis explains."""

import textwrap

from ksweep.analysis.effects import Importance
from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import one_line, plural
from ksweep.analysis.plots.figures import BLUE, DARK, LABEL, NOTE, png, short, title

_BARS = 20
_PARTS = 4


def importance_png(findings: Findings) -> bytes | None:
    """Bars, the largest on top, with the method and what is to be said against them. None where no share is known."""
    importance = findings.effects.importance
    if importance is None or not importance.shares:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    shares = sorted(importance.shares.items(), key=lambda item: -item[1])
    shown = shares[:_BARS]
    lines = _notes(findings, importance, len(shares))
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(shown) + 0.16 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(shown))
    axes.barh(rows, [share for _, share in shown], color=BLUE, height=0.65)
    for row, (_, share) in zip(rows, shown, strict=True):
        axes.text(max(share, 0.0) + 0.01, row, f"{100 * share:.1f}%", va="center", **NOTE)
    axes.set_yticks(rows, [short(name, 36) for name, _ in shown], color=DARK, **LABEL)
    axes.set(xlim=(0, max(1.0, *(share for _, share in shown)) * 1.08), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.tick_params(labelsize=8)
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_xlabel("\n".join(lines), **NOTE)
    title(figure, findings.state, "importance of the axes")
    return png(figure)


def _notes(findings: Findings, importance: Importance, num_axes: int) -> list[str]:
    fit = "" if importance.fit is None else f"; settings are predicted from the others with R2 = {importance.fit:.2f}"
    parts = [f"{name}: among the {number} settings that have it" for name, number in importance.partial.items()]
    lines = [
        f"share of the variance of {findings.ranking.objective}: {importance.method}",
        f"n = {plural(importance.num_settings, 'setting')}{fit}",
        *([f"the {_BARS} largest of {num_axes} axes"] if num_axes > _BARS else []),
        *parts[:_PARTS],
        *[f"Warning: {warning}" for warning in findings.effects.warnings],
    ]
    return [piece for line in lines for piece in textwrap.wrap(one_line(line), 110)]
