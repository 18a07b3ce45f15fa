"""What a model learns, and how that is measured: all that the loop must be told of a kind of data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Generator, Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.loader import Batches
from ksweep.train.device import Compute

Part = Literal["val", "test"]
AnyPart = Part | Literal["train"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What makes one epoch better than another: the metric `by`; at a tie, a lower `then`."""

    by: str
    is_maximized: bool
    then: str | None = None

    def key(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """Of an epoch, the larger the better: the value itself, or its negative, and the tie-break."""
        value = metrics[self.by] if self.is_maximized else -metrics[self.by]
        return (value, -metrics[self.then]) if self.then else (value,)

    def text(self, key: Sequence[float]) -> str:
        """`val_acc 0.9721`."""
        return f"{self.by} {key[0] if self.is_maximized else -key[0]:.4g}"


class Task(ABC):
    """The model, its batches, its loss and its metrics. The model is on its device when the constructor is through."""

    selection: ClassVar[Selection]
    unit: ClassVar[str]  # what speed counts, in the plural
    name: str  # of the data set
    model: nn.Module
    train_batches: Batches

    @property
    @abstractmethod
    def is_validated(self) -> bool:
        """False when there is no validation part: it is trained on."""

    @property
    def units_per_example(self) -> int:
        """How many of `unit` an example is."""
        return 1

    @property
    def answering(self) -> nn.Module:
        """What of the model gives the answers; a loss with a state of its own, which only training needs, is no part of it."""
        return self.model

    @abstractmethod
    def loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of the examples of a batch, with its gradient. `network`: the model, compiled perhaps."""

    @abstractmethod
    def measure(self, part: Part, micro_batch: int) -> dict[str, float]:
        """Metrics of the weights as they are on a part, in evaluation mode and without label smoothing: `val_loss` or `test_loss`
        and so on. `micro_batch`: the examples of which a training step takes the memory."""

    def score(self, part: Part, micro_batch: int) -> dict[str, float]:
        """Those of `measure` that tell how good the answers are: loss, accuracy, perplexity. Compressed models have them too."""
        return self.measure(part, micro_batch)

    @abstractmethod
    def examples(
        self, part: AnyPart, batch_size: int, *, generator: Generator | None = None, num_batches: int | None = None
    ) -> Batches:
        """Examples as evaluation gets them, not augmented; in random order with a generator. `num_batches`: at most so many."""

    def arguments(self, part: AnyPart, inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """What the network is called with for a batch of `examples` of that part."""
        return (inputs,)

    def calling_all_layers(self) -> AbstractContextManager[None]:
        """Within it an evaluation calls every layer on all that it could see, whether or not it would skip some."""
        return nullcontext()

    @abstractmethod
    def effective(self) -> dict[str, Any]:
        """What the constructed objects report of themselves: the proof that the configuration arrived."""

    def measure_selected(self, micro_batch: int) -> dict[str, float]:
        """What is measured once, of the selected weights, since it takes too long for each epoch. `micro_batch`: as above."""
        return {}

    def of_reports(self, reports: list[dict[str, Any]]) -> dict[str, float]:
        """What follows from the reports of the whole run."""
        return {}


TaskBuilder = Callable[[RunConfig, Compute, Generator], Task]


def read_batch_size(cfg: RunConfig, num_examples: int, name: str) -> int:
    """BATCH_SIZE. ConfigError when it is not 1 to `num_examples`, the training examples of the set `name`."""
    batch_size = cfg.int("BATCH_SIZE")
    if not 1 <= batch_size <= num_examples:
        raise ConfigError(
            f"{cfg.source}: CONFIG_BATCH_SIZE: found {batch_size}, allowed: 1 to {num_examples}, the training examples of {name}"
        )
    return batch_size


def read_label_smoothing(cfg: RunConfig) -> float:
    """LABEL_SMOOTHING. ConfigError when it is not 0 to below 1."""
    share = cfg.float("LABEL_SMOOTHING")
    if not 0 <= share < 1:
        raise ConfigError(f"{cfg.source}: CONFIG_LABEL_SMOOTHING: found {share}, allowed: 0 to below 1")
    return share


def read_num_batches(cfg: RunConfig, num_examples: int, batch_size: int) -> int | None:
    """STEPS_PER_EPOCH; None for 0: a whole pass. ConfigError when a pass has fewer."""
    num_batches, most = cfg.int("STEPS_PER_EPOCH"), -(-num_examples // batch_size)
    if not 0 <= num_batches <= most:
        raise ConfigError(
            f"{cfg.source}: CONFIG_STEPS_PER_EPOCH: found {num_batches}, allowed: 0 to {most}, the batches of {batch_size}"
            f" that {num_examples} training examples make"
        )
    return num_batches or None
