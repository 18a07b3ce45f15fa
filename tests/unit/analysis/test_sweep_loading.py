import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from ksweep.analysis.load import SweepState, find_sweep, load_sweep
from ksweep.analysis.reports import newest_reports
from ksweep.analysis.status import status_text
from ksweep.analysis.text import ranking_text
from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import read_history
from ksweep.contract.outcome import Status


def statuses(state: SweepState) -> list[Status]:
    return [run.status for run in state.runs]


def test_find_sweep_takes_the_one_that_was_worked_on_last(make_sweep, tmp_path):
    for name, last in (("sweep_20250102_030405", 300), ("sweep_20250301_000000", 200), ("sweep_zz_renamed", 100)):
        sweep = make_sweep(name).save()
        os.utime(sweep.sweep, (last, last))
    (tmp_path / "sweep_20260101_000000").mkdir()  # without a sweep.json: not a sweep

    assert find_sweep(tmp_path).path.name == "sweep_20250102_030405"
    journal = tmp_path / "sweep_zz_renamed" / "journal.jsonl"
    journal.write_text("")
    os.utime(journal, (400, 400))
    assert find_sweep(tmp_path).path.name == "sweep_zz_renamed"


def test_find_sweep_takes_a_sweep_directory_as_it_is(make_sweep):
    dir = make_sweep("my_own_name").save()

    assert find_sweep(dir.path).path == dir.path


@pytest.mark.parametrize("name", ["", "not_there"], ids=["empty", "missing"])
def test_find_sweep_says_what_to_do_where_there_is_none(tmp_path, name):
    with pytest.raises(RequestError, match=r"run `make sweep` first"):
        find_sweep(tmp_path / name)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x", "points": []}', '{"points": [{"wrong": 1}]}'])
def test_a_damaged_sweep_file_is_one_message(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)

    with pytest.raises(RequestError, match=r"sweep\.json"):
        load_sweep(find_sweep(tmp_path))


def test_points_are_the_same_in_whatever_order_their_fields_stand_and_without_those_that_came_later(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1", "SEED": "1"}, val_acc=0.5)
    before = load_sweep(maker.save()).record.points
    record = read_json(maker.dir.sweep)
    (entry,) = record["points"]
    for changed in (dict(reversed(entry.items())), {name: entry[name] for name in ("config", "id", "run_dir", "values")}):
        write_json(maker.dir.sweep, record | {"points": [changed]})

        assert load_sweep(maker.dir).record.points == before


def test_repeats_are_found_in_whatever_order_their_values_stand(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1", "Y": "2", "SEED": "1"}, val_acc=0.5)
    maker.add({"SEED": "2", "Y": "2", "X": "1"}, val_acc=0.5)
    maker.add({"X": "1", "Y": "3", "SEED": "1"}, val_acc=0.5)

    assert load_sweep(maker.save()).settings == [[0, 1], [2]]


def test_a_run_without_result_is_running_only_while_a_runner_lives(make_sweep, living_runner):
    maker = make_sweep()
    maker.add(status=Status.RUNNING)
    maker.add(status=Status.PLANNED)
    dir = maker.save()

    with living_runner(dir):
        alive = load_sweep(dir)
    dead = load_sweep(dir)  # the lock file stays, its owner is gone

    assert (statuses(alive), alive.runner.pid, alive.runner.host) == ([Status.RUNNING, Status.PLANNED], 4711, "node7")
    assert (statuses(dead), dead.runner) == ([Status.CANCELLED, Status.PLANNED], None)


def test_what_an_earlier_runner_left_behind_is_not_running(make_sweep, living_runner):
    maker = make_sweep()
    run = maker.add(status=Status.RUNNING)
    for path in (run.provenance, run.metrics, run.path):
        os.utime(path, (1000, 1000))
    dir = maker.save()

    with living_runner(dir, started_at=2000.0):
        assert statuses(load_sweep(dir)) == [Status.CANCELLED]


def test_another_reader_is_not_taken_for_a_runner(make_sweep, living_runner):
    dir = make_sweep().save()
    with living_runner(dir):
        pass
    fd = os.open(dir.lock, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)

    try:
        assert load_sweep(dir).runner is None
    finally:
        os.close(fd)


def test_a_result_that_cannot_be_understood_counts_as_crashed(make_sweep):
    maker = make_sweep()
    run = maker.add(val_acc=0.9)
    write_json(run.result, {**read_json(run.result), "status": "splendid"})

    (found,) = load_sweep(maker.save()).runs

    assert found.status is Status.CRASHED
    assert "splendid" in found.reason


def test_a_result_of_another_configuration_is_not_this_point_s(make_sweep):
    maker = make_sweep()
    run = maker.add(val_acc=0.9)
    write_json(run.result, {**read_json(run.result), "id": "someone else"})

    assert statuses(load_sweep(maker.save())) == [Status.CANCELLED]


def test_half_a_result_is_no_result(make_sweep):
    maker = make_sweep()
    run = maker.add(val_acc=0.9)
    run.result.write_text(run.result.read_text()[:40])

    assert statuses(load_sweep(maker.save())) == [Status.CANCELLED]


def test_a_torn_metric_line_is_left_out(make_sweep):
    maker = make_sweep()
    run = maker.add(
        status=Status.RUNNING, history=({"step": 1, "epoch": 1, "val_acc": 0.5}, {"step": 2, "epoch": 2, "val_acc": 0.6})
    )
    with open(run.metrics, "a") as file:
        file.write('{"step": 3, "epoch": 3, "val')
    (found,) = load_sweep(maker.save()).runs

    assert next(newest_reports(found.dir.metrics)) == {"step": 2, "epoch": 2, "val_acc": 0.6}
    assert [report["step"] for report in read_history(found.dir.metrics)] == [1, 2]


def test_the_last_report_is_found_at_the_end_of_a_long_file(make_sweep):
    maker = make_sweep()
    maker.add(status=Status.RUNNING, history=tuple({"step": n, "note": "x" * 100} for n in range(1, 2000)))
    (found,) = load_sweep(maker.save()).runs

    assert next(newest_reports(found.dir.metrics))["step"] == 1999


def test_reading_changes_no_file(two_settings):
    dir = two_settings.save()
    tree = {path: path.stat().st_mtime_ns for path in dir.path.rglob("*")}

    ranking_text(dir)
    status_text(load_sweep(dir))

    assert {path: path.stat().st_mtime_ns for path in dir.path.rglob("*")} == tree


def test_the_shell_trainer_of_the_readme_reports_what_is_read_here(make_sweep):
    readme = (Path(__file__).parents[3] / "test_matrix_results" / "README.md").read_text()
    script = readme.split("```sh\n")[1].split("```")[0]
    maker = make_sweep()
    run = maker.add(status=Status.RUNNING)
    run.config.write_text('CONFIG_LEARNING_RATE="0.5"\n')

    subprocess.run(["sh", "-c", script], env={**os.environ, "KSWEEP_RUN_DIR": str(run.path)}, check=True)

    (found,) = load_sweep(maker.save()).runs
    assert [(report["epoch"], report["val_acc"]) for report in read_history(found.dir.metrics)] == [
        (1, 0.5),
        (2, 0.75),
        (3, 0.833333),
    ]
