"""Projection heads through the command line: conditional knobs, runs side by side, the studies and what follows from them."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ksweep.cli.main import main
from ksweep.contract.paths import RunDir
from ksweep.contract.run import Run
from ksweep.kconfig.presets import find_preset
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.space import KconfigSpace
from ksweep.kconfig.tree import load_tree
from ksweep.search.drawing import row_at
from ksweep.space.rangefile import read_range_file
from ksweep.sweep.sweep import config_values
from ksweep.train.loop import train
from models.heads.task import build_task
from tests.command import ksweep, sweep

ROOT = Path(__file__).resolve().parents[2]
# What differs between two runs of one configuration.
MEASURED_TIMES = {"train_time_s", "epoch_time_s", "step_time_s", "pairs_per_s", "ms_per_1k_embeddings", "peak_memory_mib"}
TINY = "CONFIG_MODEL=heads\nCONFIG_PAIR_IMAGES=100\nCONFIG_BATCH_SIZE=128\nCONFIG_NUM_EPOCHS=2\nCONFIG_SWEEP_REPORT=n\n"
STUDIES = ("heads-study", "heads-siglip-study", "heads-clip-study", "heads-attention-study", "heads-mlp-study")


def results(dir: Path) -> dict[str, dict[str, Any]]:
    """Config -> result.json."""
    found = (json.loads(path.read_text()) for path in dir.glob("config_*/result.json"))
    return {result["config"]: result for result in found}


def statuses(dir: Path) -> set[str]:
    return {result["status"] for result in results(dir).values()}


def num_threads(run: Path) -> int:
    """That a run was given."""
    return int(json.loads((run / "provenance.json").read_text())["threads"])


# -- what a study may contain ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("CONFIG_HEAD=clip|linear", 'CONFIG_HEAD: found "linear", allowed: siglip | clip | mlp | attention'),
        ("CONFIG_HEAD=align", 'CONFIG_HEAD: found "align", allowed: siglip | clip | mlp | attention'),
        ("CONFIG_HEAD_LOSS=triplet", 'CONFIG_HEAD_LOSS: found "triplet", allowed: sigmoid | softmax | queue'),
    ],
)
def test_unknown_head_or_loss_is_refused_with_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    (tmp_path / "ranges").write_text(f"{TINY}{line}\n")

    assert (
        main(["sweep", "--range", str(tmp_path / "ranges"), "--results", str(tmp_path / "r"), "--out", str(tmp_path / "c")]) == 2
    )
    assert f"{tmp_path}/ranges:6: {problem}\n" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("CONFIG_STEPS_PER_EPOCH=5", "CONFIG_STEPS_PER_EPOCH=5: an epoch must not have more steps than a pass"),
        (
            "CONFIG_LR_WARMUP_RATIO=0.9",
            "CONFIG_LR_WARMUP_RATIO=0.9: the warm-up of the learning rate must end before training does",
        ),
        (
            "CONFIG_PRUNING_METHOD=magnitude\nCONFIG_PRUNING_WARMUP=4",
            "CONFIG_PRUNING_WARMUP=4: the warm-up must end before the ramp",
        ),
        ("CONFIG_PRUNING_METHOD=magnitude\nCONFIG_PRUNING_RAMP_END_STEP=8", "the ramp must end before training does"),
    ],
)
def test_what_does_not_fit_the_made_pairs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, problem: str
) -> None:
    """80 images have 400 captions: 4 batches of 128 an epoch, 8 in all."""
    (tmp_path / "ranges").write_text(f"{TINY}{lines}\n")

    assert main(["check", "--range", str(tmp_path / "ranges")]) == 2
    assert problem in capsys.readouterr().err


def test_a_config_of_the_study_has_the_knobs_of_its_head_and_its_loss_only() -> None:
    resolver = Resolver(load_tree(ROOT))
    file = read_range_file(ROOT / "defconfigs" / "heads-study", lambda included: find_preset(ROOT, included))
    space, rng = KconfigSpace(resolver, resolver.request(file, for_grid=False)), random.Random(1)
    drafts = [space.draw(lambda axis: row_at(axis, rng.random())) for _ in range(100)]
    everywhere = {"HEAD", "HEAD_LOSS", "OUTPUT_DIM", "DROPOUT", "TEMPERATURE", "BATCH_SIZE", "LEARNING_RATE", "WEIGHT_DECAY"}

    assert {(draft.values["HEAD"], draft.values["HEAD_LOSS"]) for draft in drafts} == {
        (head, loss) for head in ("siglip", "clip", "mlp", "attention") for loss in ("sigmoid", "softmax", "queue")
    }
    for draft in drafts:
        head, loss, written = draft.values["HEAD"], draft.values["HEAD_LOSS"], config_values(draft.text)
        conditional = {
            "HIDDEN_DIM": head != "siglip",
            "NUM_TOKENS": head == "attention",
            "NUM_HEADS": head == "attention",
            "NUM_LAYERS": head == "attention",
            "LEARNABLE_TEMP": head == "clip",
            "QUEUE_SIZE": loss == "queue",
        }
        assert {symbol: symbol in written for symbol in conditional} == conditional
        swept = {symbol for symbol, is_there in conditional.items() if is_there} - {"NUM_TOKENS"}
        assert set(draft.values) == everywhere | swept
        if head == "attention":
            assert int(written["HIDDEN_DIM"]) % int(written["NUM_HEADS"]) == 0


def test_a_study_of_eight_epochs_is_pruned_before_they_are_over() -> None:
    resolver = Resolver(load_tree(ROOT))
    for name in (*STUDIES, "heads-embeddings-study"):
        file = read_range_file(ROOT / "defconfigs" / name, lambda included: find_preset(ROOT, included))
        values = config_values(KconfigSpace(resolver, resolver.request(file, for_grid=False)).base_text)
        assert (values["NUM_EPOCHS"], values["EARLY_STOPPING_PATIENCE"]) == ("8", "2")
        assert (values["SWEEP_STRATEGY"], values["SWEEP_SAMPLER"]) == ("asha", "tpe")
        assert int(values["SWEEP_MIN_RESOURCE"]) < 8
        assert values["SWEEP_THREADS"] == ("0" if name == "heads-embeddings-study" else "1")


# -- real runs ---------------------------------------------------------------------------------------------------------


def train_alone(run: Path, place: Path) -> dict[str, float]:
    """Metrics of a run's config.txt, trained in this process with as many threads as the run had."""
    place.mkdir()
    shutil.copy(run / "config.txt", place)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads(run))
    try:
        assert train(Run(RunDir(place), 1), build_task) == 0
    finally:
        torch.set_num_threads(before)
    metrics: dict[str, float] = json.loads((place / "training_metrics.json").read_text())["metrics"]
    return metrics


