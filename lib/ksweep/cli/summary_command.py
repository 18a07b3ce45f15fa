"""Print the analysis of a sweep as it stands now, in the form of sweep_analysis.txt. Writes nothing."""

import argparse

from ksweep.analysis.load import load_sweep
from ksweep.analysis.ranking import rank
from ksweep.analysis.text import analysis_text
from ksweep.cli.results_argument import add_results_argument, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep summary`."""
    add_results_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the text; the exit code."""
    state = load_sweep(sweep_of(args))
    print(analysis_text(state, rank(state)), end="")
    return 0
