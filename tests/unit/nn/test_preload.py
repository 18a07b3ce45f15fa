"""A warm launcher imports the ResNets' torchvision once, before it forks, and stays fit to be forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksweep.kconfig.tree import load_tree

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import torch
print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized(), "torchvision" in sys.modules)
"""


@pytest.mark.slow
def test_preload_of_a_resnet_imports_torchvision_and_starts_no_thread() -> None:
    kconf = load_tree(ROOT)
    kconf.syms["MODEL_SELECT_RESNET18"].set_value(2)
    modules = kconf.syms["MODEL_PRELOAD"].str_value.split()
    env = {**os.environ, "PYTHONPATH": "lib:.", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *modules]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert "ksweep.train.preload" in modules
    assert done.stdout.split() == ["1", "False", "True"]
