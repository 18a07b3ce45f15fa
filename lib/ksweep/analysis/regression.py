"""Two sweeps, run by run: what became worse from the old one to the new one, and whether that is more than noise.

Settings are matched by the values of all symbols that either sweep swept (one that only one of them swept has, in the other, the
value of its config file), runs of a setting by their seed; a difference is always new minus old, within such a pair.

Of a setting:  mean difference over its seeds, with Student's t; two seeds at least.
Of the whole:  mean over the settings of their mean differences, with Student's t over the settings: it needs no second seed, and
               finds a small shift that all settings share.

Level: 0.05, two-sided, for each of the two families (the settings times the metrics; the metrics as a whole), corrected within
each by Holm's method (Holm 1979). Half of what two-sided tests get wrong is on the worse side, so two sweeps that differ by
chance alone are called worse in at most 1 of 20 comparisons. Standard library only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from ksweep.analysis.load import SEED, RunRecord, SweepState
from ksweep.analysis.ranking import CONFIDENCE, Spread, holm, p_value, spread
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import is_measured
from ksweep.contract.outcome import Status
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.objective import Goal, parse_objectives
from ksweep.space.values import ValueProblem, decimal_text, parse_decimal

HIGHER_IS_BETTER = ("_acc", "_per_s", "sparsity", "speedup_layers", "speedup_measured", "halted_fraction")  # ends of names
LOWER_IS_BETTER = ("loss", "ppl", "_s", "_mib", "layers_mean", "per_token")

Setting = tuple[tuple[str, str], ...]  # (symbol, value), in the order of the columns


class Change(StrEnum):
    """What became of a metric from the old sweep to the new one."""

    WORSE = "worse"  # beyond noise: p, corrected by Holm, is below 0.05
    BETTER = "better"
    SAME = "same"  # equal, or within noise
    UNKNOWN = "unknown"  # the noise is not known: one seed, or the same difference on each of a few


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One setting and seed, run in both sweeps."""

    old: RunRecord
    new: RunRecord


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one setting, or of all together (`values` is empty, and `spread` over the settings). `old`, `new`: means over
    what is compared; `spread`: of the differences new minus old; `p_value`: corrected; None where the noise is not known."""

    values: dict[str, str]
    old: float
    new: float
    spread: Spread
    p_value: float | None = None
    change: Change = Change.UNKNOWN

    def worsening(self, goal: Goal) -> float:
        """By how much it became worse; below 0 where it became better."""
        difference = self.spread.mean or 0.0
        return -difference if goal.is_maximized else difference


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """One metric in both sweeps. `settings`: the worst first. `lost`: runs that had it in the old sweep, passed in the new one,
    and have it no more (missing or not finite)."""

    goal: Goal
    overall: Difference
    settings: tuple[Difference, ...]
    lost: tuple[Pair, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that is found. `columns`: the symbols that either sweep swept, without SEED. `only_old`, `only_new`: runs without a
    counterpart; `broken`: pairs that passed in the old sweep and ended badly in the new one; `mended`: the other way round;
    `open`: pairs of which one has not finished, or was stopped early. `fixed`: symbols that no sweep swept and that differ all
    the same, in the first pair: symbol, old value, new value."""

    old: SweepState
    new: SweepState
    columns: list[str]
    pairs: list[Pair]
    tracked: tuple[Tracked, ...]
    only_old: list[RunRecord]
    only_new: list[RunRecord]
    broken: list[Pair]
    mended: list[Pair]
    open: list[Pair]
    fixed: list[tuple[str, str, str]]

    @property
    def is_worse(self) -> bool:
        """True when a tracked metric became worse beyond noise, or a run that passed no longer does."""
        return bool(self.broken) or any(
            tracked.lost or Change.WORSE in (tracked.overall.change, *(setting.change for setting in tracked.settings))
            for tracked in self.tracked
        )

    @cached_property
    def identical(self) -> tuple[int, int]:
        """Pairs whose final metrics all agree to the last bit, and pairs that passed in both sweeps. Times, rates and memory are
        left out: they never agree."""
        passed = [pair for pair in self.pairs if _has_passed(pair)]
        return sum(_final(pair.old) == _final(pair.new) for pair in passed), len(passed)


