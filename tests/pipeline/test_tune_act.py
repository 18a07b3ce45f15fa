"""Thresholds and lambdas of ACT, tuned by one call and by the command: small real runs of the transformer."""

import argparse
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ksweep import tune_act
from ksweep.cli import tune_act_command
from ksweep.cli.main import main
from ksweep.contract.errors import KsweepError, RequestError

ROOT = Path(__file__).resolve().parents[2]
TOO_MANY = "900000000"  # tokens for test: more than the text has, so that the trainer refuses such a run
SMALL = {"TEXT_LEVEL": "char", "TRAIN_TOKENS": "2048", "VAL_TOKENS": "512", "SWEEP_REPORT": "n"}
SIZES = {"epochs": 1, "d_model": 16, "layers": 2, "length": 16, "experts": 1}


def tune(place: Path, **changed: Any) -> dict[str, Any]:
    """Two thresholds that train, and each of them once more with a test part that cannot be had."""
    symbols = SMALL | {"TEST_TOKENS": f"512|{TOO_MANY}"}
    given: dict[str, Any] = (
        {"thresholds": (0.5, "0.90"), "lambdas": ["0.1"], "symbols": symbols, "output_dir": place / "act"} | SIZES | changed
    )
    return tune_act(**given)


def num_started(place: Path) -> int:
    return sum((path.read_text().count('"run_started"')) for path in place.glob("act/sweep_*/journal.jsonl"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture
def results(place: Path) -> dict[str, Any]:
    """The runs are started once; after a test that has asked for something else the files are again those of this call."""
    return tune(place)


def test_the_best_pair_is_the_smallest_of_the_scores_and_the_score_is_what_it_says(results: dict[str, Any]) -> None:
    passed = [row for row in results["all_results"] if row["status"] == "passed"]

    assert [(row["threshold"], row["lambda"]) for row in passed] == [(0.5, 0.1), (0.9, 0.1)]
    assert [row["score"] for row in passed] == pytest.approx([row["val_ppl"] + 10 * row["layers_mean"] for row in passed])
    assert results["best_score"] == min(row["score"] for row in passed)
    best = next(row for row in passed if row["score"] == results["best_score"])
    assert results["best_config"] == {"threshold": best["threshold"], "lambda": 0.1, "TEST_TOKENS": 512}
    assert {name: results["best_result"][name] for name in ("threshold", "score", "val_ppl")}.items() <= best.items()
    assert results["best_result"]["seeds"] == [1]
    assert results["best_result"]["score_half_width"] is None


def test_failed_runs_stand_among_the_results_without_a_score(results: dict[str, Any]) -> None:
    rows = results["all_results"]
    failed = [row for row in rows if row["TEST_TOKENS"] == int(TOO_MANY)]

    assert [(row["status"], row["score"], row["val_ppl"]) for row in failed] == [("invalid", None, None)] * 2
    assert all(TOO_MANY in row["reason"] for row in failed)
    assert len({tuple(row) for row in rows}) == 1


def test_results_say_what_model_was_built_and_lie_in_a_file(place: Path, results: dict[str, Any]) -> None:
    sizes = {name: results["model_config"][name] for name in ("d_model", "n_layers", "n_seq", "num_experts")}

    assert sizes == {"d_model": 16, "n_layers": 2, "n_seq": 16, "num_experts": 1}
    assert json.loads((place / "act" / "act_tuning_results.json").read_text()) == results


def test_values_are_texts_as_given_in_the_range_file(place: Path, results: dict[str, Any]) -> None:
    lines = (place / "act" / "act_tuning_range").read_text().splitlines()

    assert {"CONFIG_ACT_THRESHOLD=0.5|0.90", "CONFIG_ACT_LAMBDA=0.1", "CONFIG_LEARNING_RATE=0.003"} <= set(lines)


def test_the_same_call_again_starts_nothing_and_gives_the_same(place: Path, results: dict[str, Any]) -> None:
    before = num_started(place)

    assert tune(place) == results
    assert num_started(place) == before


def test_make_sweep_over_its_range_file_goes_on_with_the_same_sweep(
    place: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before, act = num_started(place), place / "act"
    code = main(["sweep", "--range", str(act / "act_tuning_range"), "--results", str(act), "--out", str(place / "configs")])

    assert code == 1  # as two runs have failed
    assert num_started(place) == before
    assert [str(path.parent) for path in act.glob("sweep_*/sweep.json")] == [results["sweep_dir"]]


def test_another_score_ranks_the_same_runs_again(place: Path, results: dict[str, Any]) -> None:
    before = num_started(place)
    by_ppl = tune(place, score="perplexity")
    by_expression = tune(place, score="0 - val_acc")

    assert by_ppl["best_score"] == min(row["val_ppl"] for row in results["all_results"] if row["val_ppl"])
    assert by_expression["best_score"] == -max(row["val_acc"] for row in results["all_results"] if row["val_acc"])
    assert num_started(place) == before


def test_when_nothing_passed_it_raises_with_the_reason(place: Path, results: dict[str, Any]) -> None:
    with pytest.raises(KsweepError, match=f"ALL 2 RUNS FAILED(.|\n)*config_00.: .*{TOO_MANY}"):
        tune(place, symbols=SMALL | {"TEST_TOKENS": TOO_MANY})


def test_the_command_takes_the_options_of_the_earlier_tuner_and_tells_the_best(
    place: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = num_started(place)
    sizes = "--thresholds 0.5 0.90 --lambdas 0.1 --epochs 1 --d-model 16 --n-layers 2 --n-seq 16 --num-experts 1"
    symbols = [f"{name}={value}" for name, value in SMALL.items()]
    rest = ["--score-metric", "layers", "--output-dir", str(place / "act"), "--set", *symbols, "TEST_TOKENS=512"]
    code = main(["tune-act", *sizes.split(), *rest])
    out = capsys.readouterr().out

    best = json.loads((place / "act" / "act_tuning_results.json").read_text())
    assert code == 0, out
    assert num_started(place) == before
    assert "ACT: 2 thresholds x 1 lambda, seeds: 1, epochs: 1, ranked by layers = layers_mean" in out
    assert f"best: threshold {best['best_config']['threshold']}, lambda 0.1" in out
    speedups = [best["best_result"][name] for name in ("speedup_measured", "speedup_layers")]
    assert "over all 2 layers: {:.5g} measured, {:.5g} = 2 / layers_mean".format(*speedups) in out


def test_the_command_has_the_defaults_of_the_function() -> None:
    parser = argparse.ArgumentParser()
    tune_act_command.add_arguments(parser)

    defaults = {name: parameter.default for name, parameter in inspect.signature(tune_act).parameters.items()}
    assert vars(parser.parse_args([])) == defaults


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"score": "accuracy"}, "found accuracy(.|\n)*score: allowed: balanced, layers, perplexity, or one expression"),
        ({"score": "val_ppl, layers_mean"}, "2 goals(.|\n)*score: allowed"),
        ({"score": ""}, "0 goals(.|\n)*score: allowed"),
        ({"score": "val_ppl +"}, "not an expression(.|\n)*score: allowed"),
        ({"thresholds": []}, r"thresholds: found \[\], allowed: a list of one number or more"),
        ({"lambdas": "0.1"}, "lambdas: found '0.1', allowed: a list"),
        ({"thresholds": [0.5, 1.5]}, '^CONFIG_ACT_THRESHOLD: found "1.5", allowed: a number > 0 and <= 1$'),
        ({"lambdas": [float("nan")]}, 'CONFIG_ACT_LAMBDA: found "nan"'),
        ({"layers": 1}, "with one layer there is nothing to stop before"),
        ({"jobs": -1}, "CONFIG_SWEEP_PARALLEL_JOBS: found -1, allowed: 0 to 1024"),
        ({"symbols": {"BATCH_SIZE": 8}}, "symbols: BATCH_SIZE: an argument sets it, to 32"),
        ({"symbols": {"NOSUCH": 8}}, "NOSUCH"),
        ({"symbols": {"SWEEP_STRATEGY": "tpe"}}, "SWEEP_STRATEGY: every pair is run here"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_possible_is_refused_before_anything_is_written(tmp_path: Path, changed: Any, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        tune(tmp_path, **changed)

    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["tune-act", "--thresholds", "1.5", "--output-dir", str(tmp_path / "act")])

    assert code == 2
    assert capsys.readouterr().err == 'CONFIG_ACT_THRESHOLD: found "1.5", allowed: a number > 0 and <= 1\n'


def test_a_sweep_is_no_place_for_a_tuning(place: Path, results: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="which is a sweep itself"):
        tune(place, output_dir=results["sweep_dir"])


def test_a_file_of_somebody_else_at_its_place_is_kept(place: Path, results: dict[str, Any]) -> None:
    path = place / "act" / "act_tuning_range"
    path.write_text("mine\n")
    tune(place)

    assert "mine\n" in [kept.read_text() for kept in path.parent.glob("act_tuning_range.*")]
    assert "CONFIG_ACT_THRESHOLD=0.5|0.90" in path.read_text()


def test_a_thread_that_cannot_be_interrupted_is_refused(tmp_path: Path) -> None:
    caught: list[Exception] = []

    def call() -> None:
        try:
            tune(tmp_path)
        except RequestError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

    assert "main thread" in str(caught[0])


def test_the_package_imports_nothing_of_it_before_it_is_asked_for() -> None:
    script = (
        "import ksweep, sys; before = [n for n in sys.modules if n.startswith('ksweep.')]; ksweep.tune_act;"
        "print(before, [n for n in ('torch', 'numpy', 'matplotlib', 'optuna') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "lib")})

    assert done.stdout == "[] []\n", done.stderr


@pytest.mark.slow
def test_an_interrupted_tuning_says_so_and_the_same_command_ends_it(tmp_path: Path) -> None:
    sizes = "--thresholds 0.5 0.9 --lambdas 0.1 --epochs 20 --d-model 16 --n-layers 2 --n-seq 16 --num-experts 1 --jobs 1"
    symbols = [f"{name}={value}" for name, value in (SMALL | {"TEST_TOKENS": "512"}).items()]
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), "tune-act", *sizes.split(), "--set", *symbols]
    command += ["--output-dir", str(tmp_path / "act")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while not num_started(tmp_path) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert process.returncode == 1, out
    assert "stopped with 1 run to go; the same call continues" in err
    assert again.returncode == 0, again.stderr
    assert "best: threshold" in again.stdout
    assert len(list(tmp_path.glob("act/sweep_*/sweep.json"))) == 1
