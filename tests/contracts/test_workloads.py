"""What every model owes. A new folder in models/ is tested here by being there: defconfigs/<model>-smoke is trained."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ksweep.contract.metrics import is_reported_each_epoch
from ksweep.kconfig.tree import load_tree

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(path.parent.name for path in (ROOT / "models").glob("*/train.py"))
# Networks that are trained. models/sketched compresses one of them, and so has no entry in the choice of networks.
TRAINED = sorted(path.parent.name for path in (ROOT / "models").glob("*/Kconfig.select"))
FILES = ("Kconfig", "README.md", "__init__.py", "model.py", "train.py")
FILES_OF_TRAINED = ("Kconfig.select", "Kconfig.sketched")
FINAL = {"val_loss", "train_loss", "test_loss", "best_epoch", "final_sparsity", "train_time_s", "epoch_time_s"}
READ = {"MODEL", "DATASET", "OPTIMIZER", "LEARNING_RATE", "BATCH_SIZE", "NUM_EPOCHS", "SEED", "DEVICE", "PRECISION"}


def train(model: str, run_dir: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": "lib:.", "KSWEEP_RUN_DIR": str(run_dir), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", f"models.{model}.train"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)


def test_every_folder_is_a_model() -> None:
    folders = sorted(path.name for path in (ROOT / "models").iterdir() if path.is_dir() and path.name != "__pycache__")

    assert folders == MODELS
    assert [model for model in MODELS if model not in TRAINED] == ["sketched"]


@pytest.mark.parametrize("model", MODELS)
def test_folder_holds_the_same_files_as_any_other(model: str) -> None:
    names = FILES + FILES_OF_TRAINED if model in TRAINED else FILES
    assert [name for name in names if not (ROOT / "models" / model / name).is_file()] == []


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow) if m in ("resnet18", "resnet50") else m for m in MODELS]
)
def test_smoke_preset_trains_and_leaves_what_the_contract_asks_for(model: str, tmp_path: Path) -> None:
    kconf = load_tree(ROOT)
    kconf.load_config(str(ROOT / "defconfigs" / f"{model}-smoke"))
    assert kconf.warnings == []
    assert kconf.syms["MODEL"].str_value == model
    run_dir = tmp_path / "run"  # models/sketched writes beside it, too
    run_dir.mkdir()
    kconf.write_config(str(run_dir / "config.txt"))
    num_epochs = int(kconf.syms["NUM_EPOCHS"].str_value)
    assert num_epochs <= 2, "a smoke preset is short"

    done = train(model, run_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((run_dir / "training_metrics.json").read_text())
    history = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]

    assert result["status"] == "passed"
    assert all(math.isfinite(value) for value in result["metrics"].values())
    declared = set(kconf.syms["SWEEP_METRICS"].str_value.split())
    assert declared in (set(), set(result["metrics"])), "what Kconfig says that the model reports"
    in_history = {name for record in history for name in record}
    assert {name for name in result["metrics"] if is_reported_each_epoch(name)} == set(result["metrics"]) & in_history
    assert result["history"] == history
    assert all(earlier["step"] < later["step"] for earlier, later in itertools.pairwise(history))
    assert set(result["symbols_read"]) >= READ
    assert all(kconf.syms[name].str_value == value for name, value in result["symbols_read"].items())
    assert result["effective"]["optimizer"]["param_groups"][0]["lr"] == float(kconf.syms["LEARNING_RATE"].str_value)
    assert result["effective"]["num_threads"] == 1
    if model in TRAINED:
        check_that_it_was_trained_in_the_loop(result, run_dir, num_epochs)


def check_that_it_was_trained_in_the_loop(result: dict[str, Any], run_dir: Path, num_epochs: int) -> None:
    assert set(result["metrics"]) >= FINAL
    assert 1 <= result["metrics"]["best_epoch"] <= num_epochs
    assert [record["epoch"] for record in result["history"]] == list(range(1, num_epochs + 1))
    for name in ("last.pt", "best.pt"):
        assert torch.load(run_dir / "checkpoints" / name, weights_only=True)["model"]


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_missing_run_directory_is_a_message(model: str) -> None:
    env = {key: value for key, value in os.environ.items() if key != "KSWEEP_RUN_DIR"} | {"PYTHONPATH": "lib:."}
    done = subprocess.run([sys.executable, "-m", f"models.{model}.train"], cwd=ROOT, env=env, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.startswith("KSWEEP_RUN_DIR is not set")
