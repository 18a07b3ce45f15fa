"""The results of a sweep without opening them all: what tables need of each result.json, kept in one file beside them.

  index.jsonl    a header, then lines: checksum, and {"columns": what stat said of each result, and what is asked of each run,
                 "more": {field: the values of all rows, as JSON text}, "metrics": {name: likewise}}; the last row of a run counts

A row holds as long as stat says of result.json what it said then: the run directories stay the truth, and each is looked at.
So the file may be deleted, torn, out of date or not writable at any time; what it does not tell is read from the runs again.
A line is appended in one write, so that readers at the same time do no harm to each other. Small sweeps have no index.
Metrics and most fields are read column by column, when one is first asked for: most readers need two or three of them.
"""

import json
import math
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ksweep.contract.atomic import to_json, write_text
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir

SEED = "SEED"  # the symbol whose values are repeats of one setting, not settings of their own
WORTH_WRITING = 100  # results that had to be opened: fewer of them cost less than a file more in the sweep
_ABSENT: dict[str, Any] = {}  # stands in a column for a run that has no such metric; no metric has this value
_RESULT = RunDir(Path()).result.name


class _Columns(dict[str, list[Any]]):
    """Name -> values, one a row. `texts`: all columns, as JSON; one is read when it is first asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def __missing__(self, name: str) -> list[Any]:
        column: list[Any] = json_value(self.texts[name].encode())
        self[name] = column
        return column


class _Row(Mapping[str, Any]):
    """What stands in one row of columns."""

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


class IndexedResult(NamedTuple):
    """One result.json: what stat said of it, what is asked of each run, and where its other fields and its metrics stand.

    Of `symbols_read` it has SEED, of `effective` nothing. `id` is None where it cannot be understood; `reason` tells why. `row`:
    of the columns; None for a result that was just read, which has its own values there.
    """

    run_dir: str
    mtime_ns: int
    size: int
    inode: int
    id: str | None
    status: str
    seed: str | None
    more: Mapping[str, Any]
    measured: Mapping[str, Any]
    row: int | None

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The final metrics."""
        return self.measured if self.row is None else _Row(self.measured, self.row)  # type: ignore[arg-type]

    def field(self, name: str) -> Any:
        """Another field of result.json."""
        return self.more[name] if self.row is None else self.more[name][self.row]

    def result(self) -> Result:
        """As a record, without what is not kept here."""
        more = {name: self.field(name) for name in _MORE}
        return Result(id=self.id or "", status=Status(self.status), metrics=dict(self.metrics), **more)


_NONE = type(None)
_NUMBER = {int, float}
_TYPES: dict[str, set[type]] = {
    "id": {str}, "config": {str}, "reason": {str}, "attempt": {int}, "exit_code": {int, _NONE}, "signal": {int, _NONE},
    "started_at": _NUMBER, "wall_s": _NUMBER, "launch_s": _NUMBER | {_NONE}, "slot": {int, _NONE}, "earlier": {list},
    "until": {int, _NONE}, "metrics": {dict},
}  # fmt: skip
_STORED = IndexedResult._fields[:-3]
_checked_of = attrgetter(*_TYPES)
_MORE = tuple(name for name in _TYPES if name not in (*_STORED, "metrics"))
_more_of = attrgetter(*_MORE)
_made = partial(tuple.__new__, IndexedResult)  # _make without its Python: of a row of ten thousand
_HEADER = to_json({"schema": 1, "columns": _STORED, "more": _MORE})


