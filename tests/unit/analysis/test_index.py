import json
import os
import shutil
from pathlib import Path

import pytest

from ksweep.analysis.index import WORTH_WRITING, ResultIndex
from ksweep.analysis.load import SweepReader, find_sweep, load_sweep
from ksweep.analysis.summary import summary_rows
from ksweep.contract.atomic import read_json, write_json
from ksweep.contract.outcome import Status
from ksweep.contract.paths import SweepDir
from tests.simulated import SweepMaker

NUM_RUNS = WORTH_WRITING + 5


@pytest.fixture
def large(tmp_path) -> SweepMaker:
    """As many runs as are worth an index; config_001 has the best score, and so on."""
    maker = SweepMaker(tmp_path / "sweep_large")
    for number in range(NUM_RUNS):
        history = [{"step": epoch, "epoch": epoch, "val_acc": 0.5} for epoch in range(1, 4)]
        maker.add({"X": str(number)}, history=history, val_acc=1 - number / 1000, test_acc=0.5)
    maker.save()
    return maker


def rows_of(dir: SweepDir) -> list[dict]:
    return summary_rows(load_sweep(dir))


def score_of(dir: SweepDir, config: str) -> float | None:
    return {run.config: run.metric("val_acc") for run in load_sweep(dir).runs}[config]


