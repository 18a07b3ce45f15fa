"""Rank a sweep, finished or running, and write the results into its directory.

Prints the ranking and writes sweep_analysis.txt, sweep_summary.json, sweep_summary.csv, ranking.png and
learning_curves.png. Exit code 0 also when runs failed: the analysis says so first.
"""

import argparse

from ksweep.analysis.text import leaderboard
from ksweep.analysis.write import analyze
from ksweep.cli.results_argument import add_results_argument, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep analyze`."""
    add_results_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Analyse; the exit code."""
    analysis = analyze(sweep_of(args))
    print(leaderboard(analysis.state, analysis.ranking, top=10))
    print("\nwritten:")
    for path in analysis.files:
        print(f"  {path}")
    return 0