class ResultIndex:
    """The results of one sweep, look after look."""

    def __init__(self, dir: SweepDir) -> None:
        self._dir = dir
        self._known: dict[str, IndexedResult] | None = None  # run directory -> newest line
        self._is_appendable = False
        self._unwritten: dict[str, IndexedResult] = {}
        self._run_dirs: Sequence[str] = ()
        self._names: list[bytes] = []
        self._seen: list[IndexedResult | None] = []

    def look(self, run_dirs: Sequence[str]) -> list[IndexedResult | None]:
        """One a run directory, in their order: its result as it stands now, None where there is no whole one. The same object as
        at the last look, where nothing changed."""
        if self._known is None:
            self._known = self._read()
        if run_dirs is not self._run_dirs:
            self._run_dirs, self._names = run_dirs, [os.fsencode(f"{run_dir}/{_RESULT}") for run_dir in run_dirs]
            self._seen = [self._known.get(run_dir) for run_dir in run_dirs]
        found: list[IndexedResult | None] = []
        stat = os.stat
        with _opened(self._dir.path) as sweep:  # most of a look are these calls: bytes below a directory are the fastest
            for name, before in zip(self._names, self._seen, strict=True):
                try:
                    now = stat(name, dir_fd=sweep)
                except (FileNotFoundError, NotADirectoryError):
                    found.append(None)
                    continue
                except OSError as error:
                    found.append(_not_understood(run_dirs[len(found)], (0, 0, 0), error))
                    continue
                if before and before.mtime_ns == now.st_mtime_ns and before.size == now.st_size and before.inode == now.st_ino:
                    found.append(before)
                else:
                    found.append(self._read_result(run_dirs[len(found)]))
        self._seen = found
        if len(self._unwritten) >= WORTH_WRITING:
            self._write(self._known)
        return found

    def _read_result(self, run_dir: str) -> IndexedResult | None:
        """Of a run that has changed."""
        result = _read_indexed(run_dir, f"{self._dir.path}/{run_dir}/{_RESULT}")
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


def _line(results: Collection[IndexedResult]) -> str:
    metrics = [result.metrics for result in results]
    names = dict.fromkeys(name for row in metrics for name in row)
    block = {
        "columns": list(zip(*(result[: len(_STORED)] for result in results), strict=True)),
        "more": {name: _json_text([result.field(name) for result in results]) for name in _MORE},
        "metrics": {name: _json_text([row.get(name, _ABSENT) for row in metrics]) for name in names},
    }
    text = _json_text(block)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _json_text(value: Any) -> str:
    """`to_json` by orjson, but for what that refuses (numbers of more than 64 bits)."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return to_json(value)


def _parse(line: bytes) -> Iterator[IndexedResult]:
    """The rows of a line; none of one that is torn, damaged or no line of ours."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return iter(())
    block = orjson.loads(text)
    more, metrics = _Columns(block["more"]), _Columns(block["metrics"])
    return map(_made, zip(*block["columns"], repeat(more), repeat(metrics), count()))


def _read_indexed(run_dir: str, path: str) -> IndexedResult | None:
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
        for (name, types), value in zip(_TYPES.items(), _checked_of(result), strict=True):
            if type(value) not in types or (float in types and value is not None and as_number(value) is None):
                raise TypeError(f"found {name}: {value!r}")
        if seed is not None and type(seed) is not str:
            raise TypeError(f"found {SEED}: {seed!r}")
    except (KeyError, TypeError, ValueError) as error:
        return _not_understood(run_dir, key, error)
    return _indexed(run_dir, key, result.id, seed, result)


def _not_understood(run_dir: str, key: tuple[int, int, int], error: Exception) -> IndexedResult:
    result = Result(id="", config="", reason=f"result.json cannot be understood ({error})")
    return _indexed(run_dir, key, None, None, result)


def _indexed(run_dir: str, key: tuple[int, int, int], id: str | None, seed: str | None, result: Result) -> IndexedResult:
    more = dict(zip(_MORE, _more_of(result), strict=True))
    return _made((run_dir, *key, id, str(result.status), seed, more, result.metrics, None))


def _contents(path: str) -> tuple[os.stat_result, bytes]:
    """A file, and what stat says of the one that was read, should another take its place."""
    with open(path, "rb", buffering=0) as file:
        return os.fstat(file.fileno()), file.read()


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


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
