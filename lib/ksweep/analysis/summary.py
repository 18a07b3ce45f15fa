"""sweep_summary.json, .csv and .parquet: one flat item a point, the same keys in every one, null where there is nothing.

A plain list, so that `pandas.DataFrame(json.load(file))` is the table. Metrics are those of ended runs only: final values, and of
a run that was stopped early those of its last report. A goal that is an expression has a column named by its text, a constraint
one that says by how much it is broken (0 or less: it holds).
"""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

from ksweep.analysis.effort import epochs_reached
from ksweep.analysis.formats import one_line
from ksweep.analysis.load import RunRecord, SweepState, as_number
from ksweep.space.objective import Objectives

Row = dict[str, str | int | float | None]

_METRICS = ("val_acc", "val_loss", "test_acc", "final_sparsity")  # there in any case, for scripts that count on them
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def summary_rows(state: SweepState) -> list[Row]:
    """The table, one row an active point in the order of the plan."""
    symbols = list(dict.fromkeys(name for run in state.runs for name in run.point.values))
    readers = {name: _reader([run.point.values[name] for run in state.runs if name in run.point.values]) for name in symbols}
    metrics = sorted({*_METRICS, *(name for run in state.runs for name in run.metrics)})
    return [_row(run, readers, metrics) | _computed(run, state.objectives) for run in state.runs]


def _computed(run: RunRecord, objectives: Objectives) -> Row:
    row: Row = {goal.text: run.value(goal) for goal in objectives.goals if not goal.is_plain}
    for constraint in objectives.constraints:
        row[f"violation: {constraint.text}"] = constraint.violation(run.result.metrics) if run.result else None
    return row


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
        "epochs": epochs_reached(run),
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


def parquet_bytes(rows: list[Row]) -> bytes:
    """The same table as Parquet: numbers as numbers, a column that mixes kinds as text."""
    import pyarrow as pa
    import pyarrow.parquet

    columns = {name: _of_one_kind([row[name] for row in rows]) for name in (rows[0] if rows else {})}
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def _of_one_kind(values: list[Any]) -> list[Any]:
    """As pyarrow wants a column: whole numbers beside fractions become fractions, numbers beside text become text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1 or kinds == {str} or any(isinstance(value, int) and abs(value) >= 2**63 for value in values):
        return [None if value is None else str(value).encode("utf-8", "replace").decode() for value in values]
    return values
