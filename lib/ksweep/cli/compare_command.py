"""Sweep B (new) against sweep A (old), run by run: what became worse beyond noise.

Settings are matched by their swept values, runs by their seed. Tracked are A's objectives, or METRICS: names, with :max or :min
behind one whose better direction its name does not tell.
Exit code: 0 nothing became worse beyond noise, 1 a tracked metric did, or a run that passed in A fails in B, 2 the two cannot be
compared.
"""

import argparse
from pathlib import Path

from ksweep.analysis.formats import MISSING, is_share, number, one_line, plural, table
from ksweep.analysis.load import SEED, RunRecord, SweepState, find_sweep, load_sweep
from ksweep.analysis.ranking import Spread
from ksweep.analysis.regression import Change, Comparison, Difference, Pair, Tracked, compare_sweeps, goals_of
from ksweep.cli.results_argument import positive_int
from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import is_measured
from ksweep.contract.outcome import Status
from ksweep.space.objective import Goal

_RUNS_SHOWN = 5
_SYMBOLS_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("old", metavar="A", type=Path, help="the old sweep, or a directory of sweeps: the newest in it")
    parser.add_argument("new", metavar="B", type=Path, help="the new sweep")
    parser.add_argument("--metrics", metavar="M", default="", help='what is tracked, "val_acc step_time_s" (default: A\'s goals)')
    parser.add_argument("--top", metavar="N", type=positive_int, default=20, help="settings shown (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    old, new = (load_sweep(find_sweep(path)) for path in (args.old, args.new))
    if old.dir.path.resolve() == new.dir.path.resolve():
        raise RequestError(f"{args.old}, {args.new}: both are {old.dir.path}; name two sweeps: A=old B=new")
    comparison = compare_sweeps(old, new, goals_of(old, args.metrics))
    print("\n\n".join(block for block in _blocks(comparison, args.top) if block))
    return 1 if comparison.is_worse else 0


def _blocks(comparison: Comparison, top: int) -> list[str]:
    return [
        _head(comparison),
        _runs_block("PASSED IN A, FAILED IN B", [pair.new for pair in comparison.broken]),
        *(
            _runs_block(f"PASSED IN BOTH, WITHOUT {one_line(each.goal.text)} IN B", [pair.new for pair in each.lost])
            for each in comparison.tracked
        ),
        *(_tracked_block(comparison, each, top) for each in comparison.tracked),
        "\n".join(_left_over(comparison)),
        _conclusion(comparison),
    ]


def _head(comparison: Comparison) -> str:
    settings = len({tuple(sorted(_setting(pair.old).items())) for pair in comparison.pairs})
    lines = [f"{letter}: {_sweep_line(state)}" for letter, state in (("A", comparison.old), ("B", comparison.new))]
    lines.append(f"in common: {plural(settings, 'setting')}, {plural(len(comparison.pairs), 'run')} of the same seed")
    if comparison.fixed:
        shown = [f"{name} {one_line(old)} -> {one_line(new)}" for name, old, new in comparison.fixed[:_SYMBOLS_SHOWN]]
        more = f", and {len(comparison.fixed) - _SYMBOLS_SHOWN} more" if len(comparison.fixed) > _SYMBOLS_SHOWN else ""
        lines.append(f"not swept, and yet different: {', '.join(shown)}{more}")
    return "\n".join(lines)


def _sweep_line(state: SweepState) -> str:
    record = state.record
    commit = str(record.git.get("commit") or "")[:12]
    dirty = ", with uncommitted changes" if record.git.get("dirty") else ""
    counts = ", ".join(f"{count} {status}" for status, count in state.counts.items())
    return f"{state.dir.path}  {one_line(record.name)}  {counts}" + (f"  commit {one_line(commit)}{dirty}" if commit else "")


def _setting(run: RunRecord) -> dict[str, str]:
    return {name: value for name, value in run.point.values.items() if name != SEED}


def _runs_block(title: str, runs: list[RunRecord]) -> str:
    if not runs:
        return ""
    lines = [f"  {run.config}  {_values(run)}  {run.status}{': ' + one_line(run.reason) if run.reason else ''}" for run in runs]
    more = [f"  and {len(runs) - _RUNS_SHOWN} more"] if len(runs) > _RUNS_SHOWN else []
    return "\n".join([f"{title} ({plural(len(runs), 'run')}):", *lines[:_RUNS_SHOWN], *more])


def _values(run: RunRecord) -> str:
    return one_line(" ".join(f"{name}={value}" for name, value in run.point.values.items()))


# -- one metric ----------------------------------------------------------------------------------------------------


def _tracked_block(comparison: Comparison, tracked: Tracked, top: int) -> str:
    goal, columns = tracked.goal, _telling_columns(comparison, tracked)
    headers = [*columns, "seeds", "A", "B", "B - A", "95 % interval", "p", ""]
    rows = [
        [*(one_line(each.values.get(name, MISSING)) for name in columns), *_numbers(goal, each)]
        for each in tracked.settings[:top]
    ]
    lines = [f"{one_line(goal.text)} ({'larger' if goal.is_maximized else 'smaller'} is better), the worst first:"]
    if len(tracked.settings) > 1:
        lines += table(headers, rows, left=[*columns, ""])
        lines.append("interval: of each setting alone; p: after Holm's correction for their number, worse or better below 0.05")
    hidden = [each.change for each in tracked.settings[top:]]
    if hidden:
        counts = ", ".join(f"{hidden.count(change)} {change}" for change in Change if change in hidden)
        lines.append(f"and {plural(len(hidden), 'more setting')}: {counts}")
    return "\n".join([*lines, _overall_line(tracked)])


def _telling_columns(comparison: Comparison, tracked: Tracked) -> list[str]:
    """Symbols in which the matched settings differ."""
    return [name for name in comparison.columns if len({each.values.get(name) for each in tracked.settings}) > 1]


def _numbers(goal: Goal, each: Difference) -> list[str]:
    old, new = number(goal.text, each.old), number(goal.text, each.new)
    p = MISSING if each.p_value is None else _p_text(each.p_value)
    return [str(each.spread.n), old, new, _signed(goal, each.spread.mean), _interval(goal, each.spread), p, each.change]


def _p_text(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _signed(goal: Goal, value: float | None) -> str:
    """With its sign; shares in percentage points, to a hundredth of one."""
    if value is None:
        return MISSING
    text = f"{100 * value:.2f}%" if is_share(goal.text) else number(goal.text, value)
    return f"+{text}" if value > 0 else text


def _interval(goal: Goal, spread: Spread) -> str:
    if spread.mean is None or spread.half_width is None:
        return MISSING
    return f"{_signed(goal, spread.mean - spread.half_width)} .. {_signed(goal, spread.mean + spread.half_width)}"


def _overall_line(tracked: Tracked) -> str:
    goal, overall = tracked.goal, tracked.overall
    of = plural(overall.spread.n, "setting" if len(tracked.settings) > 1 else "seed")
    line = (
        f"overall: {overall.change}: {number(goal.text, overall.old)} -> {number(goal.text, overall.new)}, "
        f"{_signed(goal, overall.spread.mean)} (95 % interval {_interval(goal, overall.spread)}, {of}"
    )
    line += ")" if overall.p_value is None else f", p {_p_text(overall.p_value)})"
    if overall.change is Change.UNKNOWN:
        line += "\n  the noise is not known: too few pairs of runs, or the same difference in all; run more seeds or settings"
    if any(is_measured(name) for name in goal.names):
        line += "\n  measured on the machine: load and clock of the two sweeps are in it"
    return line


# -- the rest ------------------------------------------------------------------------------------------------------


def _left_over(comparison: Comparison) -> list[str]:
    blocks = (
        ("only in A", comparison.only_old),
        ("only in B", comparison.only_new),
        ("not compared, as it has not finished in both", [_unfinished(pair) for pair in comparison.open]),
        ("failed in A, passed in B", [pair.new for pair in comparison.mended]),
    )
    return [block for title, runs in blocks if (block := _runs_block(title, runs))]


def _unfinished(pair: Pair) -> RunRecord:
    return pair.old if not pair.old.status.is_final or pair.old.status is Status.PRUNED else pair.new


def _where_worse(tracked: Tracked) -> str:
    """`overall; 2 settings alone`, empty where nothing became worse."""
    num_worse = sum(setting.change is Change.WORSE for setting in tracked.settings)
    alone = f"{plural(num_worse, 'setting')} alone" if num_worse and len(tracked.settings) > 1 else ""
    return "; ".join(part for part in ("overall" if tracked.overall.change is Change.WORSE else "", alone) if part)


def _conclusion(comparison: Comparison) -> str:
    num_identical, num_passed = comparison.identical
    if num_passed and num_identical == num_passed and not comparison.is_worse:
        return f"same to the last bit: the final metrics of {plural(num_passed, 'pair')} of runs, times and memory aside"
    notes = [f"{num_identical} of {num_passed} pairs agree to the last bit, times and memory aside"] if num_identical else []
    if not comparison.is_worse:
        unknown = [one_line(each.goal.text) for each in comparison.tracked if each.overall.change is Change.UNKNOWN]
        notes.append(
            f"whether {' and '.join(unknown)} became worse is not known; all else did not, beyond noise"
            if unknown
            else "nothing became worse beyond noise"
        )
        return "\n".join(notes)
    reasons = [f"{one_line(each.goal.text)} ({where})" for each in comparison.tracked if (where := _where_worse(each))]
    reasons += [f"{one_line(each.goal.text)} (missing)" for each in comparison.tracked if each.lost]
    reasons += (
        [f"{plural(len(comparison.broken), 'run')} that passed and now {'fail' if len(comparison.broken) > 1 else 'fails'}"]
        if comparison.broken
        else []
    )
    return "\n".join([*notes, f"B IS WORSE THAN A: {', '.join(reasons)}"])
