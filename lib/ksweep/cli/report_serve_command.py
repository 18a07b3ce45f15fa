"""Show the report of a sweep in a browser on this machine, live while the sweep runs; Ctrl-C ends it, not the sweep.

The page updates itself and keeps its sorting, filters and place. Run directories can be read through it. Only this machine is
answered; from another one, make a tunnel first: ssh -L 8080:127.0.0.1:8080 THIS_MACHINE, and open http://127.0.0.1:8080/ there.
Writes nothing of its own into the sweep.
"""

import argparse
import signal
from types import FrameType

from ksweep.analysis.report_server import ReportServer
from ksweep.cli.results_argument import add_results_argument, sweep_of, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ksweep report-serve`."""
    add_results_argument(parser)
    parser.add_argument(
        "--port", metavar="N", type=_port, default=8080, help="of 127.0.0.1; 0 picks a free one (default: %(default)s)"
    )


def _port(text: str) -> int:
    number = whole_number(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 0 to 65535")
    return number


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit code."""
    dir = sweep_of(args)
    server = ReportServer(dir, args.port)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.prepare()
        print(f"{dir.path}: the report is at {server.address} (this machine only; Ctrl-C ends it)", flush=True)
        server.run()
    except KeyboardInterrupt:
        print("ended; the sweep was left as it is", flush=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
