"""Expand a range file into numbered, complete config files.

Prints cartesian -> legal -> distinct. Every problem of the range file is reported before anything is written.
"""

import argparse
from pathlib import Path

from ksweep.cli.running import check_size
from ksweep.cli.tree import Tree, add_range_arguments, add_start_arguments, say
from ksweep.kconfig.resolve import Expansion
from ksweep.space.rangefile import RangeFile
from ksweep.sweep.configs import assign_labels, known_labels, plan_text, write_configs
from ksweep.sweep.store import find_continuable
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
    generate(Tree(), args, is_fresh=False)
    return 0


def generate(tree: Tree, args: argparse.Namespace, *, is_fresh: bool) -> None:
    """Expand, print the counts and write the configs; with --dry-run print the plan and write nothing."""
    file = tree.read_range(args.range)
    expansion = tree.expand(file, args)
    counts = expansion.counts
    for note in expansion.notes:
        say(f"note: {note}")
    say(f"{file.path}: cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}")
    values = config_values(expansion.points[0].text)
    check_size(
        len(expansion.points),
        int(values.get("SWEEP_MAX_RUNS", 0)) or len(expansion.points),
        is_confirmed=args.yes or args.dry_run,
    )
    labels = {} if is_fresh else _labels(file, expansion, args)
    if args.dry_run:
        numbered = assign_labels([point.id for point in expansion.points], labels)
        say(plan_text(expansion, file, numbered) + "dry run: nothing was written")
        return
    for note in write_configs(expansion, file, args.out, labels):
        say(note)
    say(f"{args.out}: {len(expansion.points)} configs; what was dropped and why: {args.out / 'combinations_summary.txt'}")


def _labels(file: RangeFile, expansion: Expansion, args: argparse.Namespace) -> dict[str, str]:
    """The labels that points have already: in the sweep that this plan continues, else in the directory."""
    source = str(file.path.resolve()) if file.path else ""
    found = find_continuable(args.results, source, {point.id for point in expansion.points})
    return {point.id: point.config for point in found[1].points} if found else known_labels(args.out, source)
