"""The ranking in words: a leaderboard for the terminal, and sweep_analysis.txt. What went wrong always comes first."""

import textwrap
from typing import TYPE_CHECKING

from ksweep.analysis.formats import (
    MISSING,
    duration,
    is_share,
    mean_and_interval,
    mean_and_spread,
    metric_name,
    number,
    one_line,
    path_from_here,
    plural,
    table,
)
from ksweep.analysis.load import RunRecord, SweepState, load_sweep
from ksweep.analysis.ranking import MANY_SEEDS, Group, Ranking, Verdict, rank, seeds_to_separate
from ksweep.contract.outcome import Status
from ksweep.contract.paths import SweepDir
from ksweep.space.objective import Goal

if TYPE_CHECKING:
    from ksweep.analysis.findings import Findings

_RULE = "=" * 60
_THIN = "-" * 40
_INDENT = " " * 3
_CONFIGS_SHOWN = 8
_FAILURES_SHOWN = 5  # on the terminal; the file has all
_INFEASIBLE_SHOWN = 50  # in the file; the summary has all
_VERDICTS = {Verdict.BEST: "best", Verdict.TIED: "tied", Verdict.BEHIND: "behind", Verdict.UNKNOWN: "unknown"}


def ranking_text(sweep_dir: SweepDir, *, top: int = 10, width: int | None = None) -> str:
    """The `top` best settings of a sweep as it stands, what failed, and how far it is. Needs no pandas: some milliseconds."""
    state = load_sweep(sweep_dir)
    return leaderboard(state, rank(state), top=top, width=width)


def leaderboard(state: SweepState, ranking: Ranking, *, top: int, width: int | None = None) -> str:
    """The ranking as a table for the terminal. Where that is wider than `width` columns, values stand below their setting."""
    blocks = [_failures_below(state), f"{one_line(state.record.name)}: {counts_text(state)}"]
    if ranking.ranked:
        blocks += ["\n".join(_ranking_table(ranking, top, width)), _wrapped(legend(ranking), width)]
    else:
        blocks.append(why_no_ranking(state, ranking))
    blocks.append("\n".join(_infeasible_table(ranking, top)))
    bad = state.bad_runs
    if bad:
        more = [f"  and {len(bad) - _FAILURES_SHOWN} more"] if len(bad) > _FAILURES_SHOWN else []
        blocks.append("\n".join([line for run in bad[:_FAILURES_SHOWN] for line in _failure(run)] + more))
    return "\n\n".join(block for block in blocks if block)


