"""Where each value of a configuration comes from, what was asked for first: swept, command line, range file, preset, recipe of
the model, default, computed; the symbols that steer the sweep last.

CONFIG is a config file, a run directory, or a label of the sweep worked on last (config_007). With --symbol X: all about one
symbol, and why it is not in the file when it is not.
"""

import argparse
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ksweep.analysis.formats import one_line
from ksweep.analysis.load import SEED, load_sweep
from ksweep.cli.config_argument import Named, find_config, same_value
from ksweep.cli.neighbours import better_neighbour
from ksweep.cli.tree import Tree, say
from ksweep.contract.atomic import read_json
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.kconfig.explain import unknown, unmet
from ksweep.kconfig.origin import entry, origin, set_and_default
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.rangefile import Assignment, RangeFile
from ksweep.sweep.configs import SUMMARY_JSON

COMMAND_LINE = {"NUM_EPOCHS": "EPOCHS", "SWEEP_PARALLEL_JOBS": "PARALLEL", "SWEEP_STRATEGY": "STRATEGY", "SWEEP_TRIALS": "TRIALS"}
_VALUES_SHOWN = 8
_LONGEST = 40  # of a value in the table; --symbol shows all of it


class Kind(StrEnum):
    """Who set a value, in the order in which people are told."""

    SWEPT = "Swept"
    COMMAND = "Command line"
    RANGE = "Range file"
    PRESET = "Preset"
    HERE = "This file"
    RECIPE = "Recipe of the model"
    DEFAULT = "Default"
    COMPUTED = "Computed"
    STEERING = "Steering of the sweep, at its default"


