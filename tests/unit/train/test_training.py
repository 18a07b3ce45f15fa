"""One step: parts of a batch add up to it, label smoothing arrives, the schedule is stepped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.data.loader import Batches
from ksweep.kconfig.tree import load_tree
from ksweep.train.images import ImageClassification, image_classification
from ksweep.train.training import Training

ROOT = Path(__file__).resolve().parents[3]


def linear(cfg: RunConfig, data: object) -> nn.Module:
    """Without batch normalisation, which sees each part alone."""
    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory):
    kconf = load_tree(ROOT)

    def make_training(*assignments: str, num_micro_batches: int = 1) -> Training:
        path = tmp_path_factory.mktemp("config") / "config.txt"
        path.write_text("".join(f"CONFIG_{assignment}\n" for assignment in assignments))
        kconf.load_config(str(path))
        kconf.write_config(str(path))
        return Training(RunConfig.load(path), image_classification(linear), num_micro_batches)

    return make_training


def val_batches(training: Training) -> Batches:
    task = training.task
    assert isinstance(task, ImageClassification)
    return task.examples("val", 4 * training.micro_batch)


@pytest.mark.parametrize("num_micro_batches", [2, 3, 54, 64, 100])
def test_micro_batches_add_up_to_the_batch(make, num_micro_batches: int) -> None:
    whole, parts = make("OPTIMIZER_SELECT_SGD=y"), make("OPTIMIZER_SELECT_SGD=y", num_micro_batches=num_micro_batches)

    seen = []
    parts.model.register_forward_pre_hook(lambda module, images: seen.append(len(images[0])))
    assert parts.train_epoch().item() == pytest.approx(whole.train_epoch().item(), rel=1e-5)
    assert len(seen) == 16 * min(num_micro_batches, 64) + min(num_micro_batches, 55), "16 batches of 64 examples and one of 55"
    assert max(seen) - min(seen) <= 1 + 64 // num_micro_batches - 55 // num_micro_batches
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("num_micro_batches", "largest"), [(1, 256), (4, 64), (64, 4)])
def test_evaluation_follows_the_size_of_a_part(make, num_micro_batches: int, largest: int) -> None:
    """Else a run that splits its steps to fit would still not fit."""
    training = make(num_micro_batches=num_micro_batches)
    sizes = [len(labels) for _, labels in val_batches(training)]

    assert max(sizes) == largest
    assert sum(sizes) == len(training.task.data.val)


def test_losses_are_summed_in_full_precision_under_bf16(make) -> None:
    training = make("PRECISION_SELECT_BF16=y")
    batches = val_batches(training)
    measured, num = training.measure("val"), len(training.task.data.val)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = torch.cat([training.model(images) for images, _ in batches]).double()
    labels = training.task.data.labels[training.task.data.val]

    assert measured["val_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert measured["val_acc"] == (logits.argmax(1) == labels).sum() / num


def test_label_smoothing_arrives(make) -> None:
    training = make('LABEL_SMOOTHING="0.1"')
    images, labels = next(iter(training.train_batches))
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(training.model(images), labels).item()

    assert training.train_step(images, labels).item() / len(labels) == pytest.approx(expected, rel=1e-6)
    assert training.effective["label_smoothing"] == 0.1


def gradient_norm(training: Training) -> float:
    return nn.utils.get_total_norm([weight.grad for weight in training.model.parameters()]).item()


@pytest.mark.parametrize("optimizer", ["SGD", "ADAM", "ADAMW", "ADAMWSPAM", "ADAMWPRUNE", "RMSPROP", "ADAFACTOR"])
def test_gradients_are_clipped_together_before_the_step_of_any_optimizer(make, optimizer: str) -> None:
    free, clipped = (make(f"OPTIMIZER_SELECT_{optimizer}=y", f'MAX_GRAD_NORM="{norm}"') for norm in ("0", "0.25"))
    batch = next(iter(free.train_batches))
    for training in (free, clipped):
        training.train_step(*batch)

    assert gradient_norm(free) > 0.5
    assert gradient_norm(clipped) == pytest.approx(0.25, rel=1e-4)
    assert (free.effective["max_grad_norm"], clipped.effective["max_grad_norm"]) == (0.0, 0.25)


def test_what_is_pruned_takes_no_share_of_a_clipped_step(make) -> None:
    pruning = ("PRUNING_SELECT_MAGNITUDE=y", "PRUNING_SCHEDULE_SELECT_ONE_SHOT=y", "PRUNING_WARMUP=1", 'TARGET_SPARSITY="0.9"')
    clipping = ('MAX_GRAD_NORM="0.25"', "OPTIMIZER_SELECT_SGD=y", 'SGD_MOMENTUM="0"', 'LEARNING_RATE="0.5"')
    training = make(*pruning, *clipping, "LR_SCHEDULE_SELECT_CONSTANT=y")
    batches = iter(training.train_batches)
    training.train_step(*next(batches))
    before = [weight.detach().clone() for weight in training.model.parameters()]
    training.train_step(*next(batches))

    moved = [weight.detach() - old for weight, old in zip(training.model.parameters(), before, strict=True)]
    assert training.sparsity() > 0.89
    assert nn.utils.get_total_norm(moved).item() == pytest.approx(0.5 * 0.25, rel=1e-3)


def test_rate_rises_and_falls_step_by_step(make) -> None:
    training = make("OPTIMIZER_SELECT_SGD=y", "NUM_EPOCHS=3", "LR_WARMUP_EPOCHS=1")
    rates = []
    for images, labels in training.train_batches:
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.train_step(images, labels)

    assert rates == pytest.approx([0.05 * (step + 1) / 17 for step in range(17)])
    assert training.effective["lr_schedule"].items() >= {"name": "cosine", "warmup_steps": 17, "num_steps": 51}.items()


def test_crop_and_flip_arrive_in_training_only(make) -> None:
    plain, augmented = make(), make("RANDOM_CROP=4", "RANDOM_FLIP=y")
    (a, _), (b, _) = (next(iter(val_batches(training))) for training in (plain, augmented))
    assert torch.equal(a, b)

    (a, _), (b, _) = next(iter(plain.train_batches)), next(iter(augmented.train_batches))
    assert a.shape == b.shape
    assert not torch.equal(a, b)
    assert (augmented.effective["random_crop"], augmented.effective["random_flip"]) == (4, True)


def test_images_are_scaled_to_the_size_that_is_asked_for(make) -> None:
    training = make("MODEL_SELECT_RESNET18=y", "DATASET_SELECT_DIGITS=y", "IMAGE_SIZE=48")
    images, _ = next(iter(training.train_batches))

    assert images.shape[1:] == (1, 48, 48)
    assert training.effective["image_size"] == 48


UNDER_A_LIMIT = """
import resource, sys
import ksweep.train.preload
import torch
from ksweep.train.images import image_classification
from ksweep.train.main import run_trainer