def test_runs_side_by_side_equal_the_same_runs_one_after_the_other_and_none_is_run_twice(tmp_path: Path) -> None:
    axes = "CONFIG_HEAD,CONFIG_TEMPERATURE=(siglip, 0.05)|(clip, 0.2)\nCONFIG_HIDDEN_DIM=16|32\nCONFIG_DROPOUT=0.1\n"
    queue = "CONFIG_HEAD_LOSS=queue\nCONFIG_QUEUE_SIZE=256\n"
    (tmp_path / "ranges").write_text(f"{TINY}CONFIG_SWEEP_STRATEGY=random\nCONFIG_SWEEP_TRIALS=8\n{axes}{queue}")
    dir, out = sweep(tmp_path, tmp_path / "ranges", "--jobs", 2)

    assert "cartesian 4 -> legal 4 -> distinct 3" in out
    assert [result["status"] for result in results(dir).values()] == ["passed"] * 3
    for run in dir.glob("config_*"):
        together, alone = json.loads((run / "result.json").read_text())["metrics"], train_alone(run, tmp_path / run.name)
        assert {name for name in alone if together[name] != alone[name]} <= MEASURED_TIMES
        assert together.keys() == alone.keys() > {"r1_mean", "train_loss", "val_loss", "test_r1_mean"}


@pytest.mark.slow
def test_the_default_study_is_run_then_its_best_trains_for_longer(tmp_path: Path) -> None:
    dir, _ = sweep(tmp_path, "heads-study-smoke")
    assert statuses(dir) <= {"passed", "pruned"}
    assert len(results(dir)) == 8

    ksweep("best", "--results", dir)
    best = config_values((dir / "best_config").read_text())
    ksweep("final", "--results", dir, "--seeds", 2, "--epochs", 6)
    (final,) = tmp_path.glob("results/final_*")
    assert statuses(final) == {"passed"}
    trained = [config_values((final / name / "config.txt").read_text()) for name in dirs(final)]
    assert [config["NUM_EPOCHS"] for config in trained] == ["6", "6"]
    assert all(config["TRAIN_ON_VALIDATION"] == "y" and config["EARLY_STOPPING_PATIENCE"] == "0" for config in trained)
    for symbol in ("HEAD", "HEAD_LOSS", "OUTPUT_DIM", "LEARNING_RATE", "TEMPERATURE"):
        assert {config[symbol] for config in trained} == {best[symbol]}

    ksweep("transfer", "--results", dir, "--to", "heads-long", "--out", tmp_path / "long")
    assert "cartesian 1 -> legal 1 -> distinct 1" in ksweep("check", "--range", tmp_path / "long")


def dirs(sweep_dir: Path) -> list[str]:
    return sorted(path.parent.name for path in sweep_dir.glob("config_*/result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STUDIES[1:], "heads-embeddings-study"])
def test_every_study_has_a_small_sibling_that_runs(tmp_path: Path, name: str) -> None:
    dir, _ = sweep(tmp_path, f"{name}-smoke")

    assert statuses(dir) <= {"passed", "pruned"}
    assert "passed" in statuses(dir)
    assert len(results(dir)) == 8


@pytest.mark.slow
def test_recall_against_parameters_is_drawn_as_a_front(tmp_path: Path) -> None:
    dir, out = sweep(tmp_path, "heads-pareto-range-smoke")

    assert "cartesian 32 -> legal 32 -> distinct 28" in out
    assert statuses(dir) == {"passed"}
    assert (dir / "plots" / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_study_as_optuna_has_it_runs_as_it_is(tmp_path: Path) -> None:
    text = (ROOT / "tests" / "data" / "heads-optuna.yaml").read_text()
    sizes = {
        "[256, 512, 768, 1024]": "[16, 32]",
        "[512, 1024, 2048]": "[32, 64]",
        "[1, 2, 3]": "[1]",
        "[2048, 4096, 8192]": "[128, 256]",
    }
    for whole, small in sizes.items():
        assert whole in text
        text = text.replace(whole, small)
    text = text.replace("search_space:\n", "search_space:\n  pair_images: {choices: [200]}\n")
    (tmp_path / "default.yaml").write_text(text)
    dir, out = sweep(tmp_path, tmp_path / "default.yaml", "--trials", 3)

    assert "CONFIG_HEAD needs CONFIG_MODEL_SELECT_HEADS=y" in out
    assert statuses(dir) == {"passed"}
    assert len(results(dir)) == 3
