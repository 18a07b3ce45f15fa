"""A tuning run as a process: killed and gone on with, and the same whatever Python's hash seed is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from torch import nn

from ksweep.tuner import LayerConfig, OptunaSearch, SKAutoTuner
from tests.unit.tuner.program import main
from tests.unit.tuner.trained import accuracy_on, smallness, trained

ROOT = Path(__file__).resolve().parents[3]


def start(log: Path, storage: str, *, die_after: int = 0, hash_seed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.tuner.program", str(log), storage, str(die_after)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}", "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("phases", [("second layer",), ("combined", "verified")])
def test_killed_run_goes_on_without_repeating_and_ends_as_if_it_had_not_been(
    phases: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(tmp_path / "whole.log", storage="", die_after=0)  # under the hash seed of this process, drawn anew for each run of tests
    whole = capsys.readouterr().out
    in_full = (tmp_path / "whole.log").read_text().splitlines()
    num_searched = sum(line.startswith("search") for line in in_full)
    storage, log = f"sqlite:///{tmp_path / 'tuning.db'}", tmp_path / "killed.log"
    assert num_searched > 6 + 6, "no combination was evaluated"
    assert len(in_full) == num_searched + 2, "no layer was rolled back"

    for phase in phases:  # each after its first evaluations
        die_after = {"second layer": 9, "combined": 13, "verified": num_searched + 1}[phase]
        killed = start(log, storage, die_after=die_after, hash_seed="7")
        assert killed.returncode == -9, killed.stderr
        assert log.read_text().splitlines() == in_full[:die_after], "a finished trial was evaluated again"
    finished = start(log, storage, hash_seed="1")

    assert finished.returncode == 0, finished.stderr
    assert log.read_text().splitlines() == in_full
    assert finished.stdout == whole

    names = optuna.get_all_study_names(storage)
    assert sorted(names) == ["two", "two/(combined)", "two/(verified)", "two/0", "two/2"]


def test_study_that_exists_is_refused_unless_it_is_to_be_gone_on_with(tmp_path: Path) -> None:
    def tuner(**options: Any) -> SKAutoTuner:
        search = OptunaSearch(n_trials=2, study_name="once", storage=f"sqlite:///{tmp_path / 'tuning.db'}", **options)
        return SKAutoTuner(trained(), [LayerConfig(["2"], {"rank": [4, 8]})], accuracy_on("search"), 0.5, smallness, search)

    tuner().tune()
    with pytest.raises(optuna.exceptions.DuplicatedStudyError, match="load_if_exists=True goes on with it"):
        tuner().tune()
    other = tuner(load_if_exists=True)
    other.model[0].weight.data[0, 0] += 1
    with pytest.raises(ValueError, match="is of another model"):
        other.tune()


def test_changed_space_or_floor_takes_from_the_record_what_still_holds(tmp_path: Path) -> None:
    num_calls = 0

    def tune(ranks: list[int], floor: float, **options: Any) -> SKAutoTuner:
        def counted(model: nn.Module) -> float:
            nonlocal num_calls
            num_calls += 1
            return accuracy_on("search")(model)

        search = OptunaSearch(n_trials=9, study_name="many", storage=f"sqlite:///{tmp_path / 'tuning.db'}", load_if_exists=True)
        tuner = SKAutoTuner(trained(), [LayerConfig(["2"], {"rank": ranks}, **options)], counted, floor, smallness, search)
        tuner.tune()
        return tuner

    tune([4, 8, 16], 0.95)
    num_calls = 0
    narrower = tune([8, 16], 0.5)
    assert num_calls == 1, "only to calibrate"
    assert {trial.params["rank"]: str(trial.status) for trial in narrower.trials} == {8: "passed", 16: "passed"}
    wider = tune([8, 16, 24], 0.5)
    assert num_calls == 3
    assert {trial.params["rank"] for trial in wider.trials} == {8, 16, 24}
    other = tune([8], 0.5, method="svd")
    assert num_calls == 5, "the same rank by another method is another model"
    assert len(other.trials) == 1
