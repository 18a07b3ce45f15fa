"""Plan -> sweep directory -> runs -> ranking: the part that sweep, run, continue and rerun-failed have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ksweep.analysis.formats import terminal_width
from ksweep.analysis.text import ranking_text
from ksweep.cli.data_files import check_data_files
from ksweep.cli.tree import Tree, say, warn
from ksweep.contract.atomic import exclusive
from ksweep.contract.errors import KsweepError, RequestError
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import SweepRecord
from ksweep.sweep.configs import ConfigSet
from ksweep.sweep.delivery import Delivery
from ksweep.sweep.progress import duration_text, make_progress
from ksweep.sweep.runner import SweepRun
from ksweep.sweep.steering import check_steering, objectives_from
from ksweep.sweep.store import (
    ANOTHER_SWEEP,
    SweepLock,
    check_results_root,
    find_continuable,
    new_sweep_dir,
    results_of,
    results_root,
    save_plan,
)
from ksweep.sweep.sweep import command_of, config_values, run_sweep, slots_for
from ksweep.track.companions import Companions
from ksweep.track.registry import check_trackers

LOCK = ".lock"  # in the results directory: held while a sweep directory is found or made
STEERING = ("SWEEP_OBJECTIVE", "SWEEP_DIRECTION", "SWEEP_STRATEGY", "SWEEP_CONSTRAINTS", "SWEEP_AGGREGATE")


def check_size(num_runs: int, limit: int, *, is_confirmed: bool) -> None:
    """RequestError for a plan of more runs than `limit`, unless confirmed."""
    if num_runs > limit and not is_confirmed:
        raise RequestError(
            f"the plan has {num_runs:,} runs, allowed without confirmation: {limit:,} (CONFIG_SWEEP_MAX_RUNS); "
            "confirm with YES=1, or make the range file smaller"
        )


def run_plan(
    tree: Tree,
    plan: ConfigSet,
    results: Path,
    *,
    is_fresh: bool,
    is_confirmed: bool,
    is_dry: bool = False,
    jobs: int | None = None,
    continue_dir: Path | None = None,
) -> int:
    """Run a plan: continue the sweep that it belongs to, or start one. Returns the exit code."""
    values = config_values(plan.configs[0].text)
    results = results_root(results)
    _check_steering(plan)
    check_steering(values, objectives_from(values), tree.root)
    check_trackers(values.get("SWEEP_TRACKERS", ""))
    dir, before = _find(plan, results, is_fresh=is_fresh, continue_dir=continue_dir)
    planned = {config.id for config in plan.configs}
    done = {id for id in (results_of(dir, before) if dir and before else {}) if id in planned}
    num_todo = len(planned) - len(done)
    check_size(num_todo, int(values.get("SWEEP_MAX_RUNS", num_todo)), is_confirmed=is_confirmed)
    if is_dry:
        return _dry_run(plan, dir, done, len(slots_for(values, jobs)))
    command_of(values)  # one that cannot be started is refused here
    if dir and before and not num_todo and _is_unchanged(plan, dir, before):
        return report(tree, dir, before, results_of(dir, before))
    check_data_files(tree, (config.text for config in plan.configs if config.id not in done))
    check_results_root(results, num_todo)
    with exclusive(results / LOCK):  # of two that start at once the second finds the directory of the first
        dir, before = _find(plan, results, is_fresh=is_fresh, continue_dir=continue_dir)
        dir = dir or new_sweep_dir(results)
        lock = SweepLock(dir, ANOTHER_SWEEP)
        record = save_plan(dir, plan, before, values, tree.git, tree.kconfig_hash)
    try:
        say(f"{dir.path}: {num_todo} to run, {len(done)} done, {len(slots_for(values, jobs))} at a time")
        return _run_and_report(tree, dir, record, lock, jobs=jobs)
    finally:
        lock.release()


def continue_sweep(
    tree: Tree,
    dir: SweepDir,
    *,
    jobs: int | None = None,
    is_dry: bool = False,
    is_wanted: Callable[[Result], bool] = lambda result: False,
) -> int:
    """Run what has no final result in a sweep, and what `is_wanted` again; rank it. Returns the exit code."""
    record = SweepRecord.load(dir)
    texts = _checked_texts(tree, dir, record)
    if record.base:
        from ksweep.cli.searching import continue_search

        return continue_search(tree, dir, record, jobs=jobs, is_dry=is_dry, is_wanted=is_wanted)
    if is_dry:
        todo = _left(record, results_of(dir, record), is_wanted)
        num_done = len(record.active_points) - len(todo)
        say(f"{dir.path}: {len(todo)} would run, {num_done} done; nothing was started\n{' '.join(todo)}")
        return 0
    lock = SweepLock(dir)
    try:
        found = results_of(dir, record)
        todo = _left(record, found, is_wanted)
        check_data_files(tree, (texts[config] for config in todo))
        if not todo:
            say(f"{dir.path}: nothing to run")
            return report(tree, dir, record, found)
        check_results_root(dir.path.parent, len(todo))
        say(f"{dir.path}: {len(todo)} to run, {len(record.active_points) - len(todo)} done")
        return _run_and_report(tree, dir, record, lock, jobs=jobs, is_wanted=is_wanted)
    finally:
        lock.release()


def _left(record: SweepRecord, found: Mapping[str, Result], is_wanted: Callable[[Result], bool]) -> list[str]:
    """The configs that are to run: without a result, or with one that is wanted again."""
    return [point.config for point in record.active_points if point.id not in found or is_wanted(found[point.id])]


def _checked_texts(tree: Tree, dir: SweepDir, record: SweepRecord) -> dict[str, str]:
    """The text of each config. RequestError where one was edited inside of the sweep: it is another point, and its results would
    be filed under the wrong one."""
    texts, problems = {}, []
    for point in record.active_points:
        path = dir.configs / point.config
        texts[point.config] = path.read_text() if path.exists() else ""
        if tree.resolver.point_id(texts[point.config]) != point.id:
            problems.append(
                f"{path}: missing, or changed since it was planned; put it back, or run its range file with make sweep"
            )
    if problems:
        raise RequestError(*problems)
    return texts


def _run_and_report(
    tree: Tree,
    dir: SweepDir,
    record: SweepRecord,
    lock: SweepLock,
    *,
    jobs: int | None,
    is_wanted: Callable[[Result], bool] = lambda result: False,
) -> int:
    with Companions(_trackers_of(dir, record), dir, tree.root, warn) as trackers:
        outcome = run_sweep(
            tree.root, dir, record, lock, jobs=jobs, selectors=tree.selectors, is_wanted=is_wanted, progress_of=make_progress
        )
        trackers.finish()
        return report_outcome(tree, dir, record, outcome)


def _trackers_of(dir: SweepDir, record: SweepRecord) -> list[str]:
    """What the sweep's configurations say of trackers. RequestError where that cannot be had."""
    first = record.active_points[0].config
    return check_trackers(config_values((dir.configs / first).read_text()).get("SWEEP_TRACKERS", ""))