@dataclass(frozen=True, kw_only=True)
class Why:
    """Who set a symbol: `where` is file:line, `how` all else that there is to say."""

    kind: Kind
    where: str = ""
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a configuration was made from. `overrides`: what the command line is known to have said; `values`: those of the point;
    `search`: its notes where a strategy chose it."""

    file: RangeFile
    axes: list[dict[str, Any]]
    strategy: str = "grid"
    overrides: dict[str, str] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="config file, run directory, or label of a config")
    parser.add_argument("--symbol", metavar="X", help="one symbol, with or without CONFIG_")
    parser.add_argument(
        "--results", metavar="R", type=Path, default=Path("test_matrix_results"), help="where labels are looked up (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    named = find_config(args.config, args.results)
    tree = Tree()
    text = tree.load_config(named.file)
    if named.record and named.point is None:  # best_config, say: which point it is, its content tells
        id = tree.resolver.point_id(text)
        named = replace(named, point=next((point for point in named.record.points if point.id == id), None))
    values = {name: value for name, (value, _) in parse_config(text).items()}
    whys = _Whys(tree, named, values)
    if args.symbol:
        return _about(whys, args.symbol.removeprefix("CONFIG_"))
    say(_title(named))
    for kind, rows in whys.by_kind().items():
        say(f"\n{kind}")
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            say("  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if named.sweep and named.point and (line := better_neighbour(load_sweep(named.sweep), named.point)):
        say(f"\n{line}")
    return 0


def _title(named: Named) -> str:
    if named.sweep and named.record and named.point:
        return one_line(f"{named.file}: {named.point.config} of {named.record.name}, {named.sweep.path}")
    return one_line(str(named.file))


class _Whys:
    """Who set each symbol of one configuration that the tree is set to."""

    def __init__(self, tree: Tree, named: Named, values: dict[str, str]) -> None:
        self.tree, self.named, self.values = tree, named, values
        self.lines = {name: line for name, (_, line) in parse_config(_text(named.file)).items()}
        self.plan = _plan_of(tree, named)
        self._words = {member.name: word for word, members in tree.resolver.selectors.items() for member in members.values()}

    def by_kind(self) -> dict[Kind, list[tuple[str, ...]]]:
        """Kind -> name, value, file:line and the rest of each symbol, a choice once."""
        found: dict[Kind, list[tuple[str, ...]]] = {kind: [] for kind in Kind}
        for name, value in self.values.items():
            symbol = self.tree.kconf.syms[name]
            if symbol.choice and (value == "n" or self._words.get(name) in self.values):
                continue  # the word that follows a choice tells its member
            why = self.of(name)
            is_quiet = name.startswith(STEERING_PREFIX) and why.kind in (Kind.DEFAULT, Kind.COMPUTED, Kind.RECIPE)
            found[Kind.STEERING if is_quiet else why.kind].append((name, _cut(_shown(value)), why.where, why.how))
        return {kind: rows for kind, rows in found.items() if rows}

    def of(self, name: str) -> Why:
        """Who set this one."""
        asked = self._member(name)
        if self.plan and (why := self._by_plan(self.plan, name)):
            return why
        symbol = self.tree.kconf.syms[asked]
        found = origin(symbol)
        if not any(node.prompt for node in (symbol.choice or symbol).nodes):
            return Why(kind=Kind.COMPUTED, where=found.where, how=found.how)
        value, default = set_and_default(symbol)
        if not same_value(value, default):
            return self._unplanned(name, self._word(asked, default))
        return Why(kind=Kind.RECIPE if found.is_recipe else Kind.DEFAULT, where=found.where, how=found.how)

    def _member(self, name: str) -> str:
        """The chosen member of the choice that a word follows, which is what is set; else the symbol itself."""
        words = self.tree.resolver.selectors.get(name, {})
        return str(words[self.values[name]].name) if self.values.get(name) in words else name

    def _word(self, member: str, chosen: str) -> str:
        """What people call `chosen`, where `member` is of the same choice; any other value is what it is."""
        words = self.tree.resolver.selectors.get(self._words.get(member, ""), {})
        return next((word for word, symbol in words.items() if symbol.name == chosen), chosen)

    def _unplanned(self, name: str, default: str) -> Why:
        """Set, and not by the range file."""
        beside = f"default: {_shown(default)}"
        line = self.lines.get(name) or self.lines.get(self._member(name))
        where = f"{self.named.file}:{line}" if line else str(self.named.file)
        if self.plan:
            beside += "; not as it was planned: edited, or a preset or a default has changed since"
        return Why(kind=Kind.HERE, where=where, how=beside)

    # -- what the range file says -----------------------------------------------------------------------------------

    def _by_plan(self, plan: _Plan, name: str) -> Why | None:
        names = {name, self._member(name), self._words.get(name, name)}
        a = next((a for a in plan.file.assignments if names & set(a.symbols)), None)
        symbol = next((symbol for symbol in a.symbols if symbol in names), name) if a else name
        if name == SEED and SEED in plan.values and not (a and a.is_axis):
            return self._repeat(plan, a)
        if name in plan.overrides:
            return self._from_command(plan, name, f"{_at(a)} says {_listed(a, symbol)}" if a else "")
        if a is None:
            return None
        if not a.sampled and not any(self._is(symbol, text) for text in _texts(a, symbol)):
            return None
        return self._swept(plan, a, symbol) if a.is_axis else self._set(plan, a, name)

    def _is(self, name: str, text: str) -> bool:
        """Whether a symbol has the value that a line gives it."""
        value = self.values.get(name, "n")  # a bool that is not there
        return same_value(value, text)

    def _from_command(self, plan: _Plan, name: str, beside: str) -> Why:
        value, limit = plan.overrides[name], self.values.get("SWEEP_MAX_RESOURCE")
        if name == self.values.get("SWEEP_RESOURCE") and limit == value:
            return Why(kind=Kind.RANGE, where=f"SWEEP_MAX_RESOURCE={limit}", how=beside)
        return Why(kind=Kind.COMMAND, where=f"{COMMAND_LINE.get(name, name)}={value}", how=beside)

    def _swept(self, plan: _Plan, a: Assignment, symbol: str) -> Why:
        how, others = _listed(a, symbol), [other for other in a.symbols if other != symbol]
        if plan.search:
            how = f"chosen by {one_line(plan.strategy)} as point {plan.search.get('number', 0) + 1}, from {how}"
        return Why(kind=Kind.SWEPT, where=_at(a), how=how + (f", paired with {', '.join(others)}" if others else ""))

    def _repeat(self, plan: _Plan, first: Assignment | None) -> Why:
        value, total = self.values[SEED], self.values.get("SWEEP_REPEATS", "?")
        seeds = [row[0] for axis in plan.axes if axis.get("symbols") == [SEED] for row in axis.get("values", [])]
        number = plan.search.get("repeat", seeds.index(value) if value in seeds else None)
        how = f"repeat {number + 1} of {total}" if isinstance(number, int) else f"one of {total} repeats"
        where = next((_at(a) for a in plan.file.assignments if "SWEEP_REPEATS" in a.symbols), "SWEEP_REPEATS")
        return Why(kind=Kind.SWEPT, where=where, how=how + (f"; the first seed is set at {_at(first)}" if first else ""))

    def _set(self, plan: _Plan, a: Assignment, name: str) -> Why:
        asked = self._member(name)
        value, default = set_and_default(self.tree.kconf.syms[asked])
        beside = [] if same_value(value, default) else [f"default: {_shown(self._word(asked, default))}"]
        if not a.depth:
            return Why(kind=Kind.RANGE, where=_at(a), how="; ".join(beside))
        return Why(kind=Kind.PRESET, where=_at(a), how="; ".join([_included_at(plan.file, a), *beside]))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _shown(value: str) -> str:
    return one_line(value) or '""'


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."


def _texts(a: Assignment, symbol: str) -> list[str]:
    """The values that a line gives to one of its symbols, each once."""
    column = a.symbols.index(symbol)
    return list(dict.fromkeys(row[column] for row in a.values))


def _listed(a: Assignment, symbol: str) -> str:
    if a.sampled:
        return str(a.sampled)
    texts = _texts(a, symbol)
    return one_line(" | ".join(texts[:_VALUES_SHOWN])) + (" | ..." if len(texts) > _VALUES_SHOWN else "")


def _included_at(file: RangeFile, assignment: Assignment) -> str:
    """Which line of the range file includes the preset of this line."""
    preset = Path(assignment.where.rpartition(":")[0]).name
    for number, line in enumerate(file.text.splitlines(), 1):
        words = line.split()
        if words[:1] == ["include"] and len(words) > 1 and Path(words[1].strip('"')).name == preset:
            return f"included at {file.path}:{number}"
    return f"included by a file that {file.name} includes"


def _at(a: Assignment) -> str:
    """file:line of a line."""
    path, _, line = a.where.rpartition(":")
    return f"{_from_here(path)}:{line}"


def _from_here(path: str) -> Path:
    """As it would be typed, where it lies below the current directory."""
    return Path(path).relative_to(Path.cwd()) if Path(path).is_relative_to(Path.cwd()) else Path(path)


def _plan_of(tree: Tree, named: Named) -> _Plan | None:
    """What the configuration was planned by; None where nothing tells, or its range file cannot be read any more."""
    summary = read_json(named.file.parent / SUMMARY_JSON)
    try:
        if named.record and named.record.range_text:
            record, point = named.record, named.point
            return _Plan(
                file=tree.parse_range(record.range_text, _from_here(record.range_file or record.name)),
                axes=record.axes,
                strategy=record.strategy,
                overrides=record.overrides,
                search=point.search if point else {},
                values=point.values if point else {},
            )
        if isinstance(summary, dict):
            values = {entry["config"]: entry["values"] for entry in summary["configs"]}.get(named.file.name, {})
            return _Plan(
                file=tree.parse_range(summary["range_text"], _from_here(summary["source"])),
                axes=summary["axes"],
                overrides=summary.get("overrides", {}),
                values=values,
            )
    except (RequestError, KeyError, TypeError):
        return None
    return None


# -- one symbol -------------------------------------------------------------------------------------------------------


def _about(whys: _Whys, name: str) -> int:
    kconf = whys.tree.kconf
    if name not in kconf.syms or not kconf.syms[name].nodes:
        raise RequestError(unknown(kconf, name))
    symbol = kconf.syms[name]
    if name in whys.values:
        why = whys.of(name)
        say(f"CONFIG_{name}={_shown(whys.values[name])}: " + ", ".join(filter(None, (why.kind.lower(), why.where, why.how))))
    else:
        item = symbol.choice if symbol.choice and not symbol.choice.visibility else symbol
        say(f"CONFIG_{name} is not in this configuration: it {unmet(item)}")
    say(f"declared at {entry(symbol)}; all that the tree says of it:\n{symbol}")
    return 0
