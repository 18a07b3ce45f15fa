"""What the report's tables, learning curves and parallel coordinates are drawn from, as plain values for JSON.

Every text is one line without control characters; whoever shows it escapes it for HTML. A missing value is None.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import MISSING, duration, interval_of, is_share, mean_and_spread, number, one_line
from ksweep.analysis.load import SEED, RunRecord, as_number
from ksweep.analysis.ranking import Group, Ranking
from ksweep.analysis.text import incomplete, is_selected_on_test, kept_and_broken
from ksweep.contract.outcome import Status

Cell = (
    str | float | list[Any] | None
)  # as shown; or [what it is sorted and filtered by, as shown]; in a link column [shown, address]

MAX_POINTS = 100  # of a curve
_MAX_VALUES = 250_000  # of all curves together: about 2 MB
_MAX_METRICS = 6
_SPACED = 12  # values up to which an axis of the parallel coordinates gives each the same room
_FOOT = 0.1  # of an axis' length, what lies below its lowest value where some settings have none
_FARTHEST = 1e300  # from 0: the difference of two numbers of a picture cannot overflow
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_FIRST_METRICS = ("val_loss", "val_acc", "train_loss", "train_acc")


def settings_in_order(ranking: Ranking) -> list[Group]:
    """All settings: ranked, then those that break a constraint, then the rest. Tables and pictures number them by this."""
    return [*ranking.ranked, *ranking.infeasible, *ranking.unranked]


def metrics_beside(ranking: Ranking) -> list[str]:
    """What is shown beside the goals: the metrics that they are computed from, and the test metrics of all settings."""
    goals = [goal.text for goal in ranking.objectives.goals]
    names = dict.fromkeys([*ranking.parts, *ranking.tests_of(settings_in_order(ranking))])
    return [name for name in names if name not in goals]


def settings_table(findings: Findings) -> dict[str, Any]:
    """One row a setting."""
    ranking = findings.ranking
    goals = ranking.objectives.goals
    compares = ranking.has_repeats and not ranking.has_fronts
    tests = metrics_beside(ranking)
    columns = [_column("front" if ranking.has_fronts else "rank", "num")]
    columns += [_column(goal.text, "num", ranking.aggregate if ranking.has_repeats else "") for goal in goals]
    if ranking.has_repeats:
        columns += [_column("95% interval", "text", f"of the mean of {goals[0].text}")] if goals else []
        columns.append(_column("n", "num", "runs that count"))
    columns += [_column("against best", "text", "paired by seed")] if compares else []
    columns += _value_columns([group.values for group in settings_in_order(ranking)], ranking.columns)
    columns += [_column(name, "num", _use_of(name, ranking)) for name in tests]
    columns += [_column("time", "num", "of a run"), _column("configs", "text"), _column("notes", "text")]
    return {
        "columns": columns,
        "rows": [_setting_row(ranking, group, compares, tests) for group in settings_in_order(ranking)],
    }


def _setting_row(ranking: Ranking, group: Group, compares: bool, tests: list[str]) -> list[Cell]:
    row: list[Cell] = [group.rank]
    row += [
        _measured(score.center, mean_and_spread(goal.text, score)) for goal, score in zip(group.goals, group.scores, strict=True)
    ]
    if ranking.has_repeats:
        row += [_interval(group)] if group.goals else []
        row.append(
            group.score.n if group.score.n == len(group.runs) else [group.score.n, f"{group.score.n} of {len(group.runs)}"]
        )
    row += [str(group.verdict) if group.verdict else None] if compares else []
    row += [_text(group.values.get(name)) for name in ranking.columns]
    for name in tests:
        test = group.over(name)
        row.append(_measured(test.center, mean_and_spread(name, test)))
    row.append(_measured(group.wall_s.mean, duration(group.wall_s.mean)))
    more = f" (+{len(group.runs) - 1})" if len(group.runs) > 1 else ""
    configs: list[Any] = [one_line(" ".join(run.config for run in group.runs)), one_line(group.runs[0].config) + more]
    return [*row, configs, setting_note(ranking, group) or None]


def _interval(group: Group) -> str | None:
    ends = interval_of(group.objective, group.score)
    return " to ".join(number(group.objective, end) for end in ends) if ends else None


def setting_note(ranking: Ranking, group: Group) -> str:
    """What is wrong with a setting, or with how much of it is known; empty when nothing is."""
    broken = [line for line in kept_and_broken(ranking, group) if line.startswith("breaks")] if group.counted else []
    return "; ".join([*broken, *filter(None, [incomplete(group).removeprefix("; ")])])


def runs_table(findings: Findings) -> dict[str, Any]:
    """One row a run, in plan order."""
    state, ranking = findings.state, findings.ranking
    goals, runs = ranking.objectives.goals, state.runs
    symbols = [*ranking.columns, *([SEED] if any(SEED in run.point.values for run in runs) else [])]
    names = sorted({name for run in runs for name in run.metrics} - {goal.text for goal in goals})
    tests = metrics_beside(ranking)
    first, others = [name for name in names if name in tests], [name for name in names if name not in tests]
    columns = [_column("config", "link"), _column("status", "text"), *(_column(goal.text, "num") for goal in goals)]
    columns += _value_columns([run.point.values for run in runs], symbols)
    columns += [_column(name, "num", _use_of(name, ranking)) for name in first]
    columns += [_column("time", "num"), _column("log", "link"), _column("reason", "text")]
    columns += [_column(name, "num", _use_of(name, ranking)) for name in others]
    return {"columns": columns, "rows": [_run_row(ranking, run, symbols, first, others) for run in runs]}


def _use_of(metric: str, ranking: Ranking) -> str:
    return "not used for choosing" if metric.startswith("test_") and not is_selected_on_test(ranking) else ""


def _run_row(ranking: Ranking, run: RunRecord, symbols: list[str], first: list[str], others: list[str]) -> list[Cell]:
    row: list[Cell] = [[one_line(run.config), address(run)], str(run.status)]
    row += [_measured(run.value(goal), number(goal.text, run.value(goal))) for goal in ranking.objectives.goals]
    row += [_text(run.point.values.get(name)) for name in symbols]
    row += [_measured(run.metric(name), number(name, run.metric(name))) for name in first]
    wall_s = run.result.wall_s if run.result else None
    row.append(_measured(wall_s, duration(wall_s)))
    row.append(None if run.status is Status.PLANNED else [run.dir.log.name, address(run, run.dir.log.name)])
    row.append(_text(run.reason or None))
    return row + [_measured(run.metric(name), number(name, run.metric(name))) for name in others]


def address(run: RunRecord, file: str = "") -> str:
    """A relative link from the sweep directory to a run directory, or to a file in it."""
    return f"./{quote(run.point.run_dir, safe='/', errors='replace')}/{file}"


def _column(title: str, kind: str, note: str = "") -> dict[str, str]:
    """`kind`: num, text or link."""
    return {"title": one_line(title), "kind": kind, **({"note": one_line(note)} if note else {})}


def _value_columns(points: list[dict[str, str]], symbols: list[str]) -> list[dict[str, str]]:
    are_numbers = {name: all(_to_number(values[name]) is not None for values in points if name in values) for name in symbols}
    return [_column(name, "num" if are_numbers[name] else "text") for name in symbols]


def _to_number(text: str) -> float | None:
    return as_number(float(text)) if _NUMBER.fullmatch(text) else None


def _text(value: str | None) -> str | None:
    return None if value is None else one_line(value)


def _measured(value: float | None, shown: str) -> Cell:
    return None if value is None else [_short(value), shown]


def _short(value: float, digits: int = 9) -> float:
    """Fewer digits: half of the size of the page."""
    return float(f"{value:.{digits}g}")


def learning_curves(findings: Findings) -> dict[str, Any] | None:
    """The curves of every run that reported: `metrics`, and `runs` of {setting, config, status, x, y: one list a metric}.

    A long history is thinned to evenly spaced reports, the last one always among them. None where there is nothing to draw.
    """
    # A run's ends tell which metrics it reports: to look at every number of 150,000 reports takes seconds.
    reports = [report for history in findings.histories.values() for report in [*history[:1], *history[-1:]]]
    metrics = _curve_metrics(findings, reports)
    if not metrics:
        return None
    time = "epoch" if all(as_number(report.get("epoch")) is not None for report in reports) else "step"
    num_runs = sum(1 for history in findings.histories.values() if history)
    longest = max(len(history) for history in findings.histories.values())
    points = max(10, min(MAX_POINTS, _MAX_VALUES // num_runs))
    metrics = metrics[: max(1, min(_MAX_METRICS, _MAX_VALUES // (num_runs * min(points, longest))))]
    runs = []
    for index, group in enumerate(settings_in_order(findings.ranking)):
        for run in group.runs:
            history = _thinned(_newest_of_each(findings.histories[run.config], time), points)
            if history:
                y = [[_curve_value(value(report)) for report in history] for _, value in metrics]
                x = [_short(report[time]) for report in history]
                runs.append({"setting": index, "config": run.config, "status": str(run.status), "x": x, "y": y})
    note = f"Thinned to {points} of up to {longest} reports a run." if longest > points else ""
    return {
        "time": time,
        "metrics": [{"name": one_line(name), "share": is_share(name)} for name, _ in metrics],
        "runs": runs,
        "note": note,
    }


def _curve_metrics(
    findings: Findings, reports: list[dict[str, Any]]
) -> list[tuple[str, Callable[[dict[str, Any]], float | None]]]:
    """Goals first, then losses and accuracies, then all else that was reported; each with how it is found in a report."""
    names = {name for report in reports for name, value in report.items() if as_number(value) is not None}
    names -= {"step", "epoch", "time_s", *(goal.text for goal in findings.ranking.objectives.goals)}
    goals = [(goal.text, goal.value) for goal in findings.ranking.objectives.goals]
    goals = [(name, value) for name, value in goals if any(value(report) is not None for report in reports)]
    others = sorted(
        names, key=lambda name: (_FIRST_METRICS.index(name) if name in _FIRST_METRICS else 9, name.endswith("_s"), name)
    )
    return [*goals, *((name, _reader(name)) for name in others)]


def _reader(name: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda report: as_number(report.get(name))


def _newest_of_each(history: list[dict[str, Any]], time: str) -> list[dict[str, Any]]:
    """The last report of each epoch."""
    newest = {report[time]: report for report in history if as_number(report.get(time)) is not None}
    return [newest[x] for x in sorted(newest)]


def _thinned(history: list[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    if len(history) <= points:
        return history
    return [history[round(index * (len(history) - 1) / (points - 1))] for index in range(points)]


def _curve_value(value: float | None) -> float | None:
    return None if value is None else _short(value, 5)


def parallel_coordinates(findings: Findings) -> dict[str, Any] | None:
    """`axes`, and `lines` of {setting, at: one number an axis, good: 1 for the best to 0}.

    An axis of few values is {name, kind: category, labels}, and `at` numbers its labels; one of many numbers is {name, kind:
    value or log, share, low, high, foot}, where `foot` lies below `low` for the settings without a value, or is None. Only
    settings that count; None where there are fewer than two, or nothing was swept.
    """
    ranking = findings.ranking
    groups = [*ranking.ranked, *ranking.infeasible]
    if len(groups) < 2 or not ranking.columns:
        return None
    found = [(name, _swept_axis([group.values.get(name) for group in groups])) for name in ranking.columns]
    for index, goal in enumerate(ranking.objectives.goals):
        found.append((goal.text, _measured_axis([group.scores[index].center for group in groups], goal.text)))
    last = max(group.rank or 1 for group in groups)
    good = [1 - (group.rank - 1) / max(last - 1, 1) if group.rank else 0.0 for group in groups]
    places = zip(*(at for _, (_, at) in found), strict=True)
    lines = [{"setting": i, "at": list(at), "good": _short(good[i], 3)} for i, at in enumerate(places)]
    return {"axes": [{"name": one_line(name), **axis} for name, (axis, _) in found], "lines": lines}


Axis = tuple[dict[str, Any], Sequence[float]]  # what it is, place of each setting on it


def _swept_axis(texts: list[str | None]) -> Axis:
    """Few values get the same room each, in order; many numbers lie on a scale. A setting without the symbol lies at the foot."""
    found = list(dict.fromkeys(text for text in texts if text is not None))
    numbers = {text: _to_number(text) for text in found}
    are_numbers = all(value is not None for value in numbers.values())
    if are_numbers and len(found) > _SPACED:
        return _measured_axis([None if text is None else numbers[text] for text in texts], "")
    found.sort(key=lambda text: (numbers[text] or 0.0, "") if are_numbers else (0.0, text))
    rows = [*([None] if None in texts else []), *found]
    place = {text: index for index, text in enumerate(rows)}
    labels = [MISSING if text is None else one_line(text) for text in rows]
    return {"kind": "category", "labels": labels}, [place[text] for text in texts]


def _measured_axis(values: list[float | None], metric: str) -> Axis:
    """A linear scale, or a logarithmic one where the values span more than two decades."""
    known = [max(-_FARTHEST, min(_FARTHEST, value)) for value in values if value is not None]
    if not known or min(known) == max(known):
        label = number(metric, known[0]) if known else MISSING
        rows = [*([MISSING] if known and len(known) < len(values) else []), label]
        return {"kind": "category", "labels": rows}, [0 if value is None else len(rows) - 1 for value in values]
    low, high = min(known), max(known)
    is_log = low > 1 / _FARTHEST and high / low > 100
    foot = max(1 / _FARTHEST, low * (low / high) ** _FOOT) if is_log else low - _FOOT * (high - low)
    has_foot = len(known) < len(values)
    axis = {"kind": "log" if is_log else "value", "share": is_share(metric), "low": low, "high": high}
    at = [foot if value is None else max(low, min(high, value)) for value in values]
    return axis | {"foot": foot if has_foot else None}, at
