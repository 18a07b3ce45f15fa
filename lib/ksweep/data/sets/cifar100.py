"""CIFAR-100: 50,000 and 10,000 colour photographs, 32x32, of 100 kinds of things (Krizhevsky 2009), by their fine labels."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.data.arrays import Arrays
from ksweep.data.remote import Remote

NAME = "cifar100"

REMOTE = Remote(name=NAME, torchvision_class="CIFAR100", archive="cifar-100-python.tar.gz")


def read(cfg: RunConfig) -> Arrays:
    """All examples, the test set last."""
    return REMOTE.load(Path(cfg.str("DATA_DIR")))
