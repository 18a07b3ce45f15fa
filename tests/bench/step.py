"""What the training loop costs: a step of ResNet-18 (AdamW), making its batch included, against the same network and optimizer
in a bare loop over the same tensors; in one process, in turns, one thread, in seconds of CPU time, since a virtual machine
loses more wall time than there is to measure. Batches of 32, so that there are many pairs: the loop's own work is per step.

make bench-step
"""

import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ.pop("OMP_NUM_THREADS", None)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ksweep.contract.config import RunConfig  # noqa: E402
from ksweep.kconfig.tree import load_tree  # noqa: E402
from ksweep.train.images import image_classification  # noqa: E402
from ksweep.train.training import Training  # noqa: E402
from models.resnet18.train import build_model  # noqa: E402

SYMBOLS = """\
CONFIG_MODEL_SELECT_RESNET18=y
CONFIG_DATASET_SELECT_DIGITS=y
CONFIG_OPTIMIZER_SELECT_ADAMW=y
CONFIG_BATCH_SIZE=32
CONFIG_RANDOM_CROP=4
CONFIG_RANDOM_FLIP=y
"""
Batch = tuple[Tensor, Tensor]
NUM_PAIRS = int(os.environ.get("PAIRS", "31"))
LIMIT = 1.02


class BareLoop:
    """What one would write by hand, without any of our code."""

    def __init__(self, model: nn.Module, label_smoothing: float) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
        self.label_smoothing = label_smoothing

    def step(self, images: Tensor, labels: Tensor) -> None:
        loss = F.cross_entropy(self.model(images), labels, label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def main() -> None:
    """Print seconds a step of both and the median ratio; exit code 1 when it is above the limit."""
    torch.set_num_threads(1)
    training = _training()
    bare = BareLoop(
        copy.deepcopy(training.model).to(memory_format=torch.contiguous_format), training.effective["label_smoothing"]
    )
    training.model.train()
    batches = _whole_batches(training)
    ours_s, bare_s = [], []
    tensors = next(batches)
    for pair in range(-2, NUM_PAIRS):  # the first two warm up
        order = (_ours, _bare) if pair % 2 else (_bare, _ours)  # what comes second finds other caches
        taken = {}
        for work in order:
            start = time.process_time()
            tensors = work(training, bare, batches, tensors)
            taken[work] = time.process_time() - start
        if pair >= 0:
            ours_s.append(taken[_ours])
            bare_s.append(taken[_bare])
    ratios = [a / b for a, b in zip(ours_s, bare_s, strict=True)]
    ratio = statistics.median(ratios)
    print(f"ResNet-18, batch {training.train_batches.order.batch_size}, {training.device}, one thread:")
    print(f"  this loop  {statistics.median(ours_s):.3f} s a step, crop, flip and normalisation included")
    print(f"  bare loop  {statistics.median(bare_s):.3f} s a step")
    print(f"  ratio      {ratio:.3f} (median of {NUM_PAIRS} pairs, {min(ratios):.3f} to {max(ratios):.3f}); limit {LIMIT}")
    sys.exit(ratio > LIMIT)


def _ours(training: Training, bare: BareLoop, batches: Iterator[Batch], tensors: Batch) -> Batch:
    images, labels = next(batches)
    training.train_step(images, labels)
    return images, labels


def _bare(training: Training, bare: BareLoop, batches: Iterator[Batch], tensors: Batch) -> Batch:
    bare.step(*tensors)
    return tensors


def _training() -> Training:
    kconf = load_tree(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "config")
        path.write_text(SYMBOLS)
        kconf.load_config(str(path))
        kconf.write_config(str(path))
        return Training(RunConfig.load(path), image_classification(build_model), num_micro_batches=1)


def _whole_batches(training: Training) -> Iterator[Batch]:
    while True:
        for images, labels in training.train_batches:
            if len(labels) == training.train_batches.order.batch_size:
                yield images, labels


if __name__ == "__main__":
    main()
