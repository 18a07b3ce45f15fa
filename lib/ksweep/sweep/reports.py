"""The reports of a live run: new lines of its metrics.jsonl, read once each."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ksweep.contract.metrics import read_history
from ksweep.space.objective import Goal

Report = dict[str, Any]


class Reports:
    """Follows one metrics.jsonl. Costs one stat while nothing is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new(self) -> list[Report]:
        """The whole lines since the last call; what is not a JSON object is passed over."""
        try:
            if self._path.stat().st_size <= self._position:
                return []
            with open(self._path, "rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for line in lines if isinstance(record := _parsed(line), dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def not_finite(report: Report, names: Iterable[str]) -> str:
    """The first of the metrics `names` that is there and is no finite number; empty when there is none."""
    for name in names:
        value = report.get(name, 0.0)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return name
    return ""


def resource_of(report: Report, key: str) -> int | None:
    """How far a run has come with this report: its `epoch` or `step`."""
    value = report.get(key)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def curve_of(path: Path, goal: Goal | None, key: str) -> dict[int, float]:
    """Resource (`key`: epoch or step) -> the goal's value, of all that a metrics.jsonl holds."""
    if goal is None:
        return {}
    found = ((resource_of(report, key), goal.value(report)) for report in read_history(path))
    return {resource: value for resource, value in found if resource is not None and value is not None}


def trained(path: Path, key: str, *, is_child: bool) -> int:
    """How much a run was trained itself, by its metrics.jsonl: as far as it came, less what one that went on from another run's
    checkpoint (`is_child`) took over."""
    marks = [mark for report in read_history(path) if (mark := resource_of(report, key)) is not None]
    if not is_child or not marks:
        return max(marks, default=0)
    first = marks[1] - marks[0] if len(marks) > 1 else 1  # what its first report tells of
    return max(marks) - marks[0] + first


def furthest(path: Path, key: str) -> int:
    """The largest resource (`key`: epoch or step) in a metrics.jsonl; 0 without any."""
    return max((resource_of(report, key) or 0 for report in read_history(path)), default=0)