class Wide(torch.nn.Module):
    "Activations of 256 KiB an image, and next to no weights."
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1024, 10)

    def forward(self, images):
        features = images.flatten(1).repeat(1, 64).relu()
        return self.linear(features.view(len(images), 64, 1024).mean(1))

torch.set_num_threads(1)
address_space_kib = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, ((address_space_kib + 450 * 1024) * 1024,) * 2)
sys.exit(run_trainer("lenet5", image_classification(lambda cfg, data: Wide())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", ["y", "n"])
def test_out_of_memory_goes_on_with_smaller_parts_when_asked_to(tmp_path: Path, accumulate: str) -> None:
    """450 MiB above what the imports took: too little for 1,079 images at once (270 MiB, three times), enough for a part."""
    kconf = load_tree(ROOT)
    (tmp_path / "fragment").write_text(f"CONFIG_BATCH_SIZE=1079\nCONFIG_NUM_EPOCHS=2\nCONFIG_OOM_ACCUMULATE={accumulate}\n")
    kconf.load_config(str(tmp_path / "fragment"))
    kconf.write_config(str(tmp_path / "config.txt"))
    env = {**os.environ, "PYTHONPATH": "lib:.", "KSWEEP_RUN_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)

    if accumulate == "n":
        assert done.returncode == 1
        assert "can't allocate memory" in done.stderr
        return
    assert done.returncode == 0, done.stdout + done.stderr
    effective = json.loads((tmp_path / "training_metrics.json").read_text())["effective"]
    assert effective["num_micro_batches"] in (2, 4, 8)
    assert effective["batch_size"] == 1079
    assert f"going on with {effective['num_micro_batches']} micro-batches a step" in done.stdout
