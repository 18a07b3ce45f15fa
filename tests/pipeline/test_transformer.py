"""The transformer through the command line: sweeps over threshold and lambda of ACT, what follows from them, and that depth
answers to both and goes where a task needs it."""

import json
import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ksweep.cli.main import main
from tests.command import sweep
from tests.pipeline.test_next_steps import finished

ROOT = Path(__file__).resolve().parents[2]
T_975 = {3: 4.303}  # 97.5 % point of Student's t over the mean of n differences


def rows(dir: Path) -> list[dict[str, Any]]:
    summary: list[dict[str, Any]] = json.loads((dir / "sweep_summary.json").read_text())
    return summary


def follow_up(dir: Path) -> tuple[list[str], list[str]]:
    """The lines of threshold and lambda in the refined range file, and in transformer-act-large with the best values."""
    assert main(["refine", "--results", str(dir)]) == 0
    assert main(["transfer", "--results", str(dir), "--to", "transformer-act-large"]) == 0
    paths = dir / "refined", dir / "transfer-transformer-act-large"
    for path in paths:
        assert main(["check", "--range", str(path)]) == 0
    refined, large = ([line for line in path.read_text().splitlines() if line.startswith("CONFIG_ACT_")] for path in paths)
    return refined, large


def best_at_a_threshold_of_09_and_a_lambda_of_005(values: dict[str, str]) -> float:
    return -abs(float(values["ACT_THRESHOLD"]) - 0.9) - abs(math.log10(float(values["ACT_LAMBDA"]) / 0.05))


def test_best_of_an_act_sweep_is_refined_and_goes_into_the_large_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'include transformer-act-range\nCONFIG_SWEEP_OBJECTIVE="val_acc:max"\n'
    dir = finished(tmp_path / "s", text, best_at_a_threshold_of_09_and_a_lambda_of_005)
    refined, large = follow_up(dir.path)

    assert refined == ["CONFIG_ACT_THRESHOLD=0.8|0.85|0.9|0.945|0.99", "CONFIG_ACT_LAMBDA=0.025|0.05|0.0707|0.1"]
    assert large == ["CONFIG_ACT_THRESHOLD=0.9", "CONFIG_ACT_LAMBDA=0.05"]
    assert "refined: cartesian 20 -> legal 20 -> distinct 20" in capsys.readouterr().out


# -- the whole sweep of thresholds and lambdas: 25 real runs ---------------------------------------------------------


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep(tmp_path_factory.mktemp("balanced"), "transformer-act-range-smoke")[0]


@pytest.mark.slow
def test_balanced_score_is_that_of_the_stored_metrics_in_each_of_25_runs(balanced: Path) -> None:
    stored = {path.parent.name: json.loads(path.read_text())["metrics"] for path in balanced.glob("config_*/result.json")}

    assert [row["status"] for row in rows(balanced)] == ["passed"] * 25
    assert {(row["CONFIG_ACT_THRESHOLD"], row["CONFIG_ACT_LAMBDA"]) for row in rows(balanced)} == {
        (threshold, weight) for threshold in (0.5, 0.8, 0.9, 0.95, 0.99) for weight in (0.001, 0.005, 0.01, 0.05, 0.1)
    }
    for row in rows(balanced):
        metrics = stored[row["run_dir"]]
        assert row["val_ppl + 10*layers_mean"] == metrics["val_ppl"] + 10 * metrics["layers_mean"]
        assert 1 <= metrics["layers_mean"] <= 4


@pytest.mark.slow
def test_thresholds_and_lambdas_are_drawn_against_each_other(balanced: Path, tmp_path: Path) -> None:
    few = "include transformer-act-pareto-range-smoke\nCONFIG_ACT_THRESHOLD=0.5|0.99\nCONFIG_ACT_LAMBDA=0.001|0.1\n"
    (tmp_path / "few").write_text(few)
    pareto = sweep(tmp_path, tmp_path / "few")[0]

    for plots in (balanced / "plots", pareto / "plots"):
        heatmap = next(plots.glob("heatmap_ACT_*_ACT_*.png"))  # the axis that matters more is named first
        assert [path.name for path in (heatmap, plots / "pareto.png") if not path.read_bytes().startswith(b"\x89PNG")] == []


