"""Check configurations and range files against the Kconfig tree; starts nothing.

Without arguments: .config, where there is one, and every file of defconfigs/. Exit code 2 when something is wrong.
"""

import argparse
from pathlib import Path

from ksweep.cli.tree import Tree, add_range_arguments, say
from ksweep.contract.errors import RequestError
from ksweep.kconfig.presets import DIRECTORY, list_presets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_range_arguments(parser)
    parser.add_argument("--config", metavar="C", type=Path, help="a configuration")
    parser.add_argument(
        "--dot-config", metavar="C", type=Path, default=Path(".config"), help="where .config is (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    problems: list[str] = []
    if args.range:
        problems += _check_range(tree, args.range, args)
    if args.config:
        problems += _check_config(tree, args.config)
    if not args.range and not args.config:
        problems += _check_config(tree, args.dot_config) if args.dot_config.exists() else []
        for preset in list_presets(tree.root):
            problems += _check_range(tree, str(tree.root / DIRECTORY / preset.name), args)
    if problems:
        raise RequestError(*problems)
    return 0


def _check_config(tree: Tree, path: Path) -> list[str]:
    problems = tree.resolver.load(path)
    if not problems:
        say(f"{path}: a legal configuration")
    return problems


def _check_range(tree: Tree, name: str, args: argparse.Namespace) -> list[str]:
    try:
        file = tree.read_range(name)
        overrides = tree.overrides(args)
        if tree.strategy(file, overrides) != "grid":
            from ksweep.cli.searching import plan_search

            plan = plan_search(tree, file, overrides)
            plan.strategy(1)
            say("\n".join(reversed(plan.lines)))
            return []
        expansion = tree.expand(file, args)
    except RequestError as error:
        return list(error.problems)
    counts = expansion.counts
    say(f"{file.path}: cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}")
    for note in expansion.notes:
        say(f"  note: {note}")
    return []
