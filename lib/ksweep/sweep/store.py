"""Sweep directories: find the one that a plan continues, make one, extend it, own it while running.

  test_matrix_results/sweep_YYYYMMDD_HHMMSS/    see test_matrix_results/README.md

The same range file continues its newest sweep that shares a point with the plan; so the same command after a kill finishes the
rest, an extended range file runs the new points only, and a plan with nothing in common gets a directory of its own.
"""

import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ksweep.contract.atomic import read_json, to_json, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Result, Status, read_result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.axes import Draft
from ksweep.sweep.configs import ConfigSet, label_number

MIN_FREE_BYTES = 64 << 20
FREE_BYTES_A_RUN = 512 << 10
LOCK_PATIENCE_S = 20.0  # how long a dead owner's launcher may take to end its runs
_WORD = re.compile(r"[A-Za-z0-9]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")


def sweeps_newest_first(results: Path) -> Iterator[SweepDir]:
    """The sweep directories below a results root."""
    found = [path for path in results.glob("sweep_*") if (path / "sweep.json").exists()]
    yield from (SweepDir(path) for path in sorted(found, reverse=True))


def settled_result(dir: RunDir) -> Result | None:
    """The result of a run directory; None also for one that cannot be understood: the point then runs again."""
    try:
        return read_result(dir)
    except (KeyError, TypeError, ValueError):
        return None


def results_root(path: Path) -> Path:
    """Where sweeps lie: `path`, or the directory around it when it is itself a sweep (RESULTS= may name either)."""
    return path.parent if (path / "sweep.json").exists() else path


def _readable_sweeps(results: Path) -> Iterator[tuple[SweepDir, SweepRecord]]:
    for dir in sweeps_newest_first(results):
        try:
            yield dir, SweepRecord.load(dir)
        except (RequestError, KeyError, TypeError):
            continue  # a damaged sweep.json is no reason not to run another sweep


def find_continuable(results: Path, source: str, ids: set[str]) -> tuple[SweepDir, SweepRecord] | None:
    """The newest sweep over the same range file (`source`) that was planned as a whole and has a point of this plan."""
    for dir, record in _readable_sweeps(results):
        if record.range_file == source and not record.base and any(point.id in ids for point in record.points):
            return dir, record
    return None


def find_search(
    results: Path, source: str, strategy: str, base: str, fits: Callable[[SweepRecord], bool] = lambda record: True
) -> tuple[SweepDir, SweepRecord] | None:
    """The newest sweep over the same range file by the same strategy, with all that is fixed as it is now, and which `fits`."""
    for dir, record in _readable_sweeps(results):
        if (record.range_file, record.strategy, record.base) == (source, strategy, base) and fits(record):
            return dir, record
    return None


