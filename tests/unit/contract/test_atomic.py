"""Files that appear whole, lines that survive a torn tail."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ksweep.contract.atomic import LineFile, read_json, read_lines, to_json, write_json, write_text


def test_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_a_part_of_a_file_whose_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = (
        "import sys; from pathlib import Path; from ksweep.contract.atomic import write_text\n"
        "while True:\n for letter in 'ab': write_text(Path(sys.argv[1]), letter * 300_000, sync=False)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    while not path.exists():
        pass
    for _ in range(200):
        text = path.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()

    assert len(set(path.read_text())) == 1


@pytest.mark.parametrize("torn", ['{"a": 3', "x" * 10_000, ""], ids=["short", "longer than a block", "none"])
def test_next_append_cuts_off_a_torn_line(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n{"a": 2}\n' + torn)

    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    lines = LineFile(path, sync=False)
    lines.append({"a": 4})
    lines.close()

    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}, {"a": 4}]


def test_file_of_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a"')
    LineFile(path, sync=True).close()

    assert path.read_text() == ""


def test_json_is_strict() -> None:
    assert to_json({"a": math.nan, "b": [math.inf, 1.5], "c": (-math.inf,)}) == '{"a": null, "b": [null, 1.5], "c": [null]}'


def test_json_has_a_line_a_key_and_an_item_and_is_plain(tmp_path: Path) -> None:
    table = {"a": 1, "rows": [{"x": "é\n"}, {"x": None}], "empty": [], "nested": {"b": [1, 2]}}
    write_json(tmp_path / "table", table)

    assert read_json(tmp_path / "table") == table
    assert len((tmp_path / "table").read_text().splitlines()) == 9


def test_missing_and_broken_json_read_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text('{"a": ')

    assert read_json(tmp_path / "broken") is None
    assert read_json(tmp_path / "missing") is None
