"""models/sketched: what is replaced by what, the configuration of the dense network, what is refused, and whole small runs."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.contract.paths import RunDir
from ksweep.contract.run import Run
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.train.checkpoint import config_digest
from ksweep.train.loop import train
from models.lenet5.model import LeNet5
from models.lenet5.train import build_task
from models.resnet18.model import ResNet18
from models.sketched.dense import dense_config
from models.sketched.evaluate import Evaluation
from models.sketched.model import Group, Plan, compress, make_plan, read_groups
from models.sketched.table import print_layers
from models.sketched.train import _build, compress_run

ROOT = Path(__file__).resolve().parents[3]
RESOLVER = Resolver(load_tree(ROOT))
MODELS = list(RESOLVER.selectors["SKETCHED_MODEL"])
SMALL = ("SKETCHED_MODEL=lenet5", "DATASET=digits", "SKETCHED_TIMED_BATCH=4")


def config_text(path: Path, *assignments: str) -> str:
    """The complete configuration of a compression with these symbols."""
    path.write_text("".join(f"CONFIG_{assignment}\n" for assignment in ("MODEL=sketched", *assignments)))
    assert RESOLVER.load(path) == []
    return RESOLVER.text()


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """`make_run("config_001", "SKETCHED_GROUP1_RANK=8")`: beside the others, so that they share a dense network."""
    handler = signal.getsignal(signal.SIGTERM)

    def make(name: str, *assignments: str) -> Run:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.txt").write_text(config_text(tmp_path / "asked", *SMALL, *of_short_training(assignments)))
        return Run(RunDir(tmp_path / name), attempt=1)

    yield make
    signal.signal(signal.SIGTERM, handler)


def of_short_training(assignments: tuple[str, ...]) -> list[str]:
    """With one epoch, and few batches for calibration, where they do not say how many."""
    brief = ["NUM_EPOCHS=1", *([] if "SKETCHED_METHOD=none" in assignments else ["SKETCHED_CALIBRATION_BATCHES=4"])]
    given = {assignment.partition("=")[0] for assignment in assignments}
    return [*assignments, *(assignment for assignment in brief if assignment.partition("=")[0] not in given)]


def result(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.dir.training_metrics.read_text())
    return found


def layers(run: Run) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((run.dir.path / "layers.json").read_text())}


def plan(model: nn.Module, *groups: tuple[str, dict[str, int]], method: str = "svd") -> Plan:
    made = [Group(number=number, pattern=pattern, params=params) for number, (pattern, params) in enumerate(groups, 1)]
    return make_plan(model, made, method, "config.txt")


# -- the dense network's configuration -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_dense_network_has_the_legal_configuration_that_it_would_have_alone(model: str, tmp_path: Path) -> None:
    text = dense_config(config_text(tmp_path / "asked", f"SKETCHED_MODEL={model}", "NUM_EPOCHS=7"), model)
    (tmp_path / "config.txt").write_text(text)

    assert RESOLVER.load(tmp_path / "config.txt") == []
    assert config_digest(RESOLVER.text()) == config_digest(text)
    assert RESOLVER.kconf.syms["MODEL"].str_value == model
    (tmp_path / "alone").write_text(f"CONFIG_MODEL={model}\nCONFIG_NUM_EPOCHS=7\n")
    assert RESOLVER.load(tmp_path / "alone") == []
    assert config_digest(RESOLVER.text()) == config_digest(text)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_which_layers_are_its_groups(model: str, tmp_path: Path) -> None:
    groups = read_groups(RunConfig(config_text(tmp_path / "asked", f"SKETCHED_MODEL={model}"), "config.txt"))

    assert {path.parent.name for path in ROOT.glob("models/*/Kconfig.select")} == set(MODELS)
    assert len(groups) >= 2


# -- which layers ---------------------------------------------------------------------------------------------------------


def test_layers_of_each_group_get_its_size_and_all_others_stay() -> None:
    made = plan(LeNet5(1, 10), ("^classifier", {"rank": 8}), ("^features[.]4", {"rank": 4}))

    assert {layer.name: (layer.group, layer.rank) for layer in made.layers} == {
        "features.4": (2, 4),
        "classifier.1": (1, 8),
        "classifier.3": (1, 8),
        "classifier.5": (1, 8),
    }
    assert made.others == ("features.0",)
    assert [layer.num_stored for layer in made.layers] == [4 * (150 + 16) + 16, 8 * 520 + 120, 8 * 204 + 84, 8 * 94 + 10]


def test_layer_that_would_not_store_less_stays_dense_and_says_why() -> None:
    made = plan(LeNet5(1, 10), ("^classifier", {"rank": 70}))

    assert list(made.settings) == ["classifier.1"]
    assert [layer.why_dense for layer in made.layers] == [
        "",
        "it would store 14,364 numbers, and dense it stores 10,164",
        "its weight has no higher rank than 10",
    ]


def test_same_size_is_as_much_storage_with_every_method() -> None:
    size = {"num_terms": 2, "low_rank": 3}
    by_method = [
        [layer.num_stored for layer in plan(LeNet5(1, 10), ("classifier.[13]", size), method=method).layers]
        for method in ("activation-svd", "svd", "sketch")
    ]

    assert by_method == [[12 * 520 + 120, 12 * 204 + 84]] * 3


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        pytest.param([("attention", {"rank": 4})], '"attention" finds none of the .* layers: features.0 ', id="nothing found"),
        pytest.param([("attention", {})], '"attention" finds none', id="nothing found that would stay dense"),
        pytest.param(
            [("^classifier", {"rank": 4}), ("5$", {"rank": 4})], "found classifier.5, which group 1 has too", id="two groups"
        ),
        pytest.param([("classifier.5", {"rank": 9})], "nothing would be compressed.*: classifier.5: it would", id="no gain"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups: list[tuple[str, dict[str, int]]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(LeNet5(1, 10), *groups)


def test_tied_weights_are_not_untied() -> None:
    model = nn.ModuleDict({"head": nn.Linear(8, 40), "embedding": nn.Embedding(40, 8)})
    model["head"].weight = model["embedding"].weight

    with pytest.raises(ConfigError, match="found head, whose weights are those of embedding too"):
        plan(model, ("head", {"rank": 2}))


def test_layer_that_computes_something_of_its_own_is_left_alone() -> None:
    class Strided(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images[:, :, ::2, ::2])

    made = plan(nn.Sequential(Strided(8, 8, 3), nn.Linear(64, 64)), (".", {"rank": 2}))

    assert [layer.name for layer in made.layers] == ["1"]


def test_layer_without_calibration_is_refused() -> None:
    model = LeNet5(1, 10)

    with pytest.raises(ConfigError, match=r"classifier\.1 classifier\.3: not called on any calibration batch"):
        compress(model, plan(model, ("classifier.[13]", {"rank": 2})), {}, seed=0, source="config.txt")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['SKETCHED_GROUP1_LAYERS="classifier["'], "SKETCHED_GROUP1_LAYERS: found .* a regular expression: unterminated"),
        (['SKETCHED_GROUP1_LAYERS=""', 'SKETCHED_GROUP2_LAYERS=""'], "SKETCHED_GROUP1_LAYERS: found nothing"),
    ],
)
def test_pattern_that_is_none_is_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_groups(RunConfig(config_text(tmp_path / "asked", *SMALL, *lines), "config.txt"))


# -- whole runs -----------------------------------------------------------------------------------------------------------


def test_network_is_trained_once_and_each_method_compresses_that_one(make_run, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("SKETCHED_SIZE=sketch", "SKETCHED_GROUP1_LOW_RANK=4")
    runs = [make_run(method, f"SKETCHED_METHOD={method}", *size) for method in ("activation-svd", "svd", "sketch")]
    assert [compress_run(run) for run in runs] == [0, 0, 0]
    out = capsys.readouterr().out
    results = [result(run) for run in runs]
    metrics = [found["metrics"] for found in results]

    (dense,) = runs[0].dir.path.parent.glob("dense_*")
    assert out.count("epoch 1/1") == 1
    assert [f"{dense} (trained by this run)" in out, out.count(f"{dense} (trained before)")] == [True, 2]
    assert len({found["dense_val_acc"] for found in metrics}) == 1
    assert metrics[0]["dense_test_acc"] == json.loads((dense / "training_metrics.json").read_text())["metrics"]["test_acc"]
    assert len({(found["bytes"], found["params_stored"]) for found in metrics}) == 1, "the same storage"
    assert metrics[0]["error_per_layer"] < metrics[1]["error_per_layer"] < metrics[2]["error_per_layer"]
    assert metrics[0]["val_loss"] < metrics[2]["val_loss"]
    sketched = [found["effective"]["sketched"] for found in results]
    assert [found["dense"]["path"] for found in sketched] == [str(dense)] * 3
    assert sketched[0]["groups"][0]["replaced"]["classifier.1"] == {"num_terms": 1, "low_rank": 4, "rank": 8}
    assert sketched[2]["groups"][0]["replaced"]["classifier.1"] == {"num_terms": 1, "low_rank": 4, "rank": None}
    assert results[1]["symbols_read"]["LEARNING_RATE"] == "0.001", "read by the training that was not this run's"


def test_metrics_are_those_of_the_compressed_network(make_run) -> None:
    run = make_run("config_001", "SKETCHED_GROUP1_RANK=4", "SKETCHED_GROUP2_RANK=4")
    assert compress_run(run) == 0
    metrics, rows = result(run)["metrics"], layers(run)

    assert metrics["bytes"] == metrics["params_stored"] * 4 + 8  # two counters of batch normalisation are 64-bit numbers
    assert metrics["bytes"] == 247_192 - sum(row["dense_bytes"] - row["bytes"] for row in rows.values())
    assert metrics["share_stored"] == pytest.approx(metrics["params_stored"] / 61_796)
    assert metrics["error_per_layer"] == pytest.approx(sum(row["error"] for row in rows.values()) / 5)
    assert metrics["flops"] < 833_040
    assert metrics["speedup_low"] <= metrics["speedup"] <= metrics["speedup_high"]
    assert {name: row["calls"] for name, row in rows.items()} == dict.fromkeys(rows, 2), (
        "359 validation images, in batches of 256"
    )
    assert set(metrics) == set(RESOLVER.kconf.syms["SWEEP_METRICS"].str_value.split())


def test_replaced_layer_that_is_never_called_is_an_error(make_run) -> None:
    task, compute, _ = _build(make_run("config_001"), build_task)
    task.model.unused = nn.Linear(4, 4)

    with pytest.raises(KsweepError, match="not called in the whole val part: unused"):
        Evaluation(task, compute, micro_batch=64).measure(task.model, ("classifier.1", "unused"))


def test_without_a_method_the_dense_network_is_measured(make_run) -> None:
    run = make_run("config_001", "SKETCHED_METHOD=none")
    assert compress_run(run) == 0
    metrics = result(run)["metrics"]

    assert (metrics["val_acc"], metrics["test_acc"]) == (metrics["dense_val_acc"], metrics["dense_test_acc"])
    assert (metrics["share_stored"], metrics["error_per_layer"], metrics["bytes"]) == (1.0, 0.0, 247_192)
    assert layers(run) == {}


def test_distillation_brings_outputs_back(make_run) -> None:
    rank = "SKETCHED_GROUP1_RANK=2"
    plain, distilled = make_run("config_001", rank), make_run("config_002", rank, "SKETCHED_DISTILL_STEPS=40")
    assert [compress_run(plain), compress_run(distilled)] == [0, 0]
    effective = result(distilled)["effective"]["sketched"]["distillation"]

    assert effective["num_steps"] == 40
    assert effective["after"] < 0.9 * effective["before"]
    assert result(distilled)["metrics"]["val_loss"] != result(plain)["metrics"]["val_loss"]


HEADS = ("SKETCHED_MODEL=heads", "PAIR_IMAGES=400", "BATCH_SIZE=128", "SKETCHED_GROUP1_RANK=8", "SKETCHED_GROUP2_RANK=4")


def test_two_heads_are_compressed_for_retrieval(tmp_path: Path) -> None:
    asked = (*HEADS, "HEAD_LOSS=queue", "SKETCHED_DISTILL_STEPS=4", *SMALL[2:], *of_short_training(()))
    text = config_text(tmp_path / "asked", *asked)
    declared = set(RESOLVER.kconf.syms["SWEEP_METRICS"].str_value.split())
    (tmp_path / "config_001").mkdir()
    (tmp_path / "config_001" / "config.txt").write_text(text)
    run, handler = Run(RunDir(tmp_path / "config_001"), attempt=1), signal.getsignal(signal.SIGTERM)
    try:
        assert compress_run(run) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    metrics, rows = result(run)["metrics"], layers(run)

    assert set(metrics) == declared
    assert {name: row["rank"] for name, row in rows.items()} == {
        "image_head.body.0": 8,
        "image_head.body.3": 8,
        "text_head.body.0": 4,
        "text_head.body.3": 4,
    }
    assert all(row["calls"] > 0 for row in rows.values())
    assert metrics["params_stored"] == sum(row["num_stored"] for row in rows.values()), "the queue of the loss is no part of it"
    dense = sum(row["num_dense"] for row in rows.values())
    assert metrics["share_stored"] == pytest.approx(metrics["params_stored"] / dense)
    assert metrics["dense_r1_mean"] == result_of_dense(run)["r1_mean"] != metrics["r1_mean"]
    distillation = result(run)["effective"]["sketched"]["distillation"]
    assert distillation["after"] < distillation["before"]


def result_of_dense(run: Run) -> dict[str, float]:
    """The metrics of the run that trained the network."""
    (path,) = run.dir.path.parent.glob("dense_*/training_metrics.json")
    metrics: dict[str, float] = json.loads(path.read_text())["metrics"]
    return metrics


def test_every_layer_of_a_resnet_that_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    model = ResNet18(3, 10, width=8, stem="cifar")
    made = plan(model, ("^layer4", {"rank": 8}), ("^layer3", {}), ("^layer[12]", {"rank": 2}))
    print_layers([], made)
    said = capsys.readouterr().out

    assert made.others == ("conv1", "fc")
    assert made.own_forward == ("layer2.0.downsample.0",)
    assert "in no group, dense: conv1 fc\n" in said
    assert "with a forward of their own, which nothing here stands for, dense: layer2.0.downsample.0\n" in said
    told_of = {*(layer.name for layer in made.layers), *made.others, *made.own_forward}
    assert told_of == {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert all(layer.setting or layer.why_dense or layer.group == 2 for layer in made.layers)


def test_network_trained_on_its_validation_part_is_measured_on_the_test_part(make_run) -> None:
    run = make_run("config_001", "TRAIN_ON_VALIDATION=y", 'SWEEP_OBJECTIVE=""', "SKETCHED_GROUP1_RANK=8")
    assert compress_run(run) == 0

    assert set(result(run)["metrics"]) == set(RESOLVER.kconf.syms["SWEEP_METRICS"].str_value.split())
    assert "val_acc" not in result(run)["metrics"]


def test_diverged_training_is_a_diverged_run_of_all_who_want_it(make_run) -> None:
    wild = ("OPTIMIZER=sgd", "LEARNING_RATE=10", "WEIGHT_DECAY=1", "NUM_EPOCHS=20")
    runs = [make_run(f"config_00{rank}", *wild, f"SKETCHED_GROUP1_RANK={rank}") for rank in (4, 8)]
    assert [compress_run(run) for run in runs] == [0, 0]

    for run in runs:
        assert result(run)["status"] == "diverged"
        assert "the dense network has diverged: epoch " in result(run)["reason"]


@pytest.mark.parametrize("lines", [['SKETCHED_GROUP1_LAYERS="nothing"'], ["SKETCHED_GROUP1_RANK=60000"]])
def test_what_can_be_refused_is_refused_before_anything_is_trained(lines: list[str], make_run) -> None:
    run = make_run("config_001", *lines)

    with pytest.raises(ConfigError):
        compress_run(run)
    assert list(run.dir.path.parent.glob("dense_*")) == []


# -- a given network -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a trained LeNet-5."""
    path = tmp_path_factory.mktemp("trained")
    text = config_text(path / "asked", *SMALL, "NUM_EPOCHS=1", "LEARNING_RATE=0.002")
    (path / "config.txt").write_text(dense_config(text, "lenet5"))
    handler = signal.getsignal(signal.SIGTERM)
    assert train(Run(RunDir(path), attempt=1), build_task) == 0
    signal.signal(signal.SIGTERM, handler)
    return path


