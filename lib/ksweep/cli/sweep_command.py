"""Expand a range file, run every legal combination that has no result yet, rank the results.

With a strategy other than grid the points are chosen while the sweep runs; all else is the same. The same command continues
after any interruption, and starts nothing when all is done.
Exit code: 0 all good, 1 some runs failed, 2 the request was wrong.
"""

import argparse

from ksweep.cli import generate_command
from ksweep.cli.generate_command import expand, labels_of, show, write
from ksweep.cli.running import run_plan
from ksweep.cli.tree import Tree
from ksweep.sweep.configs import owned_configs, read_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    generate_command.add_arguments(parser)
    parser.add_argument("--fresh", action="store_true", help="start anew in a new directory")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    file = tree.read_range(args.range)
    overrides = tree.overrides(args)
    if tree.strategy(file, overrides) != "grid":
        from ksweep.cli.searching import plan_search, run_search

        plan = plan_search(tree, file, overrides)
        return run_search(tree, plan, args.results, is_fresh=args.fresh, is_confirmed=args.yes, is_dry=args.dry_run)
    expansion = expand(tree, file, args)
    labels = {} if args.fresh else labels_of(file, expansion, args)
    if args.dry_run:
        show(file, expansion, labels)
        return 0
    with owned_configs(args.out):  # until they are read: another sweep may be about to write its own there
        write(tree, file, expansion, args, labels)
        configs = read_configs(args.out, tree.resolver)
    return run_plan(tree, configs, args.results, is_fresh=args.fresh, is_confirmed=args.yes)
