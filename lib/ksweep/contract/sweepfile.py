"""`sweep.json`: what a sweep was asked for, and which points it has. Written by the sweep, read by the analysis."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import SCHEMA
from ksweep.contract.paths import SweepDir


@dataclass(frozen=True, kw_only=True)
class PointRecord:
    """One point: its label (`config_007`, never reused), content id, directory and swept values (symbol -> text).

    `values` holds the axes that are active at this point, so SGD_MOMENTUM is absent where the optimizer is Adam.
    `is_active` is False for a point that a later version of the range file no longer has; its results stay.
    """

    config: str
    id: str
    run_dir: str
    values: dict[str, str]
    is_active: bool = True


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """The whole of `sweep.json`. `axes`: one entry an axis, its symbols (several when paired) and value tuples in file order."""

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
    schema: int = SCHEMA

    @property
    def active_points(self) -> list[PointRecord]:
        """The points of the newest plan."""
        return [point for point in self.points if point.is_active]

    def save(self, dir: SweepDir) -> None:
        """Write `sweep.json` whole."""
        write_json(dir.sweep, asdict(self))

    @classmethod
    def load(cls, dir: SweepDir) -> "SweepRecord":
        """Read `sweep.json`. RequestError when the directory is not a sweep."""
        record = read_json(dir.sweep)
        if not isinstance(record, dict):
            raise RequestError(f"{dir.path}: not a sweep directory (no readable sweep.json in it)")
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        known["points"] = [PointRecord(**point) for point in known["points"]]
        return cls(**known)
