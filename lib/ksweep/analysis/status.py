"""How a sweep stands, in one screen: counts, running configs, time left, the best so far. Imports nothing slow."""

import statistics
import time

from ksweep.analysis.formats import duration, metric_name, number, one_line
from ksweep.analysis.load import RunRecord, SweepState, as_number, attempt_started_at, last_report
from ksweep.analysis.ranking import rank
from ksweep.analysis.text import counts_text, failure_notice
from ksweep.contract.config import parse_config
from ksweep.contract.outcome import Status

_RUNNING_SHOWN = 16
_BAR = 40


def status_text(state: SweepState, *, now: float | None = None) -> str:
    """The screen. `now`: Unix seconds, the present by default."""
    now = time.time() if now is None else now
    notice = failure_notice(state)
    lines = [notice] if notice else []
    lines += [
        f"{one_line(state.record.name)}  {one_line(str(state.dir.path))}",
        _runner_line(state, now),
        counts_text(state) if _grows(state) else f"[{_bar(state)}] {counts_text(state)}",
    ]
    left = seconds_left(state, now)
    if left is not None:
        lines.append(f"about {duration(left)} left, by the mean duration of the runs that passed")
    running = [run for run in state.runs if run.status is Status.RUNNING]
    lines += [_running_line(state, run, now) for run in running[:_RUNNING_SHOWN]]
    if len(running) > _RUNNING_SHOWN:
        lines.append(f"  and {len(running) - _RUNNING_SHOWN} more")
    return "\n".join(lines + _best_line(state))


def status_line(state: SweepState) -> str:
    """The same in one line, without what changes by itself as time goes on."""
    best = rank(state).best
    score = f"; best so far {one_line(best.objective)} {number(best.objective, best.score.center)}" if best else ""
    return f"{state.num_finished} of {counts_text(state)}{score}"


def seconds_left(state: SweepState, now: float) -> float | None:
    """Estimated time to the end of a sweep that is running; None when no run has passed yet, no runner is alive, or the points
    are chosen while it runs.

    Work left over the number of runs at a time, with every run as long as the mean of those that passed.
    """
    durations = [run.result.wall_s for run in state.runs if run.status is Status.PASSED and run.result]
    running = [run for run in state.runs if run.status is Status.RUNNING]
    if not durations or not running or state.runner is None or _grows(state):
        return None
    mean = statistics.fmean(durations)
    waiting = len(state.runs) - state.num_finished - len(running)
    work = waiting * mean + sum(max(0.0, mean - _elapsed(run, now)) for run in running)
    return work / len(running)


def _runner_line(state: SweepState, now: float) -> str:
    began = duration(now - state.record.created_at)
    if state.runner is not None:
        return f"planned {began} ago; runner alive: pid {state.runner.pid or '?'} on {one_line(state.runner.host or '?')}"
    last = f"; last event {duration(now - state.dir.journal.stat().st_mtime)} ago" if state.dir.journal.exists() else ""
    todo = "" if state.num_finished == len(state.runs) else "; the same command continues it"
    return f"planned {began} ago; no runner is alive{last}{todo}"


def _grows(state: SweepState) -> bool:
    """True where a strategy chooses the points as it goes, so that nobody knows how many are to come."""
    return state.record.strategy != "grid"


def _bar(state: SweepState) -> str:
    done = _BAR * state.num_finished // len(state.runs) if state.runs else _BAR
    return "#" * done + "." * (_BAR - done)


def _running_line(state: SweepState, run: RunRecord, now: float) -> str:
    report = last_report(run)
    epoch = as_number(report.get("epoch"))
    parts = [run.point.run_dir, "starting" if epoch is None else f"epoch {epoch:.0f}{_of_epochs(run)}"]
    for goal in state.objectives.goals:
        if (value := goal.value(report)) is not None:
            parts.append(f"{metric_name(goal.text, short=True)} {number(goal.text, value)}")
    return "".join("  " + one_line(part) for part in [*parts, duration(_elapsed(run, now))])


def _elapsed(run: RunRecord, now: float) -> float:
    """Seconds since the present attempt was started."""
    return max(0.0, now - (attempt_started_at(run.dir) or now))


def _of_epochs(run: RunRecord) -> str:
    try:
        values = parse_config(run.dir.config.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return ""
    return f" of {values['NUM_EPOCHS'][0]}" if "NUM_EPOCHS" in values else ""


def _best_line(state: SweepState) -> list[str]:
    ranking = rank(state)
    best = ranking.best
    if best is None:
        return []
    values = " ".join(f"{name}={one_line(value)}" for name, value in best.values.items())
    of = f" (n={best.score.n} of {len(best.runs)})" if len(best.runs) > 1 else ""
    scores = ", ".join(
        f"{metric_name(goal.text, short=True)} {number(goal.text, score.center)}"
        for goal, score in zip(best.goals, best.scores, strict=True)
    )
    what = f"one of {len(ranking.front)} on the front so far" if ranking.has_fronts else "best so far"
    return [f"{what}: {scores}{of}  {best.counted[0].config}  {values}".rstrip()]
