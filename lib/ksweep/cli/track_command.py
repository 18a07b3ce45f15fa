"""Hand a sweep to an experiment tracker: tensorboard, mlflow, wandb, trackio, or one of an installed package.

Everything is written below trackers/<name>/ in the sweep's directory, without a network. A run that is there whole is not handed
over again, so the command can be repeated; of a running sweep it takes what there is, or with --follow all until it ends.
"""

import argparse
import ctypes
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ksweep.analysis.formats import one_line, plural
from ksweep.analysis.load import load_sweep
from ksweep.cli.results_argument import add_results_argument, sweep_of, whole_number
from ksweep.cli.tree import say
from ksweep.contract.errors import KsweepError
from ksweep.track.export import Export
from ksweep.track.registry import TRACKERS, check_tracker

LOOK_INTERVAL_S = 2.0  # at least; longer where a look is, so that looking takes no more than 5% of a core
MAX_LOG_BYTES = 1 << 20
NICENESS = 10
PR_SET_PDEATHSIG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep track`."""
    add_results_argument(parser)
    parser.add_argument("--tracker", metavar="T", required=True, help=f"one of: {', '.join(TRACKERS)}")
    parser.add_argument("--follow", action="store_true", help="go on until the sweep's runner ends")
    parser.add_argument(
        "--parent", metavar="PID", type=whole_number, help="the sweep that has started this: end with it, and disturb it little"
    )


def run(args: argparse.Namespace) -> int:
    """Hand over; the exit code: 1 when the tracker raised something."""
    dir = sweep_of(args)
    check_tracker(args.tracker)
    load_sweep(dir)  # one that cannot be read is refused before anything is written
    if args.parent is None:
        return _hand_over(args)
    _belong_to(args.parent)
    code = _with_bounded_output(lambda: _hand_over(args))
    os._exit(code)  # whatever threads the tracker has left running


def _hand_over(args: argparse.Namespace) -> int:
    is_over = _sweep_is_over(args) if args.follow else None
    dir = sweep_of(args)
    try:
        export = Export(dir, args.tracker)
        while is_over and not is_over.is_set():
            started = time.monotonic()
            if export.look().runner is None and args.parent is None:
                break
            is_over.wait(max(LOOK_INTERVAL_S, 20 * (time.monotonic() - started)))
        export.look()
        export.close()
    except KsweepError:
        raise
    except Exception as error:
        if args.parent is not None:
            raise  # to its log, as a whole
        raise KsweepError(one_line(f"tracker {args.tracker}: {type(error).__name__}: {error}")) from error
    say(f"{args.tracker}: {plural(export.num_handed_over, 'run')} handed over, {export.num_whole} there in all: {export.folder}")
    if how := export.tracker.HOW_TO_SEE:
        say(f"to see it: {how.replace('{folder}', shlex.quote(str(export.folder)))}")
    return 0


def _sweep_is_over(args: argparse.Namespace) -> threading.Event:
    """Set when there is nothing more to wait for: the parent has closed our standard input; Ctrl-C or SIGTERM by hand."""
    is_over = threading.Event()

    def wait_for_parent() -> None:
        os.read(0, 1)
        is_over.set()

    if args.parent is not None:
        threading.Thread(target=wait_for_parent, daemon=True).start()
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: is_over.set())
    return is_over


def _belong_to(parent: int) -> None:
    """Die with `parent`, and be the first to go where CPU time or memory is short."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before the line above
    os.nice(NICENESS)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass  # then they are equals


def _with_bounded_output(work: Callable[[], int]) -> int:
    """Do `work`, whose words go where they go now as far as 1 MiB: no tracker fills the sweep's disk with them."""
    read_fd, write_fd = os.pipe()
    copier = threading.Thread(target=_copy, args=(read_fd, os.dup(1)), daemon=True)
    copier.start()
    _redirect(write_fd)
    try:
        return work()
    except KsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BaseException:  # also SystemExit: a tracker is any package's code
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _redirect(os.open(os.devnull, os.O_WRONLY))  # the copier then comes to the end, unless a child of the tracker goes on
        copier.join(1.0)


def _redirect(fd: int) -> None:
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)


def _copy(source: int, target: int) -> None:
    left = MAX_LOG_BYTES
    while data := os.read(source, 1 << 16):
        os.write(target, data[:left])
        if 0 < left < len(data):
            os.write(target, f"\n(more than {MAX_LOG_BYTES >> 20} MiB: the rest is left out)\n".encode())
        left = max(0, left - len(data))