def compare_sweeps(old: SweepState, new: SweepState, goals: Sequence[Goal]) -> Comparison:
    """Match two sweeps and judge each goal. RequestError when they have no setting in common that passed in both, or when a goal
    has no value there."""
    columns = list(dict.fromkeys(name for state in (old, new) for name in _swept(state)))
    before, after = _by_setting(old, columns), _by_setting(new, columns)
    common = [key for key in before if key in after]
    pairs = [Pair(old=before[key], new=after[key]) for key in common]
    settings: dict[Setting, list[Pair]] = {}
    for (setting, _), pair in zip(common, pairs, strict=True):
        settings.setdefault(setting, []).append(pair)
    if not pairs:
        raise RequestError(_nothing_in_common(old, new, before, after))
    broken = [pair for pair in pairs if pair.old.status is Status.PASSED and pair.new.status.is_bad]
    mended = [pair for pair in pairs if pair.old.status.is_bad and pair.new.status is Status.PASSED]
    if not broken and not any(_has_passed(pair) for pair in pairs):
        raise RequestError(f"{old.dir.path}, {new.dir.path}: of {len(pairs)} runs in common none has passed in both")
    return Comparison(
        old=old,
        new=new,
        columns=columns,
        pairs=pairs,
        tracked=_judged([_measured(goal, settings) for goal in goals]) if any(map(_has_passed, pairs)) else (),
        only_old=[run for key, run in before.items() if key not in after],
        only_new=[run for key, run in after.items() if key not in before],
        broken=broken,
        mended=mended,
        open=[pair for pair in pairs if not all(_has_ended(run) for run in (pair.old, pair.new))],
        fixed=_fixed(pairs[0], columns),
    )


def goals_of(state: SweepState, metrics: str) -> tuple[Goal, ...]:
    """The metrics that `metrics` names, apart by blanks or commas, each with its direction: `step_time_s`, or `depth:max`; the
    sweep's own goals when it names none. RequestError when a direction is not known, or nothing is left to compare."""
    words = metrics.replace(",", " ").split()
    if not words:
        if not state.objectives.goals:
            raise RequestError(f"{state.dir.path}: the sweep has no objective; name what is to be compared: METRICS=val_acc")
        return state.objectives.goals
    return tuple({goal.text: goal for goal in (_goal(state, word) for word in words)}.values())


def _goal(state: SweepState, word: str) -> Goal:
    known = {goal.text: goal for goal in state.objectives.goals}
    if word in known:
        return known[word]
    direction = "maximize" if word.endswith(HIGHER_IS_BETTER) else "minimize" if word.endswith(LOWER_IS_BETTER) else ""
    if not direction and not word.endswith((":max", ":min")):
        raise RequestError(f"METRICS: {word}: whether more is better is not known; write {word}:max or {word}:min")
    try:
        (goal,) = parse_objectives(word, direction).goals
    except (ValueProblem, ValueError) as problem:
        raise RequestError(f"METRICS: {word}: {str(problem).removeprefix('CONFIG_SWEEP_OBJECTIVE: ')}") from None
    return goal


# -- matching ------------------------------------------------------------------------------------------------------


def _swept(state: SweepState) -> list[str]:
    return list(dict.fromkeys(name for run in state.runs for name in run.point.values if name != SEED))


def _by_setting(state: SweepState, columns: Sequence[str]) -> dict[tuple[Setting, str], RunRecord]:
    """(setting, seed) -> the first run that has them."""
    swept = set(_swept(state))
    found: dict[tuple[Setting, str], RunRecord] = {}
    for run in state.runs:
        values = run.point.values
        if SEED not in values or any(name not in swept for name in columns):
            values = config_of(run, state) | values
        # A swept symbol that a point does not have is inactive there, even if its config file speaks of it.
        known = {name: values[name] for name in columns if name in (run.point.values if name in swept else values)}
        setting = tuple((name, _canonical(value)) for name, value in known.items())
        found.setdefault((setting, _canonical(values.get(SEED, ""))), run)
    return found


def config_of(run: RunRecord, state: SweepState) -> dict[str, str]:
    """Symbol -> value of the configuration of a run; empty when its file is gone."""
    for path in (state.dir.configs / run.config, run.dir.config):
        try:
            return {name: value for name, (value, _) in parse_config(path.read_text(encoding="utf-8", errors="replace")).items()}
        except OSError:
            continue
    return {}


def _canonical(value: str) -> str:
    """0.10 and 1e-1 are one value."""
    number = parse_decimal(value)
    return value if number is None else decimal_text(number.normalize())


def _nothing_in_common(
    old: SweepState,
    new: SweepState,
    before: Mapping[tuple[Setting, str], RunRecord],
    after: Mapping[tuple[Setting, str], RunRecord],
) -> str:
    where = f"{old.dir.path}, {new.dir.path}"
    if not before or not after:
        return f"{old.dir.path if not before else new.dir.path}: the sweep has no runs, so there is nothing to compare"
    if {setting for setting, _ in before} & {setting for setting, _ in after}:
        seeds = [", ".join(dict.fromkeys(seed for _, seed in keys)) for keys in (before, after)]
        return f"{where}: settings in common, but no seed ({seeds[0]}; {seeds[1]}); run one of them with the seeds of the other"
    first = [dict(next(iter(keys))[0]) for keys in (before, after)]
    shown = [" ".join(f"{name}={value}" for name, value in values.items()) or "nothing swept" for values in first]
    return f"{where}: no setting in common, so there is nothing to compare; the first of each: {shown[0]}; {shown[1]}"


