"""`CONFIG=`: a configuration, named as a config file, a run directory, or a label of the sweep worked on last."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ksweep.analysis.load import find_sweep
from ksweep.contract.errors import RequestError
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord

_LABEL = re.compile(r"config_\d+")


@dataclass(frozen=True, kw_only=True)
class Named:
    """A configuration that was named. `sweep` and `record`: of the sweep that it lies in; `point`: which of its points it is,
    None for another file there; `run`: its run directory, where there is one."""

    file: Path
    sweep: SweepDir | None = None
    record: SweepRecord | None = None
    point: PointRecord | None = None
    run: RunDir | None = None


def find_config(name: Path, results: Path) -> Named:
    """What `name` means. RequestError when it means nothing."""
    if not name.exists() and _LABEL.fullmatch(str(name)):
        name = _of_latest(str(name), results)
    file = name / "config.txt" if name.is_dir() else name
    if not file.is_file():
        raise RequestError(_not_there(name, file))
    sweep = _sweep_around(file)
    if sweep is None:
        return Named(file=file, run=RunDir(file.parent) if file.name == "config.txt" else None)
    record = load_record(sweep)
    point = next((point for point in record.points if _is_of(point, file)), None)
    run = RunDir(sweep.path / point.run_dir) if point else None
    if run and not run.path.is_dir():
        run = None
    return Named(file=file, sweep=sweep, record=record, point=point, run=run)


def same_value(one: str, other: str) -> bool:
    """The same text, or the same number: 0.10 is 1e-1."""
    try:
        return one == other or Decimal(one) == Decimal(other)
    except InvalidOperation:
        return False


def load_record(sweep: SweepDir) -> SweepRecord:
    """Its sweep.json. RequestError when that cannot be understood."""
    try:
        return SweepRecord.load(sweep)
    except (KeyError, TypeError) as error:
        raise RequestError(f"{sweep.sweep}: damaged, or written by another version ({error})") from error


def _is_of(point: PointRecord, file: Path) -> bool:
    if file.name == "config.txt":
        return file.absolute().parent.name == point.run_dir
    return file.name == point.config and file.absolute().parent.name == "configs"


def _of_latest(label: str, results: Path) -> Path:
    sweep = find_sweep(results)
    if not (sweep.configs / label).is_file():
        labels = sorted(point.config for point in load_record(sweep).points)
        among = f"{labels[0]} to {labels[-1]}" if labels else "none yet"
        raise RequestError(f"{label}: no such file here, and no such config in {sweep.path}, the sweep worked on last ({among})")
    return sweep.configs / label


def _not_there(name: Path, file: Path) -> str:
    if (name / "sweep.json").exists():
        return f"{name}: a whole sweep; name one of its configurations: a file in {name / 'configs'}, or a run directory"
    if name.is_dir():
        return f"{file}: no such file; allowed: a config file, a run directory, or a label such as config_007"
    if name.exists():
        return f"{name}: not a file; allowed: a config file, a run directory, or a label such as config_007"
    return f"{name}: no such file or directory; allowed: a config file, a run directory, or a label such as config_007"


def _sweep_around(file: Path) -> SweepDir | None:
    for parent in file.absolute().parents[:3]:
        if (parent / "sweep.json").exists():
            return SweepDir(parent)
    return None
