"""Run the failed points of a sweep again (failed, oom, diverged, timeout, crashed, invalid), and those without a result."""

import argparse

from ksweep.cli.continue_command import add_arguments
from ksweep.cli.results_argument import sweep_of
from ksweep.cli.running import continue_sweep
from ksweep.cli.tree import Tree

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    return continue_sweep(
        Tree(), sweep_of(args), jobs=args.jobs, is_dry=args.dry_run, is_wanted=lambda result: result.status.is_bad
    )
