"""`ksweep final`: the best setting once more, on all data but the test part, with seeds that the sweep has not seen."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ksweep.cli.tree import Tree
from tests.pipeline.conftest import ROOT, Place
from tests.pipeline.planned import Planned


def finals(place: Place) -> list[Path]:
    return sorted(place.results.glob("final_*"))


def record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "final.json").read_text())
    return found


def seeds(path: Path) -> list[str]:
    return [run["seed"] for run in record(path)["runs"]]


def num_starts(path: Path) -> int:
    return (path / "journal.jsonl").read_text().count('"run_started"')


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A sweep; for tests that leave it as it is."""
    place = Place(tmp_path_factory.mktemp("swept"))
    code, out = place.sweep("CONFIG_X=10|30|20\nCONFIG_SEED=1|4\nCONFIG_EPOCH_MS=10\n")
    assert code == 0, out
    return place


@pytest.fixture(scope="module")
def finished(swept: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    """The same with a final test of two seeds, and what that has printed."""
    place = copy_of(swept, tmp_path_factory.mktemp("finished"))
    code, out = place.run("final", "--results", place.results, "--seeds", "2")
    assert code == 0, out
    return place, out


def copy_of(place: Place, path: Path) -> Place:
    shutil.copytree(place.path, path, dirs_exist_ok=True)
    return Place(path)


def change_results(dir: Path, **changes: Any) -> None:
    for path in dir.glob("result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_best_setting_is_trained_with_seeds_above_those_of_the_sweep(finished: tuple[Place, str]) -> None:
    place, out = finished
    (final,) = finals(place)
    report = (final / "final_report.txt").read_text()

    assert report in out
    assert seeds(final) == ["5", "6"]
    assert [(run / "config.txt").read_text().count("CONFIG_X=30\n") for run in sorted(final.glob("config_*"))] == [1, 1]
    assert record(final)["metric"] == "test_acc"
    assert record(final)["final"]["mean"] == pytest.approx(0.04)
    assert record(final)["in_sweep"] == {"n": 2, "mean": 0.04, "sd": 0.0, "low": 0.04, "high": 0.04}
    assert "The new mean lies in the 95% interval of the sweep's (4.00% to 4.00%)." in report
    assert (final / "sweep_analysis.txt").exists()
    assert "selected on the test set" not in (final / "sweep_analysis.txt").read_text()
    code, again = place.run("final", "--results", place.results, "--seeds", "2")
    assert (code, report in again, num_starts(final)) == (0, True, 2), "nothing is started, all is printed again"


def test_trainer_without_the_symbol_is_said_to_leave_validation_apart(finished: tuple[Place, str]) -> None:
    place, out = finished

    assert "note: this trainer has no TRAIN_ON_VALIDATION: it trains as in the sweep, the validation part apart" in out
    assert "The trainer has not read TRAIN_ON_VALIDATION=y: trained as in the sweep" in out
    assert record(finals(place)[0])["trained_on_validation"] is False


@pytest.mark.slow
def test_finished_it_prints_again_and_more_seeds_are_added_to_it(finished: tuple[Place, str], tmp_path: Path) -> None:
    place = copy_of(finished[0], tmp_path)
    (final,) = finals(place)
    report, written = (final / "final_report.txt").read_text(), (final / "sweep_analysis.txt").stat().st_mtime_ns
    code, out = place.run("final", "--results", place.results, "--seeds", "2")
    assert (code, report in out, num_starts(final)) == (0, True, 2)
    assert (final / "sweep_analysis.txt").stat().st_mtime_ns == written

    code, out = place.run("final", "--results", place.results, "--seeds", "4")
    assert (code, finals(place), num_starts(final), seeds(final)) == (0, [final], 4, ["5", "6", "7", "8"])
    code, out = place.run("final", "--results", place.results, "--seeds", "1")
    assert (code, seeds(final)) == (0, ["5", "6", "7", "8"]), "what has been measured is not hidden"


def test_another_length_or_another_best_setting_is_another_final_test(finished: tuple[Place, str], tmp_path: Path) -> None:
    place = copy_of(finished[0], tmp_path)
    ours = ("final", "--results", place.results, "--seeds", "2", "--dry-run")
    assert "0 of 2 would run in " + str(finals(place)[0]) in place.run(*ours)[1]
    assert "2 of 2 would run in a new directory" in place.run(*ours, "--epochs", "3")[1]

    for run in place.sweeps[0].glob("config_*_x20*"):
        change_results(run, metrics={"val_acc": 0.9, "test_acc": 0.8})
    code, out = place.run(*ours)
    assert (code, "X=20\n" in out, "2 of 2 would run in a new directory" in out) == (0, True, True), out
    assert "of the sweep have ended" not in out

    for path in place.sweeps[0].glob("config_*_x20*"):
        shutil.rmtree(path)
    code, out = place.run(*ours)
    assert (code, "note: 4 of 6 runs of the sweep have ended: this is its best setting so far" in out) == (0, True), out


@pytest.mark.slow
def test_killed_it_goes_on_where_it_stood(swept: Place, tmp_path: Path) -> None:
    place = copy_of(swept, tmp_path)
    command = ("final", "--results", place.results, "--seeds", "5", "--epochs", "40", "--jobs", "1")
    with place.start(*command, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(place.results.glob("final_*/config_*/result.json")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    (final,) = finals(place)
    num_done = len(list(final.glob("config_*/result.json")))
    assert num_done < 5
    assert not (final / "final_report.txt").exists()

    code, out = place.run(*command)
    assert (code, finals(place)) == (0, [final]), out
    assert f"{5 - num_done} to run, {num_done} done" in out
    assert len(list(final.glob("config_*/result.json"))) == 5


@pytest.mark.slow
def test_sweep_by_an_expression_is_tested_by_its_counterpart_and_for_other_epochs(swept: Place, tmp_path: Path) -> None:
    place = copy_of(swept, tmp_path)
    sweep = place.sweeps[0] / "sweep.json"
    asked = {"objective": "0.5 - val_acc:min", "constraints": "val_acc < 0.06"}
    sweep.write_text(json.dumps(json.loads(sweep.read_text()) | asked))
    for run in place.sweeps[0].glob("config_*_s4"):
        shutil.rmtree(run)  # one seed is left
    code, out = place.run("final", "--results", place.results, "--seeds", "2", "--epochs", "3")
    (final,) = finals(place)
    (run,) = final.glob("config_001*")

    assert code == 0, out
    assert (record(final)["metric"], seeds(final)) == ("test_acc", ["5", "6"])
    assert "CONFIG_NUM_EPOCHS=3\n" in (run / "config.txt").read_text()
    said = " ".join(out.split())
    assert "The sweep has one run of it, hence no interval; its 4.00% lies outside the range of 95% of single runs like " in said
    assert "the new ones (5.00% to 5.00%): the new mean is better." in said


# -- what is refused -----------------------------------------------------------------------------------------------------------


def test_dry_run_starts_and_writes_nothing(swept: Place) -> None:
    code, out = swept.run("final", "--results", swept.results, "--dry-run")

    assert (code, finals(swept)) == (0, [])
    assert "seeds: 5, 6, 7, 8, 9\ndry run: 5 of 5 would run in a new directory" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "EPOCHS: CONFIG_NUM_EPOCHS: found 0, allowed: 1 to 1000"),
        (["--seeds", "0"], "--seeds: found 0, allowed: a whole number, 1 or more"),
    ],
)
def test_wrong_arguments_are_one_message(swept: Place, arguments: list[str], message: str) -> None:
    code, out = swept.run("final", "--results", swept.results, *arguments)

    assert (code, message in out, finals(swept)) == (2, True, [])


def test_final_test_of_a_final_test_is_refused(finished: tuple[Place, str]) -> None:
    place, _ = finished
    code, out = place.run("final", "--results", finals(place)[0])

    assert (code, "is itself a final test; name the sweep" in out) == (2, True)


def test_goal_without_a_test_metric_is_refused(swept: Place, tmp_path: Path) -> None:
    place = copy_of(swept, tmp_path)
    for run in place.sweeps[0].glob("config_*"):
        change_results(run, metrics={"val_acc": 0.5, "test_f1": 0.1})
    code, out = place.run("final", "--results", place.results)

    assert code == 2
    assert "the goal val_acc has no counterpart on the test part: looked for test_<goal> among" in out
    assert "test_f1" in out


# -- real training -------------------------------------------------------------------------------------------------------------


def ksweep(*arguments: object, cwd: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_both_parts_train_and_the_proof_of_it_is_in_the_report(tmp_path: Path) -> None:
    """Early stopping and a pruning ramp in the sweep: one is off in the final runs, the other ends as it did."""
    text = """
        CONFIG_OPTIMIZER=adamwprune
        CONFIG_TARGET_SPARSITY=0.5
        CONFIG_NUM_EPOCHS=3
        CONFIG_PRUNING_RAMP_END_EPOCH=1
        CONFIG_LEARNING_RATE=0.002|0.004
        CONFIG_EARLY_STOPPING_PATIENCE=1
        CONFIG_EARLY_STOPPING_MIN_DELTA=0.5
        CONFIG_SWEEP_REPORT=n
    """
    planned = Planned(Tree(), tmp_path, text)
    planned.make_best(planned.points[1])
    code, out = ksweep("final", "--results", tmp_path, "--seeds", "1", "--epochs", "2", cwd=tmp_path)
    assert code == 0, out
    (final,) = tmp_path.glob("final_*")
    (result,) = (json.loads(path.read_text()) for path in final.glob("config_*/result.json"))

    assert record(final)["trained_on_validation"] is True
    assert "note: early stopping needs a validation part and is off (EARLY_STOPPING_PATIENCE was 1)" in out
    assert "Trained on the training and the validation part (1438 examples), 2 epochs; nothing was" in out
    assert "In the sweep: trained on 1079 examples, up to 3 epochs, the epoch selected on 359 examples." in out
    assert result["effective"]["num_examples"] == {"train": 1438, "val": 0, "test": 359}
    assert result["symbols_read"]["LEARNING_RATE"] == "0.004"
    assert result["metrics"]["final_sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert "val_acc" not in result["metrics"]
    assert not (final / "report.html").exists(), "as in the sweep"


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lenet5-smoke", "resnet18-smoke", "resnet50-smoke"])
def test_best_config_of_every_models_smoke_sweep_trains(tmp_path: Path, preset: str) -> None:
    (tmp_path / "range").write_text(f"include {preset}\n")
    code, out = ksweep("sweep", "--range", "range", "--results", "results", "--out", "configs", cwd=tmp_path)
    assert code == 0, out
    assert ksweep("best", "--results", "results", cwd=tmp_path)[0] == 0
    (best,) = (tmp_path / "results").glob("*/best_config")
    code, out = ksweep("train", "--config", best, "--results", "results", cwd=tmp_path)
    assert (code, "passed in" in out) == (0, True), out
    code, out = ksweep("final", "--results", "results", "--seeds", "3", cwd=tmp_path)
    (final,) = (tmp_path / "results").glob("final_*")

    assert (code, record(final)["place"]) == (0, "within"), out
    assert "Trained on the training and the validation part" in out
