"""Presets and range files, found by name: defconfigs/ at the top of the tree, one flat directory."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from ksweep.contract.errors import RequestError
from ksweep.space.rangefile import read_range_file

DIRECTORY = "defconfigs"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One file of defconfigs/. `kind` is preset (one configuration), range file, or broken (it does not parse)."""

    name: str
    kind: str
    summary: str


def find_preset(root: Path, name: str) -> Path:
    """The file that `name` means: a bare name in defconfigs/, a path, or the older form `<model>/defconfigs/<name>`.

    RequestError with near names when there is none.
    """
    bare = name.rpartition(f"{DIRECTORY}/")[2]
    candidates = [root / DIRECTORY / name] if "/" not in name else [Path(name), root / name, root / DIRECTORY / bare]
    for path in [*candidates, Path(name)]:
        if name and path.is_file():
            return _shown(path)
    near = difflib.get_close_matches(bare, _names(root), n=3, cutoff=0.5)
    hint = f"near it: {', '.join(near)}" if near else "make list-defconfigs lists what there is"
    raise RequestError(f'"{name}": no such file, and no such name in {_shown(root / DIRECTORY)}; {hint}')


def list_presets(root: Path) -> list[Preset]:
    """All of defconfigs/, by name."""
    return [_describe(root, name) for name in _names(root)]


def _names(root: Path) -> list[str]:
    directory = root / DIRECTORY
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if path.is_file() and path.suffix != ".md" and path.name[0] != ".")


def _describe(root: Path, name: str) -> Preset:
    try:
        file = read_range_file(root / DIRECTORY / name, lambda included: find_preset(root, included))
    except RequestError as error:
        return Preset(name=name, kind="broken", summary=error.problems[0])
    first = file.text.lstrip().partition("\n")[0]
    summary = first.lstrip("# ") if first.startswith("#") and "is not set" not in first else ""
    return Preset(name=name, kind="range file" if any(a.is_axis for a in file.assignments) else "preset", summary=summary)


def _shown(path: Path) -> Path:
    """Relative to where the user is, when below: messages name the file as it would be typed."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
