import csv
import io
import json
import math

import pytest

from ksweep.analysis.load import load_sweep
from ksweep.analysis.summary import csv_text, summary_rows
from ksweep.analysis.write import analyze
from ksweep.contract.outcome import Status

# As it is printed at the end of the hyperparameter sweep guide.
SNIPPET = """
import json
import pandas as pd

with open('sweep_summary.json', 'r') as f:
    results = json.load(f)

# Convert to DataFrame for analysis
df = pd.DataFrame(results)
best = df.nlargest(5, 'test_acc')
print(best[['config_file', 'test_acc', 'final_sparsity']])
"""


def rows_of(maker):
    return summary_rows(load_sweep(maker.save()))


def test_the_snippet_of_the_guide_runs_as_printed(make_sweep, monkeypatch, capsys):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.80, test_acc=0.79, final_sparsity=0.7)
    maker.add({"X": "2"}, status=Status.OOM)
    maker.add({"X": "3"}, val_acc=0.90, test_acc=0.89, final_sparsity=0.7)
    maker.add({"X": "4"}, status=Status.PLANNED)
    monkeypatch.chdir(analyze(maker.save()).findings.state.dir.path)

    exec(SNIPPET, {})

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["config_file", "test_acc", "final_sparsity"]
    assert [line[1:] for line in lines[1:3]] == [["config_003", "0.89", "0.7"], ["config_001", "0.79", "0.7"]]


def test_the_snippet_s_columns_are_there_when_no_run_has_them(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.FAILED)

    (row,) = rows_of(maker)

    assert (row["config_file"], row["test_acc"], row["final_sparsity"]) == ("config_001", None, None)


def test_the_summary_is_a_list_of_strict_json_with_the_same_keys(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=math.nan, own_metric=3.5)
    maker.add({"X": "2", "Y": "a"}, status=Status.CRASHED, reason="ended by SIGKILL")
    analyze(maker.save())

    rows = json.loads(maker.dir.summary.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    assert [list(row) for row in rows] == [list(rows[0])] * 2
    assert (rows[0]["val_acc"], rows[0]["own_metric"], rows[0]["CONFIG_Y"]) == (None, 3.5, None)
    assert (rows[1]["status"], rows[1]["reason"], rows[1]["attempt"]) == ("crashed", "ended by SIGKILL", 1)


def test_swept_values_are_numbers_where_the_whole_axis_is(make_sweep):
    maker = make_sweep()
    for mixed, text in (("1", "y"), ("auto", "n")):
        maker.add({"LEARNING_RATE": "1e-3", "BATCH_SIZE": "64", "MIXED": mixed, "FLAG": text, "SEED": "2"})

    row = rows_of(maker)[0]

    assert {key: value for key, value in row.items() if key.startswith("CONFIG_")} == {
        "CONFIG_LEARNING_RATE": 0.001,
        "CONFIG_BATCH_SIZE": 64,
        "CONFIG_MIXED": "1",
        "CONFIG_FLAG": "y",
        "CONFIG_SEED": 2,
    }
    assert isinstance(row["CONFIG_BATCH_SIZE"], int)
    assert row["seed"] == 2


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "0x10", "1_000", ""])
def test_what_only_looks_like_a_number_stays_text(make_sweep, text):
    maker = make_sweep()
    maker.add({"X": text})

    assert rows_of(maker)[0]["CONFIG_X"] == text


def test_a_foreign_metric_cannot_hide_a_column(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, seed=0.25, status_=1.0, wall_s=7.0)

    (row,) = rows_of(maker)

    assert (row["seed"], row["metric_seed"], row["wall_s"]) == (None, 0.25, 7.0)


def test_the_csv_is_the_same_table(two_settings):
    rows = rows_of(two_settings)

    read = list(csv.DictReader(io.StringIO(csv_text(rows))))

    assert [list(row) for row in read] == [list(row) for row in rows]
    assert [float(row["val_acc"]) for row in read] == [row["val_acc"] for row in rows]
    assert {row["val_loss"] for row in read} == {""}
