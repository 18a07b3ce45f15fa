"""`sweep.json`: what a sweep was asked for, and which points it has. Written by the sweep, read by the analysis."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ksweep.contract.atomic import read_json, to_json, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import SCHEMA
from ksweep.contract.paths import SweepDir
from ksweep.contract.records import record_of


@dataclass(frozen=True, kw_only=True)
class PointRecord:
    """One point: its label (`config_007`, never reused), content id, directory and swept values (symbol -> text).

    `values` holds the axes that are active at this point, so SGD_MOMENTUM is absent where the optimizer is Adam.
    `is_active` is False for a point that a later version of the range file no longer has; its results stay. `search`, where a
    strategy chose the point while the sweep ran: its number, which of the repeats it is, the strategy's own notes.
    """

    config: str
    id: str
    run_dir: str
    values: dict[str, str]
    is_active: bool = True
    search: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """The whole of `sweep.json`. `axes`: one entry an axis, its symbols (several when paired) and value tuples in file order, or
    `sampled`, its distribution. `overrides`: what the command line said instead of the range file. `base`: identity of all that
    the sweep keeps fixed, where a strategy chooses the points."""

    name: str
    range_file: str | None
    range_text: str
    axes: list[dict[str, Any]]
    objective: str
    direction: str
    strategy: str
    created_at: float
    git: dict[str, Any]
    kconfig_hash: str
    counts: dict[str, int]
    points: list[PointRecord] = field(default_factory=list)
    constraints: str = ""
    aggregate: str = "mean"
    sampler: str = ""
    overrides: dict[str, str] = field(default_factory=dict)
    base: str = ""
    schema: int = SCHEMA

    @property
    def active_points(self) -> list[PointRecord]:
        """The points of the newest plan."""
        return [point for point in self.points if point.is_active]

    def save(self, dir: SweepDir, *, lines: list[str] | None = None, sync: bool = True) -> None:
        """Write `sweep.json` whole. `lines`: the JSON of the points, where the caller has it: a growing one is written often."""
        points = ",\n ".join([to_json(asdict(point)) for point in self.points] if lines is None else lines)
        entries = {
            name: to_json(getattr(self, name)) if name != "points" else f"[\n {points}\n]" for name in self.__dataclass_fields__
        }
        text = ",\n".join(f"{to_json(name)}: {value}" for name, value in entries.items())
        write_text(dir.sweep, f"{{\n{text}\n}}\n", sync=sync)

    @classmethod
    def load(cls, dir: SweepDir) -> "SweepRecord":
        """Read `sweep.json`. RequestError when the directory is not a sweep."""
        return cls.from_json(dir, read_json(dir.sweep))

    @classmethod
    def from_json(cls, dir: SweepDir, record: Any) -> "SweepRecord":
        """From what stands in `sweep.json`, None where it cannot be read."""
        if not isinstance(record, dict):
            raise RequestError(f"{dir.path}: not a sweep directory (no readable sweep.json in it)")
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        known["points"] = [_point(entry) for entry in known["points"]]
        return cls(**known)


_FIELDS = tuple(PointRecord.__dataclass_fields__)


def _point(entry: Any) -> PointRecord:
    if isinstance(entry, dict) and tuple(entry) == _FIELDS:  # as `save` writes them
        return record_of(PointRecord, entry)
    return PointRecord(**entry)
