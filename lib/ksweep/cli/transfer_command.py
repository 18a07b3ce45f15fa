"""Put the best values of a sweep into another preset: what a small model has found, to begin with for a large one.

All swept symbols are taken over, but for SEED, NUM_EPOCHS and the choice of the model; with --symbols those that it names, swept
or not. What Kconfig does not take beside the preset is left out, as a comment with the reason.
Default file: transfer-<preset>, in the sweep's directory. Exit code 2 when nothing is taken over.
"""

import argparse
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksweep.analysis.evidence import best_of, configs_of, from_here, so_far
from ksweep.analysis.findings import Findings, find
from ksweep.analysis.formats import one_line, plural
from ksweep.analysis.load import SEED
from ksweep.analysis.ranking import Group
from ksweep.analysis.refine import best_region, score_text
from ksweep.analysis.regression import config_of
from ksweep.cli.put_file import put_file
from ksweep.cli.range_output import Checked, check_range, out_path
from ksweep.cli.results_argument import add_results_argument, sweep_of
from ksweep.cli.tree import Tree, say
from ksweep.contract.errors import RequestError
from ksweep.kconfig.presets import DIRECTORY
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.values import value_text
from ksweep.sweep.sweep import config_values

_OWN = (SEED, "NUM_EPOCHS", "MODEL")  # of the preset, unless they are named
_OWN_PREFIXES = (STEERING_PREFIX, "MODEL_SELECT_")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    parser.add_argument("--to", metavar="P", required=True, help="preset or range file: a path, or a name in defconfigs/")
    parser.add_argument("--symbols", metavar="S", default="", help='only these, "LEARNING_RATE WEIGHT_DECAY"')
    parser.add_argument("--out", metavar="F", type=Path, help="the file to write (default: transfer-P, in the sweep's directory)")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    findings = find(sweep_of(args))
    best = best_of(findings)
    values = _values(findings, best, args.symbols)
    preset = tree.find_preset(args.to)
    out = out_path(args.out, findings.state.dir.path / f"transfer-{preset.name}")
    if out.resolve() == preset.resolve():
        raise RequestError(f"OUT: {out} is the preset itself; write another file, which includes it")
    pairs = [] if args.symbols else [entry["symbols"] for entry in findings.state.record.axes]
    transfer = _transfer(tree, preset, out, values, pairs)
    for name, reason in transfer.refused.items():
        say(f"left out: {name}={one_line(values[name])}: {reason}")
    if not transfer.taken:
        raise RequestError(f"{args.to}: it takes none of {', '.join(values)}; nothing was written")
    before = check_range(tree, _include(tree, preset), out)
    text = "\n".join(_lines(tree, findings, best, preset, out, values, transfer)) + "\n"
    after = check_range(tree, text, out)
    for name in transfer.taken:
        say(f"{name}: {_change(before, after, name, values[name])}")
    if note := _beside(transfer, values):
        say(f"note: {note}")
    say(put_file(out, text))
    say(f"{after.lines[0]}; run it: make {'sweep RANGE_CONFIG' if after.num_points != 1 else 'train CONFIG'}={from_here(out)}")
    return 0


@dataclass
class Transfer:
    """What the preset takes, in order, and what it does not: symbol -> why."""

    taken: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def _values(findings: Findings, best: Group, symbols: str) -> dict[str, str]:
    """Symbol -> value to take over. RequestError when there is none, or one that is named is not there."""
    named = [name.removeprefix("CONFIG_") for name in symbols.replace(",", " ").split()]
    where = findings.state.dir.path
    if not named:
        values = {name: value for name, value in best.values.items() if name not in _OWN and not name.startswith(_OWN_PREFIXES)}
        if not values:
            swept = ", ".join(best.values) or "nothing"
            raise RequestError(f"{where}: none of what was swept ({swept}) is taken over by itself; name it: SYMBOLS=")
        return values
    known = config_of(best.counted[0], findings.state) | best.values
    if missing := [name for name in named if name not in known]:
        swept = ", ".join(best.values) or "nothing"
        raise RequestError(f"SYMBOLS: {', '.join(missing)}: not in the best configuration, {configs_of(best)}; swept: {swept}")
    return {name: known[name] for name in named}


