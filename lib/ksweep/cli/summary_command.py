"""Print the analysis of a sweep as it stands now, in the form of sweep_analysis.txt.

Writes nothing but the index of a large sweep.
"""

import argparse

from ksweep.analysis.findings import find
from ksweep.analysis.text import analysis_text
from ksweep.cli.results_argument import add_results_argument, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep summary`."""
    add_results_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the text; the exit code."""
    print(analysis_text(find(sweep_of(args))), end="")
    return 0
