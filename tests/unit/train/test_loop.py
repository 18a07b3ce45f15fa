"""What a run selects, reports, refuses."""

import math

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.data.dataset import load
from ksweep.data.images import image_batches
from models.lenet5.model import LeNet5

FINAL = {
    "val_acc", "val_loss", "train_loss", "test_acc", "test_loss", "best_epoch", "final_sparsity", "train_time_s", "epoch_time_s",
    "step_time_s", "images_per_s", "peak_memory_mib", "pruning_mib",
}  # fmt: skip


@pytest.fixture(scope="module")
def dense(make_place):
    place = make_place("OPTIMIZER_SELECT_SGD=y", "NUM_EPOCHS=4")
    assert place.run() == 0, place.log.read_text()
    return place


def test_final_metrics_are_those_of_the_best_epoch(dense) -> None:
    history, final = dense.result["history"], dense.result["metrics"]
    best = max(history, key=lambda record: (record["val_acc"], -record["val_loss"]))

    assert set(final) == FINAL
    assert final["best_epoch"] == best["epoch"]
    assert all(final[name] == best[name] for name in ("val_acc", "val_loss", "train_loss"))
    assert final["final_sparsity"] == 0.0
    assert final["train_time_s"] == pytest.approx(sum(record["epoch_time_s"] for record in history))
    assert final["step_time_s"] == sorted(record["step_time_s"] for record in history)[1], "of four epochs the lower middle one"
    assert final["images_per_s"] * final["step_time_s"] * 17 == pytest.approx(1079)
    assert all(record["step_time_s"] * 17 < record["epoch_time_s"] for record in history), "validation is not part of a step"
    assert 100 < final["peak_memory_mib"] < 4096
    assert final["pruning_mib"] == 0.0


def test_epochs_report_everything_but_the_test_part(dense) -> None:
    for epoch, record in enumerate(dense.result["history"], 1):
        assert set(record) == {
            *("step", "epoch", "time_s", "train_loss", "val_loss", "val_acc", "lr"),
            *("epoch_time_s", "step_time_s", "images_per_s"),
        }
        assert (record["epoch"], record["step"]) == (epoch, epoch * 17)
        assert record["lr"] == pytest.approx(0.05 * (1 + math.cos(math.pi * epoch / 4)) / 2, abs=1e-12)


def test_best_weights_give_the_reported_accuracies(dense) -> None:
    data = load(RunConfig.load(dense.path / "config.txt"))
    model = LeNet5(1, 10).eval()
    model.load_state_dict(torch.load(dense.checkpoints / "best.pt", weights_only=True)["model"])

    for part, name in ((data.val, "val_acc"), (data.test, "test_acc")):
        ((images, labels),) = image_batches(data, part, batch_size=len(part), device=torch.device("cpu"))
        with torch.no_grad():
            accuracy = (model(images).argmax(1) == labels).double().mean().item()
        assert accuracy == pytest.approx(dense.result["metrics"][name], abs=1.01 / len(part))


def test_effective_settings_are_those_of_the_objects(make_place) -> None:
    place = make_place(
        *("OPTIMIZER_SELECT_ADAM=y", 'LEARNING_RATE="0.002"', 'ADAM_BETA1="0.8"'),
        *("BATCH_SIZE=100", "SEED=7", "NUM_EPOCHS=1", "PRECISION_SELECT_BF16=y"),
    )
    assert place.run() == 0, place.log.read_text()
    effective = place.result["effective"]

    assert effective["optimizer"]["class"] == "Adam"
    assert {(group["lr"], tuple(group["betas"])) for group in effective["optimizer"]["param_groups"]} == {(0.002, (0.8, 0.999))}
    assert [group["num_parameters"] for group in effective["optimizer"]["param_groups"]] == [61470, 280]
    assert (effective["batch_size"], effective["steps_per_epoch"]) == (100, 11)
    assert (effective["device"], effective["precision"], effective["num_threads"], effective["seed"]) == ("cpu", "bfloat16", 1, 7)
    assert effective["torch"] == torch.__version__
    assert effective["pruning"] is None


