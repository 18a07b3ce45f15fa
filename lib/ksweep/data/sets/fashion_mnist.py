"""Fashion-MNIST: 60,000 and 10,000 articles of clothing, 28x28 (Xiao, Rasul, Vollgraf 2017)."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.data import fetch
from ksweep.data.arrays import Arrays
from ksweep.data.remote import Remote

NAME = "fashion-mnist"


def fetch_fashion_mnist(scratch: Path) -> Arrays:
    """From the Debian package dataset-fashion-mnist, which ships the four published files."""
    return fetch.read_idx_set(fetch.debian_package("dataset-fashion-mnist", scratch) / "usr/share/datasets/fashion-mnist")


REMOTE = Remote(
    name=NAME,
    torchvision_class="FashionMNIST",
    sha256="ac587212f7b91afd7d1208f01612a2caac720aa46ebbb38be7d94bcbea6da4cd",
    fetch=fetch_fashion_mnist,
)


def read(cfg: RunConfig) -> Arrays:
    """All examples, the test set last."""
    return REMOTE.load(Path(cfg.str("DATA_DIR")))
