"""Train one configuration, by default .config, with all cores: a file, or that of a run directory.

Everything lands in a directory of its own: test_matrix_results/train_YYYYMMDD_HHMMSS/.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ksweep.cli.single import run_single
from ksweep.cli.tree import Tree, config_file, say
from ksweep.contract.errors import RequestError
from ksweep.kconfig.presets import find_preset
from ksweep.space.rangefile import RangeFile, parse_range_text, read_range_file
from ksweep.sweep.configs import PlannedConfig
from ksweep.sweep.sweep import config_values, slots_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("--config", metavar="C", type=Path, default=Path(".config"), help="configuration (default: %(default)s)")
    parser.add_argument(
        "--results", metavar="R", type=Path, default=Path("test_matrix_results"), help="where its directory is made"
    )
    parser.add_argument("--epochs", metavar="N", help="NUM_EPOCHS, whatever the configuration says")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and stop")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    path = config_file(args.config)
    if not path.exists():
        raise RequestError(f"{path}: no such configuration; make one with `make menuconfig`, `make defconfig` or `make best`")
    tree = Tree()
    file = read_range_file(path, lambda name: find_preset(tree.root, name))
    # That of a sweep with repeats says so, and is one of them.
    file = replace(file, assignments=tuple(a for a in file.assignments if a.symbols != ("SWEEP_REPEATS",)))
    expansion = tree.resolver.expand(file)
    if len(expansion.points) > 1:
        raise RequestError(f"{path}: {len(expansion.points)} points, allowed: 1; run it with `make sweep RANGE_CONFIG={path}`")
    if args.epochs is not None:
        expansion = tree.resolver.expand(_without_defaults(tree, file), {"NUM_EPOCHS": (args.epochs, "EPOCHS")})
    point = expansion.points[0]
    config = PlannedConfig(config="config_001", id=point.id, values={}, index=None, text=point.text)
    slot = slots_for(config_values(point.text), 1)[0]
    if args.dry_run:
        say(f"would train {path} on {slot.device or f'{slot.threads} threads'}; nothing was started")
        return 0
    _, result = run_single(tree, config, args.results, kind="train", source=path, slot=slot)
    return 0 if result and not result.status.is_bad else 1


def _without_defaults(tree: Tree, file: RangeFile) -> RangeFile:
    """The lines of the one point that the tree holds now which are no defaults: a complete .config states the end of the pruning
    ramp also where nobody chose it, and with fewer epochs it is to follow."""
    minimal = parse_range_text(tree.kconf._min_config_contents(None), Path("minimal"), _no_include)
    chosen = {name for assignment in minimal.assignments for name in assignment.symbols} | tree.selectors.keys()
    return replace(file, assignments=tuple(a for a in file.assignments if not chosen.isdisjoint(a.symbols)))


def _no_include(name: str) -> Path:
    raise AssertionError(name)
