"""What the subcommands share: the tree they work on, range files by name, sweeps that are run and then ranked."""

import argparse
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kconfiglib import Kconfig

from ksweep.contract.errors import RequestError
from ksweep.contract.provenance import git_state
from ksweep.kconfig.presets import find_preset
from ksweep.kconfig.resolve import Expansion, Resolver
from ksweep.kconfig.tree import load_tree, tree_hash
from ksweep.space.rangefile import RangeFile, parse_range_file

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_RANGE = "lenet5-sweep"
ENV_KCONFIG = "KSWEEP_KCONFIG"  # another top Kconfig file than the tree's own, below the tree


@dataclass
class Tree:
    """The tree: its Kconfig is parsed when first needed, once."""

    root: Path = ROOT

    @cached_property
    def kconf(self) -> Kconfig:
        """The parsed schema."""
        return load_tree(self.root, os.environ.get(ENV_KCONFIG, "Kconfig"))

    @cached_property
    def resolver(self) -> Resolver:
        """Resolves against `kconf`."""
        return Resolver(self.kconf)

    @cached_property
    def kconfig_hash(self) -> str:
        """Identity of the schema."""
        return tree_hash(self.kconf)

    @cached_property
    def git(self) -> dict[str, object]:
        """State of the sources."""
        return git_state(self.root)

    @property
    def selectors(self) -> dict[str, set[str]]:
        """Word symbol (OPTIMIZER) -> names of its choice's members."""
        return {name: {member.name for member in words.values()} for name, words in self.resolver.selectors.items()}

    def load_config(self, path: Path) -> str:
        """Set `kconf` to a config file; its complete text. RequestError with what is wrong in it."""
        if problems := self.resolver.load(path):
            raise RequestError(*problems)
        return self.resolver.text()

    def read_range(self, name: str | None) -> RangeFile:
        """The range file that `name` means, the default one for None; `expand` reports its problems with its own."""
        return parse_range_file(find_preset(self.root, name or DEFAULT_RANGE), lambda included: find_preset(self.root, included))

    def expand(self, file: RangeFile, args: argparse.Namespace) -> Expansion:
        """All points of a range file, with --epochs and --jobs in place of its own lines."""
        overrides = {}
        if args.epochs is not None:
            overrides["NUM_EPOCHS"] = args.epochs, "EPOCHS"
        if args.jobs is not None:
            overrides["SWEEP_PARALLEL_JOBS"] = args.jobs, "PARALLEL"
        return self.resolver.expand(file, overrides)


def config_file(path: Path) -> Path:
    """The config file that a path means: itself, or config.txt of a run directory."""
    return path / "config.txt" if path.is_dir() else path


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    """--range, --epochs, --jobs. Values stay text: Kconfig checks them, and its message names what is allowed."""
    parser.add_argument("--range", metavar="R", help=f"range file: a path, or a name in defconfigs/ (default: {DEFAULT_RANGE})")
    parser.add_argument("--epochs", metavar="N", help="NUM_EPOCHS, whatever the range file says")
    parser.add_argument("--jobs", metavar="N", help="parallel runs, whatever the range file says")


def add_start_arguments(parser: argparse.ArgumentParser) -> None:
    """--yes and --dry-run."""
    parser.add_argument("--yes", action="store_true", help="confirm a plan of more than SWEEP_MAX_RUNS runs")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")


def say(message: str) -> None:
    """One line to people. When they have gone (a closed pipe) the work goes on without them."""
    try:
        print(message, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for the rest of the process


def warn(message: str) -> None:
    """One line to people, beside the results."""
    print(message, file=sys.stderr, flush=True)
