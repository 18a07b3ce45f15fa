"""The task: captions find their image, and images one of their captions, in the space that two heads project into."""

import statistics
import time
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.loader import Batches
from ksweep.data.pairs import load_pairs
from ksweep.train.device import Compute
from ksweep.train.task import AnyPart, Part, Selection, Task, read_batch_size, read_num_batches
from models.heads.model import Heads, Projected, scaled
from models.heads.retrieval import retrieval_metrics
from models.heads.settings import read_head, read_loss

CHUNK = 8192  # embeddings that are projected at once in evaluation
NUM_TIMED = 7


class Retrieval(Task):
    """An example is a caption with its image; selected by `r1_mean` on validation, at a tie by the lower loss.

    The loss compares the pairs of a batch with each other, so its value depends on BATCH_SIZE, and with GRAD_ACCUMULATION each
    part of a batch is compared within itself. Embeddings lie on the device once.
    """

    selection = Selection(by="r1_mean", is_maximized=True, then="val_loss")
    unit = "pairs"

    def __init__(self, cfg: RunConfig, compute: Compute, order: Generator) -> None:
        self._compute = compute
        head, loss = read_head(cfg), read_loss(cfg)
        self.data = load_pairs(cfg).to(compute.device)
        self.name = self.data.name
        self._batch_size = read_batch_size(cfg, len(self.data.train), self.name)
        self._settings = {"head": asdict(head), "loss": asdict(loss)}
        self.train_batches = self._batches(
            "train",
            self._batch_size,
            generator=order,
            num_batches=read_num_batches(cfg, len(self.data.train), self._batch_size),
        )
        try:
            model = Heads(head, loss, image_dim=self.data.images.shape[1], text_dim=self.data.texts.shape[1])
        except ValueError as error:
            raise ConfigError(f"{cfg.source}: {error}") from None
        self.model = model.to(compute.device)

    @property
    def _heads(self) -> Heads:
        return cast(Heads, self.model)

    def _batches(self, part: AnyPart, batch_size: int, **order: Any) -> Batches:
        """Captions [B, text_dim] and the image of each, int64 [B]."""
        rows, device = getattr(self.data, part), self._compute.device
        return Batches(self.data.texts, self.data.image_of_text, rows, batch_size=batch_size, device=device, **order)

    @property
    def is_validated(self) -> bool:
        return len(self.data.val) > 0

    def loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        projected: Projected = network(self.data.images[targets], inputs)
        return cast(Tensor, self._heads.loss(projected.images, projected.texts, targets))

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
                loss_sum += self.loss(self.model, texts, image_ids).double() * len(texts)
        rows = getattr(self.data, part)
        gallery, image_of_text = self.data.image_of_text[rows].unique(return_inverse=True)
        found = retrieval_metrics(
            self._project(self._heads.image_head, self.data.images[gallery]),
            self._project(self._heads.text_head, self.data.texts[rows]),
            image_of_text,
        )
        named = found if part == "val" else {f"test_{name}": value for name, value in found.items()}
        return {f"{part}_loss": loss_sum.item() / batches.num_examples, **named}

    def _project(self, head: nn.Module, embeddings: Tensor) -> Tensor:
        with self._compute.forward_format():
            return torch.cat([head(scaled(some)) for some in embeddings.split(CHUNK)])

    @torch.no_grad()
    def measure_selected(self, micro_batch: int) -> dict[str, float]:
        """`num_parameters` of both heads; `ms_per_1k_embeddings`: milliseconds to project 1,000 images and 1,000 captions."""
        self.model.eval()
        images, texts = self.data.images[:1000], self.data.texts[:1000]
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
            "num_examples": {part: len(getattr(self.data, part)) for part in ("train", "val", "test")},
            "num_images": len(self.data.images),
            "data_digest": self.data.digest,
            "achievable_r1": self.data.achievable_r1,
            **self._settings,
        }


def build_task(cfg: RunConfig, compute: Compute, order: Generator) -> Task:
    """For `run_trainer`."""
    return Retrieval(cfg, compute, order)
