"""Edit and make configurations: what `make menuconfig` and its family call.

Messages about what a .config asks for and does not get are warnings; a preset that asks for such a thing is refused.
"""

import argparse
import os
from pathlib import Path

from ksweep.cli.tree import Tree, say, warn
from ksweep.kconfig.targets import TARGETS, Job, run_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The target and its files."""
    parser.add_argument("target", choices=TARGETS, metavar="target", help=" ".join(TARGETS))
    parser.add_argument("files", nargs="*", help="mergeconfig: the files to lay over .config; savedefconfig: the file to write")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("KCONFIG_CONFIG") or ".config"),
        help="the configuration to load and save (default: KCONFIG_CONFIG, or .config)",
    )
    parser.add_argument("--defconfig", metavar="NAME", help="defconfig: a preset, or several joined by +, later ones winning")


def run(args: argparse.Namespace) -> int:
    """0 when the target did what it promises; RequestError when it could not."""
    tree = Tree()
    job = Job(
        root=tree.root,
        config=args.config,
        preset=args.defconfig,
        files=tuple(args.files),
        environ=os.environ,
        say=say,
        warn=lambda problem: warn(f"warning: {problem}"),
        ask=input,
    )
    run_target(args.target, job, tree.kconf)
    return 0
