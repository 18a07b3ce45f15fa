"""report.html: the whole of a sweep in one file that opens without a network.

The page is report_assets/page.html with style.css, script.js and a chart library inside of it; tables and charts are drawn by the
scripts from the values of report_data.py. Text that comes from files is escaped here, once, for HTML; the page's own policy
forbids the browser any request and any script but these.
"""

import base64
import hashlib
import html
import json
import os
import re
import shlex
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from ksweep.analysis.effects import Importance, Interaction, MainEffect
from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import (
    MISSING,
    duration,
    interval_of,
    is_share,
    mean_and_spread,
    metric_name,
    number,
    one_line,
    path_from_here,
    plural,
)
from ksweep.analysis.load import RunRecord, SweepState
from ksweep.analysis.ranking import Group, Ranking, Spread
from ksweep.analysis.report_data import address, learning_curves, parallel_coordinates, runs_table, settings_table
from ksweep.analysis.text import (
    counts_text,
    criterion,
    failure_notice,
    incomplete,
    is_selected_on_test,
    kept_and_broken,
    legend,
    notes_on_best,
    why_no_ranking,
    with_interval,
)
from ksweep.analysis.totals import totals, totals_lines
from ksweep.contract.atomic import read_json
from ksweep.contract.outcome import Status
from ksweep.contract.paths import RunDir

MAX_BYTES = 4_900_000  # of the page, as far as leaving out pictures can help
_ASSETS = Path(__file__).parent / "report_assets"
_FAILURES_SHOWN = 50
_FRONT_SHOWN = 10
_INTERACTIONS_SHOWN = 6
_LOG_LINES = 20
_LINE_LENGTH = 500
_TEXT_LENGTH = 200_000  # of a plan or range file
_SHADES = 10
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")  # of a terminal: colours, titles
_CAPTIONS = {
    "ranking.png": "Settings with their intervals, best on top.",
    "pareto.png": "What is to be had of one goal for what of another.",
    "learning_curves.png": "The first goal over training.",
    "history.png": "The best so far, by runs and by epochs.",
    "importance.png": "How much of the goal each axis explains.",
    "scores_by_value.png": "All settings at each value of each axis.",
    "slices.png": "The goal along each sampled axis.",
    "parallel_coordinates.png": "Each setting a line over its values.",
    "rungs.png": "Who went on at each rung, and who was stopped.",
    "timeline.png": "What ran when in which slot.",
    "devices.png": "Memory and load of the devices.",
}


def report_html(findings: Findings, pictures: dict[str, bytes], *, live: str = "") -> str:
    """The page. `pictures`: PNG by file name; those that would make the page too large are linked instead. `live`: the version of
    the page where a server gives it, and is asked by the page for a newer one."""
    library, script, style = (_asset(name) for name in ("echarts.min.js", "script.js", "style.css"))
    state, ranking = findings.state, findings.ranking
    data = {
        "live": live,
        "swept": [one_line(name) for name in ranking.columns],
        "settings": settings_table(findings),
        "runs": runs_table(findings),
        "curves": learning_curves(findings),
        "parallel": parallel_coordinates(findings),
    }
    parts = {
        "policy": _policy([library, script], style, is_live=bool(live)),
        "title": _text(state.record.name),
        "style": style,
        "library": library,
        "script": script,
        "data": _json_in_html(data),
        "head": _head(state),
        "best": _best(findings),
        "failures": _failures(state),
        "legend": _text(legend(ranking)),
        "effects": _effects(findings),
        "plan": _plan(state),
        "environment": _environment(state),
    }
    room = MAX_BYTES - sum(len(part.encode("utf-8", "replace")) for part in parts.values())
    page = Template(_asset("page.html"))
    return page.substitute(parts, pictures=_pictures(pictures, room)).encode("utf-8", "replace").decode()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], style: str, *, is_live: bool) -> str:
    """No request but for the page itself while it is live; no script and no style but ours, which are named by their hashes."""
    connect = "'self'" if is_live else "'none'"
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: object) -> str:
    return html.escape(one_line(str(text)))


