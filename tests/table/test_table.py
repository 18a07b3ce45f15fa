"""The engine over a table of real trainings: what reaches the strategy is what stands in the table for the configuration."""

from pathlib import Path

import pytest

from tests.bench import hpo
from tests.table.tables import AXES, table


def test_range_file_has_the_values_of_the_table() -> None:
    lines = hpo.RANGE.read_text().splitlines()

    assert [f"CONFIG_{name}={'|'.join(values)}" for name, values in AXES.items()] == lines[1:10]


def test_regret_is_0_for_the_best_configuration_and_1_for_the_median_one() -> None:
    found = table("protein_structure")
    every = sorted(map(found.regret, found.configurations()))

    assert len(every) == 62_208
    assert (every[0], every[31_104]) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", hpo.STRATEGIES)
def test_sweep_finds_what_stands_in_the_table(strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSWEEP_KCONFIG", "tests/table/Kconfig")
    curve = hpo.regrets(strategy, "slice_localization", 3, 15, tmp_path)  # compares each run's metric with the table

    assert len(curve) == 15
    assert curve[0] > curve[-1] >= 0.0


@pytest.mark.parametrize(
    ("random", "tpe", "ratio"),
    [([0.9, 0.5, 0.3, 0.3], [0.6, 0.3, 0.2, 0.1], 3 / 2), ([0.9, 0.1], [0.6, 0.3], 0)],
    ids=["falls", "never"],
)
def test_ratio_compares_the_runs_until_random_search_is_where_it_ends(
    random: list[float], tpe: list[float], ratio: float
) -> None:
    assert hpo.ratio({"random": random, "tpe": tpe}) == ratio


@pytest.mark.slow
def test_tpe_finds_better_points_than_random_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small version of make bench-hpo: one table, 4 seeds, 50 points."""
    monkeypatch.setenv("KSWEEP_KCONFIG", "tests/table/Kconfig")
    curves = hpo.measure(["protein_structure"], 4, 50, tmp_path)["protein_structure"]

    assert curves["tpe"][-1] < curves["random"][-1] / 1.5
    assert hpo.ratio(curves) > 1
