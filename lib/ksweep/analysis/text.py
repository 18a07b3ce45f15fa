"""The ranking in words: a leaderboard for the terminal, and sweep_analysis.txt. What went wrong always comes first."""

from pathlib import Path

from ksweep.analysis.formats import MISSING, duration, is_share, mean_and_spread, metric_name, number, one_line, plural, table
from ksweep.analysis.load import RunRecord, SweepState, load_sweep
from ksweep.analysis.ranking import Group, Ranking, Verdict, rank
from ksweep.contract.outcome import Status
from ksweep.contract.paths import SweepDir

_RULE = "=" * 60
_THIN = "-" * 40
_CONFIGS_SHOWN = 8
_FAILURES_SHOWN = 5  # on the terminal; the file has all
_VERDICTS = {Verdict.BEST: "best", Verdict.TIED: "tied", Verdict.BEHIND: "behind", Verdict.UNKNOWN: "unknown"}


def ranking_text(sweep_dir: SweepDir, *, top: int = 10) -> str:
    """The `top` best settings of a sweep as it stands, what failed, and how far it is. Needs no pandas: some milliseconds."""
    state = load_sweep(sweep_dir)
    return leaderboard(state, rank(state), top=top)


def leaderboard(state: SweepState, ranking: Ranking, *, top: int) -> str:
    """The ranking as a table for the terminal."""
    blocks = [_failures_below(state), f"{one_line(state.record.name)}: {counts_text(state)}"]
    if ranking.ranked:
        blocks += ["\n".join(_ranking_table(ranking, top)), _legend(ranking)]
    else:
        blocks.append(_why_no_ranking(state, ranking))
    bad = state.bad_runs
    if bad:
        more = [f"  and {len(bad) - _FAILURES_SHOWN} more"] if len(bad) > _FAILURES_SHOWN else []
        blocks.append("\n".join([line for run in bad[:_FAILURES_SHOWN] for line in _failure(run)] + more))
    return "\n\n".join(block for block in blocks if block)


def analysis_text(state: SweepState, ranking: Ranking) -> str:
    """The whole of sweep_analysis.txt, its newline at the end included."""
    blocks = [_failures_below(state), f"Hyperparameter Sweep Analysis\n{_RULE}", "\n".join(_overview(state, ranking))]
    if ranking.best:
        blocks += ["\n".join(_best_block(ranking, ranking.best)), "\n".join(_top_block(ranking))]
    else:
        blocks.append(_why_no_ranking(state, ranking))
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


def _why_no_ranking(state: SweepState, ranking: Ranking) -> str:
    if not ranking.objective:
        return "No ranking: the sweep has no objective (CONFIG_SWEEP_OBJECTIVE is empty)."
    if state.num_finished < len(state.runs):
        return f"No ranking yet: no run has passed with a value of {one_line(ranking.objective)}."
    return f"No ranking and no best configuration: no run passed with a value of {one_line(ranking.objective)}."


def _overview(state: SweepState, ranking: Ranking) -> list[str]:
    done, total = state.num_finished, len(state.runs)
    lines = [f"Total configurations tested: {done}" + (f" of {total}; the rest is not finished" if done < total else "")]
    if ranking.has_repeats:
        lines.append(f"Distinct settings: {len(ranking.ranked) + len(ranking.unranked)} (those that differ only in SEED are one)")
    lines.append("Status: " + counts_text(state).split(": ", 1)[1])
    if ranking.objective:
        lines.append(f"Ranked by: {_criterion(ranking)}")
    return lines


def _criterion(ranking: Ranking) -> str:
    better = "smaller" if ranking.direction == "minimize" else "larger"
    of = ", mean over seeds" if ranking.has_repeats else ""
    text = f"{one_line(ranking.objective)}{of}, {better} is better"
    if ranking.objective.startswith("test_"):
        text += "; selected on the test set, so the best value is optimistic"
    return text


def _best_block(ranking: Ranking, best: Group) -> list[str]:
    configs = [run.config for run in best.counted]
    lines = ["BEST CONFIGURATION:", _THIN, f"Config file{'s' if len(configs) > 1 else ''}: {_some(configs)}"]
    if ranking.objective not in ("test_acc", "final_sparsity"):
        lines.append(f"{metric_name(ranking.objective)}: {_with_interval(best)}")
    lines.append(f"Test Accuracy: {mean_and_spread('test_acc', best.over('test_acc'))}")
    lines.append(f"Final Sparsity: {mean_and_spread('final_sparsity', best.over('final_sparsity'))}")
    lines.append(f"Training Time: {_seconds(best)}")
    if len(best.runs) > 1:
        lines.append(f"Seeds: {_some([run.seed or MISSING for run in best.counted])}{_incomplete(best)}")
    lines += ["", "Hyperparameters:"]
    lines += [f"  CONFIG_{name}={one_line(value)}" for name, value in best.values.items()] or ["  (nothing was swept)"]
    tied = sum(group.verdict is Verdict.TIED for group in ranking.ranked)
    if tied:
        lines += ["", f"Not distinguishable from it: {plural(tied, 'setting')} (tied, see below)."]
    return lines


