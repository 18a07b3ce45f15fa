"""Follow a sweep until its runner ends, then print the ranking. Ctrl-C stops watching, not the sweep.

On a terminal: slots, runs, time left and the best so far, on a screen that is redrawn in place. Into a pipe: one line a change.
Writes nothing but the index of a large sweep.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

from ksweep.analysis.formats import terminal_width
from ksweep.analysis.live import LiveScreen
from ksweep.analysis.load import SweepReader, SweepState
from ksweep.analysis.ranking import rank
from ksweep.analysis.standing import Observer
from ksweep.analysis.status import status_line
from ksweep.analysis.text import leaderboard
from ksweep.cli.results_argument import add_results_argument, sweep_of
from ksweep.contract.paths import SweepDir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep watch`."""
    add_results_argument(parser)
    parser.add_argument("--every", metavar="S", type=float, default=1.0, help="seconds between two looks (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Watch; the exit code."""
    dir, every_s = sweep_of(args), max(0.1, args.every)
    is_live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    try:
        state = _watch_live(dir, every_s) if is_live else _watch_lines(dir, every_s)
    except KeyboardInterrupt:
        print("no longer watched; the sweep goes on")
        return 0
    print(leaderboard(state, rank(state), top=10, width=terminal_width()))
    if state.num_finished < len(state.runs):
        print("\nno runner is alive, and not all runs have ended; the same command continues the sweep")
    return 0


def _watch_live(dir: SweepDir, every_s: float) -> SweepState:
    observer = Observer()
    with LiveScreen() as live:

        def show(state: SweepState) -> None:
            live.draw(observer.look(state))

        return _follow(dir, every_s, show, lambda seconds, state: live.wait(seconds, lambda: show(state)))


def _watch_lines(dir: SweepDir, every_s: float) -> SweepState:
    shown = ""

    def show(state: SweepState) -> None:
        nonlocal shown
        line = status_line(state)
        if line != shown:
            print(line, flush=True)
        shown = line

    return _follow(dir, every_s, show, lambda seconds, state: time.sleep(seconds))


def _follow(
    dir: SweepDir, every_s: float, show: Callable[[SweepState], None], wait: Callable[[float, SweepState], None]
) -> SweepState:
    """Show the sweep as long as its runner lives; the state in which it was left."""
    reader = SweepReader(dir)
    while True:
        began = time.monotonic()
        state = reader.read()
        show(state)
        if state.runner is None:
            return state
        wait(max(every_s, time.monotonic() - began), state)  # however large the sweep: half of the time of a core at most
