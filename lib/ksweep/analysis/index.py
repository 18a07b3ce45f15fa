"""The results of a sweep without opening them all: what tables need of each result.json, kept in one file beside them.

  index.jsonl    a header, then lines: checksum, and {"rows": of each result what stat said of it and its fields,
                 "metrics": {name: the values of all rows, as JSON text}}; the last row of a run counts

A row holds as long as stat says of result.json what it said then: the run directories stay the truth, and each is looked at.
So the file may be deleted, torn, out of date or not writable at any time; what it does not tell is read from the runs again.
A line is appended in one write, so that readers at the same time do no harm to each other. Small sweeps have no index.
Metrics lie apart, column by column, since most readers ask for two or three of them and numbers take longest to read.
"""

import json
import math
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ksweep.contract.atomic import to_json, write_text
from ksweep.contract.outcome import Result
from ksweep.contract.paths import RunDir, SweepDir

SEED = "SEED"  # the symbol whose values are repeats of one setting, not settings of their own
WORTH_WRITING = 100  # results that had to be opened: fewer of them cost less than a file more in the sweep
_ABSENT: dict[str, Any] = {}  # what stands in a column for a run that has no such metric: no value of a metric
_RESULT = RunDir(Path()).result.name


class IndexedResult(NamedTuple):
    """One result.json: what stat said of it, and its fields but for `symbols_read` (of which it has SEED) and `effective`.

    `id` is None where it cannot be understood, and `reason` tells why.
    """

    run_dir: str
    mtime_ns: int
    size: int
    inode: int
    id: str | None
    config: str
    status: str
    reason: str
    attempt: int
    exit_code: int | None
    signal: int | None
    started_at: float
    wall_s: float
    launch_s: float | None
    slot: int | None
    earlier: list[str]
    until: int | None
    seed: str | None
    metrics: Mapping[str, Any]

    def result(self) -> Result:
        """As a record, without what is not kept here."""
        fields = {name: value for name, value in zip(self._fields, self, strict=True) if name in Result.__dataclass_fields__}
        return Result.from_dict(fields | {"metrics": dict(self.metrics)})


_NONE = type(None)
_NUMBER = {int, float}
_TYPES: dict[str, set[type]] = {
    "run_dir": {str}, "mtime_ns": {int}, "size": {int}, "inode": {int},
    "id": {str, _NONE}, "config": {str}, "status": {str}, "reason": {str}, "attempt": {int},
    "exit_code": {int, _NONE}, "signal": {int, _NONE},
    "started_at": _NUMBER, "wall_s": _NUMBER, "launch_s": _NUMBER | {_NONE}, "slot": {int, _NONE}, "earlier": {list},
    "until": {int, _NONE}, "seed": {str, _NONE}, "metrics": {dict},
}  # fmt: skip
_STATUS = IndexedResult._fields.index("status")
_fields_of = attrgetter(*IndexedResult._fields[4:-2])
_HEADER = to_json({"schema": 1, "fields": list(IndexedResult._fields)})


class ResultIndex:
    """The results of one sweep, look after look."""

    def __init__(self, dir: SweepDir) -> None:
        self._dir = dir
        self._known: dict[str, IndexedResult] | None = None  # run directory -> newest line
        self._is_appendable = False
        self._unwritten: dict[str, IndexedResult] = {}
        self._run_dirs: Sequence[str] = ()
        self._paths: list[str] = []
        self._seen: list[IndexedResult | None] = []

    def look(self, run_dirs: Sequence[str]) -> list[IndexedResult | None]:
        """One a run directory, in their order: its result as it stands now, None where there is no whole one. The same object as
        at the last look, where nothing changed."""
        if self._known is None:
            self._known = self._read()
        if run_dirs is not self._run_dirs:
            root = os.fspath(self._dir.path)
            self._run_dirs, self._paths = run_dirs, [f"{root}/{run_dir}/{_RESULT}" for run_dir in run_dirs]
            self._seen = [self._known.get(run_dir) for run_dir in run_dirs]
        found: list[IndexedResult | None] = []
        for path, before in zip(self._paths, self._seen, strict=True):
            try:
                now = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                found.append(None)
                continue
            except OSError as error:
                found.append(_not_understood(run_dirs[len(found)], (0, 0, 0), error))
                continue
            if before and before.mtime_ns == now.st_mtime_ns and before.size == now.st_size and before.inode == now.st_ino:
                found.append(before)
            else:
                found.append(self._read_result(run_dirs[len(found)], path))
        self._seen = found
        if len(self._unwritten) >= WORTH_WRITING:
            self._write(self._known)
        return found

    def _read_result(self, run_dir: str, path: str) -> IndexedResult | None:
        """Of a run that has changed."""
        result = read_indexed(run_dir, path)
        if result is not None and self._known is not None:
            self._known[run_dir] = self._unwritten[run_dir] = result
        return result

    def _read(self) -> dict[str, IndexedResult]:
        """The lines that can be understood; none of a file of another version."""
        try:
            header, *lines = self._dir.index.read_bytes().split(b"\n")
        except OSError:
            return {}
        found = [result for line in lines for result in _parse(line)] if header == _HEADER.encode() else []
        known = {result.run_dir: result for result in found}
        self._is_appendable = len(known) > 0.8 * len(found)  # else much of it is out of date, or it is of no use
        return known

    def _write(self, known: dict[str, IndexedResult]) -> None:
        """A sweep that cannot be written to is read all the same, only slower."""
        try:
            if self._is_appendable:
                self._append(_line(self._unwritten.values()))
            else:
                write_text(self._dir.index, f"{_HEADER}\n{_line(known.values())}\n", sync=False)
                self._is_appendable = True
        except OSError:
            pass
        self._unwritten = {}

    def _append(self, line: str) -> None:
        # Without O_CREAT: one that was deleted meanwhile would be left without a header. The first newline ends a torn line.
        fd = os.open(self._dir.index, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"\n{line}\n".encode())
        finally:
            os.close(fd)


