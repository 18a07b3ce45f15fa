"""Expand a range file into numbered, complete config files.

Prints cartesian -> legal -> distinct. Every problem of the range file is reported before anything is written.
"""

import argparse
from pathlib import Path

from ksweep.cli.running import check_size
from ksweep.cli.tree import Tree, add_range_arguments, add_start_arguments, say
from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import Expansion
from ksweep.space.rangefile import RangeFile
from ksweep.sweep.configs import SUMMARY_TEXT, assign_labels, known_labels, owned_configs, plan_text, write_configs
from ksweep.sweep.store import find_continuable, results_root
from ksweep.sweep.sweep import config_values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_range_arguments(parser)
    parser.add_argument(
        "--out", metavar="D", type=Path, default=Path("sweep_configs"), help="directory of configs (default: %(default)s)"
    )
    parser.add_argument(
        "--results", metavar="R", type=Path, default=Path("test_matrix_results"), help="results, whose labels are kept"
    )
    add_start_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    file = tree.read_range(args.range)
    if (strategy := tree.strategy(file, tree.overrides(args))) != "grid":
        raise RequestError(
            f"{file.path}: strategy {strategy} chooses its points while the sweep runs; run it with make sweep, or expand all "
            "of them with STRATEGY=grid"
        )
    expansion = expand(tree, file, args)
    if args.dry_run:
        show(file, expansion, labels_of(file, expansion, args))
        return 0
    with owned_configs(args.out):
        write(tree, file, expansion, args, labels_of(file, expansion, args))
    return 0


def expand(tree: Tree, file: RangeFile, args: argparse.Namespace) -> Expansion:
    """The points of a range file; prints the counts."""
    expansion = tree.expand(file, args)
    counts = expansion.counts
    for note in expansion.notes:
        say(f"note: {note}")
    say(f"{file.path}: cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}")
    limit = int(config_values(expansion.points[0].text).get("SWEEP_MAX_RUNS", len(expansion.points)))
    check_size(len(expansion.points), limit, is_confirmed=args.yes or args.dry_run)
    return expansion


def labels_of(file: RangeFile, expansion: Expansion, args: argparse.Namespace) -> dict[str, str]:
    """The labels that points have already: in the sweep that this plan continues, and in the directory."""
    source = str(file.path.resolve()) if file.path else ""
    found = find_continuable(results_root(args.results), source, {point.id for point in expansion.points})
    swept = {point.id: point.config for point in found[1].points} if found else {}
    taken = set(swept.values())
    return {id: label for id, label in known_labels(args.out, source).items() if label not in taken} | swept


def show(file: RangeFile, expansion: Expansion, labels: dict[str, str]) -> None:
    """Print the plan that `write` would write."""
    numbered = assign_labels([point.id for point in expansion.points], labels)
    say(plan_text(expansion, file, numbered) + "dry run: nothing was written")


def write(tree: Tree, file: RangeFile, expansion: Expansion, args: argparse.Namespace, labels: dict[str, str]) -> None:
    """Write the configs."""
    overrides = {name: value for name, (value, _) in tree.overrides(args).items()}
    for note in write_configs(expansion, file, args.out, labels, overrides):
        say(note)
    say(f"{args.out}: {len(expansion.points)} configs; what was dropped and why: {args.out / SUMMARY_TEXT}")
