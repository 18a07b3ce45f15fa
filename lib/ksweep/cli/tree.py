"""What the subcommands share: the tree they work on, range files by name, sweeps that are run and then ranked."""

import argparse
import os
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kconfiglib import Kconfig

from ksweep.contract.errors import RequestError
from ksweep.contract.provenance import git_state
from ksweep.kconfig.presets import find_preset
from ksweep.kconfig.resolve import Expansion, Overrides, Resolver
from ksweep.kconfig.tree import load_tree, tree_hash
from ksweep.space.rangefile import RangeFile, parse_range_text, read_text
from ksweep.sweep.steering import check_one_length, check_steering, objectives_from
from ksweep.sweep.sweep import config_values
from ksweep.track.registry import check_trackers

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_RANGE = "lenet5-sweep"
VARIABLES = {"epochs": "EPOCHS", "jobs": "PARALLEL", "strategy": "STRATEGY", "trials": "TRIALS"}  # of make
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
        path = find_preset(self.root, name or DEFAULT_RANGE)
        return self.parse_range(read_text(path), path)

    def parse_range(self, text: str, path: Path) -> RangeFile:
        """A range file of this text; one that ends in .yaml is a search space as Optuna's users write it."""
        if path.suffix not in (".yaml", ".yml"):
            return parse_range_text(text, path, self.find_preset)
        from ksweep.kconfig.names import yaml_names
        from ksweep.space.yamlspace import range_text_from_yaml

        space = range_text_from_yaml(text, path, yaml_names(self.kconf))
        for note in space.notes:
            say(note)
        return replace(parse_range_text(space.text, path, self.find_preset), text=text)

    def find_preset(self, name: str) -> Path:
        """The file that a name or path means."""
        return find_preset(self.root, name)

    def overrides(self, args: argparse.Namespace) -> dict[str, tuple[str, str]]:
        """What the command line says instead of the range file: symbol -> (value, the variable that says it)."""
        given = {"NUM_EPOCHS": "epochs", "SWEEP_PARALLEL_JOBS": "jobs", "SWEEP_STRATEGY": "strategy", "SWEEP_TRIALS": "trials"}
        return {
            symbol: (getattr(args, name), VARIABLES[name]) for symbol, name in given.items() if getattr(args, name) is not None
        }

    def strategy(self, file: RangeFile, overrides: Overrides) -> str:
        """The strategy that a range file asks for."""
        symbol = self.kconf.syms["SWEEP_STRATEGY"]
        self.resolver.set_base(self.resolver.request(file, overrides, for_grid=False).fixed)
        return str(symbol.str_value)

    def expand(self, file: RangeFile, args: argparse.Namespace) -> Expansion:
        """All points of a range file, with --epochs and --jobs in place of its own lines. RequestError also for what is
        wrong with the SWEEP_ symbols that they share."""
        expansion = self.resolver.expand(file, self.overrides(args))
        values = config_values(expansion.points[0].text)
        check_steering(values, objectives_from(values), self.root, num_points=len(expansion.points))
        check_trackers(values.get("SWEEP_TRACKERS", ""))
        if values.get("SWEEP_RESOURCE") in expansion.points[0].values:
            check_one_length(values, str(file.path or file.name))
        return expansion


def config_file(path: Path) -> Path:
    """The config file that a path means: itself, or config.txt of a run directory."""
    return path / "config.txt" if path.is_dir() else path


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    """--range, --epochs, --jobs, --strategy, --trials. Values stay text: Kconfig checks them, and says what is allowed."""
    parser.add_argument("--range", metavar="R", help=f"range file: a path, or a name in defconfigs/ (default: {DEFAULT_RANGE})")
    parser.add_argument("--epochs", metavar="N", help="NUM_EPOCHS, whatever the range file says")
    parser.add_argument("--jobs", metavar="N", help="parallel runs, whatever the range file says")
    parser.add_argument(
        "--strategy", metavar="S", help="SWEEP_STRATEGY, whatever the range file says: grid, random, tpe, asha ..."
    )
    parser.add_argument("--trials", metavar="N", help="SWEEP_TRIALS, whatever the range file says")


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