class _Columns:
    """The metrics of the rows of one line. A column is read when it is first asked for."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self._values: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._values:
            self._values[name] = orjson.loads(self.texts[name])
        return self._values[name]


class _Metrics(Mapping[str, Any]):
    """Those of one row."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: _Columns, row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        value = self._columns[name][self._row]
        if value == _ABSENT:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without an exception for each run that lacks a metric."""
        value = self._columns[name][self._row] if name in self._columns.texts else _ABSENT
        return default if value == _ABSENT else value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._columns.texts if self._columns[name][self._row] != _ABSENT)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _line(results: Collection[IndexedResult]) -> str:
    names = dict.fromkeys(name for result in results for name in result.metrics)
    columns = {name: to_json([result.metrics.get(name, _ABSENT) for result in results]) for name in names}
    text = to_json({"rows": [result[:-1] for result in results], "metrics": columns})
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _parse(line: bytes) -> Iterator[IndexedResult]:
    """The rows of a line; none of one that is torn, damaged or no line of ours."""
    checksum, _, text = line.partition(b" ")
    if checksum == b"%08x" % zlib.crc32(text):
        block = orjson.loads(text)
        columns = _Columns(block["metrics"])
        for number, row in enumerate(block["rows"]):
            yield IndexedResult._make((*row, _Metrics(columns, number)))


def read_indexed(run_dir: str, path: str) -> IndexedResult | None:
    """The result.json at `path`, None when it is half written or just gone."""
    try:
        stat, text = _contents(path)
        record = json_value(text)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        return _not_understood(run_dir, (0, 0, 0), error)
    return _understood(run_dir, file_key(stat), record) if isinstance(record, dict) else None


def json_value(text: bytes) -> Any:
    """Of JSON text; ValueError or RecursionError where it is none. What orjson refuses (NaN, huge numbers) may still be read."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text.decode())


def _understood(run_dir: str, key: tuple[int, int, int], record: dict[str, Any]) -> IndexedResult:
    read = record.get("symbols_read")
    seed = read.get(SEED) if isinstance(read, dict) else None
    try:
        result = Result.from_dict(record)
        row = [run_dir, *key, *_fields_of(result), seed, result.metrics]
        row[_STATUS] = str(result.status)
        for value, (name, types) in zip(row, _TYPES.items(), strict=True):
            if type(value) not in types or (float in types and value is not None and as_number(value) is None):
                raise TypeError(f"found {name}: {value!r}")
    except (KeyError, TypeError, ValueError) as error:
        return _not_understood(run_dir, key, error)
    return IndexedResult._make(row)


def _not_understood(run_dir: str, key: tuple[int, int, int], error: Exception) -> IndexedResult:
    result = Result(id="", config="", reason=f"result.json cannot be understood ({error})")
    found = IndexedResult._make([run_dir, *key, *_fields_of(result), None, {}])
    return found._replace(id=None, status=str(result.status))


def _contents(path: str) -> tuple[os.stat_result, bytes]:
    """A file, and what stat says of the one that was read, should another take its place."""
    with open(path, "rb", buffering=0) as file:
        return os.fstat(file.fileno()), file.read()


def file_key(stat: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is written or replaced."""
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def as_number(value: Any) -> float | None:
    """`value` as a finite float, else None. Bools and numbers too large for a float are not numbers here."""
    if type(value) not in (float, int):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
