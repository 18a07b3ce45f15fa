"""Why a setting is the best one of its sweep, in lines for the head of a configuration file."""

import shlex
import time
from pathlib import Path

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import MISSING, mean_and_interval, mean_and_spread, one_line, path_from_here, plural
from ksweep.analysis.load import SweepState
from ksweep.analysis.pareto import chosen_of_front, front_facts
from ksweep.analysis.ranking import Group, Ranking, Verdict
from ksweep.analysis.text import (
    counts_text,
    criterion,
    failure_notice,
    incomplete,
    kept_and_broken,
    notes_on_best,
    why_no_ranking,
)
from ksweep.contract.errors import KsweepError, RequestError
from ksweep.contract.sweepfile import SweepRecord

_SHOWN = 10  # settings of a list


def best_of(findings: Findings) -> Group:
    """The best setting; where there are several goals the knee of their front, or the best in the first goal if it has none.

    RequestError when nothing can be ranked; KsweepError, for exit code 1, when runs failed and none counts.
    """
    ranking = findings.ranking
    if ranking.best is not None:
        return chosen_of_front(ranking) if ranking.has_fronts else ranking.best
    state = findings.state
    notice = failure_notice(state)
    problem = f"{state.dir.path}: {notice + '. ' if notice else ''}{why_no_ranking(state, ranking)}"
    if notice:
        raise KsweepError(f"{problem} Their reasons: make summary RESULTS={state.dir.path}")
    raise RequestError(problem)


def evidence(findings: Findings, best: Group) -> list[str]:
    """What the sweep was, how good `best` is in it, how sure that is, what it is tied with."""
    state, ranking = findings.state, findings.ranking
    lines = [f"{one_line(state.record.name)}: its best setting{so_far(state)}, {configs_of(best)}", ""]
    if notice := failure_notice(state):
        lines += [f"{notice}.", ""]
    facts = _facts(findings, best)
    width = max(map(len, facts))
    lines += [f"{name:{width}}  {text}" for name, text in facts.items()]
    notes = [*notes_on_best(ranking), *_rivals(ranking, best)]
    return [*lines, *([""] if notes else []), *notes]


def _facts(findings: Findings, best: Group) -> dict[str, str]:
    """Name -> text, in the order in which they are shown."""
    state, ranking, record = findings.state, findings.ranking, findings.state.record
    facts = {
        "sweep": f"{state.dir.path.name}, {_when(record)}, {_sources(record)}",
        "runs": f"{counts_text(state)}; {plural(len(ranking.ranked), 'setting')} compared",
        "ranked by": criterion(ranking),
    }
    for goal, score in zip(best.goals, best.scores, strict=True):
        facts[one_line(goal.text)] = mean_and_interval(goal.text, score)
    for name in ranking.parts:
        facts[name] = mean_and_interval(name, best.over(name))
    for name in _test_metrics(ranking, best):
        facts[name] = f"{mean_and_interval(name, best.over(name))}, not used to choose it"
    if kept := kept_and_broken(ranking, best):
        facts["constraints"] = "; ".join(kept)
    if len(best.runs) > 1:
        facts["seeds"] = ", ".join(run.seed or MISSING for run in best.counted) + incomplete(best)
    facts["values"] = " ".join(f"{name}={one_line(value)}" for name, value in best.values.items()) or "nothing was swept"
    return facts


def so_far(state: SweepState) -> str:
    """What follows the word "best" where the sweep has not finished."""
    return " so far" if state.num_finished < len(state.runs) else ""


def from_here(path: Path) -> str:
    """`path` as it would be typed: relative where it lies below the present directory, quoted where a shell needs that."""
    return shlex.quote(path_from_here(path))


def configs_of(best: Group) -> str:
    """The runs that its scores are made of, `config_001, config_002`."""
    names = [run.config for run in best.counted]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _when(record: SweepRecord) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.created_at))


def _sources(record: SweepRecord) -> str:
    commit = record.git.get("commit")
    if not commit:
        return "commit not known"
    return f"commit {one_line(str(commit))[:12]}" + (" with changes" if record.git.get("dirty") else "")


def _test_metrics(ranking: Ranking, best: Group) -> list[str]:
    """Those that no goal is made of."""
    used = {name for goal in ranking.objectives.goals for name in goal.names}
    used |= {name for constraint in ranking.objectives.constraints for name in constraint.names}
    reported = (name for run in best.counted if run.result for name in run.result.metrics)
    return [name for name in dict.fromkeys(reported) if name.startswith("test_") and name.isidentifier() and name not in used]


def _rivals(ranking: Ranking, best: Group) -> list[str]:
    """The settings that it cannot be told from, or that share the front with it."""
    if ranking.has_fronts:
        rivals = [group for group in ranking.front if group is not best]
        title = f"{_place_on_front(ranking, best)} of a front of {len(rivals) + 1}, none of them better than another; the others:"
    else:
        rivals = [group for group in ranking.ranked if group.verdict is Verdict.TIED]
        title = "Tied with it:"
    lines = []
    for group in rivals[:_SHOWN]:
        scores = (mean_and_spread(goal.text, score) for goal, score in zip(group.goals, group.scores, strict=True))
        values = " ".join(f"{name}={one_line(value)}" for name, value in group.values.items())
        lines.append(f"  {configs_of(group)}: {', '.join(scores)}  {values}".rstrip())
    lines += [f"  and {len(rivals) - _SHOWN} more"] if len(rivals) > _SHOWN else []
    return [title, *lines] if rivals else []


def _place_on_front(ranking: Ranking, best: Group) -> str:
    facts = front_facts(ranking)
    return "The knee" if facts and facts.knee is best else f"The best in {one_line(ranking.objective)}"
