"""A directory of numbered config files: `sweep_configs/config_001 ...`, written by the generator, read by the runner.

  config_001 ...             complete .config files, each valid alone
  combinations_summary.txt   what was combined, what was dropped and why
  combinations_summary.json  the same for programs; its `complete` is the mark that the directory is whole

A label belongs to a configuration for good: writing a changed plan keeps the labels of what was there, gives new points the
next numbers and removes what is no longer planned. A file that somebody edited by hand is set aside, not overwritten.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksweep.contract.atomic import exclusive, read_json, write_json, write_text
from ksweep.contract.config import parse_config
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import SCHEMA
from ksweep.kconfig.resolve import Expansion, Resolver
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.rangefile import RangeFile

SUMMARY_TEXT = "combinations_summary.txt"
SUMMARY_JSON = "combinations_summary.json"
LOCK = ".lock"
_CONFIG_NAME = re.compile(r"config_(\d+)")


@dataclass(frozen=True, kw_only=True)
class PlannedConfig:
    """One numbered config: label, content id, active swept values, place in the grid (None: not from a grid), text."""

    config: str
    id: str
    values: dict[str, str]
    index: tuple[int, ...] | None
    text: str


@dataclass(frozen=True, kw_only=True)
class ConfigSet:
    """A directory of configs, read: the plan of a sweep."""

    name: str
    source: str  # the range file's path, or the directory itself where no range file made it
    range_text: str
    axes: list[dict[str, Any]]
    counts: dict[str, int]
    configs: list[PlannedConfig]
    plan_text: str
    overrides: dict[str, str] = field(default_factory=dict)  # what the command line said instead of the range file


def label_number(label: str) -> int:
    """7 of config_007."""
    return int(label.rsplit("_", 1)[1])


@contextmanager
def owned_configs(directory: Path) -> Iterator[None]:
    """Make `directory` where it is missing and keep other generators out of it. RequestError when it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / LOCK).touch()
    except OSError as error:
        raise RequestError(f"{directory}: cannot write configs there: {error.strerror or error}") from None
    with exclusive(directory / LOCK):
        yield


def known_labels(directory: Path, source: str) -> dict[str, str]:
    """Content id -> label of what the same range file has made in `directory` before."""
    summary = read_json(directory / SUMMARY_JSON)
    if not isinstance(summary, dict) or summary.get("source") != source:
        return {}
    labels: dict[str, str] = summary.get("retired", {})
    return labels | {entry["id"]: entry["config"] for entry in summary["configs"]}


def write_configs(
    expansion: Expansion,
    file: RangeFile,
    directory: Path,
    labels: Mapping[str, str],
    overrides: Mapping[str, str] | None = None,
) -> list[str]:
    """Make `directory` hold exactly this plan; returns notes on what was set aside.

    Under `owned_configs`. `labels` (content id -> label) are those of earlier plans; they are kept, and none is used again.
    `overrides`: what the command line said instead of the range file. RequestError when the directory cannot be written.
    """
    try:
        old = _old_files(directory)
        assigned = assign_labels([point.id for point in expansion.points], labels)
        texts = {assigned[point.id]: point.text for point in expansion.points}
        summary = _summary(expansion, file, assigned, labels) | {"overrides": dict(overrides or {})}
        notes = _set_aside_edited(directory, old, texts)
        write_json(directory / SUMMARY_JSON, summary | {"complete": False})
        for label, text in texts.items():
            if old.get(label) != text:
                (directory / label).write_text(text)  # not whole by itself: `complete` below says when all are
        for label in old.keys() - texts.keys():
            (directory / label).unlink(missing_ok=True)
        write_text(directory / SUMMARY_TEXT, plan_text(expansion, file, assigned))
        write_json(directory / SUMMARY_JSON, summary | {"complete": True})
    except OSError as error:
        raise RequestError(f"{directory}: cannot write the configs: {error.strerror or error}") from None
    return notes


def _old_files(directory: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in directory.iterdir()
        if _CONFIG_NAME.fullmatch(path.name)
    }


