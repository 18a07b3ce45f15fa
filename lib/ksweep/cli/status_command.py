"""How a sweep stands: counts, running configs with their last metric, time left, the best so far.

Writes nothing but the index of a large sweep.
"""

import argparse

from ksweep.analysis.formats import terminal_width
from ksweep.analysis.load import load_sweep
from ksweep.analysis.status import status_text
from ksweep.cli.results_argument import add_results_argument, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep status`."""
    add_results_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the screen; the exit code."""
    print(status_text(load_sweep(sweep_of(args)), width=terminal_width()))
    return 0
