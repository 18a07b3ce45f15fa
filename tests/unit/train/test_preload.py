"""The preload only imports: a process that computed or started threads must not be forked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, sys
import ksweep.train.preload, torch
print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized())
print(*(name in sys.modules for name in ("torch._dynamo", "ksweep.train.loop", "ksweep.optim.adamw", "ksweep.data.sets.digits")))
print(*(name in sys.modules for name in ("torchvision", "sklearn")))
"""


def test_preload_starts_no_thread_and_leaves_slow_packages_out() -> None:
    env = {**os.environ, "PYTHONPATH": "lib:.", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "False", *["True"] * 4, *["False"] * 2]
