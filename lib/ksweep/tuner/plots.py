"""What a tuning run found, drawn: accuracy against speed, with the floor, the dense model and every trial, rejected ones too."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ksweep.tuner.trials import COMBINED, VERIFIED, Params, Trial, TrialStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {TrialStatus.PASSED: ("o", "#1f77b4", "passed"), TrialStatus.REJECTED: ("x", "#999999", "rejected: below the floor")}

_MAX_LABELLED = 12  # points of a panel: more of them could not be told apart


def draw(
    dense: Trial,
    trials: Sequence[Trial],
    *,
    best: Mapping[str, Params] | None,
    floor: float | None,
    path: str | None,
    show: bool,
    size: tuple[float, float] | None,
    max_cols: int,
) -> "Figure":
    """A panel for each layer_name. `best`: params of the layers that were replaced in the end, None before that is known. `path`:
    where it is written, by its ending; `show`: in a window, where one can be opened."""
    import matplotlib
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(trial.layer_name for trial in trials if trial.layer_name != VERIFIED))
    if not names:
        names = [dense.layer_name]
    num_cols = max(1, min(max_cols, len(names)))
    num_rows = math.ceil(len(names) / num_cols)
    figure, axes = plt.subplots(
        num_rows, num_cols, figsize=size or (5.2 * num_cols, 3.6 * num_rows), squeeze=False, layout="constrained"
    )
    for name, panel in zip(names, axes.flat, strict=False):
        of_name = [trial for trial in trials if trial.layer_name == name]
        _panel(panel, name, dense, of_name, floor)
        if best is not None and (chosen := _chosen(name, dense, of_name, best)):
            panel.scatter(
                *_places(chosen, dense), s=150, facecolors="none", edgecolors="#2ca02c", linewidths=1.6, label="chosen", zorder=4
            )
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    handles = {label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    if path is not None:
        figure.savefig(path, dpi=130)
    if show and matplotlib.get_backend().lower() in {
        name.lower() for name in matplotlib.backends.backend_registry.list_builtin(matplotlib.backends.BackendFilter.INTERACTIVE)
    }:
        plt.show()
    plt.close(figure)
    return figure


def _chosen(name: str, dense: Trial, trials: Sequence[Trial], best: Mapping[str, Params]) -> list[Trial]:
    """The trial as whose layers ended; dense where none of them was replaced; nothing where some were rolled back."""
    layers = best if name == COMBINED else {layer for trial in trials for layer in trial.settings} & best.keys()
    return [trial for trial in trials if _is_chosen(trial, best)] if layers else [dense]


def _is_chosen(trial: Trial, best: Mapping[str, Params]) -> bool:
    """Whether the trial's layers ended as they are in it; of a combined one all layers."""
    if trial.layer_name == COMBINED:
        return bool(best) and trial.settings == best
    return bool(trial.settings) and all(best.get(name) == params for name, params in trial.settings.items())


def _panel(panel: "Axes", name: str, dense: Trial, trials: Sequence[Trial], floor: float | None) -> None:
    for status, (marker, colour, label) in _LOOKS.items():
        of_status = [t for t in trials if t.status is status]
        if of_status:
            panel.scatter(*_places(of_status, dense), marker=marker, color=colour, label=label, s=28)
    if len(trials) <= _MAX_LABELLED and name != COMBINED:
        for trial in trials:
            told = " ".join(map(str, trial.params.values()))
            for x, y in zip(*_places([trial], dense), strict=True):
                panel.annotate(told, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=7, color="#555555")
    panel.scatter(*_places([dense], dense), marker="*", color="#d62728", s=110, label="dense", zorder=3)
    if floor is not None:
        panel.axhline(floor, color="#d62728", linewidth=0.8, linestyle="--", label="floor")
    failed = sum(trial.status is TrialStatus.FAILED for trial in trials)
    short = name if len(name) <= 44 else f"{name[:20]}...{name[-21:]}"
    panel.set_title(short + (f" ({failed} failed)" if failed else ""), fontsize=10)
    panel.margins(x=0.06, y=0.12)  # so that what is written at the outermost points stays inside
    left, right = panel.get_xlim()
    around = _places([dense], dense)[0][0]
    least = 0.02 * abs(around)  # either way: closer than that, noise would look like a gain
    panel.set_xlim(min(left, around - least), max(right, around + least))
    panel.ticklabel_format(useOffset=False)
    panel.set_xlabel(_across(dense))
    panel.set_ylabel("accuracy")
    panel.grid(alpha=0.25)


def _across(dense: Trial) -> str:
    if dense.speed is None:
        return "MiB stored"
    return "times as fast as dense" if dense.speed > 0 else "speed"


def _places(trials: Sequence[Trial], dense: Trial) -> tuple[list[float], list[float]]:
    """Across and up; without those that lack a number."""
    unit = dense.speed if dense.speed is not None and dense.speed > 0 else 1.0
    across = [t.num_bytes / 2**20 if dense.speed is None else None if t.speed is None else t.speed / unit for t in trials]
    whole = [(x, t.accuracy) for x, t in zip(across, trials, strict=True) if x is not None and t.accuracy is not None]
    return [x for x, _ in whole], [y for _, y in whole]
