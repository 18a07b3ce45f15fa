"""Follow a sweep until its runner ends, then print the ranking. Ctrl-C stops watching, not the sweep.

On a terminal the screen of `status` is redrawn in place; into a pipe it becomes one line a change. Writes nothing.
"""

import argparse
import sys
import time
from collections.abc import Callable

from ksweep.analysis.load import SweepState, load_sweep
from ksweep.analysis.ranking import rank
from ksweep.analysis.status import status_line, status_text
from ksweep.analysis.text import leaderboard
from ksweep.cli.results_argument import add_results_argument, sweep_of
from ksweep.contract.paths import SweepDir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep watch`."""
    add_results_argument(parser)
    parser.add_argument("--every", metavar="S", type=float, default=2.0, help="seconds between two looks (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Watch; the exit code."""
    dir, every_s = sweep_of(args), max(0.1, args.every)
    try:
        state = _watch_live(dir, every_s) if sys.stdout.isatty() else _watch_lines(dir, every_s)
    except KeyboardInterrupt:
        return 0
    print(leaderboard(state, rank(state), top=10))
    return 0


def _watch_live(dir: SweepDir, every_s: float) -> SweepState:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        return _follow(dir, every_s, lambda state: live.update(Text(status_text(state)), refresh=True))


def _watch_lines(dir: SweepDir, every_s: float) -> SweepState:
    shown = ""

    def show(state: SweepState) -> None:
        nonlocal shown
        line = status_line(state)
        if line != shown:
            print(line, flush=True)
        shown = line

    return _follow(dir, every_s, show)


def _follow(dir: SweepDir, every_s: float, show: Callable[[SweepState], None]) -> SweepState:
    """Show the sweep as long as its runner lives; the state in which it was left."""
    while True:
        state = load_sweep(dir)
        show(state)
        if state.runner is None:
            return state
        time.sleep(every_s)
