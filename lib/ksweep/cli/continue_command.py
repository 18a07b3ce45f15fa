"""Continue a sweep: run its points that have no final result, then rank."""

import argparse

from ksweep.cli.results_argument import add_jobs_argument, add_results_argument, sweep_of
from ksweep.cli.running import continue_sweep
from ksweep.cli.tree import Tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    add_jobs_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and stop")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    return continue_sweep(Tree(), sweep_of(args), jobs=args.jobs, is_dry=args.dry_run)
