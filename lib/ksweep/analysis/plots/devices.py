"""devices.png: memory and load of each device while the sweep ran; where there was none, the memory of each run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import duration, one_line, plural
from ksweep.analysis.load import RunRecord, as_number
from ksweep.analysis.plots.figures import BLUE, NOTE, ORANGE, png, short, style_values, title
from ksweep.contract.atomic import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RUNS = 200  # whose samples are read: a file holds up to 2048 of them
_DEVICES = 4
_MEMORY = "peak_memory_mib"


@dataclass(frozen=True, kw_only=True)
class DeviceTrace:
    """Samples of one device, of all its runs in order of time: Unix seconds, MiB used, per cent; None where it does not tell."""

    device: str
    total_mib: float | None
    samples: list[tuple[float, float | None, float | None]]


def devices_png(findings: Findings) -> bytes | None:
    """None where there are neither samples of a device nor runs that reported their memory."""
    state = findings.state
    having = [run for run in state.runs if run.dir.gpu_stats.exists()]
    read = having[:: -(-len(having) // _RUNS)] if having else []
    traces = traces_of(read)
    peaks = [(run, mib) for run in state.runs if (mib := run.metric(_MEMORY)) is not None]
    if not traces and not peaks:
        return None
    from matplotlib.figure import Figure

    if not traces:
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        _draw_peaks(figure, peaks, len(state.runs))
        title(figure, state, "memory of the runs (no device samples)")
        return png(figure)
    shown = traces[:_DEVICES]
    figure = Figure(figsize=(10, 2.6 * len(shown) + 0.9), layout="constrained")
    for row, trace in enumerate(shown):
        _draw_trace(figure, figure.add_subplot(len(shown), 2, 2 * row + 1), figure.add_subplot(len(shown), 2, 2 * row + 2), trace)
    notes = [f"samples of {plural(len(read), 'run')} of {len(having)} that have some"] if len(read) < len(having) else []
    notes += [f"{len(shown)} of {len(traces)} devices"] if len(shown) < len(traces) else []
    figure.supxlabel(
        "; ".join([*notes, "of the whole device, what shares it included; a line ends where nobody sampled"]), **NOTE
    )
    title(figure, state, f"{plural(len(traces), 'device')} over time")
    return png(figure)


def traces_of(runs: list[RunRecord]) -> list[DeviceTrace]:
    """The samples of these runs by device; damaged files and samples without a time are left out."""
    found: dict[str, list[tuple[float, float | None, float | None]]] = {}
    totals: dict[str, float | None] = {}
    for run in runs:
        stats = read_json(run.dir.gpu_stats)
        samples = stats.get("samples") if isinstance(stats, dict) else None
        if not isinstance(samples, list):
            continue
        name = f"{stats.get('name') or 'device'} {stats.get('device', '')}".strip()
        totals[name] = as_number(stats.get("memory_total_mib"))
        found.setdefault(name, []).extend(taken for sample in samples if isinstance(sample, dict) for taken in _sample(sample))
    return [
        DeviceTrace(device=name, total_mib=totals[name], samples=sorted(samples, key=lambda sample: sample[0]))
        for name, samples in sorted(found.items())
        if samples
    ]


def _sample(sample: Mapping[str, Any]) -> list[tuple[float, float | None, float | None]]:
    time = as_number(sample.get("time"))
    known = as_number(sample.get("memory_used_mib")), as_number(sample.get("utilization_percent"))
    return [(time, *known)] if time is not None and known != (None, None) else []


def _draw_trace(figure: "Figure", memory: "Axes", load: "Axes", trace: DeviceTrace) -> None:
    begin = trace.samples[0][0]
    span = trace.samples[-1][0] - begin
    size, unit = (3600, "hours") if span >= 3 * 3600 else (60, "minutes") if span >= 300 else (1, "seconds")
    steps = sorted(after[0] - before[0] for before, after in zip(trace.samples, trace.samples[1:], strict=False))
    pause = max(10.0, 20 * steps[len(steps) // 2]) if steps else 10.0
    for axes, column, colour, label in ((memory, 1, BLUE, "memory used, GiB"), (load, 2, ORANGE, "utilisation, %")):
        x, y, before = [], [], begin
        for sample in trace.samples:
            if sample[0] - before > pause:
                x.append(float("nan"))
                y.append(float("nan"))
            before = sample[0]
            value = sample[column]
            x.append((sample[0] - begin) / size)
            y.append(float("nan") if value is None else value / (1024 if column == 1 else 1))
        axes.plot(x, y, color=colour, linewidth=1, marker="." if len(x) < 60 else None, markersize=3)
        style_values(axes, label, "y")
        axes.set_ylabel(label, **NOTE)
        axes.set_xlabel(f"{unit} since the first sample", **NOTE)
        axes.set_ylim(0, 105 if column == 2 else None)
        axes.spines[["right", "top"]].set_visible(False)
    total = f" of {trace.total_mib / 1024:.0f} GiB" if trace.total_mib else ""
    memory.set_title(short(trace.device, 40) + total, **NOTE)
    load.set_title(f"{plural(len(trace.samples), 'sample')} over {duration(span)}", **NOTE)


def _draw_peaks(figure: "Figure", peaks: list[tuple[RunRecord, float]], num_runs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    order = sorted(peaks, key=lambda peak: peak[0].result.started_at if peak[0].result else 0.0)
    axes.plot(range(1, len(order) + 1), [mib for _, mib in order], "o", color=BLUE, markersize=4 if len(order) < 200 else 2)
    most = max(order, key=lambda peak: peak[1])
    axes.set_ylim(0, most[1] * 1.1 or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_values(axes, _MEMORY, "y")
    axes.set_ylabel("peak memory, MiB", **NOTE)
    axes.set_xlabel(
        f"runs in the order of their starts ({len(peaks)} of {num_runs} told it); "
        f"most: {most[1]:.0f} MiB in {one_line(most[0].config)}",
        **NOTE,
    )
    axes.spines[["right", "top"]].set_visible(False)
