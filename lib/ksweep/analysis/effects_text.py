"""Effects, importance, the front and early epochs in words, for sweep_analysis.txt."""

from collections.abc import Sequence

from ksweep.analysis.effects import Effects, Importance, Interaction, MainEffect
from ksweep.analysis.fidelity import rank_correlations
from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import MISSING, interval_of, is_share, number, one_line, plural, table
from ksweep.analysis.pareto import front_facts
from ksweep.analysis.ranking import Ranking, Spread
from ksweep.contract.outcome import Status

_RULE = "=" * 60
_THIN = "-" * 40
_LEVELS_SHOWN = 20
_PAIRS_SHOWN = 5
_WARNINGS_SHOWN = 12


def effects_block(findings: Findings) -> list[str]:
    """Warnings, a table for each axis, importance, the strongest interactions. Empty where nothing can be said."""
    effects, goal = findings.effects, findings.ranking.objective
    if not (effects.main or effects.warnings):
        return []
    first = f", the first of {len(findings.ranking.objectives.goals)} goals" if findings.ranking.has_fronts else ""
    lines = [_RULE, f"EFFECTS ON {one_line(goal)}{first}:", _THIN]
    lines += [f"Note: {line}." for line in effects.warnings[:_WARNINGS_SHOWN]]
    hidden = len(effects.warnings) - _WARNINGS_SHOWN
    lines += [f"... and {plural(hidden, 'note')} more, in report.html"] if hidden > 0 else []
    if not effects.main:
        return lines
    lines += [] if not effects.warnings else [""]
    over_seeds = "the median over their seeds" if findings.ranking.aggregate == "median" else "their seeds averaged first"
    lines.append(f"mean: of the goal over settings ({over_seeds}), with its 95% t interval.")
    if any(level.effect for effect in effects.main for level in effect.levels):
        unit = ", in points" if is_share(goal) else ""
        lines.append(f"better by{unit}: than the axis's other values with all else equal, worse below 0; n: of such comparisons.")
    else:
        lines.append("No two settings differ in one axis only, so nothing is compared with all else equal.")
    for effect in effects.main:
        lines += ["", *_main_table(effect, goal)]
    lines += _importance(effects.importance)
    return [*lines, *_interactions(effects, goal)]


def _main_table(effect: MainEffect, goal: str) -> list[str]:
    name = one_line(effect.symbol)
    compares = any(level.effect for level in effect.levels)
    rows = []
    for level in effect.levels[:_LEVELS_SHOWN]:
        row = [one_line(level.value), str(level.num_settings), str(level.num_runs), number(goal, level.goal.mean)]
        row += [_ends(goal, level.goal), *(_better_by(goal, level.effect) if compares else [])]
        rows.append(row)
    headers = [name, "settings", "runs", "mean", "95% interval", *(["better by", "95% interval", "n"] if compares else [])]
    lines = table(headers, rows, left=[name])
    hidden = len(effect.levels) - _LEVELS_SHOWN
    lines += [f"... and {plural(hidden, 'value')} more"] if hidden > 0 else []
    return lines if effect.is_active_everywhere else [*lines, f"(of the settings that have {name})"]


def _ends(goal: str, spread: Spread) -> str:
    ends = interval_of(goal, spread)
    return MISSING if ends is None else f"{number(goal, ends[0])} to {number(goal, ends[1])}"


def _better_by(goal: str, spread: Spread | None) -> list[str]:
    if spread is None or spread.mean is None:
        return [MISSING, MISSING, "0"]
    if spread.half_width is None or spread.half_width <= 1e-9 * abs(spread.mean):  # equal differences are no certainty
        return [_signed(goal, spread.mean), MISSING, str(spread.n)]
    low, high = spread.mean - spread.half_width, spread.mean + spread.half_width
    return [_signed(goal, spread.mean), f"{_signed(goal, low)} to {_signed(goal, high)}", str(spread.n)]


def _signed(goal: str, value: float) -> str:
    return ("+" if value > 0 else "") + number(goal, value)


def _importance(importance: Importance | None) -> list[str]:
    if importance is None:
        return []
    lines = ["", f"Importance, by {importance.method}, over {plural(importance.num_settings, 'setting')}:"]
    rows = [[one_line(name), f"{100 * share:.1f}%", _of_whom(name, importance)] for name, share in importance.shares.items()]
    whole = sum(share for name, share in importance.shares.items() if name not in importance.partial)
    lines += table(["axis", "share of variance", ""], rows, left=["axis", ""])
    lines.append(f"Each by itself; the rest, {100 * max(0.0, 1 - whole):.1f}%, is what they do only together, and noise.")
    if importance.noise is not None:
        lines.append(f"Of the variance between settings, noise over seeds would give {100 * importance.noise:.1f}% by itself.")
    if importance.fit is not None:
        lines.append(
            f"Settings left out are predicted with R2 {importance.fit:.2f} (1: perfectly, 0: no better than their mean)."
        )
    return lines


