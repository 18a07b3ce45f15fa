"""A range file -> its assignments and requirements. A plain defconfig is a range file with one point.

Parsed before kconfiglib sees a line: kconfiglib loads `CONFIG_X=y|n` as y without a word.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ksweep.contract.errors import RequestError
from ksweep.space.require import Requirement, parse_requirement
from ksweep.space.values import Sampled, ValueProblem, parse_tuples, parse_values

_UNSET = re.compile(r"#\s*CONFIG_(\w+) is not set\s*")
_ASSIGN = re.compile(r"(CONFIG_\w+(?:\s*,\s*CONFIG_\w+)*)\s*=(.*)")
_DIRECTIVE = re.compile(r"(include|require)\s+(.*)")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One line `CONFIG_X=...`: its symbols (several when paired) and value tuples; more than one tuple makes it an axis.

    `sampled` is the distribution of an axis without a list of values (then `values` is empty). `depth` counts includes:
    a line overrides what a file included by its own sets.
    """

    symbols: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    where: str
    depth: int = 0
    sampled: Sampled | None = None

    @property
    def is_axis(self) -> bool:
        """True when points differ in it."""
        return len(self.values) > 1 or self.sampled is not None


@dataclass(frozen=True, kw_only=True)
class RangeFile:
    """A parsed range file, includes resolved, in file order. `problems`: lines that could not be understood."""

    name: str
    path: Path | None
    text: str
    assignments: tuple[Assignment, ...]
    requirements: tuple[Requirement, ...]
    problems: tuple[str, ...] = ()


def read_range_file(path: Path, find_preset: Callable[[str], Path]) -> RangeFile:
    """Parse the file at `path`; `find_preset` turns the word after `include` into a path.

    RequestError with every problem of the file and of those that it includes.
    """
    file = parse_range_text(read_text(path), path, find_preset)
    if file.problems:
        raise RequestError(*file.problems)
    return file


def parse_range_text(text: str, path: Path, find_preset: Callable[[str], Path]) -> RangeFile:
    """Parse `text` as that of the file at `path`, problems kept in it."""
    parser = _Parser(find_preset)
    parser.parse(text, path, depth=0, stack=())
    return RangeFile(
        name=path.name,
        path=path,
        text=text,
        assignments=tuple(parser.assignments.values()),
        requirements=tuple(parser.requirements),
        problems=tuple(parser.problems),
    )


def read_text(path: Path) -> str:
    """The text of a range file. RequestError when it cannot be read, or is not text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path}: not a text file (it is not UTF-8)") from None


class _Parser:
    def __init__(self, find_preset: Callable[[str], Path]) -> None:
        self._find_preset = find_preset
        self.problems: list[str] = []
        self.requirements: list[Requirement] = []
        self.assignments: dict[tuple[str, ...], Assignment] = {}

    def parse(self, text: str, path: Path, depth: int, stack: tuple[Path, ...]) -> None:
        stack = (*stack, path.resolve())
        for number, raw in enumerate(text.splitlines(), 1):
            where = f"{path}:{number}"
            try:
                self._line(raw.strip(), where, depth, stack)
            except ValueProblem as problem:
                self.problems.append(f"{where}: {problem}")

    def _line(self, line: str, where: str, depth: int, stack: tuple[Path, ...]) -> None:
        if match := _UNSET.fullmatch(line):
            self._add(Assignment(symbols=(match[1],), values=(("n",),), where=where, depth=depth))
            return
        line = _without_comment(line)
        if not line:
            return
        if match := _DIRECTIVE.fullmatch(line):
            if match[1] == "include":
                self._include(match[2], where, depth, stack)
            else:
                self.requirements.append(parse_requirement(match[2], where))
        elif match := _ASSIGN.fullmatch(line):
            symbols = tuple(name.strip().removeprefix("CONFIG_") for name in match[1].split(","))
            self._assign(symbols, match[2].strip(), where, depth)
        else:
            raise ValueProblem(
                f'found "{line}", allowed: CONFIG_<SYMBOL>=<values>, include <preset>, require <expression>, # comment'
            )

    def _assign(self, symbols: tuple[str, ...], text: str, where: str, depth: int) -> None:
        try:
            if len(symbols) > 1:
                self._add(Assignment(symbols=symbols, values=tuple(parse_tuples(text, len(symbols))), where=where, depth=depth))
                return
            values = parse_values(text)
        except ValueProblem as problem:
            raise ValueProblem(f"CONFIG_{', CONFIG_'.join(symbols)}: {problem}") from None
        if isinstance(values, Sampled):
            self._add(Assignment(symbols=symbols, values=(), where=where, depth=depth, sampled=values))
        else:
            self._add(Assignment(symbols=symbols, values=tuple((value,) for value in values), where=where, depth=depth))

    def _add(self, new: Assignment) -> None:
        overridden = []
        for symbol in new.symbols:
            if new.symbols.count(symbol) > 1:
                raise ValueProblem(f"CONFIG_{symbol}: stands twice on this line")
            old = next((old for old in self.assignments.values() if symbol in old.symbols), None)
            if old is None:
                continue
            if old.depth <= new.depth:
                raise ValueProblem(f"CONFIG_{symbol}: is set twice, first at {old.where}; keep one line")
            if not set(old.symbols) <= set(new.symbols):
                raise ValueProblem(
                    f"CONFIG_{symbol}: {old.where} pairs it with others; set all of them here in one line, or none"
                )
            overridden.append(old.symbols)
        # An override takes the place of the first line that it replaces, so that numbering does not depend on it.
        place = overridden[0] if overridden else new.symbols
        self.assignments = {
            key: new if key == place else old for key, old in self.assignments.items() if key == place or key not in overridden
        }
        if place not in self.assignments:
            self.assignments[place] = new

    def _include(self, preset: str, where: str, depth: int, stack: tuple[Path, ...]) -> None:
        preset = preset.strip('"')
        beside = stack[-1].parent / preset
        try:
            path = beside if beside.is_file() else self._find_preset(preset)
            if path.resolve() in stack:
                raise ValueProblem(f"include {preset}: the files include each other in a circle; remove one include")
            self.parse(read_text(path), path, depth + 1, stack)
        except RequestError as error:
            raise ValueProblem(f"include {preset}: {error}") from None


def _without_comment(line: str) -> str:
    """The line up to a # that stands outside of quotes, at the start or after a blank."""
    quoted = False
    i = 0
    while i < len(line):
        char = line[i]
        if char == "\\" and quoted:
            i += 1
        elif char == '"':
            quoted = not quoted
        elif char == "#" and not quoted and (i == 0 or line[i - 1].isspace()):
            return line[:i].rstrip()
        i += 1
    return line
