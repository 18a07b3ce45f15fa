"""The end of a metrics.jsonl: how far a run is, without reading all that it has reported."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ksweep.analysis.index import as_number
from ksweep.contract.metrics import read_history

_TAIL_BYTES = 65536


def newest_reports(metrics: Path) -> Iterator[dict[str, Any]]:
    """The whole reports at the end of the file, the newest first, each read when it is asked for; none before the first."""
    try:
        with open(metrics, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in filter(None, reversed(lines)):
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn, blank, or cut by the start of the tail
        if isinstance(report, dict):
            yield report


def epochs_in(metrics: Path) -> int | None:
    """The epoch of the newest report in this file; the number of reports where they name none; None before the first."""
    report = next(newest_reports(metrics), None)
    if report is None:
        return None
    epoch = as_number(report.get("epoch"))
    return len(read_history(metrics)) if epoch is None else int(epoch)
