"""One configuration run by itself, its output on the terminal: what train and rerun have in common."""

import os
from collections.abc import Mapping
from pathlib import Path

from ksweep.cli.data_files import check_data_files
from ksweep.cli.tree import Tree, say
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.sweep.configs import ConfigSet, PlannedConfig
from ksweep.sweep.progress import Board, Progress, duration_text
from ksweep.sweep.slots import Slot
from ksweep.sweep.store import SweepLock, check_results_root, new_sweep_dir, results_root, save_plan
from ksweep.sweep.sweep import config_values, run_sweep


class EchoProgress(Progress):
    """Passes the run's own output on."""

    def __init__(self, board: Board, log: Path) -> None:
        super().__init__(board)
        self._log, self._position = log, 0

    def say(self, message: str) -> None:
        """See Progress."""
        self.tick()
        say(message)

    def ended(self, config: str, values: Mapping[str, str], result: Result) -> None:
        """See Progress."""
        self.tick()

    def tick(self) -> None:
        """See Progress."""
        try:
            with open(self._log, "rb") as log:
                log.seek(self._position)
                new = log.read()
        except FileNotFoundError:
            return
        self._position += len(new)
        if new:
            say(new.decode("utf-8", "replace").removesuffix("\n"))


def run_single(
    tree: Tree, config: PlannedConfig, results: Path, *, kind: str, source: Path, slot: Slot
) -> tuple[RunDir, Result | None]:
    """Run one config in a directory of its own, `<kind>_YYYYMMDD_HHMMSS` below `results`; None: it was interrupted."""
    check_data_files(tree, [config.text])
    results = results_root(results)
    check_results_root(results, 1)
    dir = new_sweep_dir(results, kind)
    plan = ConfigSet(
        name=source.name,
        source=str(source.resolve()),
        range_text="",
        axes=[],
        counts={"cartesian": 1, "legal": 1, "distinct": 1},
        configs=[config],
        plan_text="",
    )
    lock = SweepLock(dir)
    try:
        record = save_plan(dir, plan, None, config_values(config.text), tree.git, tree.kconfig_hash)
        run_dir = RunDir(dir.path / record.points[0].run_dir)
        say(
            f"{run_dir.path}: {slot.threads} thread{'s' * (slot.threads > 1)}"
            + (f", device {slot.device}" if slot.device else "")
        )
        outcome = run_sweep(
            tree.root,
            dir,
            record,
            lock,
            slots=[slot],
            selectors=tree.selectors,
            progress_of=lambda board: EchoProgress(board, run_dir.log),
        )
    finally:
        lock.release()
    result = outcome.results.get(config.id)
    if result is None:
        say(outcome.stopped)
        return run_dir, None
    metrics = "  ".join(f"{name} {_number(value)}" for name, value in result.metrics.items())
    say(
        f"{result.status} in {duration_text(result.wall_s)}"
        + (f": {result.reason}" if result.reason else "")
        + (f"\n{metrics}" if metrics else "")
    )
    return run_dir, result


def _number(value: float | None) -> str:
    """Four digits at least: images a second are not 1.235e+04."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def sweep_around(path: Path) -> SweepDir | None:
    """The sweep directory that a file lies in, if any."""
    for parent in Path(os.path.abspath(path)).parents:
        if (parent / "sweep.json").exists():
            return SweepDir(parent)
    return None
