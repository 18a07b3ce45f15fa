"""The final test of a sweep's best setting: what the new runs came to, beside what the setting had in the sweep."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from ksweep.analysis.evidence import configs_of, so_far
from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import MISSING, duration, interval_of, number, one_line, plural, table
from ksweep.analysis.load import RunRecord, SweepState
from ksweep.analysis.ranking import Group, Spread, spread, t_quantile
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import SCHEMA, Result, Status, read_result
from ksweep.space.objective import Goal

ON_VALIDATION = "TRAIN_ON_VALIDATION"  # the symbol by which a trainer takes the validation part to the training part
_RULE = "=" * 60
_WIDTH = 100


class Place(StrEnum):
    """Where the new mean lies, by the interval of the sweep's; with one run in the sweep, by the spread of the new runs."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    UNKNOWN = "unknown"


def counterpart(findings: Findings, best: Group) -> str:
    """The metric of the test part that stands for the sweep's goal, as an objective: `test_acc:max` for val_acc.

    RequestError when the best runs have reported none.
    """
    reported = set.intersection(*(set(run.metrics) for run in best.counted))
    for goal in findings.ranking.objectives.goals:
        for name in goal.names:
            metric = name if name.startswith("test_") else f"test_{name.removeprefix('val_')}"
            if metric in reported:
                is_maximized = goal.is_maximized if goal.is_plain else "loss" not in metric
                return (metric if metric.isidentifier() else f'"{metric}"') + (":max" if is_maximized else ":min")
    listed = ", ".join(sorted(name for name in map(one_line, reported) if name.startswith("test_"))) or "none"
    raise RequestError(
        f"{findings.state.dir.path}: the goal {one_line(findings.ranking.objectives.text)} has no counterpart on the test part: "
        f"looked for test_<goal> among the test metrics that its best runs reported: {listed}; train it with make train instead"
    )


@dataclass(frozen=True)
class FinalTest:
    """The best setting of a sweep (`chosen`) and its new runs. `goal`: the test metric."""

    sweep: SweepState
    chosen: Group
    final: SweepState

    @property
    def goal(self) -> Goal:
        """The test metric, and which way is better."""
        return self.final.objectives.goals[0]

    @property
    def metric(self) -> str:
        """Its name."""
        return self.goal.text

    @property
    def tested(self) -> list[RunRecord]:
        """The new runs that passed."""
        return [run for run in self.final.runs if run.status is Status.PASSED]

    @cached_property
    def new(self) -> Spread:
        """The test metric over the new runs."""
        return spread(run.metric(self.metric) for run in self.tested)

    @cached_property
    def before(self) -> Spread:
        """The same over the runs of the setting in the sweep."""
        return spread(run.metric(self.metric) for run in self.chosen.counted)

    @cached_property
    def results(self) -> tuple[Result | None, Result | None]:
        """result.json of a run of the sweep and of a new one: what the trainer says of itself."""
        return _result(self.chosen.counted), _result(self.tested)

    @property
    def is_on_validation(self) -> bool:
        """Whether the new runs have trained on the validation part: by what their trainer has read."""
        new = self.results[1]
        return bool(new and (new.symbols_read or {}).get(ON_VALIDATION) == "y")

    @property
    def allowed(self) -> tuple[float, float] | None:
        """Where the new mean is expected: within the sweep's interval. With one run there it is the other way round: where the
        value of a single run is, 95 % of the time, when it is one like the new ones."""
        if self.before.n != 1:
            return interval_of(self.metric, self.before)
        if self.new.mean is None or self.new.sd is None:
            return None
        half = t_quantile(self.new.n - 1) * self.new.sd * math.sqrt(1 + 1 / self.new.n)
        return self.new.mean - half, self.new.mean + half

    @property
    def place(self) -> Place:
        """See Place."""
        before, new, ends = self.before.mean, self.new.mean, self.allowed
        if before is None or new is None or ends is None:
            return Place.UNKNOWN
        value = before if self.before.n == 1 else new
        if ends[0] <= value <= ends[1]:
            return Place.WITHIN
        return Place.ABOVE if new > before else Place.BELOW

    def record(self) -> dict[str, Any]:
        """As final.json has it."""
        return {
            "schema": SCHEMA,
            "sweep": self.sweep.dir.path.name,
            "config": self.chosen.counted[0].config,
            "id": self.chosen.counted[0].point.id,
            "metric": self.metric,
            "trained_on_validation": self.is_on_validation,
            "runs": [
                {"config": run.config, "seed": run.seed, "status": run.status, self.metric: run.metric(self.metric)}
                for run in self.final.runs
            ],
            "final": _spread_record(self.metric, self.new),
            "in_sweep": _spread_record(self.metric, self.before),
            "place": self.place,
        }


def final_text(test: FinalTest) -> str:
    """The whole of final_report.txt, its newline at the end included."""
    name, ranked_by = one_line(test.sweep.record.name), one_line(test.sweep.objectives.text)
    lines = [f"Final test of {name}: {configs_of(test.chosen)}, the best{so_far(test.sweep)} by {ranked_by}", _RULE]
    lines += [f"CONFIG_{key}={one_line(value)}" for key, value in test.chosen.values.items()]
    lines += ["", *_training(test), "", *_seeds_table(test), "", *_means_table(test), "", *textwrap.wrap(_verdict(test), _WIDTH)]
    bad = [
        f"{run.config}: {run.status}: {one_line(run.reason) or 'no result'}" for run in test.final.runs if run not in test.tested
    ]
    if bad:
        lines = [
            f"{len(bad)} OF {len(test.final.runs)} RUNS HAVE NO RESULT; the numbers are of the others.",
            "",
            *lines,
            "",
            *bad,
        ]
    return "\n".join(lines) + "\n"