@pytest.mark.slow
def test_pruned_run_selects_among_the_sparse_epochs(make_place) -> None:
    place = make_place(
        "OPTIMIZER_SELECT_ADAMWPRUNE=y",
        'TARGET_SPARSITY="0.98"',
        "NUM_EPOCHS=4",
        "PRUNING_RAMP_END_EPOCH=3",
        'LEARNING_RATE="0.003"',
    )
    assert place.run() == 0, place.log.read_text()
    result = place.result
    best_of_all = max(result["history"], key=lambda record: record["val_acc"])

    assert best_of_all["epoch"] < 3, "else this test shows nothing: the dense net is to be the better one"
    assert result["metrics"]["best_epoch"] >= 3
    assert result["metrics"]["final_sparsity"] == pytest.approx(0.98, abs=1 / 61326)
    assert result["effective"]["pruning"]["schedule"]["end_step"] == 3 * 17


def test_constant_schedule_keeps_the_learning_rate(make_place) -> None:
    place = make_place("LR_SCHEDULE_SELECT_CONSTANT=y", 'LEARNING_RATE="0.002"', "NUM_EPOCHS=2")
    assert place.run() == 0, place.log.read_text()

    assert [record["lr"] for record in place.result["history"]] == [0.002, 0.002]


def test_loss_that_is_not_finite_ends_the_run_as_diverged(make_place) -> None:
    place = make_place("OPTIMIZER_SELECT_SGD=y", 'LEARNING_RATE="10"', 'WEIGHT_DECAY="1"', "NUM_EPOCHS=20")

    assert place.run() == 0, place.log.read_text()
    assert place.result["status"] == "diverged"
    assert "train_loss is nan" in place.result["reason"]
    assert place.result["metrics"]["train_loss"] is None
    assert place.num_reports < 20, "it stopped where it diverged"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("BATCH_SIZE=2000",), "CONFIG_BATCH_SIZE: found 2000, allowed: 1 to 1079, the training examples of digits"),
        (("DEVICE_SELECT_CUDA=y",), "CONFIG_DEVICE=cuda, but this process sees no GPU"),
        (("DATASET_SELECT_MNIST=y", 'DATA_DIR="/nonexistent/data"'), "run `make data-mnist`"),
        (
            ("OPTIMIZER_SELECT_ADAMWPRUNE=y", "PRUNING_WARMUP=136"),
            "CONFIG_PRUNING_WARMUP: found 136 steps, allowed: less than 136",
        ),
    ],
    ids=["batch larger than the data", "no GPU", "data not there", "schedule that never prunes"],
)
def test_refused_configuration_is_one_message_and_exit_code_2(make_place, assignments, message) -> None:
    place = make_place(*assignments)

    assert place.run() == 2
    assert message in place.log.read_text()
    assert "Traceback" not in place.log.read_text()
    assert not (place.path / "training_metrics.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('CONFIG_MODEL="lenet5"', 'CONFIG_MODEL="resnet18"', 'CONFIG_MODEL: found "resnet18", but this program trains lenet5'),
        (
            'CONFIG_OPTIMIZER="adamw"',
            'CONFIG_OPTIMIZER="lion"',
            'found "lion", allowed: adafactor adam adamw adamwadv adamwprune adamwspam rmsprop sgd',
        ),
        (
            'CONFIG_DATASET="digits"',
            'CONFIG_DATASET="svhn"',
            'found "svhn", allowed: cifar10 cifar100 digits fashion-mnist mnist',
        ),
        ("CONFIG_NUM_EPOCHS=10\n", "", "CONFIG_NUM_EPOCHS is not in this file"),
        ('CONFIG_PRECISION="auto"', 'CONFIG_PRECISION="fp8"', 'found "fp8", allowed: auto bf16 fp32'),
    ],
    ids=["model", "optimizer", "data set", "missing symbol", "precision"],
)
def test_edited_configuration_is_refused_with_what_is_allowed(make_place, old, new, message) -> None:
    place = make_place()
    config = place.path / "config.txt"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))

    assert place.run() == 2
    assert message in place.log.read_text()