@pytest.fixture
def dense(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "elsewhere")


def test_given_network_is_compressed_and_nothing_is_trained(dense: Path, make_run) -> None:
    run = make_run("config_001", f'SKETCHED_CHECKPOINT="{dense}"', "SKETCHED_GROUP1_RANK=8")
    assert compress_run(run) == 0
    found = result(run)

    assert list(dense.parent.glob("dense_*")) == []
    assert found["metrics"]["dense_test_acc"] == json.loads((dense / "training_metrics.json").read_text())["metrics"]["test_acc"]
    assert "LEARNING_RATE" not in found["symbols_read"], "an axis over it would have no effect, and is told to be dead"
    assert found["effective"]["sketched"]["dense"]["symbols_read"]["LEARNING_RATE"] == "0.002"
    assert found["effective"]["optimizer"]["param_groups"][0]["lr"] == 0.002


def no_directory(dense: Path) -> None:
    shutil.rmtree(dense)


def no_weights(dense: Path) -> None:
    (dense / "checkpoints" / "best.pt").unlink()


def damaged(dense: Path) -> None:
    path = dense / "checkpoints" / "best.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def not_ended(dense: Path) -> None:
    (dense / "training_metrics.json").unlink()


def of_another_model(dense: Path) -> None:
    path = dense / "config.txt"
    path.write_text(path.read_text().replace('CONFIG_MODEL="lenet5"', 'CONFIG_MODEL="resnet18"'))


