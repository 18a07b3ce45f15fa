"""digits: 1,797 handwritten digits of 43 writers, 8x8, the file that scikit-learn ships (UCI optical digits, its test part)."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.arrays import Arrays

NAME = "digits"
LARGEST = 16  # a pixel counts the dark points of a 4x4 block of the scan


def read(cfg: RunConfig) -> Arrays:
    """All examples; there is no official test set. ConfigError when scikit-learn is not installed."""
    spec = importlib.util.find_spec("sklearn")  # finds the package without importing it: the import costs 2 s
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{cfg.source}: CONFIG_DATASET=digits lies inside scikit-learn: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # [1797, 65], the label last
    images = np.rint(table[:, :-1] * (255 / LARGEST)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Arrays(images=images, labels=table[:, -1], num_test=0)
