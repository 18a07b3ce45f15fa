"""sweep_summary.json and .csv: one flat item a point, the same keys in every one, null where there is nothing.

A plain list, so that `pandas.DataFrame(json.load(file))` is the table. Metrics are final values of finished runs only.
"""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from ksweep.analysis.formats import one_line
from ksweep.analysis.load import RunRecord, SweepState, as_number

Row = dict[str, str | int | float | None]

_METRICS = ("val_acc", "val_loss", "test_acc", "final_sparsity")  # there in any case, for scripts that count on them
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def summary_rows(state: SweepState) -> list[Row]:
    """The table, one row an active point in the order of the plan."""
    symbols = list(dict.fromkeys(name for run in state.runs for name in run.point.values))
    readers = {name: _reader([run.point.values[name] for run in state.runs if name in run.point.values]) for name in symbols}
    metrics = sorted({*_METRICS, *(name for run in state.runs if run.result for name in run.result.metrics)})
    return [_row(run, readers, metrics) for run in state.runs]


def _row(run: RunRecord, readers: dict[str, Callable[[str], Any]], metrics: list[str]) -> Row:
    result, values = run.result, run.point.values
    seed = run.seed
    row: Row = {
        "config_file": run.config,
        "run_dir": run.point.run_dir,
        "id": run.point.id,
        "status": str(run.status),
        "reason": one_line(run.reason),
        "attempt": result.attempt if result else None,
        "seed": int(seed) if seed is not None and seed.isdecimal() else seed,
        "started_at": result.started_at if result else None,
        "wall_s": result.wall_s if result else None,
    }
    row |= {f"CONFIG_{name}": read(values[name]) if name in values else None for name, read in readers.items()}
    # A foreign metric must not hide a column of ours.
    return row | {f"metric_{name}" if name in row else name: run.metric(name) for name in metrics}


def _reader(texts: list[str]) -> Callable[[str], Any]:
    """How a symbol's values are read: as numbers where all of them are, so that a column never mixes numbers and text."""
    return _to_number if all(_NUMBER.fullmatch(text) and as_number(float(text)) is not None for text in texts) else str


def _to_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def csv_text(rows: list[Row]) -> str:
    """The same table as comma-separated values, with an empty field where there is nothing."""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-8", "replace").decode()  # a lone surrogate cannot be written, and says nothing