def _training(test: FinalTest) -> list[str]:
    """What the runs were trained on, as their trainer says."""
    before, new = test.results
    if not test.is_on_validation:
        told = f"The trainer has not read {ON_VALIDATION}=y: trained as in the sweep, the validation part apart."
        return [told if new else "What the runs were trained on is not known: none has a result."]
    sizes = _num_examples(new)
    lines = [
        f"Trained on the training and the validation part ({_count(sizes, 'train')}), {_epochs(test.tested)}; nothing was",
        f"selected: the weights of the last epoch were tested, once, on {_count(sizes, 'test')}.",
    ]
    sizes = _num_examples(before)
    if sizes.get("val"):
        lines.append(
            f"In the sweep: trained on {_count(sizes, 'train')}, {_epochs(test.chosen.counted)}, the epoch selected on "
            f"{_count(sizes, 'val')}."
        )
    return lines


def _seeds_table(test: FinalTest) -> list[str]:
    columns = [test.metric, *_other_metrics(test)]
    rows = []
    for run in test.final.runs:
        wall_s = run.result.wall_s if run.result else None
        rows.append([run.seed or MISSING, *(number(name, run.metric(name)) for name in columns), duration(wall_s), run.config])
    return table(["seed", *map(one_line, columns), "time", "config"], rows, left=["config"])


def _other_metrics(test: FinalTest) -> list[str]:
    """Further ones that tell something: of the test part, the sweep's other goals, a sparsity."""
    reported = list(dict.fromkeys(name for run in test.tested for name in run.metrics))
    goals = {name for goal in test.sweep.objectives.goals for name in goal.names}
    is_sparse = any(run.metric("final_sparsity") for run in test.tested)
    found = [name for name in reported if name.startswith("test_") or name in goals or (name == "final_sparsity" and is_sparse)]
    return [name for name in found if name != test.metric]


def _means_table(test: FinalTest) -> list[str]:
    seeds = [run.seed for run in test.chosen.counted if run.seed]
    title = "in the sweep" + (f" (seeds {', '.join(seeds[:5])}{', ...' if len(seeds) > 5 else ''})" if len(seeds) > 1 else "")
    rows = []
    for what, found in (("these runs", test.new), (title, test.before)):
        ends = interval_of(test.metric, found)
        shown = f"{number(test.metric, ends[0])} to {number(test.metric, ends[1])}" if ends else MISSING
        rows.append([what, str(found.n), number(test.metric, found.mean), number(test.metric, found.sd), shown])
    return table([one_line(test.metric), "n", "mean", "sd", "95% interval of the mean"], rows, left=[one_line(test.metric)])


def _verdict(test: FinalTest) -> str:
    metric, ends = test.metric, test.allowed
    if test.place is Place.UNKNOWN or ends is None:
        missing = "there is no new value" if not test.new.n else "no spread is known on either side (SEEDS=2 or more)"
        return f"Whether it agrees with the sweep cannot be said: {missing}."
    between = f"{number(metric, ends[0])} to {number(metric, ends[1])}"
    better = test.place is (Place.ABOVE if test.goal.is_maximized else Place.BELOW)
    if test.before.n > 1:
        if test.place is Place.WITHIN:
            return f"The new mean lies in the 95% interval of the sweep's ({between})."
        text = f"The new mean lies {test.place} the 95% interval of the sweep's ({between}): {'better' if better else 'worse'}."
        return text + (_more_data(test) if better else "")
    of = f"the range of 95% of single runs like the new ones ({between})"
    where = "within" if test.place is Place.WITHIN else "outside"
    text = f"The sweep has one run of it, hence no interval; its {number(metric, test.before.mean)} lies {where} {of}"
    if test.place is Place.WITHIN:
        return f"{text}."
    return f"{text}: the new mean is {'better' if better else 'worse'}." + (_more_data(test) if better else "")


def _more_data(test: FinalTest) -> str:
    old, new = (_num_examples(result).get("train") for result in test.results)
    if not (isinstance(old, int) and isinstance(new, int) and 0 < old < new):
        return ""
    more = f"{100 * (new / old - 1):.0f}% more examples"
    return f" Its runs had {more}, and as many more steps in an epoch: short trainings gain by that."


def _spread_record(metric: str, found: Spread) -> dict[str, Any]:
    ends = interval_of(metric, found)
    return {"n": found.n, "mean": found.mean, "sd": found.sd, "low": ends and ends[0], "high": ends and ends[1]}


def _result(runs: Sequence[RunRecord]) -> Result | None:
    try:
        return read_result(runs[0].dir) if runs else None
    except (KeyError, TypeError, ValueError, OSError):
        return None


def _num_examples(result: Result | None) -> dict[str, Any]:
    told = ((result and result.effective) or {}).get("num_examples")
    return told if isinstance(told, dict) else {}


def _count(sizes: dict[str, Any], part: str) -> str:
    size = sizes.get(part)
    return plural(size, "example") if isinstance(size, int) else "examples that the trainer has not counted"


def _epochs(runs: Sequence[RunRecord]) -> str:
    try:
        text = Path(runs[0].dir.config).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "epochs not known"
    values = {name: value for name, (value, _) in parse_config(text).items()}
    asked, may_stop = values.get("NUM_EPOCHS", ""), values.get("EARLY_STOPPING_PATIENCE", "0") != "0"
    return ("up to " if may_stop else "") + plural(int(asked), "epoch") if asked.isdecimal() else "epochs not known"