def _fixed(pair: Pair, columns: Sequence[str]) -> list[tuple[str, str, str]]:
    old, new = (
        parse_config(run.dir.config.read_text(encoding="utf-8", errors="replace")) if run.dir.config.exists() else {}
        for run in (pair.old, pair.new)
    )
    if not old or not new:
        return []
    differing = {name: (old.get(name, ("-", 0))[0], new.get(name, ("-", 0))[0]) for name in [*old, *new]}
    left_out = {*columns, SEED}
    return [
        (name, *values)
        for name, values in differing.items()
        if values[0] != values[1] and name not in left_out and not name.startswith(STEERING_PREFIX)
    ]


# -- judging -------------------------------------------------------------------------------------------------------


def _has_ended(run: RunRecord) -> bool:
    return run.status.is_final and run.status is not Status.PRUNED


def _has_passed(pair: Pair) -> bool:
    return pair.old.status is Status.PASSED and pair.new.status is Status.PASSED


def _final(run: RunRecord) -> dict[str, float | None]:
    metrics = run.result.metrics if run.result else {}
    return {name: value for name, value in metrics.items() if not is_measured(name)}


def _measured(goal: Goal, settings: Mapping[Setting, Sequence[Pair]]) -> Tracked:
    """A goal in all settings, not yet judged."""
    found, lost = [], []
    for setting, pairs in settings.items():
        values = [(pair.old.value(goal), pair.new.value(goal)) for pair in pairs if _has_passed(pair)]
        lost += [
            pair for pair in pairs if _has_passed(pair) and pair.old.value(goal) is not None and pair.new.value(goal) is None
        ]
        both = [(old, new) for old, new in values if old is not None and new is not None]
        if both:
            found.append(_difference(dict(setting), both))
    if not found:
        raise RequestError(f"{goal.text}: no run that passed in both sweeps has it in both; {_metrics_there(settings.values())}")
    if len(found) == 1:
        return Tracked(goal=goal, overall=replace(found[0], values={}), settings=tuple(found), lost=tuple(lost))
    overall = _difference({}, [(each.old, each.new) for each in found])
    return Tracked(goal=goal, overall=overall, settings=tuple(found), lost=tuple(lost))


def _metrics_there(settings: Iterable[Sequence[Pair]]) -> str:
    runs = [run for pairs in settings for pair in pairs for run in (pair.old, pair.new) if run.result]
    names = dict.fromkeys(name for run in runs for name in (run.result.metrics if run.result else ()))
    return f"they have: {', '.join(names) or 'no metrics'}"


def _difference(values: dict[str, str], pairs: Sequence[tuple[float, float]]) -> Difference:
    old, new = spread(old for old, _ in pairs), spread(new for _, new in pairs)
    assert old.mean is not None
    assert new.mean is not None
    return Difference(values=values, old=old.mean, new=new.mean, spread=spread(new - old for old, new in pairs))


def _judged(tracked: Sequence[Tracked]) -> tuple[Tracked, ...]:
    overall = holm([_chance(each.overall.spread) for each in tracked])
    alone = iter(holm([_chance(setting.spread) for each in tracked for setting in each.settings]))
    judged = []
    for each, p in zip(tracked, overall, strict=True):
        whole = _with_change(each.goal, each.overall, p)
        if len(each.settings) == 1:
            next(alone)
            settings = [replace(whole, values=each.settings[0].values)]  # the one setting is the whole
        else:
            settings = [_with_change(each.goal, setting, next(alone)) for setting in each.settings]
        settings.sort(key=lambda setting: (_SEVERITY.index(setting.change), -setting.worsening(each.goal)))
        judged.append(replace(each, overall=whole, settings=tuple(settings)))
    return tuple(judged)


_SEVERITY = (Change.WORSE, Change.UNKNOWN, Change.SAME, Change.BETTER)


def _chance(difference: Spread) -> float | None:
    """p value of a mean difference. Where all differences are the same number, that of the sign test: either of two seeds may
    well get one example less, six settings hardly."""
    p = p_value(difference)
    if p is None and difference.n > 1:
        p = 2.0 ** (1 - difference.n)
        return p if p < 1 - CONFIDENCE else None
    return 1.0 if p is None and difference.mean == 0 else p


def _with_change(goal: Goal, difference: Difference, p: float | None) -> Difference:
    change = Change.UNKNOWN
    if p is not None:
        is_worse = difference.worsening(goal) > 0
        change = Change.SAME if p >= 1 - CONFIDENCE else Change.WORSE if is_worse else Change.BETTER
    return replace(difference, p_value=p, change=change)