def report_outcome(tree: Tree, dir: SweepDir, record: SweepRecord, outcome: SweepRun) -> int:
    """Say what came of a sweep, and rank it; returns the exit code."""
    if outcome.num_started and outcome.launch_s:
        say(f"launching {outcome.num_started} runs took {duration_text(outcome.launch_s)} together")
    if outcome.is_request_wrong:
        raise RequestError(outcome.stopped)  # a dead axis: no ranking
    try:
        code = report(tree, dir, record, outcome.results)
    except KsweepError as error:  # a full disk, say; the results stand, and why the sweep stopped is said below
        warn(str(error))
        code = 1
    if outcome.over:
        say(outcome.over)
    if outcome.stopped:
        warn(outcome.stopped)
        return 1
    return code


def report(tree: Tree, dir: SweepDir, record: SweepRecord, results: Mapping[str, Result]) -> int:
    """Print the ranking, and write the analysis where it is not the newest. 1 when runs failed, else 0.

    RequestError, and no ranking, when an axis was swept that no run has read.
    """
    delivery = Delivery(tree.selectors)
    for point in record.active_points:
        if point.id in results:
            delivery.add(point.values, results[point.id])
    if delivery.problem:
        raise RequestError(delivery.problem)
    say(ranking_text(dir, width=terminal_width()))
    if not _is_analysed(dir, record):
        from ksweep.analysis.write import analyze

        analyze(dir, draws=is_drawn(dir))
    shown = (dir.report, dir.analysis, dir.summary, dir.plots)
    say(f"more in {dir.path}: {', '.join(path.name for path in shown if path.exists())}")
    return 1 if any(result.status.is_bad for result in results.values()) else 0


def is_drawn(dir: SweepDir) -> bool:
    """Whether the sweep's configurations, which agree in that, ask for pictures and the report."""
    config = next(dir.configs.iterdir(), None)
    return config is None or config_values(config.read_text()).get("SWEEP_REPORT") != "n"


def _is_analysed(dir: SweepDir, record: SweepRecord) -> bool:
    """Whether the analysis was written after the last result and the last change of the plan."""
    sources = [dir.sweep, *(RunDir(dir.path / point.run_dir).result for point in record.active_points)]
    changed = max((path.stat().st_mtime_ns for path in sources if path.exists()), default=0)
    return dir.analysis.exists() and dir.analysis.stat().st_mtime_ns > changed


def _find(
    plan: ConfigSet, results: Path, *, is_fresh: bool, continue_dir: Path | None
) -> tuple[SweepDir | None, SweepRecord | None]:
    if continue_dir is not None:
        dir = SweepDir(continue_dir)
        return dir, SweepRecord.load(dir)
    found = None if is_fresh else find_continuable(results, plan.source, {config.id for config in plan.configs})
    return found or (None, None)


def _is_unchanged(plan: ConfigSet, dir: SweepDir, record: SweepRecord) -> bool:
    """Whether a sweep has this plan already, SWEEP_ symbols included: another objective is a new ranking without a run."""
    first = plan.configs[0]
    labels = {point.id: point.config for point in record.active_points}
    if labels.keys() != {config.id for config in plan.configs}:
        return False
    path = dir.configs / labels[first.id]
    return path.exists() and path.read_text() == first.text


def _check_steering(plan: ConfigSet) -> None:
    """All configs of one sweep must be ranked alike."""
    first = {name: config_values(plan.configs[0].text).get(name) for name in STEERING}
    for config in plan.configs[1:]:
        values = config_values(config.text) if config.index is None else first
        for name in STEERING:
            if values.get(name) != first[name]:
                raise RequestError(
                    f'{config.config}: CONFIG_{name}: found "{values.get(name)}", '
                    f'but {plan.configs[0].config} has "{first[name]}"; '
                    "the configs of one sweep are ranked alike"
                )


def _dry_run(plan: ConfigSet, dir: SweepDir | None, done: set[str], num_slots: int) -> int:
    counts = plan.counts
    say(f"cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}")
    for config in plan.configs:
        shown = " ".join(f"{name}={value}" for name, value in config.values.items())
        say(f"{config.config} {'done ' if config.id in done else 'to run'} {shown}")
    where = f"in {dir.path}" if dir else "in a new directory"
    say(
        f"dry run: {len(plan.configs) - len(done)} of {len(plan.configs)} would run {where}, {num_slots} at a time; "
        "nothing was started"
    )
    return 0