def check_results_root(results: Path, num_runs: int) -> None:
    """RequestError unless directories can be made below `results`, with room for `num_runs` more runs."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".probe.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise RequestError(
            f"{results}: the results directory cannot be written: {error.strerror}; choose another (RESULTS=...)"
        ) from None
    free, needed = shutil.disk_usage(results).free, MIN_FREE_BYTES + num_runs * FREE_BYTES_A_RUN
    if free < needed:
        raise RequestError(
            f"{results}: {free >> 20} MiB free, at least {needed >> 20} MiB needed for {num_runs} runs; "
            "make room or choose another place (RESULTS=...)"
        )


def find_run(results: Path, id: str, *, first: SweepDir | None) -> RunDir | None:
    """The run that passed with this content id: in sweep `first`, else in the newest below `results` that has one.

    Not one that went on from another run's checkpoint: its configuration alone does not make its numbers.
    """
    for dir, record in [*([(first, SweepRecord.load(first))] if first else []), *_readable_sweeps(results)]:
        for point in record.points:
            run = RunDir(dir.path / point.run_dir)
            if point.id != id or "parent" in point.search:
                continue
            if (result := settled_result(run)) and result.status == Status.PASSED:
                return run
    return None


def new_sweep_dir(results: Path, kind: str = "sweep") -> SweepDir:
    """A directory that did not exist before; two sweeps that start in one second get two."""
    stamp = time.strftime(f"{kind}_%Y%m%d_%H%M%S")
    for suffix in ("", *(f"_{i}" for i in range(2, 1000))):
        try:
            (results / (stamp + suffix)).mkdir()
        except FileExistsError:
            continue
        return SweepDir(results / (stamp + suffix))
    raise RequestError(f"{results}: no free name for {stamp}")


def save_plan(
    dir: SweepDir,
    plan: ConfigSet,
    before: SweepRecord | None,
    settings: Mapping[str, str],
    git: dict[str, Any],
    kconfig_hash: str,
) -> SweepRecord:
    """Write `sweep.json`, `plan.txt` and `configs/`; returns the record. Points of an earlier plan stay, with their labels.

    `settings` are the resolved SWEEP_ symbols.
    """
    known = {point.id: point for point in before.points} if before else {}
    taken = {point.config for point in known.values()}
    planned = {config.id: config.values for config in plan.configs}
    points = [replace(p, is_active=p.id in planned, values=planned.get(p.id, p.values)) for p in known.values()]
    for config in plan.configs:
        if config.id in known:
            continue
        if config.config in taken:
            raise RequestError(
                f"{dir.path}: {config.config} is the label of another configuration there; run `make sweep-generate` again"
            )
        points.append(
            PointRecord(
                config=config.config, id=config.id, run_dir=run_dir_name(config.config, config.values), values=config.values
            )
        )
    record = SweepRecord(
        name=plan.name,
        range_file=plan.source,
        range_text=plan.range_text,
        axes=plan.axes,
        objective=settings.get("SWEEP_OBJECTIVE", ""),
        direction=settings.get("SWEEP_DIRECTION", "maximize"),
        strategy=settings.get("SWEEP_STRATEGY", "grid"),
        created_at=before.created_at if before else time.time(),
        git=git,
        kconfig_hash=kconfig_hash,
        counts=plan.counts,
        points=points,
        constraints=settings.get("SWEEP_CONSTRAINTS", ""),
        aggregate=settings.get("SWEEP_AGGREGATE", "mean"),
        overrides=plan.overrides,
    )
    dir.configs.mkdir(exist_ok=True)
    labels = {point.id: point.config for point in points}
    for config in plan.configs:
        path = dir.configs / labels[config.id]
        if not path.exists() or path.read_text() != config.text:
            path.write_text(config.text)  # before sweep.json names it: a torn one is written again
    write_text(dir.plan, plan.plan_text or f"{len(plan.configs)} configs of {plan.source}\n")
    record.save(dir)
    return record


class GrowingPlan:
    """`sweep.json` and `configs/` of a sweep whose points are chosen while it runs. `record.points` grows."""

    def __init__(self, dir: SweepDir, record: SweepRecord) -> None:
        self.dir, self.record = dir, record
        self._lines = [to_json(asdict(point)) for point in record.points]

    def run_dir(self, point: PointRecord) -> RunDir:
        """Where the run of a point lies."""
        return RunDir(self.dir.path.absolute() / point.run_dir)

    def add(self, draft: Draft, search: dict[str, Any]) -> PointRecord:
        """Give a new point the next label and write its config; in sweep.json with the next `save`."""
        number = max((label_number(point.config) for point in self.record.points[-1:]), default=0) + 1
        while (config := self.dir.configs / f"config_{number:03d}").exists():
            number += 1  # of a point that a power loss took out of sweep.json
        config.write_text(draft.text)
        run_dir = run_dir_name(config.name, draft.values)
        point = PointRecord(config=config.name, id=draft.id, run_dir=run_dir, values=draft.values, search=search)
        self.record.points.append(point)
        self._lines.append(to_json(asdict(point)))
        return point

    def replace(self, point: PointRecord, values: dict[str, str]) -> PointRecord:
        """The same point with other values."""
        i, again = self.record.points.index(point), replace(point, values=values)
        self.record.points[i], self._lines[i] = again, to_json(asdict(again))
        return again

    def save(self) -> None:
        """Write sweep.json whole. A point is there before its run starts, whatever kills the runner; a power loss may cost the
        newest ones (waiting for the disk each time would cost milliseconds a point), whose labels are then not used again."""
        self.record.save(self.dir, lines=self._lines, sync=False)


def run_dir_name(label: str, values: Mapping[str, str]) -> str:
    """`config_007_sgd_lr0.05_wd0`: the label and the swept values, shortened; at most 80 characters of them."""
    parts = []
    for name, value in values.items():
        short = _UNSAFE.sub("-", value)
        is_number = value[:1].isdigit() or value[:1] in "-+."
        parts.append(
            ("".join(word[0] for word in _WORD.findall(name.replace("_", " "))).lower() + short)
            if is_number or value in "yn"
            else short
        )
    return "_".join([label, *parts])[:90].rstrip("_-.")


def results_of(dir: SweepDir, record: SweepRecord) -> dict[str, Result]:
    """Point id -> its result, for the active points that have a final one."""
    found = {}
    for point in record.active_points:
        result = settled_result(RunDir(dir.path / point.run_dir))
        if result is not None and result.id == point.id and result.status.is_final:
            found[point.id] = result
    return found


ANOTHER_SWEEP = "FRESH=1 starts another sweep beside it"  # of the commands that know FRESH


class SweepLock:
    """`runner.lock`: one runner a sweep. Held by flock, so that it is free the moment its owner is gone, however that ended.

    The launcher inherits `fd`; while a dead runner's launcher still ends its runs, the lock stays taken for that moment.
    `way_out`: what else can be done where it is taken, for the message.
    """

    def __init__(self, dir: SweepDir, way_out: str = "") -> None:
        self._path = dir.lock
        self.fd = os.open(dir.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = read_json(dir.lock) or {}
                if _is_alive(owner) or time.monotonic() > deadline:
                    os.close(self.fd)
                    raise RequestError(
                        f"{dir.path}: in use by the runner with pid {owner.get('pid', '?')} on host {owner.get('host', '?')}; "
                        f"wait for it, or stop it (Ctrl-C there){way_out and '; '}{way_out}"
                    ) from None
                time.sleep(0.05)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, to_json({"pid": os.getpid(), "host": platform.node(), "started_at": time.time()}).encode(), 0)

    def release(self) -> None:
        """Give the sweep free."""
        os.close(self.fd)


def _is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether the owner may still run; on another host that cannot be told, and the lock itself is the evidence."""
    if owner.get("host") != platform.node():
        return True
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process: alive
    return True
