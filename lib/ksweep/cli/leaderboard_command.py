"""The best settings of a sweep so far, also while it runs. Writes nothing but the index of a large sweep."""

import argparse
import gc

from ksweep.analysis.formats import terminal_width
from ksweep.analysis.text import ranking_text
from ksweep.cli.results_argument import add_results_argument, positive_int, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep leaderboard`."""
    add_results_argument(parser)
    parser.add_argument("--top", metavar="N", type=positive_int, default=10, help="how many (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the table; the exit code."""
    gc.disable()  # thousands of records are made, and all are kept: the search for cycles among them finds none
    print(ranking_text(sweep_of(args), top=args.top, width=terminal_width()))
    gc.freeze()  # nor does that at the end of the process
    return 0
