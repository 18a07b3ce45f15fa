"""How a sweep stands, in one screen of lines: what failed, how far it is, who runs where, the best so far. Imports nothing slow.

`status` prints the lines, `watch` draws them again and again: a line is made of pieces of text, each with a style for terminals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import localtime, strftime

from ksweep.analysis.formats import MISSING, duration, mean_and_spread, metric_name, number, one_line, plural, table
from ksweep.analysis.load import RunRecord, SweepState
from ksweep.analysis.ranking import Verdict, rank
from ksweep.analysis.standing import Active, Ended, Observer, Standing
from ksweep.analysis.text import counts_text, failure_notice, why_no_ranking
from ksweep.contract.outcome import Status

Line = list[tuple[str, str]]  # pieces: text, style

_BAR = 40
_STYLES = {Status.PASSED: "green", Status.PRUNED: "yellow", Status.RUNNING: "cyan", Status.CANCELLED: "yellow"}
_ROWS = 16  # of a section, where nobody says how high the screen is
_FEW = 5
_MORE = (1, 2, 0, 3)  # which section gets more rows first: running, best, failures, ended
_WIDE = 100  # columns: below, there is no room for a bar beside each run


@dataclass(frozen=True, kw_only=True)
class _Section:
    """`least`: rows that are shown before other sections get more than theirs; `most`: rows where there is room for all;
    `is_counted`: the title says how many are not shown."""

    title: Line
    rows: list[Line]
    least: int = 1
    most: int = _ROWS
    is_counted: bool = True
    headers: list[Line] = field(default_factory=list)


def status_text(state: SweepState, *, now: float | None = None, width: int | None = None) -> str:
    """The screen as text. `now`: Unix seconds, the present by default; `width`: columns, beyond which lines are cut."""
    lines = screen(Observer().look(state, now=now), width=width)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def status_line(state: SweepState) -> str:
    """The same in one line, without what changes by itself as time goes on."""
    best = rank(state).best
    score = f"; best so far {one_line(best.objective)} {number(best.objective, best.score.center)}" if best else ""
    return f"{state.num_finished} of {counts_text(state)}{score}"


def screen(standing: Standing, *, width: int | None = None, height: int | None = None, fill: str = "#.") -> list[Line]:
    """The most important facts that fit into `width` columns and `height` lines; all that people can read where these are None.

    `fill`: what the bar is made of, done and to do.
    """
    failures, *others = [_failures(standing), _active(standing, width), _best(standing), _ended(standing)]
    head = _head(standing, fill, width)
    shown = _fit([failures, *others], None if height is None else height - len(head))
    blocks = [*(block for block in shown[:1] if block), head, *(block for block in shown[1:] if block)]
    num_lines = sum(map(len, blocks))
    has_room = height is None or num_lines + len(blocks) - 1 <= height
    lines: list[Line] = []
    for block in blocks:
        lines += ([[("", "")]] if lines and has_room else []) + block
    return [_cut(line, width) for line in lines[:height]]


def _fit(sections: Sequence[_Section], height: int | None) -> list[list[Line]]:
    """The lines of each section: the least of each, the most important one first; then more of those that run, and so on."""
    counts = [0] * len(sections)
    left = 10**9 if height is None else height
    for wanted, order in (("least", range(len(sections))), ("most", _MORE)):
        for i in order:
            section = sections[i]
            rows = min(len(section.rows), getattr(section, wanted)) - counts[i]
            opening = 0 if counts[i] else 1 + len(section.headers)
            take = min(rows, left - opening)
            if take > 0:
                counts[i] += take
                left -= take + opening
    return [_lines(section, count) for section, count in zip(sections, counts, strict=True)]


def _lines(section: _Section, count: int) -> list[Line]:
    if not count:
        return []
    hidden = len(section.rows) - count
    more = [(f" ({count} of {len(section.rows)} shown)", "dim")] if hidden and section.is_counted else []
    return [section.title + more, *section.headers, *section.rows[:count]]


def _cut(line: Line, width: int | None) -> Line:
    if width is None or sum(len(text) for text, _ in line) <= width:
        return line
    cut: Line = []
    left = width - 3
    for text, style in line:
        cut.append((text[:left], style))
        left -= len(text[:left])
    return [*cut, ("...", "dim")]


# -- the sweep as a whole ---------------------------------------------------------------------------------------------


def _head(standing: Standing, fill: str, width: int | None) -> list[Line]:
    state = standing.state
    goals = one_line(state.objectives.text) or "no objective"
    lines: list[Line] = [
        [(one_line(state.record.name), "bold"), (f"  {one_line(state.record.strategy)}, {goals}  ", ""), (_path(state), "dim")],
        _runner_line(standing),
        _bar_line(standing, fill, width),
    ]
    if standing.is_search:
        lines.append([(_search_line(standing), "")])
    if left := _left_line(standing):
        lines.append([(left, "bold")])
    if state.num_finished and not standing.ranking.ranked:
        lines.append([(why_no_ranking(state, standing.ranking), "")])
    return lines


def _path(state: SweepState) -> str:
    return one_line(str(state.dir.path))


def _runner_line(standing: Standing) -> Line:
    state = standing.state
    planned = f"planned {duration(max(0.0, standing.now - state.record.created_at))} ago; "
    if state.runner is not None:
        slots = f", {plural(standing.num_slots, 'slot')}" if standing.num_slots else ""
        return [(f"{planned}runner alive: pid {state.runner.pid or '?'} on {one_line(state.runner.host or '?')}{slots}", "")]
    is_over = state.num_finished == len(state.runs) and bool(state.runs)
    at = _last_event(state)
    last = "" if at is None else f"; last event {duration(max(0.0, standing.now - at))} ago"
    todo = "" if is_over else "; the same command continues it"
    return [(planned, ""), (f"no runner is alive{last}{todo}", "" if is_over else "bold yellow")]


def _last_event(state: SweepState) -> float | None:
    try:
        return state.dir.journal.stat().st_mtime
    except FileNotFoundError:
        return None


def _bar_line(standing: Standing, fill: str, width: int | None) -> Line:
    state, total = standing.state, standing.num_planned
    text = counts_text(state) if state.runs else "no run yet"
    if standing.is_search and total:
        text += f"; {total} at most"
    if not total or total < len(state.runs):
        return [(text, "")]
    length = _BAR if width is None else min(_BAR, max(10, width - len(text) - 3))
    if standing.epochs_planned and standing.epochs is not None:  # runs that stop at rungs are no measure of how far it is
        shares = [("green", standing.epochs / standing.epochs_planned)]
    else:
        shares = [(style_of(status), count / total) for status, count in state.counts.items() if status.is_final]
    return [("[", ""), *_bar(shares, length, fill), (f"] {text}", "")]


def _bar(shares: Sequence[tuple[str, float]], length: int, fill: str) -> Line:
    pieces: Line = []
    share, drawn = 0.0, 0
    for style, part in shares:
        share += part
        end = min(length, int(length * share + 1e-9))
        pieces.append((fill[0] * (end - drawn), style))
        drawn = end
    return [*pieces, (fill[1] * (length - drawn), "dim")]


def style_of(status: Status) -> str:
    """Its colour on a terminal."""
    return "red" if status.is_bad else _STYLES.get(status, "")


def _search_line(standing: Standing) -> str:
    record, parts = standing.state.record, []
    if record.sampler not in ("", record.strategy):
        parts.append(f"points by {one_line(record.sampler)}")
    if standing.epochs is not None:
        least = f" of at least {standing.epochs_planned}" if standing.epochs_planned is not None else ""
        parts.append(f"epochs trained: {standing.epochs}{least}")
    if standing.waiting:
        rungs = ", ".join(f"{count} at {rung}" for rung, count in standing.waiting.items())
        parts.append(f"stopped at rungs: {rungs}")
    return "; ".join(parts)


def _left_line(standing: Standing) -> str:
    left = standing.time_left
    if standing.state.runner is None:
        return ""
    if left is None:
        return "time left: not known before a run has reported an epoch or ended"
    until = strftime("%H:%M" if left.seconds < 43200 else "%a %d %b %H:%M", localtime(standing.now + left.seconds))
    span = f" (95%: {duration(left.low)} to {duration(left.high)})" if left.low is not None else ""
    return f"{'at least' if left.is_least else 'about'} {duration(left.seconds)} left{span}, till {until}; by {left.basis}"


# -- sections ---------------------------------------------------------------------------------------------------------


def _tabled(headers: list[str], rows: list[list[str]], styles: list[str], left: list[str]) -> tuple[list[Line], list[Line]]:
    """Header lines and rows, indented."""
    lines = table(headers, rows, left=left)
    num_headers = len(lines) - len(rows)
    tops: list[Line] = [[(f"  {line}", "dim")] for line in lines[:num_headers]]
    return tops, [[(f"  {line}", style)] for line, style in zip(lines[num_headers:], styles, strict=True)]


def _failures(standing: Standing) -> _Section:
    bad = standing.state.bad_runs
    rows: list[Line] = [
        [(f"  {run.config}: {run.status}: {one_line(run.reason) or 'no reason given'}", "red")] for run in reversed(bad)
    ]
    return _Section(title=[(failure_notice(standing.state), "bold red")], rows=rows, most=_FEW)


def _active(standing: Standing, width: int | None) -> _Section:
    goals = standing.state.objectives.goals
    headers = ["slot", "run", "epoch", *(metric_name(goal.text, short=True) for goal in goals), "since", "left", "values"]
    rows = []
    for active in standing.active:
        scores = [number(goal.text, goal.value(active.report)) for goal in goals]
        since, left = duration(max(0.0, standing.now - active.started_at)), duration(active.left_s)
        device = f" gpu {one_line(active.device)}" if active.device else ""
        slot = (MISSING if active.slot is None else str(active.slot)) + device
        rows.append(
            [
                slot,
                active.run.config,
                _epoch(active, has_bar=width is None or width >= _WIDE),
                *scores,
                since,
                left,
                _values(active.run.point.values),
            ]
        )
    tops, lines = _tabled(headers, rows, ["cyan"] * len(rows), ["run", "epoch", "values"])
    idle = max(0, (standing.num_slots or 0) - len(rows)) if standing.state.runner else 0
    title = f"{len(rows)} running" + (f", {plural(idle, 'slot')} idle" if idle else "")
    return _Section(title=[(title, "bold")], rows=lines, headers=tops, least=4)


def _epoch(active: Active, *, has_bar: bool) -> str:
    if active.epoch is None:
        return "starting"
    if not active.last_epoch:
        return str(active.epoch)
    text = f"{active.epoch:{len(str(active.last_epoch))}d} of {active.last_epoch}"
    done = min(8, 8 * active.epoch // active.last_epoch)
    return f"{text} [{'#' * done}{'.' * (8 - done)}]" if has_bar else text


def _best(standing: Standing) -> _Section:
    ranking = standing.ranking
    goals, has_n = ranking.objectives.goals, ranking.has_repeats
    headers = ["front" if ranking.has_fronts else "#", *(metric_name(goal.text, short=True) for goal in goals)]
    headers += [*(["n"] if has_n else []), "config", "values"]
    rows = [
        [
            str(group.rank),
            *map(mean_and_spread, (goal.text for goal in goals), group.scores),
            *([f"{group.score.n} of {len(group.runs)}"] if has_n else []),
            group.counted[0].config,
            _values(group.values),
        ]
        for group in ranking.ranked[:_ROWS]
    ]
    tops, lines = _tabled(headers, rows, ["green", *[""] * len(rows)][: len(rows)], ["config", "values"])
    tied = sum(group.verdict is Verdict.TIED for group in ranking.ranked)
    title = f"best so far: {len(ranking.front)} on the front" if ranking.has_fronts else "best so far"
    title += f"; {plural(tied, 'setting')} tied with it" if tied else ""
    return _Section(title=[(title, "bold")], rows=lines, headers=tops, most=_FEW, is_counted=False)


def _ended(standing: Standing) -> _Section:
    objectives = standing.state.objectives
    goal = objectives.goals[0] if objectives.goals else None
    headers = ["ended", "run", "status", *([metric_name(goal.text, short=True)] if goal else []), "took", "values"]
    rows, styles = [], []
    for ended in standing.ended[:_ROWS]:
        run = _same_attempt(ended)
        score = [number(goal.text, run.value(goal) if run else None)] if goal else []
        took = duration(run.result.wall_s if run and run.result else None)
        ago = f"{duration(max(0.0, standing.now - ended.at))} ago"
        rows.append([ago, ended.run.config, one_line(ended.status), *score, took, _values(ended.run.point.values)])
        styles.append(style_of(Status(ended.status)) if ended.status in set(Status) else "")
    tops, lines = _tabled(headers, rows, styles, ["run", "status", "values"])
    return _Section(title=[("ended last", "bold")], rows=lines, headers=tops, least=3, most=_FEW, is_counted=False)


def _same_attempt(ended: Ended) -> RunRecord | None:
    """The run where its result is still that of this end."""
    result = ended.run.result
    return ended.run if result is not None and result.attempt == ended.attempt else None


def _values(values: dict[str, str]) -> str:
    return " ".join(f"{name}={one_line(value)}" for name, value in values.items())