def _of_whom(name: str, importance: Importance) -> str:
    count = importance.partial.get(name)
    return "" if count is None else f"of the variance among the {plural(count, 'setting')} that have it"


def _interactions(effects: Effects, goal: str) -> list[str]:
    found = [pair for pair in effects.interactions if pair.share is not None]
    if not effects.interactions:
        return []
    if not found:
        return ["", f"Interactions: not known: {_why_no_share(effects.interactions)}."]
    rows = [_pair_row(pair, goal) for pair in found[:_PAIRS_SHOWN]]
    lines = ["", f"Strongest interactions ({len(rows)} of {plural(len(effects.interactions), 'pair')}):"]
    lines += table(["axes", "departure", "share", "by chance", "combinations"], rows, left=["axes"])
    return [
        *lines,
        "departure: root mean square of what the sum of both effects does not explain; share: its part of the variance that both",
        "explain; by chance: what noise alone gives on average, the largest of many pairs more (-: one seed each, not known);",
        "combinations: pairs of values with a setting that counts, of all.",
    ]


def _pair_row(pair: Interaction, goal: str) -> list[str]:
    chance = MISSING if pair.chance is None else f"{100 * pair.chance:.1f}%"
    share = MISSING if pair.share is None else f"{100 * pair.share:.1f}%"
    cells = f"{len(pair.cells)} of {pair.num_combinations}"
    return [one_line(" x ".join(pair.symbols)), number(goal, pair.departure), share, chance, cells]


def _why_no_share(pairs: Sequence[Interaction]) -> str:
    if all(len(pair.cells) == pair.num_combinations for pair in pairs):
        return "all combinations of values have the same mean"
    return "of no two axes have enough combinations of values a setting that counts"


def front_facts_block(ranking: Ranking) -> list[str]:
    """Hypervolume with its reference point, and the knee. Empty with a single goal, or when no setting is ranked."""
    facts = front_facts(ranking)
    if facts is None:
        return []
    names = [goal.text for goal in ranking.objectives.goals]
    best, worst = (
        ", ".join(f"{one_line(name)} {number(name, value)}" for name, value in zip(names, values, strict=True))
        for values in (facts.best, facts.reference)
    )
    lines = [
        f"Best of each goal: {best}",
        f"Reference point, the worst of each goal over the {plural(facts.num_settings, 'setting')} that count: {worst}",
    ]
    same = [one_line(name) for name, *ends in zip(names, facts.best, facts.reference, strict=True) if ends[0] == ends[1]]
    if facts.hypervolume is None:
        why = f"{', '.join(same)} is the same for all settings" if same else f"{len(ranking.front)} settings are too many"
        lines.append(f"Hypervolume: not computed: {why}.")
    else:
        lines.append(f"Hypervolume: {facts.hypervolume:.4g} of the box between both (1: one setting is best in every goal)")
    if facts.knee is None:
        return [*lines, "Knee: none; the front has fewer than 3 settings, or does not bend towards the best of each goal."]
    configs = ", ".join(run.config for run in facts.knee.counted)
    return [*lines, f"Knee: {configs}, farthest from the line through the front's ends, each goal scaled to the front (Das 1999)"]


def fidelity_block(findings: Findings) -> list[str]:
    """How well the goal after a few epochs tells that of whole runs. Empty where it cannot be told."""
    found = rank_correlations(findings)
    if not found:
        return []
    rows = [
        [str(at.epoch), str(at.num_runs), f"{at.correlation:.2f}", f"{at.low:.2f} to {at.high:.2f}", str(at.place_of_best)]
        for at in found
    ]
    goal = one_line(findings.ranking.objective)
    lines = [_RULE, f"{goal} AFTER A FEW EPOCHS, AGAINST THE WHOLE RUN:", _THIN]
    lines += table(["epoch", "runs", "rank correlation", "95% interval", "place of the best"], rows)
    lines.append("Spearman's, over runs that passed and went on; place of the best: where the run that won stood then.")
    if any(run.status is Status.PRUNED for run in findings.state.runs):
        lines.append("Runs that were stopped early are not among them, which narrows the range and lowers the correlation.")
    return lines
