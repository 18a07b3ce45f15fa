"""What a sweep came to as a whole: how many runs ended how, how long they took, what stopping runs early has saved."""

from dataclasses import dataclass

from ksweep.analysis.effort import Effort, effort
from ksweep.analysis.formats import duration
from ksweep.analysis.load import SweepState
from ksweep.analysis.plots.spans import spans
from ksweep.contract.atomic import read_json
from ksweep.contract.outcome import Status


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Counts of runs and seconds. `num_runs`: those in the plan; `run_s`: all that ended, added up; `mean_run_s`: of those that
    passed, None without any; `elapsed_s`: first start to last end, with pauses; `device`: of the first run, empty on a CPU."""

    num_runs: int
    num_ended: int
    num_passed: int
    num_pruned: int
    run_s: float
    mean_run_s: float | None
    elapsed_s: float
    device: str
    effort: Effort

    @property
    def saved_s(self) -> float | None:
        """Seconds of runs that stopping early has saved, at the mean duration of an epoch; None where epochs are not known."""
        return self.effort.saved * self.run_s / self.effort.spent if self.effort.spent else None


def totals(state: SweepState) -> Totals:
    """Of a sweep as it stands."""
    ended = [run for run in state.runs if run.result and run.status.is_final]
    results = [run.result for run in ended if run.result]
    passed = [result.wall_s for result in results if result.status is Status.PASSED]
    work = spans(state)  # a result tells the start of its last attempt, and the seconds of all
    first = read_json(ended[0].dir.provenance) if ended else None
    return Totals(
        num_runs=len(state.runs),
        num_ended=state.num_finished,  # those whose result is damaged, too
        num_passed=len(passed),
        num_pruned=sum(result.status is Status.PRUNED for result in results),
        run_s=sum(result.wall_s for result in results),
        mean_run_s=sum(passed) / len(passed) if passed else None,
        elapsed_s=max((span.end for span in work), default=0.0) - min((span.start for span in work), default=0.0),
        device=str(first.get("device") or "") if isinstance(first, dict) else "",
        effort=effort(state),
    )


def totals_lines(found: Totals) -> list[str]:
    """Rates, durations, epochs: a line each, for people; empty before a run has ended."""
    if not found.num_ended:
        return []
    lines = [
        f"Success rate: {_share(found.num_passed, found.num_ended - found.num_pruned)} of the runs that were not pruned;"
        f" pruning rate: {_share(found.num_pruned, found.num_ended)}"
    ]
    mean = f", {duration(found.mean_run_s)} a run that passed" if found.mean_run_s is not None else ""
    lines.append(
        f"Duration: {duration(found.run_s)} of runs{mean}; {duration(found.elapsed_s)} from the first start to the last end"
    )
    hours = "GPU-hours" if found.device else "slot-hours (on CPU cores)"
    spent, full = found.effort.spent, found.effort.full
    if full:
        saved = f", {found.effort.saved} saved by pruning" if found.num_pruned else ""
        lines.append(f"Epochs: {spent} trained of {full}{saved}")
    saved_s = found.saved_s if found.num_pruned else None
    lines.append(
        f"Cost: {found.run_s / 3600:.3g} {hours}"
        + (f"; pruning saved about {saved_s / 3600:.3g} of them" if saved_s is not None else "")
    )
    return lines


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({100 * count / total:.1f} %)" if total else f"{count} of {total}"
