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
        help="a sweep directory, or a directory of sweeps: the one worked on last is taken (default: %(default)s)",
    )


def sweep_of(args: argparse.Namespace) -> SweepDir:
    """The sweep that was asked for. RequestError when there is none."""
    return find_sweep(args.results)


def add_jobs_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--jobs N`."""
    parser.add_argument("--jobs", metavar="N", type=whole_number, help="parallel runs; 0: one a GPU, or one a core without GPUs")


def whole_number(text: str, least: int = 0) -> int:
    """A whole number from `least` up, for argparse."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: a whole number, {least} or more")
    return int(text)


def positive_int(text: str) -> int:
    """A whole number from 1 up, for argparse."""
    return whole_number(text, 1)
