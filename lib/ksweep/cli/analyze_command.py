"""Rank a sweep, finished or running, and write the results into its directory.

Prints the ranking and writes report.html, sweep_analysis.txt, sweep_summary.json, .csv and .parquet, and the pictures in
plots/. Exit code 0 also when some runs failed: the analysis says so first; 1 when all did.
"""

import argparse

from ksweep.analysis.formats import terminal_width
from ksweep.analysis.text import leaderboard
from ksweep.analysis.write import analyze
from ksweep.cli.results_argument import add_results_argument, sweep_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep analyze`."""
    add_results_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Analyse; the exit code."""
    analysis = analyze(sweep_of(args))
    print(leaderboard(analysis.findings.state, analysis.findings.ranking, top=10, width=terminal_width()))
    print("\nwritten:")
    for path in analysis.files:
        print(f"  {path}")
    runs = analysis.findings.state.runs
    return 1 if runs and all(run.status.is_bad for run in runs) else 0
