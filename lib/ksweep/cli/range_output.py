"""Range files that a command writes: rewritten line by line, checked as `make check` does, never put over another file."""

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ksweep.cli.tree import Tree
from ksweep.contract.errors import RequestError
from ksweep.kconfig.presets import DIRECTORY
from ksweep.kconfig.resolve import Expansion
from ksweep.space.rangefile import RangeFile, parse_range_text, read_text

MARK = "# refine: "  # begins each comment of ours, so that refining a refined file starts from the user's own lines
TITLE = "# Refined from "
Place = tuple[Path, int]  # a file, resolved, and a line of it
_INCLUDE = re.compile(r'include\s+("[^"]*"|\S+)')
_ASSIGNMENT = re.compile(r"CONFIG_|#\s*CONFIG_\w+ is not set")
_WHERE = re.compile(r"(?:^|; )(\S[^;]*?):(\d+): ")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a range file comes to. `lines`: for people; `num_points`: None where a strategy draws them without end; `expansion`:
    of a grid."""

    lines: list[str]
    num_points: int | None
    expansion: Expansion | None = None
    text: str = ""


def check_range(tree: Tree, text: str, path: Path) -> Checked:
    """The range file of this text at `path`, as `make check` sees it. RequestError with what is wrong with it."""
    file = tree.parse_range(text, path)
    if tree.strategy(file, {}) == "grid":
        expansion = tree.expand(file, argparse.Namespace(epochs=None, jobs=None, strategy=None, trials=None))
        counts = expansion.counts
        line = f"cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}"
        return Checked(lines=[line], num_points=len(expansion.points), expansion=expansion, text=expansion.points[0].text)
    from ksweep.cli.searching import plan_search

    plan = plan_search(tree, file, {})
    num_points = plan.num_points(plan.strategy(1))
    told = plan.lines[-1].removeprefix(f"{file.path}: ")
    return Checked(lines=[f"strategy {plan.values['SWEEP_STRATEGY']}, {told}"], num_points=num_points, text=plan.space.base_text)


def places(problem: str) -> list[Place]:
    """The lines of files that a message names."""
    return [(Path(path).resolve(), int(number)) for path, number in _WHERE.findall(problem)]


def place_of(where: str) -> Place:
    """Of `defconfigs/x:7`."""
    path, _, number = where.rpartition(":")
    return Path(path).resolve(), int(number)


@dataclass(kw_only=True)
class Edit:
    """A range file to be written anew at `out`. Lines stay as they are, but for those in `instead` (the lines that take their
    place) and those in `dropped` (why); `added` come last. An include stays one, unless a line of it is dropped."""

    file: RangeFile
    out: Path
    root: Path
    find_preset: Callable[[str], Path]
    instead: dict[Place, list[str]] = field(default_factory=dict)
    dropped: dict[Place, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)

    def lines(self) -> list[tuple[str, Place | None]]:
        """Each line with the one that it comes from."""
        assert self.file.path is not None
        found = list(self._rewritten(self.file.text, self.file.path))
        there = {place for _, place in found}
        late = [(line, place) for place, lines in self.instead.items() if place not in there for line in lines]
        return [*found, *late, *((line, None) for line in self.added)]

    def _rewritten(self, text: str, path: Path) -> Iterator[tuple[str, Place | None]]:
        alive = {place_of(a.where) for a in self.file.assignments}
        for number, line in enumerate(text.splitlines(), 1):
            place, bare = (path.resolve(), number), line.strip()
            if bare.startswith((MARK, TITLE)):
                continue
            if place in self.dropped:
                yield f"{MARK}left out: {bare.split('   #|')[0]}: {self.dropped[place]}", place
            elif place in self.instead:
                yield from ((new, place) for new in self.instead[place])
            elif match := _INCLUDE.match(bare):
                yield from self._included(match[1].strip('"'), path, line)
            elif not _ASSIGNMENT.match(bare) or place in alive:  # else the file that includes this one overrides it
                yield line, place

    def _included(self, name: str, path: Path, line: str) -> Iterator[tuple[str, Place | None]]:
        beside = path.parent / name
        target = beside if beside.is_file() else self.find_preset(name)
        inside = parse_range_text(read_text(target), target, self.find_preset)
        if any(place_of(a.where) in self.dropped for a in inside.assignments):
            yield f"{MARK}the lines of {name}, but for what does not apply here:", None
            yield from self._rewritten(inside.text, target)
        elif (self.root / DIRECTORY / name).resolve() == target.resolve() and not (self.out.parent / name).is_file():
            yield line, None
        else:
            yield f'include "{target.resolve()}"', None


def out_path(given: Path | None, default: Path) -> Path:
    """Where to write. RequestError for a name that would be read as another kind of file."""
    path = default if given is None else given / default.name if given.is_dir() else given
    if path.suffix in (".yaml", ".yml"):
        raise RequestError(f"OUT: found {path}, allowed: a name without {path.suffix}; what is written is a range file")
    return path
