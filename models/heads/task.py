"""The task: captions find their image, and images one of their captions, in the space that two heads project into."""

import statistics
import time
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.loader import Batches
from ksweep.data.pairs import PARTS, load_pairs
from ksweep.train.device import Compute
from ksweep.train.task import AnyPart, Part, Selection, Task, read_batch_size, read_num_batches
from models.heads.model import Heads, Projected, project
from models.heads.retrieval import retrieval_metrics
from models.heads.settings import read_head, read_loss

NUM_TIMED = 7


class Retrieval(Task):
    """An example is a caption with its image; selected by `r1_mean` on validation, at a tie by the lower loss.

    The loss compares the pairs of a batch with each other, so its value depends on BATCH_SIZE, and with GRAD_ACCUMULATION each
    part of a batch is compared within itself. Embeddings lie on the device once, each image once. The target of a caption is the
    number of its image, counted through the parts: no image of validation has the number of one that is in the loss's queue.
    """

    selection = Selection(by="r1_mean", is_maximized=True, then="val_loss")
    unit = "pairs"

    def __init__(self, cfg: RunConfig, compute: Compute, order: Generator) -> None:
        self._compute = compute
        head, loss = read_head(cfg), read_loss(cfg)
        self.data = load_pairs(cfg).to(compute.device)
        self.name = self.data.name
        num_train = len(self.data.train.texts)
        self._batch_size = read_batch_size(cfg, num_train, self.name)
        self.train_batches = self._batches(
            "train",
            self._batch_size,
            generator=order,
            num_batches=read_num_batches(cfg, num_train, self._batch_size),
        )
        try:
            model = Heads(head, loss, image_dim=self.data.train.images.shape[1], text_dim=self.data.train.texts.shape[1])
        except ValueError as error:
            raise ConfigError(f"{cfg.source}: {error}") from None
        self.model = model.to(compute.device)

    @property
    def _heads(self) -> Heads:
        return cast(Heads, self.model)

    def _first_image(self, part: AnyPart) -> int:
        """The number of the part's first image."""
        return sum(len(self.data.part(name).images) for name in PARTS[: PARTS.index(part)])

    def _batches(self, part: AnyPart, batch_size: int, **order: Any) -> Batches:
        """Captions [B, text_dim] and the image of each, int64 [B]."""
        data, device = self.data.part(part), self._compute.device
        images = data.image_of_text + self._first_image(part)
        rows = torch.arange(len(data.texts), device=device)
        return Batches(data.texts, images, rows, batch_size=batch_size, device=device, **order)

    @property
    def is_validated(self) -> bool:
        return len(self.data.val.texts) > 0

    @property
    def answering(self) -> nn.Module:
        return nn.ModuleList([self._heads.image_head, self._heads.text_head])

    def loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Of examples of the training part; those of another one are no rows of its images, and an error."""
        return self._loss(network, "train", inputs, targets)

    def _loss(self, network: nn.Module, part: AnyPart, texts: Tensor, image_ids: Tensor) -> Tensor:
        projected: Projected = network(*self.arguments(part, texts, image_ids))
        return cast(Tensor, self._heads.loss(projected.images, projected.texts, image_ids))

    def arguments(self, part: AnyPart, inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return self.data.part(part).images[targets - self._first_image(part)], inputs

    def examples(
        self, part: AnyPart, batch_size: int, *, generator: Generator | None = None, num_batches: int | None = None
    ) -> Batches:
        return self._batches(part, batch_size, generator=generator, num_batches=num_batches)

    @torch.no_grad()
    def measure(self, part: Part, micro_batch: int) -> dict[str, float]:
        """The loss in batches of BATCH_SIZE, and retrieval among all images and captions of the part."""
        self.model.eval()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._compute.device)
        batches = self._batches(part, self._batch_size)
        for texts, image_ids in batches:
            with self._compute.forward_format():
                loss_sum += self._loss(self.model, part, texts, image_ids).double() * len(texts)
        data = self.data.part(part)
        found = retrieval_metrics(
            self._project(self._heads.image_head, data.images),
            self._project(self._heads.text_head, data.texts),
            data.image_of_text,
        )
        named = found if part == "val" else {f"test_{name}": value for name, value in found.items()}
        return {f"{part}_loss": loss_sum.item() / batches.num_examples, **named}

    def _project(self, head: nn.Module, embeddings: Tensor) -> Tensor:
        with self._compute.forward_format():
            return project(head, embeddings)

    @torch.no_grad()
    def measure_selected(self, micro_batch: int) -> dict[str, float]:
        """`num_parameters` of both heads; `ms_per_1k_embeddings`: milliseconds to project 1,000 images and 1,000 captions."""
        self.model.eval()
        images, texts = self.data.train.images[:1000], self.data.train.texts[:1000]
        times = []
        for _ in range(NUM_TIMED + 1):  # the first warms up
            start = time.perf_counter()
            self._project(self._heads.image_head, images), self._project(self._heads.text_head, texts)
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
            times.append(time.perf_counter() - start)
        heads = (self._heads.image_head, self._heads.text_head)
        return {
            "num_parameters": sum(weight.numel() for head in heads for weight in head.parameters()),
            "ms_per_1k_embeddings": statistics.median(times[1:]) * 1000 * 2000 / (len(images) + len(texts)),
        }

    def effective(self) -> dict[str, Any]:
        return {
            "num_examples": {part: len(self.data.part(part).texts) for part in PARTS},
            "num_images": sum(len(self.data.part(part).images) for part in PARTS),
            "data_digest": self.data.digest,
            "achievable_r1": self.data.achievable_r1,
            **self._heads.effective(),
        }


def build_task(cfg: RunConfig, compute: Compute, order: Generator) -> Task:
    """For `run_trainer`."""
    return Retrieval(cfg, compute, order)
