"""The task of a network that tells which class an image shows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.data.augment import Augment, read_mix
from ksweep.data.dataset import DataSet, load
from ksweep.data.images import image_batches
from ksweep.data.loader import Batches
from ksweep.train.device import Compute
from ksweep.train.task import AnyPart, Part, Selection, Task, TaskBuilder, read_batch_size, read_label_smoothing, read_num_batches

ModelBuilder = Callable[[RunConfig, DataSet], nn.Module]
EVALUATION_BATCH = 500  # examples; changes no result but the last bits, and is no symbol


class ImageClassification(Task):
    """Cross-entropy with label smoothing; selected by validation accuracy, at a tie by the lower loss."""

    selection = Selection(by="val_acc", is_maximized=True, then="val_loss")
    unit = "images"

    def __init__(self, cfg: RunConfig, compute: Compute, order: Generator, build_model: ModelBuilder) -> None:
        self._compute = compute
        self._label_smoothing = read_label_smoothing(cfg)
        num_workers = cfg.int("NUM_WORKERS")
        data = load(cfg)
        batch_size = read_batch_size(cfg, len(data.train), data.name)
        self.name, self.data = data.name, data if num_workers else data.to(compute.device)
        self._side = cfg.int("IMAGE_SIZE")
        self._augment = Augment(
            padding=cfg.int("RANDOM_CROP"), flip=cfg.bool("RANDOM_FLIP"), generator=order, device=compute.device
        )
        self._mix = read_mix(cfg, num_classes=data.num_classes, generator=order)
        self.train_batches = image_batches(
            self.data,
            self.data.train,
            batch_size=batch_size,
            device=compute.device,
            side=self._side,
            num_workers=num_workers,
            generator=order,
            num_batches=read_num_batches(cfg, len(data.train), batch_size),
            augment=self._augment if self._augment.padding or self._augment.flip else None,
            mix=self._mix,
        )
        self.model = build_model(cfg, self.data).to(compute.device)
        if compute.device.type == "cuda":
            # Not on a CPU: where the images lie so it gains nothing, and a fused AdamW step takes 2.4 times as long.
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's annotations

    @property
    def is_validated(self) -> bool:
        return len(self.data.val) > 0

    def loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(network(inputs), targets, label_smoothing=self._label_smoothing)

    def measure(self, part: Part, micro_batch: int) -> dict[str, float]:
        # Without gradients four times as many images fit: so evaluation needs no more memory than a step, however it is split.
        batches = self.examples(part, min(EVALUATION_BATCH, 4 * micro_batch))
        loss_sum, num_right = self._evaluate(batches).tolist()
        return {f"{part}_acc": num_right / batches.num_examples, f"{part}_loss": loss_sum / batches.num_examples}

    def examples(
        self, part: AnyPart, batch_size: int, *, generator: Generator | None = None, num_batches: int | None = None
    ) -> Batches:
        return image_batches(
            self.data,
            getattr(self.data, part),
            batch_size=batch_size,
            device=self._compute.device,
            side=self._side,
            generator=generator,
            num_batches=num_batches,
        )

    @torch.no_grad()
    def _evaluate(self, batches: Batches) -> Tensor:
        """Sum of the losses and number of right answers over one part, float64 [2], on the device."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self._compute.device)
        for images, labels in batches:
            with self._compute.forward_format():
                logits = self.model(images).float()  # [B, classes]; bf16 would sum losses with three digits
            loss_sum = F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([loss_sum.double(), (logits.argmax(1) == labels).sum().double()])
        return sums

    def effective(self) -> dict[str, Any]:
        return {
            "num_examples": {part: len(getattr(self.data, part)) for part in ("train", "val", "test")},
            "image_size": self._side,
            "random_crop": self._augment.padding,
            "random_flip": self._augment.flip,
            "mixup_alpha": self._mix.mixup_alpha if self._mix else 0.0,
            "cutmix_alpha": self._mix.cutmix_alpha if self._mix else 0.0,
            "label_smoothing": self._label_smoothing,
        }


def image_classification(build_model: ModelBuilder) -> TaskBuilder:
    """For `run_trainer`. `build_model`: a new network for the images and classes of a data set."""
    return partial(ImageClassification, build_model=build_model)