def _set_aside_edited(directory: Path, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Rename files that are about to change and are not as the generator left them."""
    summary = read_json(directory / SUMMARY_JSON) or {}
    if summary and not summary["complete"]:
        return []  # writing was interrupted: the files are ours, as far as they got
    written = {entry["config"]: entry["sha256"] for entry in summary.get("configs", [])}
    notes = []
    for label, text in sorted(old.items()):
        if new.get(label) == text or written.get(label) == _sha(text):
            continue
        aside = directory / f"{label}.edited"
        count = 1
        while aside.exists():
            count += 1
            aside = directory / f"{label}.edited{count}"
        (directory / label).rename(aside)
        notes.append(f"{directory / label}: was edited by hand; kept as {aside.name}")
    return notes


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def assign_labels(ids: list[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Content id -> label: the old one where there is one, else the next number, padded to the plan's size."""
    number = max((label_number(label) for label in labels.values()), default=0)
    width = max(3, len(str(number + sum(id not in labels for id in ids))))
    assigned = {}
    for id in ids:
        if id not in labels:
            number += 1
        assigned[id] = labels.get(id) or f"config_{number:0{width}d}"
    return assigned


def _summary(expansion: Expansion, file: RangeFile, assigned: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": file.name,
        "source": str(file.path.resolve()) if file.path else "",
        "range_text": file.text,
        "axes": [{"symbols": list(axis.symbols), "values": [list(row) for row in axis.values]} for axis in expansion.axes],
        "counts": expansion.counts,
        "notes": expansion.notes,
        "configs": [
            {"config": assigned[p.id], "id": p.id, "values": p.values, "index": list(p.index), "sha256": _sha(p.text)}
            for p in expansion.points
        ],
        "illegal": [{"values": d.values, "reason": d.reason} for d in expansion.illegal],
        "identical": [{"values": d.values, "reason": d.reason} for d in expansion.identical],
        "retired": {id: label for id, label in labels.items() if id not in assigned},
    }


def plan_text(expansion: Expansion, file: RangeFile, assigned: Mapping[str, str]) -> str:
    """The plan for people: axes, counts, every config, every dropped combination with its reason."""
    counts = expansion.counts
    lines = [
        f"Plan of {file.name}",
        f"cartesian {counts['cartesian']} -> legal {counts['legal']} -> distinct {counts['distinct']}",
        "",
        *(f"note: {note}" for note in expansion.notes),
        "Axes, the last one fastest:",
        *(f"  {' , '.join(axis.symbols)}: {' | '.join(','.join(row) for row in axis.values)}" for axis in expansion.axes),
        "",
        "Configurations:",
        *(f"  {assigned[point.id]}: {_shown(point.values)}" for point in expansion.points),
    ]
    for title, dropped in (("Illegal, dropped:", expansion.illegal), ("Identical to another, dropped:", expansion.identical)):
        if dropped:
            lines += ["", title, *(f"  {_shown(d.values)}\n      {d.reason}" for d in dropped)]
    return "\n".join(lines) + "\n"


def _shown(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "(no axis)"


def read_configs(directory: Path, resolver: Resolver) -> ConfigSet:
    """The plan in a directory of config files, each checked: those that are not as the generator left them against the tree.

    RequestError with the problems of all files, or when the directory is missing, empty, or was left half written.
    """
    if not directory.is_dir():
        raise RequestError(f"{directory}: no such directory; make one with `make sweep-generate RANGE_CONFIG=...`")
    summary = read_json(directory / SUMMARY_JSON)
    summary = summary if isinstance(summary, dict) else {}
    if summary and not summary["complete"]:
        raise RequestError(f"{directory}: writing it was interrupted; run `make sweep-generate` again")
    paths = sorted(
        (path for path in directory.iterdir() if _CONFIG_NAME.fullmatch(path.name)), key=lambda path: label_number(path.name)
    )
    if not paths:
        raise RequestError(f"{directory}: no config_NNN file in it; make them with `make sweep-generate RANGE_CONFIG=...`")
    generated = {entry["config"]: entry for entry in summary.get("configs", [])}
    missing = sorted(generated.keys() - {path.name for path in paths})
    if missing:
        raise RequestError(f"{directory}: {missing[0]} and {len(missing) - 1} more are missing; run `make sweep-generate` again")
    configs, problems = [], []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        entry = generated.get(path.name)
        if entry and entry["sha256"] == _sha(text):
            configs.append(
                PlannedConfig(config=path.name, id=entry["id"], values=entry["values"], index=tuple(entry["index"]), text=text)
            )
            continue
        problems += resolver.load(path)
        text = resolver.text()
        configs.append(PlannedConfig(config=path.name, id=resolver.point_id(text), values={}, index=None, text=text))
    if problems:
        raise RequestError(*problems)
    configs = _with_values(configs, resolver, [name for axis in summary.get("axes", []) for name in axis["symbols"]])
    return ConfigSet(
        name=summary.get("name", directory.name),
        source=summary.get("source") or str(directory.resolve()),
        range_text=summary.get("range_text", ""),
        axes=summary.get("axes") or [{"symbols": [name], "values": []} for name in configs[0].values],
        counts=summary.get("counts")
        or {"cartesian": len(configs), "legal": len(configs), "distinct": len({c.id for c in configs})},
        configs=_distinct(configs),
        plan_text=(directory / SUMMARY_TEXT).read_text() if (directory / SUMMARY_TEXT).exists() else "",
        overrides=summary.get("overrides", {}),
    )


def _with_values(configs: list[PlannedConfig], resolver: Resolver, axes: list[str]) -> list[PlannedConfig]:
    """Fill in the values of configs that the generator did not write: on its axes, or in whatever the files differ."""
    if all(config.index is not None for config in configs):
        return configs
    parsed = {config.config: {name: value for name, (value, _) in parse_config(config.text).items()} for config in configs}
    names = list(axes)
    for name in dict.fromkeys(name for values in parsed.values() for name in values):
        symbol = resolver.kconf.syms.get(name)
        is_knob = name in resolver.selectors or (
            symbol is not None and not symbol.choice and any(node.prompt for node in symbol.nodes)
        )
        differs = len({values.get(name) for values in parsed.values()}) > 1
        if is_knob and differs and name not in names and not name.startswith(STEERING_PREFIX):
            names.append(name)
    return [
        PlannedConfig(
            config=c.config,
            id=c.id,
            values={name: parsed[c.config][name] for name in names if name in parsed[c.config]} if c.index is None else c.values,
            index=c.index,
            text=c.text,
        )
        for c in configs
    ]


def _distinct(configs: list[PlannedConfig]) -> list[PlannedConfig]:
    return list({config.id: config for config in reversed(configs)}.values())[::-1]
