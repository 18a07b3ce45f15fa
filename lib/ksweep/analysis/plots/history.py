"""history.png: the best run so far, against the number of runs that have ended and against the epochs that they took."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from ksweep.analysis.effort import epochs_trained
from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import one_line
from ksweep.analysis.load import SweepState
from ksweep.analysis.plots.figures import (
    BLUE,
    GREY,
    NOTE,
    ORANGE,
    goal_label,
    legend_below,
    limits,
    outside_note,
    plot_points,
    png,
    style_values,
    title,
)
from ksweep.analysis.plots.spans import ends
from ksweep.contract.outcome import Status
from ksweep.space.objective import Objectives

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that has ended, in the order of their ends. `spent`: epochs of all runs until then. `value`: of the first goal, None
    unless the run passed. `best`: the best value so far of those that keep to all constraints."""

    number: int
    spent: int
    value: float | None
    is_feasible: bool
    is_pruned: bool
    best: float | None


def history_png(findings: Findings) -> bytes | None:
    """Of the first goal. None when no run counts."""
    state, ranking = findings.state, findings.ranking
    if not (ranking.ranked or ranking.infeasible):
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    ended = in_order_of_their_ends(state)
    for axes, places, label in zip(
        figure.subplots(1, 2),
        ([run.number for run in ended], [run.spent for run in ended]),
        ("runs that have ended", "epochs trained, of all runs"),
        strict=True,
    ):
        _draw_best_so_far(axes, state.objectives, ended, places, label)
    title(figure, state, f"the best so far ({one_line(state.record.strategy)}, {len(ended)} of {len(state.runs)} runs ended)")
    return png(figure)


def in_order_of_their_ends(state: SweepState) -> list[EndedRun]:
    """The runs with a final status."""
    goal = state.objectives.goals[0]
    ended_at = ends(state)
    runs = sorted(
        (run for run in state.runs if run.result and run.status.is_final), key=lambda run: ended_at.get(run.config, 0.0)
    )
    spent = accumulate(epochs_trained(run) for run in runs)
    found: list[EndedRun] = []
    best: float | None = None
    for position, (run, epochs) in enumerate(zip(runs, spent, strict=True), 1):
        value = run.value(goal) if run.status is Status.PASSED else None
        is_feasible = run.result is not None and state.objectives.is_feasible(run.result.metrics)
        if value is not None and is_feasible and (best is None or (value > best if goal.is_maximized else value < best)):
            best = value
        is_pruned = run.status is Status.PRUNED
        found.append(
            EndedRun(number=position, spent=epochs, value=value, is_feasible=is_feasible, is_pruned=is_pruned, best=best)
        )
    return found


def _draw_best_so_far(axes: "Axes", objectives: Objectives, ended: list[EndedRun], x: list[int], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_autoscaley_on(False)
    goal = objectives.goals[0]
    at = list(zip(x, ended, strict=True))
    kept = [(place, run.value) for place, run in at if run.value is not None and run.is_feasible]
    broken = [(place, run.value) for place, run in at if run.value is not None and not run.is_feasible]
    steps = [(place, run.best) for place, run in at if run.best is not None]
    stopped = [place for place, run in at if run.is_pruned]
    bad = [place for place, run in at if run.value is None and not run.is_pruned]
    plot_points(axes, kept, "o", color=GREY, markersize=3.5, alpha=0.7, label="a run that passed")
    plot_points(axes, broken, "o", color=GREY, markersize=3.5, fillstyle="none", label="breaks a constraint")
    if steps:
        steps.append((x[-1], steps[-1][1]))
        axes.plot(
            *zip(*steps, strict=True), drawstyle="steps-post", color=BLUE, linewidth=2, label="the best one so far", zorder=3
        )
    values = [value for _, value in [*kept, *broken] if value is not None]
    low, high = limits([value for _, value in kept or broken if value is not None], is_maximized=goal.is_maximized)
    axes.set_ylim(low, high)
    edge = axes.get_xaxis_transform()
    plot_points(axes, [(place, 0.015) for place in stopped], "|", color=ORANGE, markersize=7, markeredgewidth=0.8,
                transform=edge, label=f"stopped early ({len(stopped)})")  # fmt: skip
    plot_points(axes, [(place, 0.02) for place in bad], "x", color=ORANGE, markersize=5, transform=edge,
                label=f"did not pass ({len(bad)})")  # fmt: skip
    style_values(axes, goal.text, "y")
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_xlabel(label, **NOTE)
    axes.set_ylabel("\n".join(filter(None, [goal_label(goal), outside_note(values, low, high, "runs")])), **NOTE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, max(x[-1], 1) * 1.02)  # 0 epochs: a program that never said how far it was
    legend_below(axes)
