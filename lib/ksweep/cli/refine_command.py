"""Write a range file around the best region of a sweep, with the reason for each change as a comment.

Of numbers: the best one and halfway to its neighbours (in the logarithm at most half and twice the best), or as far beyond where
it lies at an end. Of words: those of the best setting and of the settings tied with it. Distributions become narrower. All else
stays as it is, and Kconfig checks the result.
Default file: refined, in the sweep's directory. Exit code 2 when there is nothing to refine, 1 when that is because runs failed.
"""

import argparse
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from ksweep.analysis.evidence import best_of, configs_of, from_here, so_far
from ksweep.analysis.findings import Findings, find
from ksweep.analysis.formats import one_line, plural
from ksweep.analysis.load import SEED
from ksweep.analysis.ranking import Group
from ksweep.analysis.refine import RefinedAxis, axis_text, measured_only, refine_axes, region_text, score_text, without
from ksweep.cli.put_file import put_file
from ksweep.cli.range_output import MARK, TITLE, Checked, Edit, Place, check_range, out_path, place_of, places
from ksweep.cli.results_argument import add_results_argument, sweep_of
from ksweep.cli.tree import Tree, say
from ksweep.contract.errors import RequestError
from ksweep.contract.sweepfile import SweepRecord
from ksweep.kconfig.limits import limits_of
from ksweep.space.axes import Axis, Row
from ksweep.space.rangefile import RangeFile
from ksweep.space.values import Sampled, parse_values

_ROUNDS = 20  # of taking out what Kconfig refuses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    parser.add_argument("--out", metavar="F", type=Path, help="the file to write (default: refined, in the sweep's directory)")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    findings = find(sweep_of(args))
    state, best = findings.state, best_of(findings)
    if not state.record.range_text:
        raise RequestError(f"{state.dir.path}: it was not made from a range file, so there is none to refine")
    refinery = Refinery(Tree(), findings, best, out_path(args.out, state.dir.path / "refined"))
    text, checked = refinery.result()
    for line in refinery.told():
        say(line)
    say(put_file(refinery.out, text))
    say(f"{checked.lines[0]}; run it: make sweep RANGE_CONFIG={from_here(refinery.out)}")
    return 0


class Refinery:
    """The refined text of a sweep's range file, found by asking Kconfig until it takes it."""

    def __init__(self, tree: Tree, findings: Findings, best: Group, out: Path) -> None:
        self.out, self._tree, self._findings, self._best = out, tree, findings, best
        self._record = findings.state.record
        self._file = _file_of(tree, self._record)
        self._axes = [axis for entry in self._record.axes if (axis := _axis(entry, self._file)).symbols != (SEED,)]
        limits = {name: limits_of(tree.resolver, name) for axis in self._axes for name in axis.symbols if name in tree.kconf.syms}
        self._refined = dict(zip(self._axes, refine_axes(self._axes, findings.ranking, limits), strict=True))
        enqueued = (place_of(a.where) for a in self._file.assignments if "SWEEP_ENQUEUE" in a.symbols)
        self._dropped: dict[Place, str] = dict.fromkeys(enqueued, "points of the old space")
        self._overrides = self._overridden()

    def result(self) -> tuple[str, Checked]:
        """The whole text, and what it comes to. RequestError when nothing is left to vary."""
        if not self._axes:
            raise RequestError(f"{self._findings.state.dir.path}: nothing was swept but the seed, so there is nothing to refine")
        for _ in range(_ROUNDS):
            self._check_that_something_varies()
            lines = self._edit().lines()
            try:
                checked = check_range(self._tree, _joined(lines), self.out)
            except RequestError as error:
                self._give_way(error, lines)
                continue
            if not self._leave_out_unseen(checked):
                text = "\n".join([*self._header(checked), _joined(lines)])
                return text, check_range(self._tree, text, self.out)
        raise RequestError(f"{self._findings.state.dir.path}: Kconfig takes no refined form of {self._record.name}")

    def told(self) -> list[str]:
        """What became of each axis."""
        best = " ".join(f"{name}={one_line(value)}" for name, value in self._best.values.items())
        lines = [
            f"best{so_far(self._findings.state)}: {score_text(self._best)}  {best}",
            f"region: {region_text(self._findings.ranking)}",
        ]
        for axis, refined in self._refined.items():
            now = axis_text(refined.rows, refined.sampled) if refined.text else "(left out)"
            lines.append(f"  {', '.join(axis.symbols)}: {axis_text(axis.values, axis.sampled)} -> {now}")
            lines += [f"      {one_line(reason)}" for reason in refined.reasons]
        return lines

    # -- the text ----------------------------------------------------------------------------------------------------

    def _edit(self) -> Edit:
        edit = Edit(file=self._file, out=self.out, root=self._tree.root, find_preset=self._tree.find_preset)
        edit.dropped |= self._dropped
        for axis, refined in self._refined.items():
            if not axis.where:  # of an include that has changed since
                edit.added += _axis_lines(axis, refined)
            elif refined.text:
                edit.instead[place_of(axis.where)] = _axis_lines(axis, refined)
            else:
                edit.dropped[place_of(axis.where)] = "; ".join(refined.reasons)
        for name, value in self._overrides.items():
            line = [f"{MARK}from the command line of the sweep", f"CONFIG_{name}={value}"]
            where = next((a.where for a in self._file.assignments if name in a.symbols), "")
            if where:
                edit.instead[place_of(where)] = line
            else:
                edit.added += line
        return edit

    def _header(self, checked: Checked) -> list[str]:
        state = self._findings.state
        best = " ".join(f"{name}={one_line(value)}" for name, value in self._best.values.items())
        lines = [
            f"{TITLE}{state.dir.path.name} ({one_line(self._record.name)}), {datetime.date.today()}: {_size(checked)}",
            f"{MARK}best{so_far(state)}: {score_text(self._best)}: {best} ({configs_of(self._best)})",
            f"{MARK}region: {region_text(self._findings.ranking)}",
            f"{MARK}{checked.lines[0]}; run it: make sweep RANGE_CONFIG={from_here(self.out)}",
        ]
        if seeds := self._new_seeds():
            lines.append(f"{MARK}seeds are kept. The best was chosen by them, which flatters it; others: {seeds}")
        if self._record.strategy != "grid":
            known = f'CONFIG_SWEEP_IMPORT="{state.dir.path.resolve()}"'
            lines.append(f"{MARK}to begin with what the sweep has found within this space: {known}")
        return lines

    def _new_seeds(self) -> str:
        used = sorted({int(seed) for run in self._findings.state.runs if (seed := run.point.values.get(SEED, "")).isdecimal()})
        if not used:
            return ""
        return f"CONFIG_{SEED}=" + "|".join(str(used[-1] + 1 + i) for i in range(len(used)))

    def _overridden(self) -> dict[str, str]:
        """What the command line of the sweep said, as far as its range file says something else."""
        return {name: value for name, value in self._record.overrides.items() if self._is_known(name)}

    def _is_known(self, name: str) -> bool:
        return name in self._tree.kconf.syms and bool(self._tree.kconf.syms[name].nodes)

    # -- what Kconfig says -------------------------------------------------------------------------------------------

    def _check_that_something_varies(self) -> None:
        if not any(refined.is_axis for refined in self._refined.values()):
            raise RequestError(
                f"{self._findings.state.dir.path}: nothing is left to refine: every axis is down to one value; "
                f"the best is {configs_of(self._best)}"
            )

    def _give_way(self, error: RequestError, lines: Sequence[tuple[str, Place | None]]) -> None:
        """Take out, or make more careful, the lines of which an error speaks."""
        own = self.out.resolve()
        blamed: dict[Place, str] = {}
        for problem in error.problems:
            for path, number in places(problem):
                origin = lines[number - 1][1] if path == own and number <= len(lines) else (path, number)
                if origin is not None:
                    blamed.setdefault(origin, one_line(problem.split(": ", 1)[1]))
        axes = {place_of(axis.where): axis for axis in self._axes if axis.where}
        changed = False
        for place, reason in blamed.items():
            axis = axes.get(place)
            if axis is None and place not in self._dropped:
                self._dropped[place], changed = reason, True
            elif axis is not None and self._refined[axis].text:
                careful = measured_only(axis, self._findings.ranking, reason)
                is_new = careful.text != self._refined[axis].text
                self._refined[axis] = careful if is_new else RefinedAxis(symbols=axis.symbols, reasons=(reason,))
                changed = True
        if not changed:
            raise error

    def _leave_out_unseen(self, checked: Checked) -> bool:
        """Take out values that no legal point has; whether there were any."""
        if checked.expansion is None:
            return False
        points, changed = checked.expansion.points, False
        for axis, refined in self._refined.items():
            seen = {tuple(point.values.get(name, "") for name in axis.symbols) for point in points}
            unseen = [row for row in refined.rows if row not in seen]
            if len(refined.rows) > 1 and 0 < len(unseen) < len(refined.rows):
                why = {row: _why_illegal(axis, row, checked) for row in unseen}
                self._refined[axis], changed = without(refined, why), True
        return changed