def _with_interval(group: Group) -> str:
    score = group.score
    text = mean_and_spread(group.objective, score)
    if score.mean is None or score.half_width is None:
        return f"{text} (one seed: no spread known)" if len(group.runs) > 1 else text
    ends = [score.mean - score.half_width, score.mean + score.half_width]
    if is_share(group.objective):  # that of two or three seeds easily passes the ends of the scale
        ends = [min(max(end, 0.0), 1.0) for end in ends]
    low, high = (number(group.objective, end) for end in ends)
    return f"{text} (n={score.n}, 95% interval of the mean {low} to {high})"


def _top_block(ranking: Ranking) -> list[str]:
    lines = [_RULE, "TOP 10 CONFIGURATIONS:", _THIN]
    for group in ranking.ranked[:10]:
        lines += ["", f"{group.rank}. {_some([run.config for run in group.counted])}", f"   {' | '.join(_scores(group))}"]
        if group.values:
            lines.append("   " + " ".join(f"CONFIG_{name}={one_line(value)}" for name, value in group.values.items()))
        if len(group.runs) > 1:
            lines.append(f"   {_against_best(group)}{_incomplete(group)}")
    notes = _legend(ranking)
    return [*lines, "", notes] if notes else lines


def _scores(group: Group) -> list[str]:
    score = f"{metric_name(group.objective, short=True)}: {mean_and_spread(group.objective, group.score)}"
    score += f" (n={group.score.n})" if len(group.runs) > 1 else ""
    others = [
        f"Test Acc: {number('test_acc', group.over('test_acc').mean)}",
        f"Sparsity: {number('final_sparsity', group.over('final_sparsity').mean)}",
        f"Time: {_seconds(group)}",
    ]
    return others if group.objective == "test_acc" and len(group.runs) == 1 else [score, *others]


def _against_best(group: Group) -> str:
    return {
        Verdict.BEST: "best",
        Verdict.TIED: "tied with the best: the difference is within noise",
        Verdict.BEHIND: "behind the best by more than noise",
        Verdict.UNKNOWN: "whether it is behind the best is not known: their difference has no spread over seeds",
        None: "",
    }[group.verdict]


def _incomplete(group: Group) -> str:
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
    return [*lines, f"   log: {one_line(_from_here(run.dir.log))}"]


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _seconds(group: Group) -> str:
    """In the form of the seed's report, `1842.3s`, so that scripts that read it go on working."""
    mean = group.wall_s.mean
    return MISSING if mean is None else f"{mean:.1f}s"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _CONFIGS_SHOWN} more" if len(names) > _CONFIGS_SHOWN else ""
    return ", ".join(names[:_CONFIGS_SHOWN]) + more


def _ranking_table(ranking: Ranking, top: int) -> list[str]:
    has_test = ranking.objective != "test_acc"
    repeats = ranking.has_repeats
    headers = ["#", ranking.objective, *(["n"] if repeats else []), *(["test_acc"] if has_test else []), "time"]
    headers += [*(["against best"] if repeats else []), *ranking.columns, "config"]
    rows = []
    for group in ranking.ranked[:top]:
        row = [str(group.rank), mean_and_spread(ranking.objective, group.score)]
        row += [_num_of(group)] if repeats else []
        row += [mean_and_spread("test_acc", group.over("test_acc"))] if has_test else []
        row += [duration(group.wall_s.mean)]
        row += [_VERDICTS[group.verdict] if group.verdict else ""] if repeats else []
        row += [one_line(group.values.get(name, MISSING)) for name in ranking.columns]
        rows.append([*row, _config_cell(group)])
    lines = table(headers, rows, left=["against best", *ranking.columns, "config"])
    hidden = len(ranking.ranked) - len(rows)
    return [*lines, f"... and {hidden} more"] if hidden > 0 else lines


def _num_of(group: Group) -> str:
    return str(group.score.n) if group.score.n == len(group.runs) else f"{group.score.n} of {len(group.runs)}"


def _config_cell(group: Group) -> str:
    first, *others = [run.config for run in group.counted]
    return f"{first} (+{len(others)})" if others else first


def _legend(ranking: Ranking) -> str:
    lines = [f"Ranked by {_criterion(ranking)}."] if len(ranking.ranked) > 1 else []
    if ranking.has_repeats:
        lines += [
            "±: sample standard deviation over n seeds. tied: the 95% t interval of the difference from the best, paired by",
            "seed, includes 0; behind: it does not (one comparison at a time); unknown: that difference has no spread, with",
            "fewer than 2 seeds in common or the same value on all.",
        ]
    elif len(ranking.ranked) > 1:
        lines.append("One seed each: no spread is known, so close ranks may be chance (repeat them: CONFIG_SEED=1|2|3).")
    if ranking.unranked:
        lines.append(f"Not ranked, for want of a run that passed: {plural(len(ranking.unranked), 'setting')}.")
    return "\n".join(lines)
