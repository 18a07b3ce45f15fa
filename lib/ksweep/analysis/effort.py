"""How far the runs of a sweep got, and what that cost: epochs, which is what stopping runs early saves."""

import re
from collections import Counter
from dataclasses import dataclass

from ksweep.analysis.load import RunRecord, SweepState, as_number
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Status

_NUM_EPOCHS = re.compile(r"^CONFIG_NUM_EPOCHS=(\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """`spent`: epochs that were trained; `full`: epochs of all runs, had none been stopped early, None where that is not known.
    `saved`: those that the runs which were stopped early did not train; what a run that failed, or has not ended, still lacks is
    not saved.

    What a run took over from another one's checkpoint counts in none.
    `stopped_at`: epoch -> number of runs that were stopped after it, in order.
    """

    spent: int
    full: int | None
    saved: int
    stopped_at: dict[int, int]


def effort(state: SweepState) -> Effort:
    """Of the whole sweep as it stands. A run that has not started has spent nothing, and counts in `full`."""
    reached = [epochs_reached(run) or 0 for run in state.runs]
    lengths = [_num_epochs(run) for run in state.runs]
    longest = max((length for length in lengths if length), default=max(reached, default=0))
    pruned = Counter(epoch for run, epoch in zip(state.runs, reached, strict=True) if run.status is Status.PRUNED)
    taken_over = sum(_taken_over(run) for run in state.runs)
    left = [(length or longest) - epoch for length, epoch in zip(lengths, reached, strict=True)]
    return Effort(
        spent=sum(reached) - taken_over,
        full=sum(length or longest for length in lengths) - taken_over if longest else None,
        saved=sum(max(0, epochs) for run, epochs in zip(state.runs, left, strict=True) if run.status is Status.PRUNED),
        stopped_at=dict(sorted(pruned.items())),
    )


def epochs_reached(run: RunRecord) -> int | None:
    """The epoch of the newest report; the number of reports where they name none; None before the first."""
    return run.epochs


def epochs_trained(run: RunRecord) -> int:
    """Epochs that it was trained itself: not those before the checkpoint of another run from which it went on."""
    return (epochs_reached(run) or 0) - _taken_over(run)


def _taken_over(run: RunRecord) -> int:
    history = read_history(run.dir.metrics) if "parent" in run.point.search else []
    first = as_number(history[0].get("epoch")) if history else None
    return int(first) - 1 if first else 0


def _num_epochs(run: RunRecord) -> int | None:
    """How many epochs a run has that is not stopped, by its configuration."""
    try:
        found = _NUM_EPOCHS.search(run.dir.config.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(found[1]) if found else None