def overwrite(path: Path, old: str, new: str) -> None:
    """Other content of the same length in the same file, with the times that it had: stat cannot tell."""
    before, text = path.stat(), path.read_text()
    assert len(old) == len(new)
    assert old in text
    with open(path, "r+") as file:
        file.write(text.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_result(path: Path, **changes: object) -> None:
    write_json(path, read_json(path) | changes, sync=False)


def test_a_result_that_did_not_change_is_not_read_again(large):
    before = rows_of(large.dir)
    for result in large.dir.path.glob("*/result.json"):
        overwrite(result, '"passed"', '"failed"')

    assert rows_of(large.dir) == before


def test_a_small_sweep_gets_no_index(tmp_path):
    maker = SweepMaker(tmp_path / "sweep_small")
    for number in range(WORTH_WRITING - 1):
        maker.add({"X": str(number)}, val_acc=0.5)

    load_sweep(maker.save())

    assert not maker.dir.index.exists()


@pytest.mark.parametrize("is_same_reader", [False, True], ids=["anew", "same reader"])
def test_results_that_come_change_and_go_are_seen_at_the_next_look(large, is_same_reader):
    kept = SweepReader(large.dir)
    first, second, third, fourth, *_ = [large.dir.path / point.run_dir for point in large.points]
    (fourth / "result.json").rename(fourth / "aside")
    kept.read()

    replace_result(first / "result.json", metrics={"val_acc": 0.25})
    shutil.rmtree(second)
    (third / "result.json").unlink()
    (fourth / "aside").rename(fourth / "result.json")
    state = (kept if is_same_reader else SweepReader(large.dir)).read()

    assert [run.status for run in state.runs[:5]] == [
        Status.PASSED, Status.PLANNED, Status.CANCELLED, Status.PASSED, Status.PASSED,
    ]  # fmt: skip
    assert [run.metric("val_acc") for run in state.runs[:5]] == [0.25, None, None, 0.997, 0.996]


def test_the_same_reader_sees_new_points_and_a_run_that_got_another_id(large):
    reader = SweepReader(large.dir)
    reader.read()

    replace_result(large.dir.path / large.points[0].run_dir / "result.json", id="another")
    large.add({"X": "new"}, val_acc=0.125)
    large.save()
    runs = reader.read().runs

    assert (runs[0].status, runs[-1].metric("val_acc"), len(runs)) == (Status.CANCELLED, 0.125, NUM_RUNS + 1)


def torn(text: str) -> str:
    return text[: len(text) * 2 // 3]


def of_another_version(text: str) -> str:
    return text.replace('"schema": 1', '"schema": 2', 1)


def with_wrong_types(text: str) -> str:
    return text.replace('"passed"', "17").replace('"val_acc"', "[]")


def with_wrong_status(text: str) -> str:
    return text.replace('"passed"', '"splendid"')


def with_foreign_lines(text: str) -> str:
    return text.replace("\n", '\n{"a": 1}\n[1, 2]\n' + "[" * 5000 + "\n\x00\n", 3)


def of_zeros(text: str) -> str:
    return "\0" * len(text)


def of_nothing(text: str) -> str:
    return ""


BROKEN = [torn, of_another_version, with_wrong_types, with_wrong_status, with_foreign_lines, of_zeros, of_nothing]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_index_is_never_believed_and_rebuilt(large, broken):
    before = rows_of(large.dir)
    index = large.dir.index.read_text()
    large.dir.index.write_text(broken(index))

    assert rows_of(large.dir) == before
    for result in large.dir.path.glob("*/result.json"):  # all that was lost has been written again, but for a few
        overwrite(result, '"passed"', '"failed"')
    statuses = [run.status for run in load_sweep(large.dir).runs]
    assert statuses.count(Status.FAILED) < WORTH_WRITING


def test_a_sweep_that_cannot_be_written_to_is_read_all_the_same(large):
    large.dir.index.mkdir()
    names = sorted(os.listdir(large.dir.path))

    assert score_of(large.dir, "config_001") == 1.0
    assert sorted(os.listdir(large.dir.path)) == names


def test_an_index_that_is_deleted_while_it_is_in_use_is_no_loss(large):
    reader = SweepReader(large.dir)
    reader.read()
    large.dir.index.unlink()
    for point in large.points:
        replace_result(large.dir.path / point.run_dir / "result.json", metrics={"val_acc": 0.5})

    assert {run.metric("val_acc") for run in reader.read().runs} == {0.5}
    assert score_of(large.dir, "config_001") == 0.5
    assert large.dir.index.exists()


def test_two_readers_at_once_leave_an_index_that_holds_what_both_read(large):
    run_dirs = [point.run_dir for point in large.points]
    load_sweep(large.dir)
    readers = ResultIndex(large.dir), ResultIndex(large.dir)
    for reader in readers:
        reader.look(run_dirs)
    for run_dir in run_dirs:
        replace_result(large.dir.path / run_dir / "result.json", metrics={"val_acc": 0.5})
    for reader in readers:
        reader.look(run_dirs)

    for result in large.dir.path.glob("*/result.json"):
        overwrite(result, '"passed"', '"failed"')
    assert {(run.status, run.metric("val_acc")) for run in load_sweep(large.dir).runs} == {(Status.PASSED, 0.5)}


def test_lines_that_are_out_of_date_do_not_pile_up(large):
    sizes = []
    for _ in range(6):
        for point in large.points:
            replace_result(large.dir.path / point.run_dir / "result.json", wall_s=1.5)
        load_sweep(large.dir)
        sizes.append(large.dir.index.stat().st_size)

    assert max(sizes) < 3.5 * sizes[0]


def test_the_index_has_the_seed_that_was_not_swept(tmp_path):
    maker = SweepMaker(tmp_path / "sweep_seeds")
    for number in range(NUM_RUNS):
        run = maker.add({"X": str(number)}, val_acc=0.5)
        replace_result(run.result, symbols_read={"SEED": "41"})
    maker.save()
    load_sweep(maker.dir)

    found = load_sweep(maker.dir).runs[0]

    assert found.result
    assert (found.seed, found.result.symbols_read) == ("41", None)


@pytest.mark.parametrize(
    "changes",
    [{"metrics": [1]}, {"wall_s": None}, {"wall_s": "long"}, {"attempt": "x"}, {"reason": None}, {"started_at": 10**400}],
    ids=lambda changes: str(*changes),
)
def test_a_result_with_fields_of_other_types_counts_as_crashed(tmp_path, changes):
    maker = SweepMaker(tmp_path / "sweep_types")
    run = maker.add(val_acc=0.9)
    run.result.write_text(json.dumps(read_json(run.result) | changes))

    (found,) = load_sweep(maker.save()).runs

    assert (found.status, found.result) == (Status.CRASHED, None)
    assert next(iter(changes)) in found.reason


@pytest.mark.parametrize(("number", "is_known"), [(2**70, True), (10**400, False)], ids=["of 71 bits", "no float"])
def test_a_metric_of_any_size_is_the_same_from_the_index(large, number, is_known):
    for point in large.points:
        replace_result(large.dir.path / point.run_dir / "result.json", metrics={"val_acc": 0.5, "big": number})
    load_sweep(large.dir)

    found = load_sweep(large.dir).runs[0]

    assert large.dir.index.exists()
    assert found.metric("big") == (float(number) if is_known else None)
    assert found.metric("val_acc") == 0.5


def test_find_sweep_opens_no_sweep(tmp_path):
    for number in range(50):
        path = tmp_path / f"sweep_{number:02d}"
        path.mkdir()
        os.mkfifo(path / "sweep.json")  # to open it would take forever
        os.utime(path / "sweep.json", (number, number))

    assert find_sweep(tmp_path).path.name == "sweep_49"
