"""`--results`: the sweep that a reading command is about."""

import argparse
from pathlib import Path

from ksweep.analysis.load import find_sweep
from ksweep.contract.paths import SweepDir


def add_results_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--results R`."""
    parser.add_argument(
        "--results",
        metavar="R",
        type=Path,
        default=Path("test_matrix_results"),
        help="a sweep directory, or a directory of sweeps, whose newest is taken (default: %(default)s)",
    )


def sweep_of(args: argparse.Namespace) -> SweepDir:
    """The sweep that was asked for. RequestError when there is none."""
    return find_sweep(args.results)


def add_jobs_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--jobs N`."""
    parser.add_argument("--jobs", metavar="N", type=_whole, help="parallel runs; 0: one a GPU, or one a core without GPUs")


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 0 or more")
    return value


def positive_int(text: str) -> int:
    """A whole number from 1 up, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 1 or more")
    return value
