"""Batches of examples: drawn in a seeded order for training, in their own order for evaluation."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, Tensor]
# Called at the start of each pass with its number of examples and the size of its batches; what it gives is called with each
# batch, on the device, and makes of it what the network and the loss get.
Preparation = Callable[[int, int], Callable[[Tensor, Tensor], Batch]]


class Order:
    """The indices of a part, cut into batches: anew in random order at each pass when there is a generator.

    `num_batches`: a pass ends after so many; None: it takes them all.
    """

    def __init__(self, part: Tensor, batch_size: int, generator: torch.Generator | None, num_batches: int | None) -> None:
        self.part = part
        self.batch_size = batch_size
        self.generator = generator
        self.num_examples = len(part) if num_batches is None else min(num_batches * batch_size, len(part))

    def __iter__(self) -> Iterator[Tensor]:
        # The draw is made on the CPU, so that the order is the same on every device; one copy an epoch, not one a step.
        if self.generator is None:
            order = self.part
        else:
            order = self.part[torch.randperm(len(self.part), generator=self.generator).to(self.part.device)]
        yield from order[: self.num_examples].split(self.batch_size)

    def __len__(self) -> int:
        return -(-self.num_examples // self.batch_size)


class _Examples(Dataset[Batch]):
    """Takes a whole batch of indices at a time: one indexing operation instead of one a sample and a collation."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __getitem__(self, index: Tensor) -> Batch:
        return self.inputs[index], self.targets[index]


class Batches:
    """Iterate over the rows `part` of `inputs` and `targets`, in batches on `device`, as `prepare` leaves them.

    A set that lies on the device needs no copy a step. One that worker processes are to index stays in host memory, and
    each batch is copied over when it is due. Same batches, same numbers.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        part: Tensor,
        *,
        batch_size: int,
        device: torch.device,
        num_workers: int = 0,
        generator: torch.Generator | None = None,
        num_batches: int | None = None,
        prepare: Preparation | None = None,
    ) -> None:
        self.order = Order(part, batch_size, generator, num_batches)
        self.device = device
        self._prepare = prepare
        self._loader = DataLoader(
            _Examples(inputs, targets),
            sampler=self.order,
            batch_size=None,  # the sampler yields whole batches
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=num_workers > 0 and device.type == "cuda",
            generator=torch.Generator(),  # seeds workers, which draw nothing; without it, it would advance the global generator
        )

    def __iter__(self) -> Iterator[Batch]:
        prepared = self._prepare(self.num_examples, self.order.batch_size) if self._prepare else None
        for inputs, targets in self._loader:
            inputs, targets = (each.to(self.device, non_blocking=True) for each in (inputs, targets))
            yield prepared(inputs, targets) if prepared else (inputs, targets)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def num_examples(self) -> int:
        """Examples of one pass."""
        return self.order.num_examples