def of_other_data(dense: Path) -> None:
    path = dense / "config.txt"
    text = path.read_text().replace('CONFIG_DATASET="digits"', 'CONFIG_DATASET="mnist"')
    path.write_text(text)
    best = torch.load(dense / "checkpoints" / "best.pt")
    torch.save(best | {"config": config_digest(text)}, dense / "checkpoints" / "best.pt")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_directory, "found no run directory with a config.txt and checkpoints there; allowed: .* finished run of lenet5"),
        (no_weights, "best.pt is damaged: FileNotFoundError"),
        (damaged, "best.pt is damaged: BadZipFile"),
        (not_ended, "found a run that has not ended"),
        (of_another_model, 'found a run of resnet18, but CONFIG_SKETCHED_MODEL="lenet5"'),
        (of_other_data, 'set these as they are in its config.txt .*: DATASET: found "digits" here, "mnist" there'),
    ],
)
def test_given_network_that_cannot_be_had_is_refused(spoil: Callable[[Path], None], message: str, dense: Path, make_run) -> None:
    spoil(dense)
    run = make_run("config_001", f'SKETCHED_CHECKPOINT="{dense}"', "SKETCHED_GROUP1_RANK=8")

    with pytest.raises(ConfigError, match=message):
        compress_run(run)
    assert not run.dir.training_metrics.exists()
