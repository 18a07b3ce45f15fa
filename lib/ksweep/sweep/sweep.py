"""A sweep directory with its plan in it -> all its points run: puts executor, slots, journal and runner together."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.provenance import machine
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.execute.local import LocalExecutor, base_environment
from ksweep.execute.strays import kill_strays
from ksweep.space.grid import space_filling_order
from ksweep.sweep.delivery import Delivery
from ksweep.sweep.journal import Journal
from ksweep.sweep.progress import Board, Progress
from ksweep.sweep.runner import Runner, RunSpec, Settings, SweepRun
from ksweep.sweep.slots import Slot, cuda_devices, make_slots
from ksweep.sweep.store import SweepLock, results_of


def config_values(text: str) -> dict[str, str]:
    """Symbol -> value of a complete configuration."""
    return {name: value for name, (value, _) in parse_config(text).items()}


def slots_for(values: Mapping[str, str], jobs: int | None, *, uses_devices: bool | None = None) -> list[Slot]:
    """The places that a configuration's SWEEP_PARALLEL_JOBS asks for; `jobs` comes before the symbol.

    `uses_devices`: whether any run may use a GPU; by default as this configuration's DEVICE says.
    """
    uses_devices = values.get("DEVICE") != "cpu" if uses_devices is None else uses_devices
    count = int(values.get("SWEEP_PARALLEL_JOBS", "0")) if jobs is None else jobs
    return make_slots(count, cuda_devices() if uses_devices else [])


def settings_from(values: Mapping[str, str]) -> Settings:
    """The runner's settings in a complete configuration."""
    return Settings(
        objective=values.get("SWEEP_OBJECTIVE", ""),
        maximize=values.get("SWEEP_DIRECTION", "maximize") == "maximize",
        run_timeout_s=int(values.get("SWEEP_RUN_TIMEOUT", "0")),
        silence_timeout_s=int(values.get("SWEEP_SILENCE_TIMEOUT", "0")),
        retries=int(values.get("SWEEP_RETRIES", "0")),
        keep_checkpoints=values.get("SWEEP_KEEP_CHECKPOINTS") == "y",
    )


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
) -> SweepRun:
    """Run every active point that has no final result, and those whose result `is_wanted` again.

    `root`: top of the tree, where trainers run. `slots` come before `jobs`, `jobs` before the configurations' own symbol.
    """
    texts = {point.id: (dir.configs / point.config).read_text() for point in record.active_points}
    results = {id: result for id, result in results_of(dir, record).items() if not is_wanted(result)}
    done = [(point.values, results[point.id]) for point in record.active_points if point.id in results]
    todo = [point for point in record.active_points if point.id not in results]
    if not todo:
        return SweepRun(results=results)
    values = {point.id: config_values(texts[point.id]) for point in todo}
    first = values[todo[0].id]
    slots = slots or slots_for(first, jobs, uses_devices=any(v.get("DEVICE") != "cpu" for v in values.values()))
    environment = base_environment(root, slots[0].threads)
    if dir.journal.exists():
        kill_strays(dir.path.resolve())  # of a runner that was killed together with its launcher
    executor = LocalExecutor(preload=_preload(values.values()), env=environment, log=dir.runner_log, keep_open=(lock.fd,))
    journal = Journal(dir)
    journal.add_missing_ends({point.config: results[point.id] for point in record.active_points if point.id in results})
    try:
        # All this while the launcher starts.
        ordered = _in_order(todo, record, int(first.get("SWEEP_SEED", "1")))
        specs = [_spec(dir, point, texts[point.id], values[point.id]) for point in ordered]
        journal.add("sweep_started", todo=len(specs), done=len(done), slots=len(slots), git=record.git)
        runner = Runner(
            executor=executor,
            slots=slots,
            settings=settings_from(first),
            journal=journal,
            delivery=Delivery(selectors),
            environment=environment,
            provenance={"git": record.git, "kconfig_hash": record.kconfig_hash, **machine()},
            cwd=root,
        )
        executor.wait_ready()
        outcome = runner.run(specs, done, progress_of)
        journal.add("sweep_ended", results=len(outcome.results), stopped=outcome.stopped)
    finally:
        executor.close()
        journal.close()
    return outcome


def _preload(configs: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """What a warm launcher imports: all that some configuration with a `python -m` command asks for. Empty: cold."""
    wanted: dict[str, None] = {}
    for values in configs:
        if values.get("SWEEP_LAUNCH") == "warm" and command_of(values)[1:2] == ("-m",):
            wanted |= dict.fromkeys(values.get("MODEL_PRELOAD", "").split())
    return tuple(wanted)


def _spec(dir: SweepDir, point: PointRecord, text: str, values: Mapping[str, str]) -> RunSpec:
    return RunSpec(
        config=point.config,
        id=point.id,
        dir=RunDir(dir.path.absolute() / point.run_dir),
        text=text,
        values=point.values,
        seed=values.get("SEED"),
        uses_devices=values.get("DEVICE") != "cpu",
        argv=command_of(values),
    )


def _in_order(todo: list[PointRecord], record: SweepRecord, seed: int) -> list[PointRecord]:
    """Space-filling over the axes; in the order of their labels where there is no grid."""
    if not all(axis["values"] for axis in record.axes) or not record.axes:
        return todo
    positions = [_index(point, record) for point in todo]
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
