"""Run a directory of config files, rank the results.

Every config_NNN in it is checked first; none is started when one is wrong. A directory that the generator wrote continues
the sweep of its range file, any other the sweep of its own path.
"""

import argparse
from pathlib import Path

from ksweep.cli.results_argument import add_jobs_argument
from ksweep.cli.running import run_plan
from ksweep.cli.tree import Tree, add_start_arguments
from ksweep.sweep.configs import read_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument(
        "--config-dir", metavar="D", type=Path, default=Path("sweep_configs"), help="directory of configs (default: %(default)s)"
    )
    parser.add_argument(
        "--output-dir", metavar="R", type=Path, default=Path("test_matrix_results"), help="where the sweep directory is made"
    )
    parser.add_argument("--continue-dir", metavar="S", type=Path, help="continue this sweep directory")
    add_jobs_argument(parser)
    parser.add_argument("--fresh", action="store_true", help="start anew in a new directory")
    add_start_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    plan = read_configs(args.config_dir, tree.resolver)
    return run_plan(
        tree,
        plan,
        args.output_dir,
        is_fresh=args.fresh,
        is_confirmed=args.yes,
        is_dry=args.dry_run,
        jobs=args.jobs,
        continue_dir=args.continue_dir,
    )
