"""A sweep directory with its plan in it -> all its points run: puts executor, slots, journal and runner together."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ksweep.contract.atomic import write_json
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.provenance import machine
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.execute.local import LocalExecutor, base_environment
from ksweep.execute.strays import kill_strays
from ksweep.search.base import Known
from ksweep.space.axes import Draft
from ksweep.space.grid import space_filling_order
from ksweep.sweep.callbacks import Callbacks
from ksweep.sweep.delivery import Delivery
from ksweep.sweep.handover import drop_checkpoints
from ksweep.sweep.journal import Journal
from ksweep.sweep.progress import Board, Progress
from ksweep.sweep.pruning import LivePruning
from ksweep.sweep.reports import curve_of, trained
from ksweep.sweep.runner import Runner, RunSpec, Settings, SweepRun
from ksweep.sweep.search import RunOrder, Search
from ksweep.sweep.slots import Slot, cuda_devices, make_slots
from ksweep.sweep.steering import pruner_from, search_settings, settings_from
from ksweep.sweep.store import SweepLock, results_of
from ksweep.sweep.study import StudyExport


def config_values(text: str) -> dict[str, str]:
    """Symbol -> value of a complete configuration."""
    return {name: value for name, (value, _) in parse_config(text).items()}


def slots_for(values: Mapping[str, str], jobs: int | None, *, uses_devices: bool | None = None) -> list[Slot]:
    """The places that a configuration's SWEEP_PARALLEL_JOBS and SWEEP_THREADS ask for; `jobs` comes before the symbol.

    `uses_devices`: whether any run may use a GPU; by default as this configuration's DEVICE says.
    """
    uses_devices = values.get("DEVICE") != "cpu" if uses_devices is None else uses_devices
    count = int(values.get("SWEEP_PARALLEL_JOBS", "0")) if jobs is None else jobs
    return make_slots(count, int(values.get("SWEEP_THREADS", "0")), cuda_devices() if uses_devices else [])


def command_of(values: Mapping[str, str]) -> tuple[str, ...]:
    """The command that trains a configuration: MODEL_COMMAND, or `python -m models.<MODEL>.train`; python is this interpreter."""
    command = values.get("MODEL_COMMAND") or f"python -m models.{values['MODEL']}.train"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise RequestError(f'CONFIG_MODEL_COMMAND: found "{command}": {error}') from None
    is_relative = bool(words) and "/" in words[0] and not words[0].startswith("/")  # to the top of the tree, where runs start
    if not words or not (is_relative or words[0] in ("python", "python3") or shutil.which(words[0])):
        raise RequestError(f'CONFIG_MODEL_COMMAND: found "{command}", allowed: a command that can be started')
    return (sys.executable, *words[1:]) if words[0] in ("python", "python3") else tuple(words)


def run_sweep(
    root: Path,
    dir: SweepDir,
    record: SweepRecord,
    lock: SweepLock,
    *,
    jobs: int | None = None,
    slots: Sequence[Slot] | None = None,
    selectors: Mapping[str, set[str]],
    is_wanted: Callable[[Result], bool] = lambda result: False,
    progress_of: Callable[[Board], Progress],
    search: Search | None = None,
    base: Mapping[str, str] | None = None,
    num_planned: int = 0,
    imported: Sequence[Known] = (),
    enqueued: Sequence[Draft] = (),
    study: StudyExport | None = None,
) -> SweepRun:
    """Run every active point that has no final result, and those whose result `is_wanted` again; with a search, what it wants.

    `root`: top of the tree, where trainers run. `slots` come before `jobs`, `jobs` before the configurations' own symbol.
    `base`: the values that all points of a search share. `num_planned`: runs in all that it is to choose. `imported`: points of
    other sweeps; `enqueued`: points to run first. `study`: where its points are written for others to look at.
    """
    points = record.active_points
    results = {id: result for id, result in results_of(dir, record).items() if not is_wanted(result)}
    ended = sorted(results.values(), key=lambda result: result.started_at + result.wall_s)
    if search:
        search.restore(results, imported, enqueued)
        if study:
            search.on_told = lambda: study.tick(search)
        # Before it is asked: what it has chosen is part of the sweep.
        if base and (over := _stop_reason(dir, points, ended, settings_from(base), len(slots or slots_for(base, jobs)))):
            return SweepRun(results=results, over=over)
        orders = search.next()
    else:
        orders = [RunOrder(point=point) for point in points if point.id not in results]
    if not orders:
        if search:  # a runner that was killed at the very end has not said so
            _close_search(dir, search, results, keep_checkpoints=(base or {}).get("SWEEP_KEEP_CHECKPOINTS") == "y")
        if search and study:
            study.update(search)
        return SweepRun(results=results, over=search.why_over if search else "")
    texts = _Texts(dir)
    first = base or texts.values(orders[0].point)
    settings = settings_from(first)
    slots = slots or slots_for(first, jobs, uses_devices=any(texts.values(o.point).get("DEVICE") != "cpu" for o in orders))
    if over := _stop_reason(dir, points, ended, settings, len(slots)):
        return SweepRun(results=results, over=over)
    total = _trained(dir, points, settings) if search or settings.stop_rules.max_total else 0
    values_of = {point.id: point.values for point in points}
    environment = base_environment(root, slots[0].threads)
    if dir.journal.exists():
        kill_strays(dir.path.resolve())  # of a runner that was killed together with its launcher
    preload = _preload([first, *(texts.values(order.point) for order in orders)])
    executor = LocalExecutor(preload=preload, env=environment, log=dir.runner_log, keep_open=(lock.fd,))
    journal = Journal(dir)
    journal.add_missing_ends({point.config: results[point.id] for point in points if point.id in results})
    try:
        # All this while the launcher starts.
        if not search:
            orders = _in_order(orders, record, int(first.get("SWEEP_SEED", "1")))
        specs = [_spec(dir, order, texts) for order in orders]
        journal.add("sweep_started", todo=len(specs), done=len(results), slots=len(slots), git=record.git)
        runner = Runner(
            executor=executor,
            slots=slots,
            settings=settings,
            journal=journal,
            delivery=Delivery(selectors),
            environment=environment,
            provenance={"git": record.git, "kconfig_hash": record.kconfig_hash, **machine()},
            cwd=root,
            search=search,
            spec_of=lambda order: _spec(dir, order, texts),
            callbacks_of=lambda say: Callbacks(first.get("SWEEP_CALLBACK", ""), dir.callbacks_log, root, say),
            pruning=_pruning(first, dir, record, results, settings),
        )
        executor.wait_ready()
        outcome = runner.run(specs, [(values_of[result.id], result) for result in ended], progress_of, num_planned, total)
        if search and not outcome.stopped:
            is_cut = outcome.over != search.why_over  # by a stop rule, which may be lifted: runs then go on from their rungs
            _close_search(dir, search, outcome.results, keep_checkpoints=settings.keep_checkpoints or is_cut)
        if search and study:
            study.update(search)
        journal.add("sweep_ended", results=len(outcome.results), stopped=outcome.stopped, over=outcome.over)
    finally:
        executor.close()
        journal.close()
    return outcome


def _stop_reason(
    dir: SweepDir, points: Sequence[PointRecord], ended: Sequence[Result], settings: Settings, num_slots: int
) -> str:
    total = _trained(dir, points, settings) if settings.stop_rules.max_total else 0
    return settings.stop_reason(ended, num_slots, total)


def _trained(dir: SweepDir, points: Iterable[PointRecord], settings: Settings) -> int:
    """Epochs or steps of all runs together, also of those that are to go on."""
    return sum(
        trained(RunDir(dir.path / point.run_dir).metrics, settings.resource, is_child="parent" in point.search)
        for point in points
    )


def _close_search(dir: SweepDir, search: Search, results: dict[str, Result], *, keep_checkpoints: bool) -> None:
    """Tell those that were never promoted what they lost to; nobody goes on from their checkpoints any more."""
    for point, reason in search.losers():
        run = RunDir(dir.path / point.run_dir)
        if results[point.id].reason != reason:
            results[point.id] = replace(results[point.id], reason=reason)
            write_json(run.result, results[point.id].to_dict())
        if not keep_checkpoints:
            drop_checkpoints(run)


def _pruning(
    values: Mapping[str, str], dir: SweepDir, record: SweepRecord, results: Mapping[str, Result], settings: Settings
) -> LivePruning | None:
    pruner = pruner_from(values, search_settings(values, settings.objectives, is_finite=True, num_parallel=1))
    if pruner is None:
        return None
    runs = [(point.id, RunDir(dir.path / point.run_dir)) for point in record.active_points if point.id in results]
    return LivePruning(pruner, {id: curve_of(run.metrics, settings.goal, settings.resource) for id, run in runs})


class _Texts:
    """The configurations of a sweep, each read and parsed once."""

    def __init__(self, dir: SweepDir) -> None:
        self._configs = dir.configs
        self._found: dict[str, tuple[str, dict[str, str]]] = {}

    def text(self, point: PointRecord) -> str:
        """The whole file."""
        return self._of(point)[0]

    def values(self, point: PointRecord) -> dict[str, str]:
        """Symbol -> value."""
        return self._of(point)[1]

    def _of(self, point: PointRecord) -> tuple[str, dict[str, str]]:
        if point.id not in self._found:
            text = (self._configs / point.config).read_text()
            self._found[point.id] = text, config_values(text)
        return self._found[point.id]


def _preload(configs: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """What a warm launcher imports: all that some configuration with a `python -m` command asks for. Empty: cold."""
    wanted: dict[str, None] = {}
    for values in configs:
        if values.get("SWEEP_LAUNCH") == "warm" and command_of(values)[1:2] == ("-m",):
            wanted |= dict.fromkeys(values.get("MODEL_PRELOAD", "").split())
    return tuple(wanted)


def _spec(dir: SweepDir, order: RunOrder, texts: _Texts) -> RunSpec:
    point, values = order.point, texts.values(order.point)
    return RunSpec(
        config=point.config,
        id=point.id,
        dir=RunDir(dir.path.absolute() / point.run_dir),
        text=texts.text(point),
        values=point.values,
        seed=values.get("SEED"),
        uses_devices=values.get("DEVICE") != "cpu",
        argv=command_of(values),
        until=order.until,
        parent=RunDir(dir.path.absolute() / order.parent.run_dir) if order.parent else None,
    )


def _in_order(todo: list[RunOrder], record: SweepRecord, seed: int) -> list[RunOrder]:
    """Space-filling over the axes; in the order of their labels where there is no grid."""
    if not all(axis["values"] for axis in record.axes) or not record.axes:
        return todo
    positions = [_index(order.point, record) for order in todo]
    return [todo[i] for i in space_filling_order(positions, seed)]


def _index(point: PointRecord, record: SweepRecord) -> tuple[int, ...]:
    """Where a point lies in the grid; an axis that is inactive there counts as its first value."""
    index = []
    for axis in record.axes:
        rows = (
            i
            for i, row in enumerate(axis["values"])
            if all(point.values.get(n, v) == v for n, v in zip(axis["symbols"], row, strict=True))
        )
        index.append(next(rows, 0))
    return tuple(index)