def _transfer(tree: Tree, preset: Path, out: Path, values: Mapping[str, str], pairs: Sequence[Sequence[str]]) -> Transfer:
    """One symbol after the other, again while any is taken: what one needs may come after it. Of `pairs`, symbols that were swept
    together, all are taken or none."""
    found = Transfer()
    left = list(values)
    while left:
        found.refused = {}
        for name in left:
            taken = [*found.taken, name]
            text = _include(tree, preset) + "".join(f"CONFIG_{each}={value_text(values[each])}\n" for each in taken)
            try:
                check_range(tree, text, out)
            except RequestError as error:
                found.refused[name] = _reason(error, name)
            else:
                found.taken.append(name)
        if len(found.refused) == len(left):
            break
        left = list(found.refused)
    for pair in pairs:
        if lost := [name for name in pair if name in found.refused]:
            for name in [name for name in pair if name in found.taken]:
                found.taken.remove(name)
                found.refused[name] = f"was swept together with {', '.join(lost)}, and is the best beside that value"
    return found


def _reason(error: RequestError, name: str) -> str:
    """What of an error is about one symbol, without the place in a file that is not there yet."""
    about = next((problem for problem in error.problems if f"CONFIG_{name}" in problem), None)
    if about is None:
        return f"beside it {one_line(error.problems[-1].partition(': ')[2])}"
    return one_line(about.rpartition(f"CONFIG_{name}")[2].partition(": ")[2] or about)


def _include(tree: Tree, preset: Path) -> str:
    is_named = (tree.root / DIRECTORY / preset.name).resolve() == preset.resolve()
    return f"include {preset.name}\n" if is_named else f'include "{preset.resolve()}"\n'


def _lines(
    tree: Tree, findings: Findings, best: Group, preset: Path, out: Path, values: Mapping[str, str], transfer: Transfer
) -> list[str]:
    state, ranking = findings.state, findings.ranking
    origin = f"{state.dir.path.name}: best of {plural(len(ranking.ranked), 'setting')}"
    lines = [
        f"# {preset.name} with the best{so_far(state)} of {state.dir.path.name} ({one_line(state.record.name)}), "
        f"{datetime.date.today()}",
        f"# {configs_of(best)}: {score_text(best)}",
        "",
        _include(tree, preset).rstrip(),
        "",
    ]
    for name in transfer.taken:
        lines += [f"# from {origin}{_rivals(findings, best, name)}", f"CONFIG_{name}={value_text(values[name])}"]
    if note := _beside(transfer, values):
        lines.append(f"# {note}")
    lines += [f"# left out: CONFIG_{name}={one_line(values[name])}: {reason}" for name, reason in transfer.refused.items()]
    return lines


def _beside(transfer: Transfer, values: Mapping[str, str]) -> str:
    lost = " ".join(f"{name}={one_line(values[name])}" for name in transfer.refused)
    return f"these are the best beside {lost}, which is left out" if lost else ""


def _rivals(findings: Findings, best: Group, name: str) -> str:
    """Other values of a symbol that are as good, as far as the sweep can tell."""
    if name not in best.values:
        return ", which did not sweep it"
    others = dict.fromkeys(group.values[name] for group in best_region(findings.ranking) if name in group.values)
    others.pop(best.values[name], None)
    return f"; not told from it: {one_line(', '.join(others))}" if others else ""


def _change(before: Checked, after: Checked, name: str, value: str) -> str:
    old, new = (config_values(checked.text).get(name) for checked in (before, after))
    if after.num_points != 1 or new is None:
        return one_line(value)
    return f"{one_line(old or '-')} -> {one_line(new)}" if old != new else f"{one_line(new)}, as in the preset"
