"""A range file under a strategy that chooses its points while the sweep runs: check, plan, run, continue."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from ksweep.cli.data_files import check_data_files
from ksweep.cli.running import check_size, report_outcome
from ksweep.cli.tree import Tree, say, warn
from ksweep.contract.atomic import exclusive, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.kconfig.resolve import Overrides
from ksweep.kconfig.space import KconfigSpace
from ksweep.search.base import Known, Strategy
from ksweep.search.registry import build_strategy
from ksweep.space.axes import Axis, Draft, Row, size
from ksweep.space.objective import Objectives
from ksweep.space.rangefile import RangeFile
from ksweep.sweep.progress import make_progress
from ksweep.sweep.reports import curve_of
from ksweep.sweep.search import Search, outcome_of
from ksweep.sweep.steering import check_one_length, check_steering, has_rungs, objectives_from, resource_key, search_settings
from ksweep.sweep.store import (
    ANOTHER_SWEEP,
    GrowingPlan,
    SweepLock,
    check_results_root,
    find_search,
    new_sweep_dir,
    results_of,
    results_root,
)
from ksweep.sweep.study import StudyExport
from ksweep.sweep.sweep import command_of, config_values, run_sweep, slots_for
from ksweep.track.companions import Companions
from ksweep.track.registry import check_trackers

LOCK = ".lock"  # in the results directory: held while a sweep directory is found or made
MAX_WALKED = 5_000  # combinations: a space of up to so many is gone through before the start, to say exactly what is in it


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """A range file, checked, for one strategy. `values`: of all that is fixed; `num_distinct`: points of the space, where known;
    `lines`: what people are told of it."""

    file: RangeFile
    overrides: Overrides
    space: KconfigSpace
    values: dict[str, str]
    objectives: Objectives
    base: str
    num_distinct: int | None
    counts: dict[str, int]
    lines: list[str]

    @property
    def source(self) -> str:
        """The range file, as sweeps are found by it."""
        return str(self.file.path.resolve()) if self.file.path else ""

    @property
    def num_repeats(self) -> int:
        """Seeds a point."""
        return int(self.values.get("SWEEP_REPEATS", "1"))

    def strategy(self, num_parallel: int) -> Strategy:
        """The strategy, without any history."""
        settings = search_settings(
            self.values, self.objectives, is_finite=size(self.space.axes) is not None, num_parallel=num_parallel
        )
        return build_strategy(self.values["SWEEP_STRATEGY"], self.values.get("SWEEP_SAMPLER") or "random", self.space, settings)

    def table(self, strategy: Strategy) -> str:
        """What the strategy will do, and what the space leaves of it; empty where there is nothing to tell."""
        table = strategy.table()
        if table and self.num_distinct is not None and strategy.num_points and self.num_distinct < strategy.num_points:
            table += f"\n  the space has {self.num_distinct} points, so there will be fewer at each rung"
        return table

    def num_points(self, strategy: Strategy) -> int | None:
        """Points that will be run at most; None: that is not known."""
        numbers = [n for n in (strategy.num_points, self.num_distinct) if n is not None]
        return min(numbers, default=None)


def plan_search(tree: Tree, file: RangeFile, overrides: Overrides) -> SearchPlan:
    """Check a range file for the strategy that it asks for. RequestError with what is wrong with it."""
    request = tree.resolver.request(file, overrides, for_grid=False)
    space = KconfigSpace(tree.resolver, request)
    values = config_values(space.base_text)
    most, name = int(values.get("SWEEP_MAX_RESOURCE") or "0"), values.get("SWEEP_RESOURCE", "")
    if most and overrides.get(name, ("", ""))[0] != str(most):
        return plan_search(tree, file, {**overrides, name: (str(most), "CONFIG_SWEEP_MAX_RESOURCE")})
    if not space.axes:
        raise RequestError(
            f"{file.path or file.name}: nothing is swept, so there is nothing to search; give a symbol several values"
        )
    _check_resource(values, space)
    objectives = objectives_from(values)
    check_steering(values, objectives, tree.root)  # first of all: the walk below may take a while
    check_trackers(values.get("SWEEP_TRACKERS", ""))
    combinations = size(space.axes)
    counts: dict[str, int] = {}
    if combinations is not None and combinations <= MAX_WALKED:
        expansion = tree.resolver.walk(request)
        counts, notes = expansion.counts, [*expansion.notes]
        check_steering(values, objectives, tree.root, num_points=counts["distinct"])
        told = f"cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}"
    else:
        notes = [*request.notes, *space.notes, *space.probe(int(values.get("SWEEP_SEED", "1")))]
        num_sampled = sum(axis.sampled is not None for axis in space.axes)
        told = f"axes: {len(space.axes)}, " + (
            f"{num_sampled} of them drawn" if num_sampled else f"{combinations:,} combinations"
        )
    if has_rungs(values) and (len(objectives.goals) > 1 or objectives.constraints):
        notes.append(
            f"strategy {values['SWEEP_STRATEGY']} compares runs at its rungs by {objectives.goals[0].text} alone; other "
            "objectives and constraints count when complete runs are ranked"
        )
    return SearchPlan(
        file=file,
        overrides=overrides,
        space=space,
        values=values,
        objectives=objectives,
        base=tree.resolver.point_id(space.base_text),
        num_distinct=counts.get("distinct"),
        counts=counts,
        lines=[*(f"note: {note}" for note in notes), f"{file.path}: {told}"],
    )


def _check_resource(values: Mapping[str, str], space: KconfigSpace) -> None:
    name = values.get("SWEEP_RESOURCE", "")
    axis = next((axis for axis in space.axes if name in axis.symbols), None)
    if axis and has_rungs(values):
        raise RequestError(
            f"{axis.where}: CONFIG_{name}: is swept, but strategy {values['SWEEP_STRATEGY']} decides itself how long a run is; "
            f"give it one value (that of a complete run), or take a strategy without rungs"
        )
    if axis:
        check_one_length(values, axis.where)


def _enqueued(tree: Tree, plan: SearchPlan) -> list[Draft]:
    """The points of SWEEP_ENQUEUE. RequestError for one that does not lie in the space."""
    drafts = []
    for name in plan.values.get("SWEEP_ENQUEUE", "").split():
        path = tree.find_preset(name)
        point = config_values(tree.load_config(path) if path.name.startswith("config") else _preset_text(tree, path))
        rows = {axis.name: tuple(point.get(symbol, "") for symbol in axis.symbols) for axis in plan.space.axes}

        def choose(axis: Axis, rows: dict[str, Row] = rows, name: str = name) -> Row:
            if axis.has(rows[axis.name]):
                return rows[axis.name]
            allowed = axis.sampled or "|".join(",".join(row) for row in axis.values[:8])
            raise RequestError(
                f"CONFIG_SWEEP_ENQUEUE: {name}: CONFIG_{axis.name}: found {','.join(rows[axis.name])}, allowed: {allowed} "
                f"({axis.where}); take the value into the axis, or leave the file out"
            )

        draft = plan.space.draw(choose)
        if not draft.id:
            raise RequestError(f"CONFIG_SWEEP_ENQUEUE: {name}: not a legal point of this space: {draft.reason}")
        drafts.append(draft)
    return drafts


def _preset_text(tree: Tree, path: Path) -> str:
    """The one configuration of a preset."""
    points = tree.resolver.expand(tree.read_range(str(path))).points
    if len(points) > 1:
        raise RequestError(f"{path}: {len(points)} points, allowed: a preset or a config file, which is one point")
    return points[0].text


def _imported(plan: SearchPlan, results: Path) -> tuple[list[Known], list[str]]:
    """What the sweeps of SWEEP_IMPORT have found out about points of this space, and a line on each of them.

    A run counts where its configuration is, symbol by symbol, one that this range file could make: its values on the axes, all
    else equal. Whatever its own sweep called an axis does not matter.
    """
    known: dict[str, Known] = {}
    lines = []
    for name in plan.values.get("SWEEP_IMPORT", "").split():
        dir = SweepDir(results / name if (results / name / "sweep.json").exists() else Path(name))
        record, num_taken = SweepRecord.load(dir), 0
        found = results_of(dir, record)
        for point in (point for point in record.active_points if point.id in found):
            values = config_values((dir.configs / point.config).read_text())
            rows = {axis.name: row for axis in plan.space.axes if (row := axis.row_in(values)) is not None}
            draft = _same_point(plan.space, rows)
            if draft is None or draft.id != point.id or point.id in known:
                continue
            num_taken += 1
            run, key = RunDir(dir.path / point.run_dir), resource_key(plan.values)
            goal = plan.objectives.goals[0] if plan.objectives.goals else None
            outcome = outcome_of([found[point.id]], [curve_of(run.metrics, goal, key)], plan.objectives, statistics.fmean)
            known[point.id] = Known(number=-1 - len(known), id=point.id, rows=draft.rows, outcome=outcome)
        lines.append(f"{dir.path}: {num_taken} of {len(found)} results are of this space")
    return sorted(known.values(), key=lambda each: each.number), lines


def _same_point(space: KconfigSpace, rows: dict[str, Row]) -> Draft | None:
    try:
        return space.draw(lambda axis: rows[axis.name])
    except KeyError:  # the run has no value there that this axis has
        return None


def run_search(
    tree: Tree, plan: SearchPlan, results: Path, *, is_fresh: bool, is_confirmed: bool, is_dry: bool, jobs: int | None = None
) -> int:
    """Run a plan: continue the sweep that it belongs to, or start one. Returns the exit code."""
    results = results_root(results)
    for line in plan.lines:
        say(line)
    num_slots = len(slots_for(plan.values, jobs))
    strategy = plan.strategy(num_slots)
    command_of(plan.values)  # one that cannot be started is refused here
    num_points = plan.num_points(strategy)
    num_runs = (num_points or 0) * plan.num_repeats
    check_size(num_runs, int(plan.values.get("SWEEP_MAX_RUNS", num_runs)), is_confirmed=is_confirmed or is_dry)
    enqueued = _enqueued(tree, plan)  # and what it cannot take in here
    _imported(plan, results)
    if is_dry:
        return _dry_run(plan, strategy, enqueued, num_points)
    check_data_files(tree, [plan.space.base_text])
    check_results_root(results, num_runs)
    with exclusive(results / LOCK):  # of two that start at once the second finds the directory of the first
        found = None if is_fresh else _find(plan, results)
        dir = found[0] if found else new_sweep_dir(results)
        lock = SweepLock(dir, ANOTHER_SWEEP)
        before = SweepRecord.load(dir) if found else None  # as its last runner left it, which may have ended just now
        record = save_search(tree, dir, plan, strategy, before)
    try:
        return _run(tree, dir, plan, strategy, record, lock, jobs=jobs)
    finally:
        lock.release()


def _find(plan: SearchPlan, results: Path) -> tuple[SweepDir, SweepRecord] | None:
    """The sweep that a plan continues: all of whose points it could have chosen. One over a space that has since lost some of
    them has other results than were asked for; it can be imported."""

    def fits(record: SweepRecord) -> bool:
        return record.range_text == plan.file.text or all(_has(plan, point) for point in record.points)

    return find_search(results, plan.source, plan.values["SWEEP_STRATEGY"], plan.base, fits)


def _has(plan: SearchPlan, point: PointRecord) -> bool:
    space = plan.space
    draft = _same_point(space, {axis.name: row for axis in space.axes if (row := axis.row_in(point.values)) is not None})
    if draft is not None and draft.id and point.search["repeat"]:
        draft = space.with_seed(draft, point.search["repeat"])
    return draft is not None and draft.id == point.id


def continue_search(
    tree: Tree, dir: SweepDir, record: SweepRecord, *, jobs: int | None, is_dry: bool, is_wanted: Callable[[Result], bool]
) -> int:
    """Go on with a search where it stands; returns the exit code."""
    file = tree.parse_range(record.range_text, Path(record.range_file or record.name))
    plan = plan_search(tree, file, {name: (value, "the sweep") for name, value in record.overrides.items()})
    if plan.base != record.base:
        raise RequestError(
            f"{dir.path}: what the sweep keeps fixed is not as it was (the tree, or a preset that {record.name} includes, has "
            "changed since); start another one with make sweep"
        )
    strategy = plan.strategy(len(slots_for(plan.values, jobs)))
    if is_dry:
        done = results_of(dir, record)
        say(f"{dir.path}: {len(done)} done; strategy {record.strategy} would go on; nothing was started")
        return 0
    check_data_files(tree, [plan.space.base_text])
    lock = SweepLock(dir)
    try:
        record = SweepRecord.load(dir)  # as its last runner left it, which may have ended just now
        return _run(tree, dir, plan, strategy, record, lock, jobs=jobs, is_wanted=is_wanted)
    finally:
        lock.release()


def _run(
    tree: Tree,
    dir: SweepDir,
    plan: SearchPlan,
    strategy: Strategy,
    record: SweepRecord,
    lock: SweepLock,
    *,
    jobs: int | None,
    is_wanted: Callable[[Result], bool] = lambda result: False,
) -> int:
    search = Search(
        strategy,
        GrowingPlan(dir, record),
        plan.objectives,
        axes=plan.space.axes,
        repeat=plan.space.with_seed,
        num_repeats=plan.num_repeats,
        aggregate=record.aggregate,
        resource=resource_key(plan.values),
    )
    planned = plan.strategy(strategy.settings.num_parallel)
    planned.restore([])
    if table := plan.table(planned):
        say(table)
    imported, lines = _imported(plan, dir.path.parent)
    for line in lines:
        say(line)
    num_points = plan.num_points(strategy)
    say(f"{dir.path}: {_asked(plan, num_points)}, {len(results_of(dir, record))} done")
    with Companions(check_trackers(plan.values.get("SWEEP_TRACKERS", "")), dir, tree.root, warn) as trackers:
        outcome = run_sweep(
            tree.root,
            dir,
            record,
            lock,
            jobs=jobs,
            selectors=tree.selectors,
            is_wanted=is_wanted,
            progress_of=make_progress,
            search=search,
            base=plan.values,
            num_planned=(num_points or 0) * plan.num_repeats,
            imported=imported,
            enqueued=_enqueued(tree, plan),
            study=StudyExport(dir, record.name, plan.space.axes, strategy.settings.maximize),
        )
        trackers.finish()
        return report_outcome(tree, dir, record, outcome)


def _asked(plan: SearchPlan, num_points: int | None) -> str:
    points = "points" if num_points is None else f"{num_points} points"
    return f"strategy {plan.values['SWEEP_STRATEGY']}, {points}" + (
        f" x {plan.num_repeats} seeds" if plan.num_repeats > 1 else ""
    )


def save_search(tree: Tree, dir: SweepDir, plan: SearchPlan, strategy: Strategy, before: SweepRecord | None) -> SweepRecord:
    """Write what the sweep is asked for, with the points that it has already."""
    values = plan.values
    record = SweepRecord(
        name=plan.file.name,
        range_file=plan.source,
        range_text=plan.file.text,
        axes=[_axis_entry(axis) for axis in plan.space.axes],
        objective=values.get("SWEEP_OBJECTIVE", ""),
        direction=values.get("SWEEP_DIRECTION", "maximize"),
        strategy=values["SWEEP_STRATEGY"],
        created_at=before.created_at if before else time(),
        git=tree.git,
        kconfig_hash=tree.kconfig_hash,
        counts=plan.counts | _promised(plan, strategy),
        points=before.points if before else [],
        constraints=values.get("SWEEP_CONSTRAINTS", ""),
        aggregate=values.get("SWEEP_AGGREGATE", "mean"),
        sampler=values.get("SWEEP_SAMPLER", ""),
        overrides={name: value for name, (value, _) in plan.overrides.items()},
        base=plan.base,
    )
    dir.configs.mkdir(exist_ok=True)
    write_text(dir.plan, "\n".join([*plan.lines, *_axis_lines(plan), _asked(plan, plan.num_points(strategy))]) + "\n")
    record.save(dir)
    return record


def _promised(plan: SearchPlan, strategy: Strategy) -> dict[str, int]:
    """`planned`: runs at most; `epochs`: of all of them together at least, where they stop at rungs. What is not known is left
    out."""
    planned = plan.strategy(strategy.settings.num_parallel)
    planned.restore([])
    num_points, total = plan.num_points(planned), planned.total_resource
    promised = {} if num_points is None else {"planned": num_points * plan.num_repeats}
    if total is not None and strategy.settings.unit == "epoch":
        promised["epochs"] = total * plan.num_repeats
    return promised


def _axis_entry(axis: Axis) -> dict[str, Any]:
    entry = {"symbols": list(axis.symbols), "values": [list(row) for row in axis.values]}
    return entry | ({"sampled": str(axis.sampled)} if axis.sampled else {})


def _axis_lines(plan: SearchPlan) -> list[str]:
    lines = ["Axes, in the order in which they are drawn:"]
    for axis in plan.space.axes:
        shown = str(axis.sampled) if axis.sampled else " | ".join(",".join(row) for row in axis.values)
        lines.append(f"  {' , '.join(axis.symbols)}: {shown}")
    return lines


def _dry_run(plan: SearchPlan, strategy: Strategy, enqueued: list[Draft], num_points: int | None) -> int:
    strategy.enqueue(enqueued)
    strategy.restore([])
    for line in [*_axis_lines(plan), _asked(plan, num_points), plan.table(strategy)]:
        if line:
            say(line)
    first: list[Draft] = []
    while len(first) < strategy.settings.num_parallel and (start := strategy.ask()) is not None and start.draft is not None:
        first.append(start.draft)
    for draft in first:
        say("first: " + " ".join(f"{name}={value}" for name, value in draft.values.items()))
    say("dry run: nothing was started")
    return 0
