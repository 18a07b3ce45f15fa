"""Strategies compared by what they had found after equal amounts of training: the best so far against epochs spent.

  metrics.jsonl of all runs, journal.jsonl -> reports in order of time -> best so far, a step function of the epochs spent
  one of them a sweep, a sweep a seed      -> mean and 95 % t interval over the seeds

Each report spends the epochs since the one before it, and what a run that went on had trained before is spent once. A run that
went wrong spends, but is never best. From where a sweep has ended before its budget, its best so far stands.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ksweep.analysis.formats import MISSING, mean_and_spread, metric_name, one_line, plural, table
from ksweep.analysis.load import RunRecord, SweepState, as_number, load_sweep
from ksweep.analysis.ranking import Spread, spread
from ksweep.contract.atomic import read_lines, write_json, write_text
from ksweep.contract.outcome import SCHEMA, Status
from ksweep.contract.paths import SweepDir
from ksweep.space.objective import Goal, Objectives

BASELINE = "random"
SHARES = (25, 50, 100)  # per cent of the budget, in the table
MAX_DRAWN = 500  # places at which a mean curve is computed
_PAUSED = re.compile(r"stopped at \w+ (\d+) for now")  # the reason that the journal has for a run that stops at a rung
_FAR = float("inf")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one sweep found. `steps`: (epochs spent, best value from there on), both rising towards better; empty where nothing
    within the budget has a value. `spent`: epochs of all its runs, beyond the budget where runs were under way. `over`: why it
    ended."""

    strategy: str
    seed: int
    dir: str
    steps: tuple[tuple[int, float], ...]
    spent: int
    counts: dict[str, int]
    over: str = ""

    @property
    def num_bad(self) -> int:
        """Runs that ended badly."""
        return sum(count for status, count in self.counts.items() if Status(status).is_bad)

    def best_at(self, spent: int) -> float | None:
        """The best value after so many epochs; None: there was none yet."""
        place = bisect_right(self.steps, (spent, _FAR))
        return self.steps[place - 1][1] if place else None


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One strategy with its seeds."""

    name: str
    traces: tuple[Trace, ...]

    def at(self, spent: int) -> Spread:
        """Its best so far after so many epochs, over the seeds that have one."""
        return spread(trace.best_at(spent) for trace in self.traces)

    def mean_at(self, spent: int) -> float | None:
        """The mean of all seeds; None as long as one of them has nothing, for a mean of other seeds would be another curve."""
        at = self.at(spent)
        return at.mean if at.n == len(self.traces) else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Strategies at an equal budget, best first. `unit`: epoch or step."""

    name: str
    goal: Goal
    unit: str
    budget: int
    entrants: tuple[Entrant, ...]

    @cached_property
    def places(self) -> list[int]:
        """Where mean curves are computed: at all epochs, or at MAX_DRAWN of them."""
        stride = -(-self.budget // MAX_DRAWN)
        return sorted({*range(1, self.budget + 1, stride), self.budget})

    @property
    def baseline(self) -> Entrant | None:
        """Random search, when it takes part."""
        return next((entrant for entrant in self.entrants if entrant.name == BASELINE), None)

    def reaches_baseline_at(self, entrant: Entrant) -> int | None:
        """Epochs after which its mean is as good as that of random search at the end; None: it never is, or that has none."""
        target = self.baseline.mean_at(self.budget) if self.baseline else None
        if target is None:
            return None
        means = ((spent, entrant.mean_at(spent)) for spent in range(1, self.budget + 1))
        return next((spent for spent, mean in means if mean is not None and _is_as_good(self.goal, mean, target)), None)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that takes part, and why it ended."""

    strategy: str
    seed: int
    dir: SweepDir
    over: str = ""


def compare_strategies(sweeps: Sequence[Swept], *, name: str, unit: str, budget: int) -> Comparison:
    """Read the sweeps of a comparison; all have one objective. `unit`: what reports count of the budget, epoch or step."""
    traces: dict[str, list[Trace]] = {}
    goals = []
    for sweep in sweeps:
        state = load_sweep(sweep.dir)
        goals.append(state.objectives.goals[0])
        traces.setdefault(sweep.strategy, []).append(_trace(sweep, state, unit, budget))
    entrants = [Entrant(name=strategy, traces=tuple(found)) for strategy, found in traces.items()]
    goal = goals[0]
    sign = -1 if goal.is_maximized else 1

    def order(entrant: Entrant) -> tuple[bool, float]:
        mean = entrant.mean_at(budget)
        return mean is None, sign * (mean or 0.0)

    return Comparison(name=name, goal=goal, unit=unit, budget=budget, entrants=tuple(sorted(entrants, key=order)))


def _is_as_good(goal: Goal, value: float, other: float) -> bool:
    return value >= other if goal.is_maximized else value <= other


# -- one sweep -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Report:
    """One report: when (Unix seconds), how many new epochs it tells of, the objective where it has one."""

    at: float
    added: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """When an attempt of a run started and ended, and at which epoch it stopped for now (None: it did not)."""

    started_at: float
    ended_at: float = _FAR
    paused_at: int | None = None


def _trace(sweep: Swept, state: SweepState, unit: str, budget: int) -> Trace:
    attempts = _attempts(state.dir)
    reports = [report for run in state.runs for report in _reports(run, attempts.get(run.config, []), state.objectives, unit)]
    reports.sort(key=lambda report: report.at)
    goal = state.objectives.goals[0]
    steps: list[tuple[int, float]] = []
    spent = 0
    for report in reports:
        spent += report.added
        if report.value is not None and spent <= budget and (not steps or _is_better(goal, report.value, steps[-1][1])):
            steps.append((spent, report.value))
    return Trace(
        strategy=sweep.strategy,
        seed=sweep.seed,
        dir=state.dir.path.name,
        steps=tuple(steps),
        spent=spent,
        counts={str(status): count for status, count in state.counts.items() if status.is_final},
        over=sweep.over,
    )


def _is_better(goal: Goal, value: float, other: float) -> bool:
    return value > other if goal.is_maximized else value < other


def _attempts(dir: SweepDir) -> dict[str, list[_Attempt]]:
    """The attempts of each run (by config), in order, as the journal has them."""
    found: dict[str, list[_Attempt]] = {}
    for event in read_lines(dir.journal):
        attempts = found.setdefault(str(event.get("config")), [])
        if event.get("event") == "run_started":
            attempts.append(_Attempt(started_at=event["time"]))
        elif event.get("event") in ("run_ended", "run_retried") and attempts:
            paused = _PAUSED.search(str(event.get("reason", "")))
            attempts[-1] = _Attempt(
                started_at=attempts[-1].started_at, ended_at=event["time"], paused_at=int(paused[1]) if paused else None
            )
    return found


def _reports(run: RunRecord, attempts: list[_Attempt], objectives: Objectives, unit: str) -> Iterator[_Report]:
    """The reports of a run. The times in them start anew with each attempt."""
    lines = read_lines(run.dir.metrics)
    attempts = attempts or [_Attempt(started_at=run.result.started_at if run.result else 0.0)]
    furthest, number = 0, 0
    for before, line in pairwise([None, *lines]):
        assert line is not None
        resource, time_s = int(as_number(line.get(unit)) or 0), as_number(line.get("time_s")) or 0.0
        while number + 1 < len(attempts) and _is_of_a_later_attempt(line, before, attempts[number], unit):
            number, before = number + 1, None
        is_last = line is lines[-1] and run.status is Status.PASSED and run.result is not None
        metrics = line | _known(run) if is_last else line
        counts = not run.status.is_bad and objectives.is_feasible(metrics)
        value = objectives.goals[0].value(metrics) if counts else None
        yield _Report(at=attempts[number].started_at + time_s, added=max(0, resource - furthest), value=value)
        furthest = max(furthest, resource)


def _known(run: RunRecord) -> dict[str, float]:
    """The final metrics, which belong to the last report."""
    return {name: value for name, value in (run.result.metrics if run.result else {}).items() if value is not None}


def _is_of_a_later_attempt(line: dict[str, Any], before: dict[str, Any] | None, attempt: _Attempt, unit: str) -> bool:
    """Whether a report cannot be of this attempt: it is from beyond where that stopped, or its time or epoch does not rise."""
    resource, time_s = as_number(line.get(unit)) or 0.0, as_number(line.get("time_s")) or 0.0
    if attempt.paused_at is not None and resource > attempt.paused_at:
        return True
    if attempt.started_at + time_s > attempt.ended_at:
        return True
    return before is not None and (
        time_s < (as_number(before.get("time_s")) or 0.0) or resource <= (as_number(before.get(unit)) or -1.0)
    )


# -- what came of it -------------------------------------------------------------------------------------------------------


def comparison_text(comparison: Comparison) -> str:
    """strategies.txt: the table, and what is to be known of it. Its newline at the end is included."""
    goal, unit = comparison.goal, comparison.unit
    places = [_place(comparison, share) for share in SHARES]
    headers = ["strategy", *(f"{share}%: {place}" for share, place in zip(SHARES, places, strict=True)), "n"]
    rows = [_row(comparison, entrant, places) for entrant in comparison.entrants]
    if comparison.baseline:
        headers.append(f"{unit}s to {BASELINE}'s mean at {comparison.budget}")
    direction = "larger" if goal.is_maximized else "smaller"
    lines = [
        f"{one_line(comparison.name)}: {metric_name(goal.text)}, the best so far ({direction} is better) after equal {unit}s of "
        "training",
        "",
        *table(headers, rows, left=["strategy"]),
        "",
        f"Mean ± standard deviation over n seeds, after so many {unit}s of all runs together, which is the place in the budget.",
        "Best of the final means first. Whether two differ shows the picture: its bars are 95 % t intervals of the mean.",
        *_remarks(comparison),
    ]
    return "\n".join(lines) + "\n"


def _place(comparison: Comparison, share: int) -> int:
    return comparison.budget * share // 100


def _row(comparison: Comparison, entrant: Entrant, places: list[int]) -> list[str]:
    metric, planned = comparison.goal.text, len(entrant.traces)
    row = [entrant.name]
    for place in places:
        at = entrant.at(place)
        row.append(mean_and_spread(metric, at) + (f" (n={at.n})" if 0 < at.n < planned else ""))
    row.append(str(planned))
    if comparison.baseline:
        reached = comparison.reaches_baseline_at(entrant)
        row.append(MISSING if reached is None else str(reached))
    return row


def _remarks(comparison: Comparison) -> list[str]:
    """What the table does not show: single seeds, budgets that were not used, runs that went wrong."""
    traces = [trace for entrant in comparison.entrants for trace in entrant.traces]
    lines = []
    if any(len(entrant.traces) == 1 for entrant in comparison.entrants):
        lines.append("One seed: no spread is known, and every difference may be chance.")
    if comparison.baseline is None:
        lines.append(f"{BASELINE} takes no part, so nothing is told of the {comparison.unit}s to its mean.")
    for trace in traces:
        who = f"{trace.strategy}, seed {trace.seed}"
        if trace.spent < comparison.budget:
            why = f" ({one_line(trace.over)})" if trace.over else ""
            lines.append(f"{who}: spent {trace.spent} of {comparison.budget} {comparison.unit}s{why}; its best stands from there")
        lines += [f"{who}: {plural(n, 'run')} {status}" for status, n in trace.counts.items() if Status(status).is_bad]
        if not trace.steps:
            lines.append(f"{who}: no value within the budget")
    return lines


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """strategies.json."""
    return {
        "schema": SCHEMA,
        "name": comparison.name,
        "objective": comparison.goal.text,
        "direction": "maximize" if comparison.goal.is_maximized else "minimize",
        "unit": comparison.unit,
        "budget": comparison.budget,
        "strategies": [_entrant_record(comparison, entrant) for entrant in comparison.entrants],
    }


def _entrant_record(comparison: Comparison, entrant: Entrant) -> dict[str, Any]:
    at = {f"{share}%": entrant.at(_place(comparison, share)) for share in SHARES}
    return {
        "strategy": entrant.name,
        "best": {
            share: {"n": s.n, "mean": s.mean, "sd": s.sd, "interval_95": s.half_width, "min": s.minimum, "max": s.maximum}
            for share, s in at.items()
        },
        f"reaches_{BASELINE}_at": comparison.reaches_baseline_at(entrant),
        "sweeps": [
            {
                "seed": trace.seed,
                "dir": trace.dir,
                "spent": trace.spent,
                "over": trace.over,
                "runs": trace.counts,
                "best": [list(step) for step in trace.steps],
            }
            for trace in entrant.traces
        ],
    }


def write_comparison(comparison: Comparison, place: Path) -> str:
    """Write strategies.json, strategies.png and strategies.txt into `place`; returns the text."""
    from ksweep.analysis.strategies_plot import comparison_png

    text = comparison_text(comparison)
    write_json(place / "strategies.json", comparison_record(comparison))
    beside = place / f".strategies.png.{os.getpid()}.tmp"
    beside.write_bytes(comparison_png(comparison))
    os.replace(beside, place / "strategies.png")
    write_text(place / "strategies.txt", text)  # last: the mark that all of it is written
    return text