def _why_illegal(axis: Axis, row: Row, checked: Checked) -> str:
    assert checked.expansion is not None
    for dropped in checked.expansion.illegal:
        if all(dropped.values.get(name) == value for name, value in zip(axis.symbols, row, strict=True)):
            return one_line(dropped.reason.split(": ", 1)[-1])
    return "no legal point has it"


def _file_of(tree: Tree, record: SweepRecord) -> RangeFile:
    """The range file as it was when the sweep was planned, its includes as they are; one in YAML as what it amounts to."""
    path = Path(record.range_file or record.name)
    text = record.range_text
    if path.suffix in (".yaml", ".yml"):
        from ksweep.kconfig.names import yaml_names
        from ksweep.space.yamlspace import range_text_from_yaml

        yaml_text = range_text_from_yaml(text, path, yaml_names(tree.kconf)).text
        text = "\n".join(line for line in yaml_text.splitlines() if line.startswith("CONFIG_")) + "\n"
        path = path.with_suffix("")
    file = tree.parse_range(text, path)
    if file.problems:
        raise RequestError(*file.problems)
    return file


def _axis(entry: Mapping[str, object], file: RangeFile) -> Axis:
    symbols = tuple(map(str, entry["symbols"]))  # type: ignore[call-overload]
    where = next((a.where for a in file.assignments if set(a.symbols) == set(symbols)), "")
    sampled = parse_values(str(entry["sampled"])) if entry.get("sampled") else None
    rows = tuple(tuple(map(str, row)) for row in entry["values"])  # type: ignore[attr-defined]
    return Axis(symbols=symbols, values=rows, where=where, sampled=sampled if isinstance(sampled, Sampled) else None)


def _axis_lines(axis: Axis, refined: RefinedAxis) -> list[str]:
    names = ",".join(f"CONFIG_{name}" for name in axis.symbols)
    was = f"{MARK}was {names}={axis_text(axis.values, axis.sampled)}"
    return [was, *(f"{MARK}{one_line(reason)}" for reason in refined.reasons), refined.text]


def _joined(lines: Sequence[tuple[str, Place | None]]) -> str:
    return "\n".join(line for line, _ in lines) + "\n"


def _size(checked: Checked) -> str:
    return "points drawn without end" if checked.num_points is None else plural(checked.num_points, "point")
