"""Continue a sweep: run its points that have no final result, then rank."""

import argparse

from ksweep.cli.results_argument import add_results_argument, positive_int, sweep_of
from ksweep.cli.running import continue_sweep
from ksweep.cli.tree import Tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    parser.add_argument("--jobs", metavar="N", type=positive_int, help="parallel runs")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    return continue_sweep(Tree(), sweep_of(args), jobs=args.jobs)
