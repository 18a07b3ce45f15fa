"""rungs.png: curves of a search that stops runs at rungs: who went on, who was stopped where, and how many."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import plural
from ksweep.analysis.load import RunRecord
from ksweep.analysis.plots.curves import Curve, curves_of
from ksweep.analysis.plots.figures import (
    BLUE,
    DARK,
    GREY,
    NOTE,
    ORANGE,
    goal_label,
    limits,
    outside_note,
    panels_of,
    plot_points,
    png,
    style_values,
    title,
)
from ksweep.contract.outcome import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 6
_STRATEGIES = ("halving", "asha", "hyperband")


@dataclass(frozen=True, kw_only=True)
class RungCount:
    """`reached`: runs that were trained as far; `stopped`: those of them that went no further."""

    resource: int
    reached: int
    stopped: int


def rungs_png(findings: Findings) -> bytes | None:
    """Of halving, asha and hyperband, a panel a bracket. None under another strategy, or before a run has stopped at a rung."""
    state = findings.state
    waiting = [run for run in state.runs if _rung(run) is not None]
    if state.record.strategy not in _STRATEGIES or not waiting or not state.objectives.goals:
        return None
    time, curves = curves_of(findings.histories, state.objectives.goals[0])
    if time == "epoch" and all(curves[run.config][-1][0] < (_rung(run) or 0) for run in waiting if run.config in curves):
        curves = _by_step(findings)  # rungs at steps: all stand far beyond the last epoch
        time = "step"
    brackets = _brackets(state.runs)
    shown = [runs for runs in brackets if any(run.config in curves for run in runs)][:_PANELS]
    if not shown:
        return None
    from matplotlib.figure import Figure

    columns = min(3, len(shown))
    figure = Figure(
        figsize=(9 if len(shown) == 1 else max(10.0, 4.6 * columns), 4.6 * -(-len(shown) // columns) + 0.6), layout="constrained"
    )
    goal = state.objectives.goals[0]
    ends = [curve[-1][1] for runs in shown for run in runs if (curve := curves.get(run.config))]
    low, high = limits(ends, is_maximized=goal.is_maximized)
    for number, (axes, runs) in enumerate(zip(panels_of(figure, len(shown), columns=columns), shown, strict=True), 1):
        _draw_bracket(axes, runs, curves, findings, time)
        axes.set_ylim(low, high)
        style_values(axes, goal.text, "y")
        if len(brackets) > 1:
            axes.set_title(f"bracket {number} of {len(brackets)}", **NOTE)
    figure.supylabel(goal_label(goal), **NOTE)
    words = "blue: to its end, orange: the best setting, grey: stopped or failed; at a rung: how many got there, stopped there"
    figure.supxlabel("\n".join(filter(None, [words, outside_note(ends, low, high, "ends of curves")])), **NOTE)
    title(figure, state, f"rungs of {state.record.strategy} ({plural(len(state.runs), 'run')}, {len(waiting)} stopped at one)")
    return png(figure)


def _rung(run: RunRecord) -> int | None:
    """Where a run waits for good, or for now."""
    return run.result.until if run.result and run.status is Status.PRUNED else None


def _by_step(findings: Findings) -> dict[str, Curve]:
    without = {
        config: [{name: value for name, value in report.items() if name != "epoch"} for report in history]
        for config, history in findings.histories.items()
    }
    return curves_of(without, findings.state.objectives.goals[0])[1]


def _brackets(runs: list[RunRecord]) -> list[list[RunRecord]]:
    found: dict[int, list[RunRecord]] = {}
    for run in runs:
        notes = run.point.search.get("notes")
        bracket = notes.get("bracket") if isinstance(notes, dict) else None
        found.setdefault(bracket if isinstance(bracket, int) else 0, []).append(run)
    return [found[bracket] for bracket in sorted(found)]


def rung_counts(runs: list[RunRecord], curves: dict[str, Curve]) -> list[RungCount]:
    """Of one bracket, the rungs at which some run was stopped, ascending."""
    rungs = sorted({rung for run in runs if (rung := _rung(run)) is not None})
    farthest = [curves[run.config][-1][0] for run in runs if run.config in curves]
    return [
        RungCount(resource=rung, reached=sum(x >= rung for x in farthest), stopped=sum(_rung(run) == rung for run in runs))
        for rung in rungs
    ]


def _draw_bracket(axes: "Axes", runs: list[RunRecord], curves: dict[str, Curve], findings: Findings, time: str) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    axes.set_autoscaley_on(False)
    best = findings.ranking.best
    best_runs = {run.config for run in best.counted} if best else set()
    drawn = [(run, curves[run.config]) for run in runs if run.config in curves]
    stopped = [curve for run, curve in drawn if run.status is not Status.PASSED]
    whole = [curve for run, curve in drawn if run.status is Status.PASSED and run.config not in best_runs]
    alpha = max(0.15, min(0.7, 40 / (len(stopped) or 1)))
    axes.add_collection(LineCollection(stopped, colors=GREY, linewidths=0.8, alpha=alpha))
    plot_points(axes, [curve[-1] for curve in stopped], ".", color=GREY, markersize=4, alpha=alpha)
    axes.add_collection(LineCollection(whole, colors=BLUE, linewidths=1.4, alpha=0.85))
    plot_points(axes, [curve[-1] for curve in whole], ".", color=BLUE, markersize=5)
    for run, curve in drawn:
        if run.config in best_runs:
            axes.plot(*zip(*curve, strict=True), color=ORANGE, linewidth=2.2, marker="o", markersize=3, zorder=4)
    for count in rung_counts(runs, curves):
        axes.axvline(count.resource, color=DARK, linewidth=0.8, linestyle="--", zorder=0)
        axes.text(count.resource, 1.0, f" {count.reached}, {count.stopped} stop", transform=axes.get_xaxis_transform(),
                  rotation=90, ha="right", va="top", **NOTE | {"fontsize": 7})  # fmt: skip
    farthest = max((curve[-1][0] for _, curve in drawn), default=1.0)
    axes.set_xlim(0, farthest * 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(f"{time} ({plural(len(runs), 'run')}, {sum(run.status is Status.PASSED for run in runs)} to the end)", **NOTE)
    axes.spines[["right", "top"]].set_visible(False)
