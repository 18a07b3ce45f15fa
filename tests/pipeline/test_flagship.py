"""The flagship's 36 points differ in all four knobs, as the objects see them that were built from the configurations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksweep.contract.config import RunConfig
from ksweep.kconfig.presets import find_preset
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.optim.build import build_optimizer, effective_settings
from ksweep.prune.build import build_pruner
from ksweep.space.rangefile import read_range_file
from models.resnet18.model import ResNet18

ROOT = Path(__file__).resolve().parents[2]
FLAGSHIP = "resnet18-state-pruning-compare-range"
WEIGHT_DECAYS, BETA1S = {0.03, 0.05, 0.07}, {0.85, 0.87, 0.89}


def knobs(optimizer: dict, pruning: dict) -> tuple[float, float, int, int]:
    """Weight decay, beta 1, warm-up steps, step at which the ramp ends."""
    decaying = optimizer["param_groups"][0]
    schedule = pruning["schedule"]
    return decaying["weight_decay"], decaying["betas"][0], schedule["warmup_steps"], schedule["end_step"]


def product(warmups: set[int], ends: set[int]) -> set[tuple[float, float, int, int]]:
    return {(decay, beta1, warmup, end) for decay in WEIGHT_DECAYS for beta1 in BETA1S for warmup in warmups for end in ends}


def test_all_four_knobs_of_the_flagship_reach_optimizer_and_pruner(tmp_path: Path) -> None:
    file = read_range_file(ROOT / "defconfigs" / FLAGSHIP, lambda name: find_preset(ROOT, name))
    found = []
    for point in Resolver(load_tree(ROOT)).expand(file).points:
        cfg = RunConfig(point.text, "config.txt")
        model = ResNet18(3, 10, width=2, stem="cifar")
        optimizer = build_optimizer(cfg, model)
        pruner = build_pruner(cfg, model, optimizer, steps_per_epoch=352)
        assert pruner
        found.append(knobs(effective_settings(optimizer), pruner.effective()))

    assert len(found) == 36
    assert set(found) == product({7800, 11700}, {70 * 352, 80 * 352})


@pytest.mark.slow
def test_all_four_knobs_of_its_smoke_sibling_are_in_the_results(tmp_path: Path) -> None:
    """36 real runs: 1 to 3 minutes on two cores."""
    arguments = [
        "sweep",
        "--range",
        f"{FLAGSHIP}-smoke",
        "--results",
        str(tmp_path / "results"),
        "--out",
        str(tmp_path / "configs"),
    ]
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr

    results = [json.loads(path.read_text()) for path in tmp_path.glob("results/sweep_*/config_*/result.json")]
    assert len(results) == 36
    found = {knobs(result["effective"]["optimizer"], result["effective"]["pruning"]) for result in results}
    assert found == product({8, 12}, {2 * 9, 3 * 9})
    assert all(0.7 - 1e-4 <= result["metrics"]["final_sparsity"] <= 0.7 for result in results)
