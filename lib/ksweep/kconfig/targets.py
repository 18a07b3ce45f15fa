"""The back ends of `make menuconfig` and its family: each loads, changes and saves one .config.

What a .config says that does not survive Kconfig is a warning, since it is there to be edited; in a preset, or a file that
is laid over a configuration, it is an error and nothing is written.
"""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kconfiglib import BOOL, TRI_TO_STR, Choice, Kconfig, escape

from ksweep.contract.atomic import write_text
from ksweep.contract.errors import RequestError
from ksweep.kconfig.answers import AllAlike, Answers, AtRandom, Person, answer_all, is_new, is_unset
from ksweep.kconfig.editors import Hooks, edit_in_terminal, edit_in_window
from ksweep.kconfig.presets import find_preset, list_presets
from ksweep.kconfig.resolve import Resolver, load_config
from ksweep.space.rangefile import Assignment, RangeFile, read_range_file


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call of a target. `files` are what it reads or writes beside the .config; `environ` gives KCONFIG_SEED and its
    like; `say`, `warn` and `ask` are the way to the user.
    """

    root: Path
    config: Path
    preset: str | None
    files: tuple[str, ...]
    environ: Mapping[str, str]
    say: Callable[[str], None]
    warn: Callable[[str], None]
    ask: Callable[[str], str]


def run_target(name: str, job: Job, kconf: Kconfig) -> None:
    """Do what `make <name>` promises, in a fresh tree. RequestError says what is wrong; the .config is then as it was."""
    try:
        TARGETS[name](job, kconf)
    except OSError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from None


# -- one .config ----------------------------------------------------------------------------------------------------------


def load(job: Job, kconf: Kconfig) -> list[str]:
    """Set the tree to the .config, where there is one; warns of each value that does not survive, and returns them.

    RequestError where a line cannot be understood: of such a file no value would be loaded, and saving would lose all.
    """
    if not job.config.exists():
        job.say(f"Using default symbol values (no '{job.config}')")
        return []
    problems = load_config(kconf, job.config)
    for problem in problems:
        job.warn(problem)
    return problems


def save(text: str, path: Path) -> str:
    """Put a whole configuration at `path`, keeping the one before as `<path>.old`. Returns what was done.

    A reader sees the old or the new file, never a part or none. OSError when it cannot be written.
    """
    if path.exists():
        if path.read_bytes() == text.encode():
            return f"No change to configuration in '{path}'"
        shutil.copyfile(path, f"{path}.old")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(Path(os.path.realpath(path)), text)  # through a symbolic link, as the kernel does
    return f"Configuration saved to '{path}'"


def _save_tree(job: Job, kconf: Kconfig) -> None:
    resolver = Resolver(kconf)
    job.say(save(resolver.text(), job.config))
    _warn_of_broken_rules(job, resolver)


def _warn_of_broken_rules(job: Job, resolver: Resolver) -> None:
    """Of a .config that was saved: it is there to be edited, but cannot be trained as it stands."""
    for problem in resolver.broken({}, job.config):
        job.warn(problem)


# -- editing ----------------------------------------------------------------------------------------------------------------


def _menuconfig(job: Job, kconf: Kconfig) -> None:
    _edit(job, kconf, edit_in_terminal)


def _guiconfig(job: Job, kconf: Kconfig) -> None:
    _edit(job, kconf, edit_in_window)


def _edit(job: Job, kconf: Kconfig, editor: Callable[[Kconfig, Path, Hooks], None]) -> None:
    problems = load(job, kconf)
    resolver = Resolver(kconf)
    hooks = Hooks(
        load=lambda path: load_config(kconf, path),
        save=lambda path: save(resolver.text(), path),
        needs_save=lambda path: not path.exists() or path.read_bytes() != resolver.text().encode(),
    )
    editor(kconf, job.config, hooks)
    for problem in problems:  # again, since the editor took the screen at once
        job.warn(problem)
    _warn_of_broken_rules(job, resolver)


def _config(job: Job, kconf: Kconfig) -> None:
    load(job, kconf)
    answer_all(kconf, Person(job.ask, job.say), lambda item: True)
    _save_tree(job, kconf)


def _oldconfig(job: Job, kconf: Kconfig) -> None:
    load(job, kconf)
    answer_all(kconf, Person(job.ask, job.say), is_new)
    _save_tree(job, kconf)


def _olddefconfig(job: Job, kconf: Kconfig) -> None:
    load(job, kconf)
    _save_tree(job, kconf)


def _listnewconfig(job: Job, kconf: Kconfig) -> None:
    load(replace(job, say=job.warn), kconf)  # the list alone goes to where a pipe takes it
    for symbol in kconf.unique_defined_syms:
        is_question = symbol.visibility and (symbol.choice or symbol.orig_type != BOOL or len(symbol.assignable) > 1)
        if is_question and symbol.user_value is None:
            # n is spelt out, as the kernel does: "is not set" would read as if it were not new.
            is_bool = symbol.orig_type == BOOL
            job.say(f"CONFIG_{symbol.name}={TRI_TO_STR[symbol.tri_value]}" if is_bool else symbol.config_string.rstrip())


def _savedefconfig(job: Job, kconf: Kconfig) -> None:
    if not job.config.exists():
        raise RequestError(f"{job.config}: no such file to save the defconfig of; make defconfig or make menuconfig makes it")
    load(job, kconf)
    path = Path(job.files[0] if job.files else "defconfig")
    job.say(kconf.write_min_config(str(path)))


# -- from presets -----------------------------------------------------------------------------------------------------------


def _list_defconfigs(job: Job, kconf: Kconfig) -> None:
    presets = list_presets(job.root)
    width = max((len(preset.name) for preset in presets), default=0)
    for preset in presets:
        job.say(f"{preset.name:{width}}  {preset.kind:10}  {preset.summary}".rstrip())


def _defconfig(job: Job, kconf: Kconfig) -> None:
    if job.preset is None:
        _save_tree(job, kconf)
        return
    expansion = Resolver(kconf).expand(
        _stacked([_read_plain(job, find_preset(job.root, name)) for name in job.preset.split("+")])
    )
    for note in expansion.notes:
        job.say(note)
    job.say(save(expansion.points[0].text, job.config))


def _read_plain(job: Job, path: Path) -> RangeFile:
    """A preset, includes resolved. One with axes is refused: a .config holds one value of each symbol."""
    file = read_range_file(path, lambda included: find_preset(job.root, included))
    axes = [f"{a.where}: CONFIG_{', CONFIG_'.join(a.symbols)}: several values" for a in file.assignments if a.is_axis]
    if axes:
        raise RequestError(
            *axes, f"{path}: a range file; as a .config it would lose these axes. Run it: make sweep RANGE_CONFIG={path}"
        )
    return file


def _stacked(files: Sequence[RangeFile]) -> RangeFile:
    """One file that says what all of them say, as if each included the one before it: later lines win."""
    lines: dict[str, Assignment] = {}
    for height, file in enumerate(files):
        for a in file.assignments:
            for symbol, value in zip(a.symbols, a.values[0], strict=True):
                lines[symbol] = replace(a, symbols=(symbol,), values=((value,),), depth=a.depth - 1000 * height)
    requirements = tuple(requirement for file in files for requirement in file.requirements)
    return replace(files[-1], assignments=tuple(lines.values()), requirements=requirements)


# -- laying files over a configuration --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Line:
    """`symbol=value`, and which of several layers says so; later layers win."""

    symbol: str
    value: str
    where: str
    layer: int


def _mergeconfig(job: Job, kconf: Kconfig) -> None:
    base = _lines(_read_plain(job, job.config), 0) if job.config.exists() else []
    fragments = [_read_plain(job, find_preset(job.root, name)) for name in job.files]
    if not fragments:
        raise RequestError('mergeconfig: no file to lay over the configuration; make mergeconfig MERGE="file file ..."')
    layers = [base, *(_lines(file, number) for number, file in enumerate(fragments, 1))]
    overridden, lost = _lay_over(kconf, layers)
    refused = [problem for layer, problem in lost if layer > 0]
    if not refused:
        required = [requirement for file in fragments for requirement in file.requirements]
        where = {line.symbol: line.where for layer in layers for line in layer}
        refused = Resolver(kconf).broken(where, job.config, required)
    if refused:
        raise RequestError(*refused)
    for line in overridden:
        job.say(line)
    for _, problem in lost:
        job.warn(problem)
    _save_tree(job, kconf)


def _lines(file: RangeFile, layer: int) -> list[_Line]:
    return [
        _Line(symbol=symbol, value=value, where=a.where, layer=layer)
        for a in file.assignments
        for symbol, value in zip(a.symbols, a.values[0], strict=True)
    ]


def _lay_over(kconf: Kconfig, layers: Sequence[Sequence[_Line]]) -> tuple[list[str], list[tuple[int, str]]]:
    """Set the tree to all layers, later ones winning symbol by symbol and choice by choice.

    Returns what was overridden, and what did not survive, each with the layer that asked for it.
    """
    resolver = Resolver(kconf)
    kept: dict[str, _Line] = {}
    overridden = []
    for new in (line for layer in layers for line in layer):
        choice = _choice_of(resolver, new) if _takes_member(resolver, new) else None
        for old in list(kept.values()):
            is_rival = choice is not None and old.layer < new.layer and _choice_of(resolver, old) is choice
            if old.symbol != new.symbol and not is_rival:
                continue
            del kept[old.symbol]
            # The string that follows a choice, and the n of a member that is taken now, are no news beside the member's own.
            is_news = old.symbol not in resolver.selectors and not (choice and old.value == "n")
            if is_news and (old.symbol, old.value) != (new.symbol, new.value):
                overridden.append(
                    f"{new.where}: CONFIG_{new.symbol}={new.value} overrides CONFIG_{old.symbol}={old.value} ({old.where})"
                )
        kept[new.symbol] = new
    return overridden, _load_lines(resolver, list(kept.values()))


def _choice_of(resolver: Resolver, line: _Line) -> Choice | None:
    """The choice that `line` is about: by a member, or by the string that follows the choice."""
    member = resolver.kconf.syms.get(line.symbol)
    if line.symbol in resolver.selectors:
        member = next(iter(resolver.selectors[line.symbol].values()))
    return member.choice if member else None


def _takes_member(resolver: Resolver, line: _Line) -> bool:
    return line.symbol in resolver.selectors or line.value == "y"


def _load_lines(resolver: Resolver, lines: Sequence[_Line]) -> list[tuple[int, str]]:
    with tempfile.TemporaryDirectory() as directory:
        merged = Path(directory) / "merged"
        merged.write_text("".join(f'CONFIG_{line.symbol}="{escape(line.value)}"\n' for line in lines), encoding="utf-8")
        problems = load_config(resolver.kconf, merged)
    place = re.compile(rf"{re.escape(str(merged))}:(\d+)")
    numbered = [(int(place.split(problem)[1]) - 1, problem) for problem in problems]
    return [
        (lines[number].layer, place.sub(lambda match: lines[int(match[1]) - 1].where, problem)) for number, problem in numbered
    ]


# -- all alike, and at random -------------------------------------------------------------------------------------------------


def _allyesconfig(job: Job, kconf: Kconfig) -> None:
    _answer_the_rest(job, kconf, "allyes.config", AllAlike("y"))


def _allnoconfig(job: Job, kconf: Kconfig) -> None:
    _answer_the_rest(job, kconf, "allno.config", AllAlike("n"))


def _alldefconfig(job: Job, kconf: Kconfig) -> None:
    _answer_the_rest(job, kconf, "alldef.config", None)


def _randconfig(job: Job, kconf: Kconfig) -> None:
    drawn = str(random.SystemRandom().getrandbits(32))
    seed = _whole_number(job, "KCONFIG_SEED", drawn, 0, 2**63)
    percent_y = _whole_number(job, "KCONFIG_PROBABILITY", "50", 0, 100)
    job.say(f"KCONFIG_SEED=0x{seed:X}")
    _answer_the_rest(job, kconf, "allrandom.config", AtRandom(random.Random(seed), percent_y))


def _answer_the_rest(job: Job, kconf: Kconfig, own_name: str, answers: Answers | None) -> None:
    """Take the values of KCONFIG_ALLCONFIG, where it is set, and answer all other questions."""
    path = _allconfig(job, own_name)
    if path:
        Resolver(kconf).take(_read_plain(job, path))  # what does not survive yet may do so when the rest is answered
    if answers:
        answer_all(kconf, answers, is_unset)
    if path:
        rest = [
            _Line(symbol=symbol.name, value=symbol.str_value, where="", layer=0)
            for symbol in kconf.unique_defined_syms
            if symbol.config_string
        ]
        _, lost = _lay_over(kconf, [rest, _lines(_read_plain(job, path), 1)])
        if refused := [problem for layer, problem in lost if layer == 1]:
            raise RequestError(*refused)
    _save_tree(job, kconf)


def _allconfig(job: Job, own_name: str) -> Path | None:
    """The file that KCONFIG_ALLCONFIG names; empty or 1 means `own_name` or all.config, as in the kernel."""
    name = job.environ.get("KCONFIG_ALLCONFIG")
    if name is None:
        return None
    candidates = [own_name, "all.config"] if name in ("", "1") else [name]
    for path in map(Path, candidates):
        if path.is_file():
            return path
    raise RequestError(f'KCONFIG_ALLCONFIG="{name}": no such file ({" or ".join(candidates)})')


def _whole_number(job: Job, name: str, default: str, low: int, high: int) -> int:
    text = job.environ.get(name) or default
    try:
        number = int(text, 0)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise RequestError(f'{name}: found "{text}", allowed: a whole number from {low} to {high}')
    return number


TARGETS: dict[str, Callable[[Job, Kconfig], None]] = {
    "menuconfig": _menuconfig,
    "guiconfig": _guiconfig,
    "config": _config,
    "oldconfig": _oldconfig,
    "olddefconfig": _olddefconfig,
    "listnewconfig": _listnewconfig,
    "savedefconfig": _savedefconfig,
    "list-defconfigs": _list_defconfigs,
    "defconfig": _defconfig,
    "mergeconfig": _mergeconfig,
    "allyesconfig": _allyesconfig,
    "allnoconfig": _allnoconfig,
    "alldefconfig": _alldefconfig,
    "randconfig": _randconfig,
}
