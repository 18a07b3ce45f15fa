"""Run a directory of config files, rank the results.

Every config_NNN in it is checked first; none is started when one is wrong. A directory that the generator wrote continues
the sweep of its range file, any other the sweep of its own path.
"""

import argparse
from pathlib import Path

from ksweep.cli.results_argument import add_jobs_argument
from ksweep.cli.running import continue_sweep, run_plan
from ksweep.cli.tree import Tree, add_start_arguments
from ksweep.contract.paths import SweepDir
from ksweep.sweep.configs import read_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("--config-dir", metavar="D", type=Path, help="directory of configs (default: sweep_configs)")
    parser.add_argument(
        "--output-dir", metavar="R", type=Path, default=Path("test_matrix_results"), help="where the sweep directory is made"
    )
    parser.add_argument(
        "--continue-dir", metavar="S", type=Path, help="continue this sweep directory; with --config-dir: with these configs"
    )
    add_jobs_argument(parser)
    parser.add_argument("--fresh", action="store_true", help="start anew in a new directory")
    add_start_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    if args.continue_dir and not args.config_dir:
        return continue_sweep(tree, SweepDir(args.continue_dir), jobs=args.jobs, is_dry=args.dry_run)
    plan = read_configs(args.config_dir or Path("sweep_configs"), tree.resolver)
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
