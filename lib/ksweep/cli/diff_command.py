"""What differs between A and B: the symbols of their configurations and, where both have been run, how they ended, their final
metrics, the machine and the sources, and whether their numbers agree to the last bit.

A and B are config files, run directories, or labels of the sweep worked on last (config_007). That they differ is no error.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksweep.analysis.compare import compare_runs
from ksweep.analysis.formats import MISSING, duration, one_line, plural, table
from ksweep.analysis.load import as_number
from ksweep.cli.config_argument import Named, find_config, same_value
from ksweep.cli.tree import Tree, say
from ksweep.contract.atomic import read_json
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import is_measured, read_history
from ksweep.contract.outcome import Result, read_result
from ksweep.kconfig.origin import is_bool
from ksweep.kconfig.tree import STEERING_PREFIX

_OWN = ("config", "id", "attempt", "seed", "env", "slot")  # of provenance.json: differ in any two runs, or stand above
_LONGEST = 60  # of a value
_DIFFERENCES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A or B. `result` and `reason`: how its run ended, or why nothing is known of that."""

    named: Named
    values: dict[str, str]
    result: Result | None
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("a", metavar="A", type=Path, help="config file, run directory, or label of a config")
    parser.add_argument("b", metavar="B", type=Path, help="the same")
    parser.add_argument(
        "--results", metavar="R", type=Path, default=Path("test_matrix_results"), help="where labels are looked up (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    a, b = (_side(name, args.results) for name in (args.a, args.b))
    say(f"A  {_title(a)}\nB  {_title(b)}")
    for line in _configurations(Tree(), a.values, b.values):
        say(line)
    if a.named.run and b.named.run:
        for line in [*_ends(a, b), *_metrics(a, b), *_places(a, b), *_bits(a, b)]:
            say(line)
    elif a.named.run or b.named.run:
        say(f"\n{'B' if a.named.run else 'A'} has no run directory: only the configurations are compared")
    return 0


def _side(name: Path, results: Path) -> _Side:
    named = find_config(name, results)
    try:
        text = named.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{named.file}: cannot be read as a configuration: {error}") from None
    values = {symbol: value for symbol, (value, _) in parse_config(text).items()}
    if not values:
        raise RequestError(f"{named.file}: no configuration; allowed: lines such as CONFIG_BATCH_SIZE=64")
    result, reason = _result_of(named)
    return _Side(named=named, values=values, result=result, reason=reason)


def _result_of(named: Named) -> tuple[Result | None, str]:
    if named.run is None:
        return None, ""
    try:
        result = read_result(named.run)
    except (KeyError, TypeError, ValueError, OSError) as error:
        return None, f"result.json cannot be understood ({error})"
    return result, result.reason if result else "no result yet"


def _title(side: _Side) -> str:
    named = side.named
    path = named.run.path if named.run else named.file
    return one_line(str(path) + (f" ({named.point.config} of {named.record.name})" if named.point and named.record else ""))


# -- configurations ---------------------------------------------------------------------------------------------------


def _configurations(tree: Tree, a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    names = [name for name in dict.fromkeys([*a, *b]) if not _is_told_by_a_word(tree, name, a, b)]
    differing = [name for name in names if not _agree(tree, name, a.get(name), b.get(name))]
    chosen: list[list[str]] = []
    computed: list[list[str]] = []
    steering: list[list[str]] = []
    for name in differing:
        group = steering if name.startswith(STEERING_PREFIX) else chosen if _is_chosen(tree, name) else computed
        group.append([name, _shown(a.get(name)), _shown(b.get(name)), _only(name, a, b)])
    if not differing:
        return ["", f"Configurations: equal in all {plural(len(names), 'symbol')}"]
    lines = [
        "",
        f"Configurations: {plural(len(differing), 'symbol')} of {len(names)} {'differs' if len(differing) == 1 else 'differ'}",
    ]
    for title, rows in (("chosen", chosen), ("computed from them", computed), ("steering of the sweep", steering)):
        if rows:
            lines += _table([title, "A", "B", ""], rows)
    return lines


def _is_told_by_a_word(tree: Tree, name: str, a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether it is a member of a choice that a string follows: OPTIMIZER=sgd says it for OPTIMIZER_SELECT_SGD and the others."""
    return any(
        name == member.name and (word in a or word in b)
        for word, members in tree.resolver.selectors.items()
        for member in members.values()
    )


def _is_chosen(tree: Tree, name: str) -> bool:
    symbol = tree.kconf.syms.get(name)
    return symbol is None or name in tree.resolver.selectors or any(node.prompt for node in symbol.nodes)


def _agree(tree: Tree, name: str, a: str | None, b: str | None) -> bool:
    symbol = tree.kconf.syms.get(name)
    if symbol is not None and is_bool(symbol):  # one that is not there is n
        a, b = a or "n", b or "n"
    return a is not None and b is not None and same_value(a, b)


def _only(name: str, a: Mapping[str, str], b: Mapping[str, str]) -> str:
    return "only in A" if name not in b else "only in B" if name not in a else ""


def _shown(value: object) -> str:
    if value is None:
        return MISSING
    text = one_line(str(value)) or '""'
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _table(headers: list[str], rows: list[list[str]]) -> list[str]:
    return ["", *(f"  {line}" for line in table(headers, rows, left=[headers[0], "A", "B", ""]))]


# -- runs -------------------------------------------------------------------------------------------------------------


def _ends(a: _Side, b: _Side) -> list[str]:
    rows = [
        ["status", *(str(side.result.status) if side.result else MISSING for side in (a, b))],
        ["reason", *(_shown(side.reason) if side.reason else "" for side in (a, b))],
        ["attempts", *(str(side.result.attempt) if side.result else MISSING for side in (a, b))],
        ["wall time", *(duration(side.result.wall_s if side.result else None) for side in (a, b))],
    ]
    return _table(["run", "A", "B"], [row for row in rows if row[1] or row[2]])


def _metrics(a: _Side, b: _Side) -> list[str]:
    mine, theirs = (side.result.metrics if side.result else {} for side in (a, b))
    names = sorted(mine.keys() | theirs.keys(), key=lambda name: (is_measured(name), name))
    rows = [[_shown(name), *_pair(as_number(mine.get(name)), as_number(theirs.get(name)))] for name in names]
    if not rows:
        return []
    lines = table(["final metric", "A", "B", "B - A"], rows, left=["final metric"])
    return ["", *(f"  {line}" for line in lines)]


def _pair(a: float | None, b: float | None) -> list[str]:
    shown = [MISSING if value is None else f"{value:.6g}" for value in (a, b)]
    if a is None or b is None:
        return [*shown, MISSING]
    return [*shown, "=" if a == b else f"{b - a:+.3g}"]


def _places(a: _Side, b: _Side) -> list[str]:
    """What differs in provenance.json."""
    mine, theirs = (dict(_flat(read_json(side.named.run.provenance))) if side.named.run else {} for side in (a, b))
    if not mine and not theirs:
        return ["", "Sources and machine: not known of either"]
    names = [name for name in dict.fromkeys([*mine, *theirs]) if mine.get(name) != theirs.get(name)]
    if not names:
        return ["", "Sources and machine: the same (commit, versions, host, device)"]
    return _table(["sources and machine", "A", "B"], [[name, _shown(mine.get(name)), _shown(theirs.get(name))] for name in names])


def _flat(record: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(record, dict):
        return
    for key, value in record.items():
        if isinstance(value, dict) and (prefix or key not in _OWN):
            yield from _flat(value, f"{prefix}{key} ")
        elif prefix or key not in _OWN:
            yield f"{prefix}{key}", " ".join(map(str, value)) if isinstance(value, list) else value


def _bits(a: _Side, b: _Side) -> list[str]:
    if not a.named.run or not b.named.run:
        return []
    count, differences = compare_runs(b.named.run, a.named.run, which=("in B", "in A"))
    if not count:
        return ["", "Numbers: neither has reported any"]
    if not differences:
        return ["", f"Numbers: all {count} agree to the last bit, reports and final metrics (times, rates and memory left out)"]
    lengths = " and ".join(str(len(read_history(side.named.run.metrics))) for side in (a, b) if side.named.run)
    lines = [
        "",
        f"Numbers: {len(differences)} of {count} differ ({lengths} reports; times, rates and memory left out); the first:",
    ]
    return lines + [f"  {one_line(line)}" for line in differences[:_DIFFERENCES_SHOWN]]
