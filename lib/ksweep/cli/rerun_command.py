"""Run one config file again, alone, and compare it with its earlier run.

The config may be a file of sweep_configs/, of a sweep's configs/, or a run directory's config.txt. With the same code, machine
and CPU threads a run on the CPU repeats its metrics to the last bit; the threads are taken from the earlier run.
Exit code: 0 when it passed and, where there is an earlier run on the CPU, repeated it; 1 otherwise.
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from ksweep.analysis.compare import compare_runs
from ksweep.cli.single import run_single, sweep_around
from ksweep.cli.tree import Tree, config_file, say
from ksweep.contract.atomic import read_json
from ksweep.contract.paths import RunDir
from ksweep.sweep.configs import PlannedConfig
from ksweep.sweep.store import find_run, results_root
from ksweep.sweep.sweep import config_values, slots_for

MAX_DIFFERENCES_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("config", type=Path, help="config file, or run directory")
    parser.add_argument(
        "--results",
        metavar="R",
        type=Path,
        default=Path("test_matrix_results"),
        help="where sweeps are and its directory is made",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and stop")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    path = config_file(args.config)
    tree = Tree()
    text = tree.load_config(path)
    label = re.search(r"config_\d+", f"{path.parent.name}/{path.name}")
    config = PlannedConfig(
        config=label[0] if label else "config_001", id=tree.resolver.point_id(text), values={}, index=None, text=text
    )
    results = results_root(args.results)
    around = sweep_around(path)
    earlier = find_run(around.path.parent if around else results, config.id, first=around)
    slot = slots_for(config_values(text), None)[0]
    before = read_json(earlier.provenance) if earlier else None
    if before:
        slot = replace(slot, threads=before["threads"])
    if args.dry_run:
        say(f"would run {path}" + (f" and compare with {earlier.path}" if earlier else "") + "; nothing was started")
        return 0
    run_dir, result = run_single(tree, config, results, kind="rerun", source=path, slot=slot)
    if result is None or result.status.is_bad:
        return 1
    return _compare(run_dir, earlier, before or {}, read_json(run_dir.provenance)) if earlier else _nothing_to_compare()


def _nothing_to_compare() -> int:
    say("no earlier run of this configuration was found that passed, and had begun by itself: nothing to compare with")
    return 0


def _compare(new: RunDir, old: RunDir, before: dict[str, object], now: dict[str, object]) -> int:
    count, differences = compare_runs(new, old)
    if not differences:
        say(f"same as {old.path} to the last bit: {count} numbers compared")
        return 0
    say(f"differs from {old.path} in {len(differences)} of {count} numbers:")
    for line in [*differences[:MAX_DIFFERENCES_SHOWN], *(["..."] if len(differences) > MAX_DIFFERENCES_SHOWN else [])]:
        say(f"  {line}")
    changed = [
        name for name in ("git", "host", "system", "cores", "packages", "threads", "device") if before.get(name) != now.get(name)
    ]
    say(f"what changed since: {', '.join(changed)}" if changed else "nothing that is recorded has changed since")
    return 1