def _wrapped(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def analysis_text(findings: "Findings") -> str:
    """The whole of sweep_analysis.txt, its newline at the end included."""
    from ksweep.analysis.effects_text import effects_block, fidelity_block  # a leaderboard needs none of it

    state, ranking = findings.state, findings.ranking
    blocks = [_failures_below(state), f"Hyperparameter Sweep Analysis\n{_RULE}", "\n".join(_overview(state, ranking))]
    if ranking.has_fronts and ranking.best:
        blocks += ["\n".join(_front_block(ranking)), "\n".join(_beaten_block(ranking))]
    elif ranking.best:
        blocks += ["\n".join(_best_block(ranking, ranking.best)), "\n".join(_top_block(ranking))]
    else:
        blocks.append(why_no_ranking(state, ranking))
    blocks += ["\n".join(_infeasible_block(ranking)), "\n".join(_pruned_block(state))]
    blocks += ["\n".join(effects_block(findings)), "\n".join(fidelity_block(findings))]
    if state.bad_runs:
        failures = [line for run in state.bad_runs for line in _failure(run)]
        blocks.append("\n".join([_RULE, "FAILURES:", _THIN, "", *failures]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _failures_below(state: SweepState) -> str:
    notice = failure_notice(state)
    return f"{notice}; reasons and logs are below." if notice else ""


def failure_notice(state: SweepState) -> str:
    """One line that says that runs ended badly, empty when none did."""
    bad = state.bad_runs
    if not bad:
        return ""
    kinds = [run.status for run in bad]
    by_status = ", ".join(f"{kinds.count(status)} {status}" for status in Status if status in kinds)
    which = "ALL" if len(bad) == len(state.runs) else f"{len(bad)} OF"
    return f"{which} {len(state.runs)} RUNS FAILED ({by_status})"


def counts_text(state: SweepState) -> str:
    """`12 runs: 10 passed, 1 oom, 1 planned`."""
    return f"{plural(len(state.runs), 'run')}: " + ", ".join(f"{count} {status}" for status, count in state.counts.items())


def why_no_ranking(state: SweepState, ranking: Ranking) -> str:
    if not ranking.objective:
        return "No ranking: the sweep has no objective (CONFIG_SWEEP_OBJECTIVE is empty)."
    yet = state.num_finished < len(state.runs)
    if ranking.infeasible:
        which = one_line(", ".join(constraint.text for constraint in ranking.objectives.constraints))
        return f"No best configuration{' yet' if yet else ''}: no setting keeps to {which}; by how much is below."
    objective = one_line(ranking.objectives.text)
    if yet:
        return f"No ranking yet: no run has passed with a value of {objective}."
    return f"No ranking and no best configuration: no run passed with a value of {objective}."


def _overview(state: SweepState, ranking: Ranking) -> list[str]:
    from ksweep.analysis.totals import totals, totals_lines

    done, total, record = state.num_finished, len(state.runs), state.record
    lines = [f"Total configurations tested: {done}" + (f" of {total}; the rest is not finished" if done < total else "")]
    if ranking.has_repeats:
        num_settings = len(ranking.ranked) + len(ranking.infeasible) + len(ranking.unranked)
        lines.append(f"Distinct settings: {num_settings} (those that differ only in SEED are one)")
    lines.append("Status: " + counts_text(state).split(": ", 1)[1])
    if record.strategy != "grid":
        sampler = record.sampler if record.sampler not in ("", record.strategy) else ""
        lines.append(f"Strategy: {one_line(record.strategy)}" + (f", points by {one_line(sampler)}" if sampler else ""))
    if ranking.objective:
        lines.append(f"Ranked by: {criterion(ranking)}")
    if ranking.objectives.constraints:
        constraints = one_line(", ".join(constraint.text for constraint in ranking.objectives.constraints))
        lines.append(f"Constraints: {constraints}; {len(ranking.ranked)} keep to them, {len(ranking.infeasible)} do not")
    return lines + totals_lines(totals(state))


def criterion(ranking: Ranking) -> str:
    of = f", {ranking.aggregate} over seeds" if ranking.has_repeats else ""
    if ranking.has_fronts:
        goals = ", ".join(f"{one_line(goal.text)} ({_better(goal)} is better)" for goal in ranking.objectives.goals)
        text = f"Pareto fronts over {goals}{of}"
    else:
        text = f"{one_line(ranking.objective)}{of}, {_better(ranking.objectives.goals[0])} is better"
    if is_selected_on_test(ranking):
        text += "; selected on the test set, so the best value is optimistic"
    return text


def is_selected_on_test(ranking: Ranking) -> bool:
    """True when a goal is made of test metrics, and there is more than one setting to select from."""
    settings = [*ranking.ranked, *ranking.infeasible, *ranking.unranked]
    return len(settings) > 1 and any(name.startswith("test_") for goal in ranking.objectives.goals for name in goal.names)


def _better(goal: Goal) -> str:
    return "larger" if goal.is_maximized else "smaller"


def _best_block(ranking: Ranking, best: Group) -> list[str]:
    configs = [run.config for run in best.counted]
    lines = ["BEST CONFIGURATION:", _THIN, f"Config file{'s' if len(configs) > 1 else ''}: {_some(configs)}"]
    if ranking.objective not in ("test_acc", "final_sparsity"):
        lines.append(f"{metric_name(ranking.objective)}: {with_interval(best)}")
    others = dict.fromkeys([*ranking.parts, *(ranking.tests_of([best]) or ["test_acc"])])
    lines += [f"{metric_name(name)}: {mean_and_spread(name, best.over(name))}" for name in others]
    lines.append(f"Final Sparsity: {mean_and_spread('final_sparsity', best.over('final_sparsity'))}")
    lines.append(f"Training Time: {_seconds(best)}")
    lines += [f"Constraint: {text}" for text in kept_and_broken(ranking, best)]
    if len(best.runs) > 1:
        lines.append(f"Seeds: {_some([run.seed or MISSING for run in best.counted])}{incomplete(best)}")
    lines += ["", "Hyperparameters:"]
    lines += [f"  CONFIG_{name}={one_line(value)}" for name, value in best.values.items()] or ["  (nothing was swept)"]
    return lines + [f"\n{note}" for note in notes_on_best(ranking)]


def notes_on_best(ranking: Ranking) -> list[str]:
    """How far the best setting can be believed: a sentence each."""
    best = ranking.best
    if best is None or ranking.has_fronts:
        return []
    notes = []
    tied = sum(group.verdict is Verdict.TIED for group in ranking.ranked)
    equal = sum(group.rank == 1 for group in ranking.ranked[1:])
    if equal:
        notes.append(f"As good to the last digit: {plural(equal, 'setting')} (rank 1 as well); this one was planned first.")
    if tied:
        notes.append(f"Not distinguishable from it: {plural(tied, 'setting')} (tied, see below).")
    if len(ranking.ranked) > 1:
        notes += _note_on_second(ranking)
    if len(ranking.ranked) > 1 and best.score.n < 2:
        notes.append("One seed: how much of its lead is chance is not known (repeat: CONFIG_SWEEP_REPEATS=3).")
    if is_selected_on_test(ranking):
        notes.append("It was selected on the test set, so its test numbers are optimistic.")
    elif len(ranking.ranked) > 1:
        text = f"Its {one_line(ranking.objective)} is the best of {len(ranking.ranked)}, and such a one tends to be optimistic"
        has_test = ranking.tests_of([best]) or best.over("test_loss").n
        notes.append(f"{text}; test numbers were not used to choose it." if has_test else f"{text}.")
    return notes


def _note_on_second(ranking: Ranking) -> list[str]:
    """Against the first two: their difference, and what it would take to tell them apart."""
    second = ranking.ranked[1]
    found, name = second.difference, second.objective
    if found is None or found.mean is None or found.half_width is None or second.p_value is None:
        return []
    unit, scale = (" points", 100) if is_share(name) else ("", 1)
    low, high = (f"{scale * (found.mean + side * found.half_width):+.3g}" for side in (-1, 1))
    in_what = " in the mean" if ranking.aggregate == "median" else ""
    text = (
        f"The second, {second.counted[0].config}, differs{in_what} by {scale * found.mean:+.3g}{unit} "
        f"(95% interval {low} to {high}, {plural(found.n, 'seed')} paired, p {p_text(second.p_value)} after Holm)."
    )
    more = seeds_to_separate(ranking)
    if more is None:
        return [text]
    many = f"{MANY_SEEDS} or more" if more == MANY_SEEDS else f"about {more} more"
    return [f"{text} If that is the true difference, {many} seeds each would show it (4 times out of 5)."]


def p_text(p: float) -> str:
    """`0.031`, `< 0.0001`."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def with_interval(group: Group) -> str:
    score = group.score
    if score.n < 2:
        text = mean_and_spread(group.objective, score)
        return f"{text} (one seed: no spread known)" if len(group.runs) > 1 else text
    return mean_and_interval(group.objective, score)


def _top_block(ranking: Ranking) -> list[str]:
    lines = [_RULE, "TOP 10 CONFIGURATIONS:", _THIN]
    for group in ranking.ranked[:10]:
        lines += ["", f"{group.rank}. {_some([run.config for run in group.counted])}", *_details(ranking, group)]
    notes = legend(ranking)
    return [*lines, "", notes] if notes else lines


def _details(ranking: Ranking, group: Group) -> list[str]:
    """What there is to say about one setting, below its configs."""
    lines = [" | ".join(_scores(ranking, group)), "; ".join(kept_and_broken(ranking, group))]
    if group.values:
        lines.append(" ".join(f"CONFIG_{name}={one_line(value)}" for name, value in group.values.items()))
    if len(group.runs) > 1:
        lines.append(f"{_against_best(group)}{incomplete(group)}".removeprefix("; "))
    return [f"   {line}" for line in lines if line]


def _front_block(ranking: Ranking) -> list[str]:
    from ksweep.analysis.effects_text import front_facts_block

    front = ranking.front
    what = "no other is at least as good in every objective and better in one: a choice, not a winner"
    lines = ["PARETO FRONT:", _THIN, f"{plural(len(front), 'setting')} of {len(ranking.ranked)}: than these, {what}."]
    lines += front_facts_block(ranking)
    for group in front:
        lines += ["", _some([run.config for run in group.counted]), *_details(ranking, group)]
    return lines


def _beaten_block(ranking: Ranking) -> list[str]:
    beaten = ranking.ranked[len(ranking.front) :]
    lines = [_RULE, "NEXT 10 CONFIGURATIONS, BY FRONT:", _THIN] if beaten else [_RULE]
    for group in beaten[:10]:
        lines += ["", f"front {group.rank}: {_some([run.config for run in group.counted])}", *_details(ranking, group)]
    notes = legend(ranking)
    return [*lines, "", notes] if notes else lines[1:]


def _infeasible_block(ranking: Ranking) -> list[str]:
    if not ranking.infeasible:
        return []
    lines = [_RULE, "CONSTRAINTS BROKEN, THE NEAREST FIRST:", _THIN]
    for group in ranking.infeasible[:_INFEASIBLE_SHOWN]:
        lines += ["", _some([run.config for run in group.counted]), *_details(ranking, group)]
    hidden = len(ranking.infeasible) - _INFEASIBLE_SHOWN
    return [*lines, "", f"... and {hidden} more, in sweep_summary.csv"] if hidden > 0 else lines


def kept_and_broken(ranking: Ranking, group: Group) -> list[str]:
    """`keeps val_acc >= 0.95, 0.0123 to spare`, `breaks ... by 0.02`: the mean over seeds."""
    lines = []
    for constraint, violation in zip(ranking.objectives.constraints, group.violations, strict=True):
        text = one_line(constraint.text)
        if violation is None:
            lines.append(f"breaks {text}: it cannot be computed from the metrics")
        else:
            lines.append(f"breaks {text} by {violation:.3g}" if violation > 0 else f"keeps {text}, {abs(violation):.3g} to spare")
    return lines


def _pruned_block(state: SweepState) -> list[str]:
    """What stopping runs early has saved, in epochs; nothing where none was stopped."""
    if not state.counts.get(Status.PRUNED):
        return []
    from ksweep.analysis.effort import effort

    found = effort(state)
    lines = [_RULE, "RUNS THAT WERE STOPPED EARLY:", _THIN]
    if found.full:
        lines.append(f"Spent {found.spent} of {found.full} epochs ({100 * found.spent / found.full:.1f} %)")
    rows = [[str(epoch), str(count)] for epoch, count in found.stopped_at.items()]
    return [*lines, "", *table(["stopped after epoch", "runs"], rows)]


def _scores(ranking: Ranking, group: Group) -> list[str]:
    shown = [
        f"{metric_name(goal.text, short=True)}: {mean_and_spread(goal.text, score)}"
        for goal, score in zip(group.goals, group.scores, strict=True)
    ]
    shown[-1] += f" (n={group.score.n})" if len(group.runs) > 1 else ""
    tests = ranking.tests_of([group]) or ["test_acc"]
    others = [
        *(f"{metric_name(name, short=True)}: {number(name, group.over(name).center)}" for name in tests),
        f"Sparsity: {number('final_sparsity', group.over('final_sparsity').center)}",
        f"Time: {_seconds(group)}",
    ]
    return others if group.objective == "test_acc" and len(group.runs) == len(group.goals) == 1 else [*shown, *others]


def _against_best(group: Group) -> str:
    p = "" if group.p_value is None else f" (p {p_text(group.p_value)})"
    return {
        Verdict.BEST: "best",
        Verdict.TIED: f"tied with the best: the difference is within noise{p}",
        Verdict.BEHIND: f"behind the best by more than noise{p}",
        Verdict.UNKNOWN: "whether it is behind the best is not known: their difference has no spread over seeds",
        None: "",
    }[group.verdict]


def incomplete(group: Group) -> str:
    """Says so when runs of a setting are missing from its mean."""
    missing = [run.status for run in group.runs if run not in group.counted]
    if not missing:
        return ""
    why = ", ".join(f"{missing.count(status)} {status}" for status in Status if status in missing)
    return f"; {group.score.n} of {len(group.runs)} seeds count ({why})"


def _failure(run: RunRecord) -> list[str]:
    attempt = f", attempt {run.result.attempt}" if run.result and run.result.attempt > 1 else ""
    values = " ".join(f"{name}={value}" for name, value in run.point.values.items())
    lines = [f"{run.config}: {run.status}{attempt}: {one_line(run.reason) or 'no reason given'}"]
    lines += [f"   {one_line(values)}"] if values else []
    return [*lines, f"   log: {one_line(path_from_here(run.dir.log))}"]


def _seconds(group: Group) -> str:
    """In the form of the seed's report, `1842.3s`, so that scripts that read it go on working."""
    mean = group.wall_s.mean
    return MISSING if mean is None else f"{mean:.1f}s"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _CONFIGS_SHOWN} more" if len(names) > _CONFIGS_SHOWN else ""
    return ", ".join(names[:_CONFIGS_SHOWN]) + more


def _ranking_table(ranking: Ranking, top: int, width: int | None) -> list[str]:
    shown, columns = ranking.ranked[:top], ranking.columns
    lines = _ranking_lines(ranking, shown, columns)
    if width is not None and columns and max(map(len, lines)) > width:
        lines = _ranking_lines(ranking, shown, [])
        first = len(lines) - len(shown)
        folded = ([line, *_folded(group, width)] for line, group in zip(lines[first:], shown, strict=True))
        lines = [*lines[:first], *(line for block in folded for line in block)]
    hidden = len(ranking.ranked) - len(shown)
    return [*lines, f"... and {hidden} more"] if hidden > 0 else lines


def _ranking_lines(ranking: Ranking, shown: list[Group], columns: list[str]) -> list[str]:
    names = [goal.text for goal in ranking.objectives.goals]
    tests = [] if "test_acc" in names else (ranking.tests_of(shown) or ["test_acc"])[:1]
    others = [*ranking.parts, *(test for test in tests if test not in ranking.parts)]
    repeats = ranking.has_repeats
    compares = repeats and not ranking.has_fronts
    headers = ["front" if ranking.has_fronts else "#", *map(one_line, names), *(["n"] if repeats else [])]
    headers += [*map(one_line, others), "time", *(["against best"] if compares else []), *columns, "config"]
    rows = []
    for group in shown:
        row = [str(group.rank), *map(mean_and_spread, names, group.scores)]
        row += [_num_of(group)] if repeats else []
        row += [mean_and_spread(other, group.over(other)) for other in others]
        row += [duration(group.wall_s.mean)]
        row += [_VERDICTS[group.verdict] if group.verdict else ""] if compares else []
        row += [one_line(group.values.get(name, MISSING)) for name in columns]
        rows.append([*row, _config_cell(group)])
    return table(headers, rows, left=["against best", *columns, "config"])


def _folded(group: Group, width: int) -> list[str]:
    """The values of a setting, on as many lines as they need."""
    text = " ".join(f"{name}={one_line(value)}" for name, value in group.values.items())
    return textwrap.wrap(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False)


def _infeasible_table(ranking: Ranking, top: int) -> list[str]:
    names = [goal.text for goal in ranking.objectives.goals]
    shown = ranking.infeasible[:top]
    if not shown:
        return []
    rows = []
    for group in shown:
        broken = "; ".join(text for text in kept_and_broken(ranking, group) if text.startswith("breaks"))
        rows.append([*map(mean_and_spread, names, group.scores), broken, _config_cell(group)])
    lines = table([*map(one_line, names), "not ranked, as it", "config"], rows, left=["not ranked, as it", "config"])
    hidden = len(ranking.infeasible) - len(rows)
    return [*lines, f"... and {hidden} more"] if hidden > 0 else lines


def _num_of(group: Group) -> str:
    return str(group.score.n) if group.score.n == len(group.runs) else f"{group.score.n} of {len(group.runs)}"


def _config_cell(group: Group) -> str:
    first, *others = [run.config for run in group.counted]
    return f"{first} (+{len(others)})" if others else first


def legend(ranking: Ranking) -> str:
    lines = [f"Ranked by {criterion(ranking)}."] if len(ranking.ranked) > 1 else []
    if ranking.has_fronts:
        if len(ranking.ranked) > 1:
            lines.append("front 1: no other setting is at least as good in every objective and better in one; 2: none but those.")
        if ranking.has_repeats:
            lines.append(
                "±: sample standard deviation over n seeds. Fronts are made of the values before it, whatever the noise."
            )
    elif ranking.has_repeats:
        lines += [
            "±: sample standard deviation over n seeds. tied: the difference from the best, paired by seed, is within noise",
            "(t test, p of 0.05 or more after Holm's correction for all settings); behind: it is worse by more; unknown: that",
            "difference has no spread, with fewer than 2 seeds in common or the same difference on all.",
        ]
        if ranking.aggregate == "median":
            lines.append("Medians make the order; the test is of the mean difference, which one far-off seed can blur.")
    elif len(ranking.ranked) > 1:
        lines.append("One seed each: no spread is known, so close ranks may be chance (repeat them: CONFIG_SEED=1|2|3).")
    if ranking.unranked:
        pruned = sum(run.status is Status.PRUNED for group in ranking.unranked for run in group.runs)
        stopped = f" ({plural(pruned, 'run')} stopped early)" if pruned else ""
        is_mixed = any(run.status is Status.PASSED for group in ranking.unranked for run in group.runs) and pruned
        why = "as not all of their seeds ran to the end" if is_mixed else "for want of a run that passed"
        lines.append(f"Not ranked, {why}: {plural(len(ranking.unranked), 'setting')}{stopped}.")
    return "\n".join(lines)
