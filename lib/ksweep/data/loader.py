"""Batches of a data set: drawn in a seeded order for training, in file order for evaluation."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ksweep.data.augment import Augment
from ksweep.data.dataset import SIDE, DataSet

EVALUATION_BATCH = 500  # examples; changes no result but the last bits, and is no symbol


class Order:
    """The indices of a part, cut into batches: anew in random order at each pass when there is a generator."""

    def __init__(self, part: Tensor, batch_size: int, generator: torch.Generator | None) -> None:
        self.part = part
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self) -> Iterator[Tensor]:
        # The draw is made on the CPU, so that the order is the same on every device; one copy an epoch, not one a step.
        if self.generator is None:
            order = self.part
        else:
            order = self.part[torch.randperm(len(self.part), generator=self.generator).to(self.part.device)]
        yield from order.split(self.batch_size)

    def __len__(self) -> int:
        return -(-len(self.part) // self.batch_size)


class _Examples(Dataset[tuple[Tensor, Tensor]]):
    """Takes a whole batch of indices at a time: one indexing operation instead of one a sample and a collation."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class Batches:
    """Iterate over (images float32 [B, C, side, side] normalised, channels last; labels int64 [B]) of one part, on `device`.

    A set that lies on the device needs no copy a step. One that worker processes are to index stays in host memory, and
    each batch is copied over when it is due. Same batches, same numbers.
    """

    def __init__(
        self,
        data: DataSet,
        part: Tensor,
        *,
        batch_size: int,
        device: torch.device,
        side: int = SIDE,
        num_workers: int = 0,
        generator: torch.Generator | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.order = Order(part, batch_size, generator)
        self.device = device
        self.side = side
        self.augment = augment
        self.mean, self.std = data.mean.to(device), data.std.to(device)
        self._loader = DataLoader(
            _Examples(data.images, data.labels),
            sampler=self.order,
            batch_size=None,  # the sampler yields whole batches
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=num_workers > 0 and device.type == "cuda",
            generator=torch.Generator(),  # seeds workers, which draw nothing; without it, it would advance the global generator
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = self.augment.draw(self.num_examples, self.order.batch_size) if self.augment else None
        for images, labels in self._loader:
            images = images.to(self.device, non_blocking=True)
            if self.augment and drawn:
                images = self.augment.apply(images, next(drawn))
            yield self._normalised(images), labels.to(self.device, non_blocking=True)

    def _normalised(self, images: Tensor) -> Tensor:
        # Channels last: a training step of ResNet-18 takes 0.92 of the time on a CPU, and tensor cores want it so.
        images = images.to(torch.float32, memory_format=torch.channels_last).sub_(self.mean).div_(self.std)
        if self.side == images.shape[-1]:
            return images
        return F.interpolate(images, size=(self.side, self.side), mode="bilinear")

    def __len__(self) -> int:
        return len(self.order)

    @property
    def num_examples(self) -> int:
        """Examples of one pass."""
        return len(self.order.part)