def _json_in_html(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment, whatever text is in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 and lone surrogates are escaped already
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _lines(text: str) -> str:
    """Text of several lines, escaped: without the commands of terminals, of a line that was overwritten the last state."""
    cleaned = [line.rstrip("\r").rsplit("\r", 1)[-1].expandtabs() for line in _ESCAPES.sub("", text).split("\n")]
    printable = ("".join(letter if letter.isprintable() else "?" for letter in line[:_LINE_LENGTH]) for line in cleaned)
    return html.escape("\n".join(printable))


def _head(state: SweepState) -> str:
    notice = failure_notice(state)
    alert = f'<p class="alert"><a href="#failures">{_text(notice)}</a></p>' if notice else ""
    chips = "".join(f'<li class="{status}">{count} {status}</li>' for status, count in state.counts.items())
    return f"""<h1>{_text(state.record.name)}</h1>
{alert}<p>{_text(_progress(state))}</p>
<ul class="chips" aria-label="{_text(counts_text(state))}">{chips}</ul>
{_notes(totals_lines(totals(state)))}"""


def _progress(state: SweepState) -> str:
    """Finished or not, and when this was seen; of a sweep at rest in the same words each time: its report is the same bytes."""
    total = len(state.runs)
    if state.runner is not None:
        return f"Running: {state.num_finished} of {plural(total, 'run')} ended when this was made, {_date(time.time())}."
    ends = [run.result.started_at + run.result.wall_s for run in state.runs if run.result]
    last = f"; the last run ended {_date(max(ends))}" if ends and max(ends) > 0 else ""
    if state.num_finished == total:
        return f"Finished: {plural(total, 'run')}{last}."
    return f"Not finished, and no runner is alive: {state.num_finished} of {plural(total, 'run')} ended{last}."


def _date(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return MISSING


def _best(findings: Findings) -> str:
    state, ranking = findings.state, findings.ranking
    best = ranking.best
    if best is None:
        return f'<section id="best"><h2>No best setting</h2><p>{_text(why_no_ranking(state, ranking))}</p></section>'
    if ranking.has_fronts:
        return _front(ranking)
    so_far = "" if state.num_finished == len(state.runs) else " so far"
    facts = [
        (metric_name(ranking.objective), _text(with_interval(best))),
        *((_text(metric_name(name)), _text(mean_and_spread(name, best.over(name)))) for name in ranking.parts),
        *_test_fact(ranking, best),
        ("Configs", ", ".join(_run_link(run) for run in best.counted)),
        *([("Seeds", _text(incomplete(best).removeprefix("; ") or f"all {len(best.runs)}"))] if len(best.runs) > 1 else []),
        *(("Constraint", _text(line)) for line in kept_and_broken(ranking, best)),
        ("Time of a run", _text(duration(best.wall_s.mean))),
        ("Ranked by", _text(criterion(ranking))),
    ]
    return f"""<section id="best"><h2>Best setting{so_far}</h2>
<p class="score">{_text(mean_and_spread(ranking.objective, best.score))}<span>{_text(ranking.objective)}</span></p>
{_chosen(best.values)}{_facts(facts)}{_notes(notes_on_best(ranking))}{_next_steps(state)}</section>"""


def _test_fact(ranking: Ranking, group: Group) -> list[tuple[str, str]]:
    """The test metrics beside the one that was chosen by, and said to be so."""
    tests = [] if is_selected_on_test(ranking) else ranking.tests_of([group])
    return [
        (f"{_text(metric_name(name))} (test: not used for choosing)", _text(mean_and_spread(name, group.over(name))))
        for name in tests
    ]


def _front(ranking: Ranking) -> str:
    goals = [goal.text for goal in ranking.objectives.goals]
    front = ranking.front
    rows = []
    for group in front[:_FRONT_SHOWN]:
        scores = [_text(mean_and_spread(name, score)) for name, score in zip(goals, group.scores, strict=True)]
        values = [_text(group.values.get(name, MISSING)) for name in ranking.columns]
        rows.append([*scores, *values, ", ".join(_run_link(run) for run in group.counted)])
    more = (
        f"<p>and {len(front) - _FRONT_SHOWN} more, in the table below (filter: front=1)</p>" if len(front) > _FRONT_SHOWN else ""
    )
    return f"""<section id="best"><h2>Pareto front: {plural(len(front), "setting")} of {len(ranking.ranked)}</h2>
<p>Than these, no other is at least as good in every objective and better in one: a choice, not a winner.
{_text(criterion(ranking))}.</p>{_table([*goals, *ranking.columns, "configs"], rows)}{more}</section>"""


def _notes(lines: Sequence[str]) -> str:
    return '<ul class="notes">' + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _chosen(values: dict[str, str]) -> str:
    items = "".join(f"<li><code>CONFIG_{_text(name)}={_text(value)}</code></li>" for name, value in values.items())
    return f'<ul class="values">{items or "<li>nothing was swept</li>"}</ul>'


def _next_steps(state: SweepState) -> str:
    best, final = (_command(f"make {verb}", RESULTS=path_from_here(state.dir.path)) for verb in ("best", "final"))
    return f"<p>Write it as a preset: {best}<br>Train it on training and validation data together, and test it once: {final}</p>"


def _command(command: str, **variables: object) -> str:
    """A line for the shell, quoted so that whatever a name holds is text."""
    given = " ".join(f"{name}={shlex.quote(one_line(str(value)))}" for name, value in variables.items())
    return f"<code>{html.escape(f'{command} {given}'.strip())}</code>"


def _run_link(run: RunRecord) -> str:
    return f'<a href="{html.escape(address(run))}">{_text(run.config)}</a>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    """`facts`: name, and HTML."""
    return "<dl>" + "".join(f"<div><dt>{_text(name)}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """`rows`: of HTML."""
    head = "".join(f'<th scope="col">{_text(header)}</th>' for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    named = f"<caption>{_text(caption)}</caption>" if caption else ""
    return f'<div class="box" tabindex="0"><table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _failures(state: SweepState) -> str:
    bad = state.bad_runs
    if not bad:
        return ""
    shown = "".join(_failure(run) for run in bad[:_FAILURES_SHOWN])
    hidden = len(bad) - _FAILURES_SHOWN
    more = f"<p>and {hidden} more, in the table of runs (filter: reason, status=failed, ...)</p>" if hidden > 0 else ""
    again = f"<p>Run them again: {_command('make rerun-failed', RESULTS=path_from_here(state.dir.path))}</p>"
    return f'<section id="failures"><h2>{plural(len(bad), "run")} failed</h2>{shown}{more}{again}</section>'


def _failure(run: RunRecord) -> str:
    attempt = f", attempt {run.result.attempt}" if run.result and run.result.attempt > 1 else ""
    values = " ".join(f"{name}={value}" for name, value in run.point.values.items())
    tail = _log_tail(run.dir)
    log = f"<pre>{_lines(tail)}</pre>" if tail else "<p>Its output.log is missing or empty.</p>"
    return f"""<details><summary><b>{_text(run.config)}</b> <span class="{run.status}">{run.status}{attempt}</span>
{_text(run.reason or "no reason given")}</summary><p><code>{_text(values)}</code></p>
<p>The last lines of <a href="{html.escape(address(run, run.dir.log.name))}">output.log</a>:</p>{log}</details>"""


def _log_tail(dir: RunDir) -> str:
    """The last lines of a run's output; empty where there is none."""
    try:
        with open(dir.log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().split("\n")[-_LOG_LINES:])


def _effects(findings: Findings) -> str:
    effects, goal = findings.effects, findings.ranking.objective
    if not (effects.main or effects.interactions or effects.importance):
        return ""
    parts = [f"<p>Of {_text(goal)}; the unit is a setting, its seeds are repeats.</p>", _notes(effects.warnings)]
    if effects.importance:
        parts.append(_importance(effects.importance))
    parts += [_main_effect(effect, goal) for effect in effects.main]
    parts += [_interaction(found, findings.ranking) for found in effects.interactions[:_INTERACTIONS_SHOWN]]
    if len(effects.interactions) > _INTERACTIONS_SHOWN:
        parts.append(f"<p>The {_INTERACTIONS_SHOWN} strongest of {len(effects.interactions)} pairs.</p>")
    return f'<section id="effects"><h2>What each axis does</h2>{"".join(parts)}</section>'


def _importance(importance: Importance) -> str:
    rows = [
        [
            _text(name),
            f'<meter min="0" max="1" value="{share:.4f}"></meter>',
            f"{100 * share:.1f}%",
            _share_of(importance, name),
        ]
        for name, share in importance.shares.items()
    ]
    caption = f"Importance over {plural(importance.num_settings, 'setting')}: {importance.method}"
    if importance.fit is not None:
        caption += f"; settings left out are predicted with R2 {importance.fit:.2f}"
    if importance.noise is not None:
        caption += f"; noise over seeds alone would give {100 * importance.noise:.1f}%"
    return _table(["axis", "share of variance", "", "of"], rows, caption)


def _share_of(importance: Importance, axis: str) -> str:
    """The settings that a share is of: an axis may not be there in all."""
    if axis in importance.partial:
        return f"{plural(importance.partial[axis], 'setting')} that have it"
    return "all settings"


def _main_effect(effect: MainEffect, goal: str) -> str:
    rows = [
        [_text(level.value), str(level.num_settings), str(level.num_runs), _text(number(goal, level.goal.center)),
         _text(_interval(goal, level.goal)), _text(_difference(goal, level.effect))]
        for level in effect.levels
    ]  # fmt: skip
    where = "" if effect.is_active_everywhere else f"{effect.symbol}: of the settings that have it"
    headers = [effect.symbol, "settings", "runs", f"mean {goal}", "95% interval", "better by, all else equal"]
    return _table(headers, rows, where)


def _interval(goal: str, spread: Spread) -> str:
    ends = interval_of(goal, spread)
    return " to ".join(number(goal, end) for end in ends) if ends else MISSING


def _difference(goal: str, spread: Spread | None) -> str:
    """`+0.31 points ± 0.12`, of a share; else `+0.0031 ± 0.0012`. Equal differences have no spread, which is no certainty."""
    if spread is None or spread.mean is None:
        return MISSING
    scale, unit = (100, " points") if is_share(goal) else (1, "")
    text = f"{scale * spread.mean:+.3g}{unit}"
    if spread.half_width is None or spread.half_width <= 1e-9 * abs(spread.mean):
        return text
    return f"{text} ± {scale * spread.half_width:.2g}"


def _interaction(found: Interaction, ranking: Ranking) -> str:
    first, second = found.symbols
    across = list(dict.fromkeys(value for _, value in found.cells))
    centers = [cell.center for cell in found.cells.values() if cell.center is not None]
    low, high = min(centers, default=0.0), max(centers, default=0.0)

    def cell(spread: Spread | None) -> str:
        if spread is None or spread.center is None:
            return MISSING
        place = (spread.center / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5  # halved: it cannot overflow
        good = place if ranking.direction == "maximize" else 1 - place
        return f'<span class="shade s{round(good * (_SHADES - 1))}">{_text(number(ranking.objective, spread.center))}</span>'

    rows = [
        [f"<b>{_text(down)}</b>", *(cell(found.cells.get((down, value))) for value in across)]
        for down in dict.fromkeys(value for value, _ in found.cells)
    ]
    return _table([f"{first} \\ {second}", *across], rows, f"{first} and {second}{_beyond_the_sum(found)}")


def _beyond_the_sum(found: Interaction) -> str:
    if found.share is None:
        return ""
    by_chance = "" if found.chance is None else f" (by chance about {100 * found.chance:.1f}%)"
    num_run = len(found.cells)
    run = "" if num_run == found.num_combinations else f"; {num_run} of {found.num_combinations} combinations were run"
    return f": {100 * found.share:.1f}% of what the two explain is not the sum of both{by_chance}{run}"


def _plan(state: SweepState) -> str:
    record = state.record
    counts = " → ".join(f"{name} {record.counts[name]}" for name in ("cartesian", "legal", "distinct") if name in record.counts)
    strategy = record.strategy + (f", points by {record.sampler}" if record.sampler not in ("", record.strategy) else "")
    facts = [
        ("Counts", _text(counts or MISSING)),
        ("Strategy", _text(strategy)),
        ("Objective", _text(state.objectives.text or "none")),
        *([("Constraints", _text(record.constraints))] if record.constraints else []),
        ("Range file", _text(path_from_here(Path(record.range_file)) if record.range_file else MISSING)),
        *(
            [("The command line said instead", _text(" ".join(f"{k}={v}" for k, v in record.overrides.items())))]
            if record.overrides
            else []
        ),
    ]
    texts = [
        ("Range file, as it was", record.range_text),
        ("plan.txt: every point, and what was dropped and why", _read(state.dir.plan)),
    ]
    folded = "".join(f"<details><summary>{name}</summary><pre>{_shortened(text)}</pre></details>" for name, text in texts if text)
    return f'<section id="plan"><h2>Plan</h2>{_facts(facts)}{folded}</section>'


def _shortened(text: str) -> str:
    return _lines(text) if len(text) <= _TEXT_LENGTH else _lines(text[:_TEXT_LENGTH]) + "\n... (cut; the rest is in the file)"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _environment(state: SweepState) -> str:
    record = state.record
    run, seen = _newest_provenance(state)
    packages = seen.get("packages")
    versions = {"python": seen.get("python"), **(packages if isinstance(packages, dict) else {})}
    facts = [
        ("Commit", _text(_commit(record.git))),
        ("Kconfig hash", _text(record.kconfig_hash or MISSING)),
        ("Planned", _text(_date(record.created_at))),
    ]
    if run:
        facts += [
            ("Host", _text(", ".join(f"{seen.get(key)}" for key in ("host", "system") if seen.get(key)) or MISSING)),
            (
                "Device",
                _text(json.dumps(seen["device"]) if seen.get("device") else f"CPU, {seen.get('threads', '?')} thread(s) a run"),
            ),
            ("Versions", _text(", ".join(f"{name} {version}" for name, version in versions.items() if version) or MISSING)),
            ("Command of a run", f"<code>{_text(shlex.join(map(str, seen.get('argv') or [])))}</code> ({_run_link(run)})"),
        ]
    return f'<section id="environment"><h2>Environment</h2>{_facts(facts)}{_repeat(state)}</section>'


def _newest_provenance(state: SweepState) -> tuple[RunRecord | None, dict[str, Any]]:
    """The last run in plan order that was started, and where it says that it comes from."""
    for run in reversed(state.runs):
        seen = None if run.status is Status.PLANNED else read_json(run.dir.provenance)
        if isinstance(seen, dict) and seen:
            return run, seen
    return None, {}


def _commit(git: dict[str, Any]) -> str:
    if not git.get("commit"):
        return "not known"
    dirty = f", with uncommitted changes ({git.get('diff')})" if git.get("dirty") else ""
    return f"{git['commit']}{dirty}"


def _repeat(state: SweepState) -> str:
    """How to get the same again: the whole sweep, and one run of it."""
    record = state.record
    names = {"NUM_EPOCHS": "EPOCHS", "SWEEP_PARALLEL_JOBS": "PARALLEL", "SWEEP_STRATEGY": "STRATEGY", "SWEEP_TRIALS": "TRIALS"}
    given = {names[name]: value for name, value in record.overrides.items() if name in names}
    lines = []
    if record.range_file:
        lines.append(
            f"The sweep: {_command('make sweep', RANGE_CONFIG=path_from_here(Path(record.range_file)), **given, FRESH=1)}"
        )
    if state.runs:
        example = state.dir.configs / state.runs[0].config
        lines.append(f"One run, compared with what it gave: {_command('make rerun', CONFIG=example)}")
    return "".join(f"<p>{line}</p>" for line in lines)


def _pictures(pictures: dict[str, bytes], room: int) -> str:
    """All that there is room for, in `room` bytes, the first ones first; the others as links."""
    figures, left_out = [], []
    for name, png in pictures.items():
        caption = _CAPTIONS.get(name, "Two axes; the star is the best setting." if name.startswith("heatmap_") else "")
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        figure = (
            f'<figure><img loading="lazy" alt="{_text(caption or name)}" src="{source}">'
            f"<figcaption>{_text(caption)} <code>plots/{_text(name)}</code></figcaption></figure>"
        )
        if len(figure) <= room:
            room -= len(figure)
            figures.append(figure)
        else:
            left_out.append(f'<a href="./plots/{html.escape(name)}">{_text(name)}</a>')
    if not figures and not left_out:
        return ""
    note = f"<p>Left out, to keep this file below 5 MB: {', '.join(left_out)}</p>" if left_out else ""
    return f'<section id="pictures"><h2>Pictures</h2><div class="gallery">{"".join(figures)}</div>{note}</section>'
