"""The data set that is always there."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from ksweep.contract.config import RunConfig
from ksweep.data.sets import digits

ROOT = Path(__file__).resolve().parents[3]


def test_digits_are_those_that_scikit_learn_loads() -> None:
    from sklearn.datasets import load_digits

    arrays, published = digits.read(RunConfig("", "config.txt")), load_digits()

    assert np.array_equal(arrays.labels, published.target)
    assert np.array_equal(arrays.images[:, 0], np.rint(published.images * 255 / 16))
    assert arrays.num_test == 0


def test_reading_digits_imports_neither_scikit_learn_nor_torch() -> None:
    program = """import sys
from ksweep.contract.config import RunConfig
from ksweep.data.sets import digits
print(len(digits.read(RunConfig("", "config.txt")).labels), "sklearn" in sys.modules, "torch" in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "lib")}, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["1797", "False", "False"]
