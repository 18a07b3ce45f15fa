"""Where each value of a configuration comes from: swept, set by a line, computed, or its default.

With --symbol X: all about one symbol, and why it is not in the file when it is not.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from ksweep.cli.single import sweep_around
from ksweep.cli.tree import Tree, config_file, say
from ksweep.contract.atomic import read_json
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.kconfig.explain import default_beside, unknown, unmet
from ksweep.kconfig.presets import find_preset
from ksweep.space.rangefile import parse_range_text
from ksweep.sweep.configs import SUMMARY_JSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("config", type=Path, help="config file, or run directory")
    parser.add_argument("--symbol", metavar="X", help="one symbol, with or without CONFIG_")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    path = config_file(args.config)
    tree = Tree()
    values = {name: value for name, (value, _) in parse_config(tree.load_config(path)).items()}
    origins = _origins(tree, path)
    if args.symbol:
        return _about(tree, args.symbol.removeprefix("CONFIG_"), values, origins, path)
    width = max(len(f"{name}={value}") for name, value in values.items())
    for name, value in values.items():
        symbol = tree.kconf.syms[name]
        if symbol.choice and value == "n":
            continue
        say(f"{f'{name}={value}':{width}}  {origins.get(name) or _default_origin(tree, name, path)}")
    return 0


def _default_origin(tree: Tree, name: str, path: Path) -> str:
    symbol = tree.kconf.syms[name]
    if not any(node.prompt for node in symbol.nodes):
        return "computed"
    value, default = symbol.str_value, default_beside(symbol)
    return "default" if value == default else f"set in {path} (default: {default})"


def _origins(tree: Tree, path: Path) -> dict[str, str]:
    """Symbol -> where the range file that made this config sets it."""
    plan = _plan_around(path)
    if not plan:
        return {}
    try:
        file = parse_range_text(plan["text"], Path(plan["source"]), lambda name: find_preset(tree.root, name))
    except RequestError:
        return {}
    origins = {}
    for a in file.assignments:
        how = "swept" if a.is_axis else "set"
        for name in a.symbols:
            origins[name] = f"{how}, {a.where}"
            if name in tree.resolver.selectors:
                origins |= {member.name: f"{how} as {name}, {a.where}" for member in tree.resolver.selectors[name].values()}
    return origins


def _plan_around(path: Path) -> dict[str, Any]:
    summary = read_json(path.parent / SUMMARY_JSON)
    if isinstance(summary, dict):
        return {"text": summary["range_text"], "source": summary["source"]}
    if around := sweep_around(path):
        record = json.loads(around.sweep.read_text())
        return {"text": record["range_text"], "source": record["range_file"]}
    return {}


def _about(tree: Tree, name: str, values: dict[str, str], origins: dict[str, str], path: Path) -> int:
    if name not in tree.kconf.syms or not tree.kconf.syms[name].nodes:
        raise RequestError(unknown(tree.kconf, name))
    symbol = tree.kconf.syms[name]
    if name in values:
        say(f"CONFIG_{name}={values[name]}: {origins.get(name) or _default_origin(tree, name, path)}")
    else:
        item = symbol.choice if symbol.choice and not symbol.choice.visibility else symbol
        say(f"CONFIG_{name} is not in this configuration: it {unmet(item)}")
    say(str(symbol))
    return 0