@pytest.mark.slow
def test_what_follows_from_the_real_sweep_is_ready_to_run(balanced: Path) -> None:
    best = min(rows(balanced), key=lambda row: row["val_ppl + 10*layers_mean"])
    threshold, weight = (f"CONFIG_{name}={best[f'CONFIG_{name}']:g}" for name in ("ACT_THRESHOLD", "ACT_LAMBDA"))
    refined, large = follow_up(balanced)

    assert large == [threshold, weight]
    for name, line in zip(("CONFIG_ACT_THRESHOLD", "CONFIG_ACT_LAMBDA"), refined, strict=True):
        assert best[name] in numbers(line)
        assert len(numbers(line)) >= 2


def numbers(line: str) -> list[float]:
    """Values of an axis in a range file."""
    return [float(value) for value in line.partition("=")[2].split("|")]


# -- depth, on the task whose tokens need 0 to 3 look-ups: three seeds each ------------------------------------------


def graded(place: Path, *lines: str) -> list[dict[str, Any]]:
    """Rows of a sweep over transformer-graded-range, three seeds a point, with these lines in place of its own."""
    quick = ("CONFIG_SWEEP_REPORT=n", 'CONFIG_SWEEP_OBJECTIVE="layers_mean:min"')
    (place / "ranges").write_text("\n".join(["include transformer-graded-range", *quick, *lines, ""]))
    return rows(sweep(place, place / "ranges")[0])


@pytest.fixture(scope="module")
def depths(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """12 runs of 2 epochs: three lambdas at threshold 0.9, and the one in the middle at 0.5 as well."""
    points = "(0.9, 0.001)|(0.9, 0.01)|(0.9, 0.05)|(0.5, 0.01)"
    sizes = ("CONFIG_TRANSFORMER_D_MODEL=32", "CONFIG_NUM_EPOCHS=2")
    return graded(tmp_path_factory.mktemp("depths"), *sizes, f"CONFIG_ACT_THRESHOLD,CONFIG_ACT_LAMBDA={points}")


def layers(found: list[dict[str, Any]], threshold: float, weight: float) -> list[float]:
    """layers_mean of this pair, by seed."""
    pair = (threshold, weight)
    runs = [row for row in found if (row["CONFIG_ACT_THRESHOLD"], row["CONFIG_ACT_LAMBDA"]) == pair]
    return [row["layers_mean"] for row in sorted(runs, key=lambda row: row["seed"])]


def is_above(high: list[float], low: list[float]) -> bool:
    """Whether the 95 % t interval of the mean difference, paired by seed, lies above 0."""
    differences = [above - below for above, below in zip(high, low, strict=True)]
    half_width = T_975[len(differences)] * statistics.stdev(differences) / len(differences) ** 0.5
    return statistics.mean(differences) > half_width


@pytest.mark.slow
def test_a_higher_lambda_lowers_the_layers_of_a_token(depths: list[dict[str, Any]]) -> None:
    found = [layers(depths, 0.9, weight) for weight in (0.001, 0.01, 0.05)]

    assert all(is_above(less, more) for less, more in pairwise(found)), found


@pytest.mark.slow
def test_a_lower_threshold_lowers_the_layers_of_a_token(depths: list[dict[str, Any]]) -> None:
    high, low = layers(depths, 0.9, 0.01), layers(depths, 0.5, 0.01)

    assert is_above(high, low), (high, low)


@pytest.mark.slow
def test_tokens_of_two_and_three_look_ups_enter_more_layers_than_those_of_none_and_one(tmp_path: Path) -> None:
    found = graded(tmp_path, "CONFIG_ACT_THRESHOLD=0.9", "CONFIG_ACT_LAMBDA=0.005")
    deep = [(row["layers_hops2"] + row["layers_hops3"]) / 2 for row in found]
    shallow = [(row["layers_hops0"] + row["layers_hops1"]) / 2 for row in found]

    assert is_above(deep, shallow), (deep, shallow)
