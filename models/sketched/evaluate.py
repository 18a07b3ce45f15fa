"""What compression costs and gains: both networks on the same data, their sizes, their operations, their speed in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ksweep.contract.errors import KsweepError
from ksweep.nn.replacement import count_calls
from ksweep.nn.sizes import Sizes, count_flops, sizes
from ksweep.nn.timing import Comparison, compare
from ksweep.train.device import Compute
from ksweep.train.task import Part, Task

NUM_PAIRS = 25  # of timings: enough for an interval of a few percent on a machine that does other work too


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one network: `scores` by metric (val_acc, test_loss, ...), sizes of what gives answers, operations of one example."""

    scores: Mapping[str, float]
    sizes: Sizes
    flops: int


class Evaluation:
    """Measures networks in the place of the task's own. `micro_batch`: examples that training put through the network at once."""

    def __init__(self, task: Task, compute: Compute, micro_batch: int) -> None:
        self.task, self._compute, self._micro_batch = task, compute, micro_batch
        self.parts: tuple[Part, ...] = ("val", "test") if task.is_validated else ("test",)

    def measure(self, network: nn.Module, replaced: tuple[str, ...] = ()) -> tuple[Measured, dict[str, int]]:
        """The network's numbers, and how often each layer of `replaced` was called on the validation part (the test part, where
        there is none). KsweepError when one was not: what was measured would say nothing about it."""
        self.task.model = network
        with count_calls(network, replaced) as counts:
            scores = self.task.score(self.parts[0], self._micro_batch)
        calls = {name: counts[name] for name in replaced}
        if never := [name for name in replaced if not calls[name]]:
            raise KsweepError(f"not called in the whole {self.parts[0]} part: {' '.join(never)}; leave them out of the groups")
        for part in self.parts[1:]:
            scores |= self.task.score(part, self._micro_batch)
        with torch.no_grad():
            flops = count_flops(network, *self._arguments(1))
        return Measured(scores=scores, sizes=sizes(self.task.answering), flops=flops), calls

    def compare(self, new: nn.Module, dense: nn.Module, batch_size: int) -> tuple[Comparison, int]:
        """Time of evaluating one batch, the two in turns, with as many threads as the run has; and the examples of the batch."""
        arguments = self._arguments(batch_size)
        device = arguments[0].device
        num_threads = torch.get_num_threads()
        comparison = compare(
            self._evaluating(new, arguments),
            self._evaluating(dense, arguments),
            num_pairs=NUM_PAIRS,
            num_threads=num_threads,
            device=device,
        )
        return comparison, len(arguments[0])

    def calibration(self, num_batches: int, seed: int) -> list[tuple[Tensor, ...]]:
        """Arguments of the network for random training examples, not augmented, in batches of what training put through it at
        once."""
        generator = torch.Generator().manual_seed(seed)
        batches = self.task.examples("train", self._micro_batch, generator=generator, num_batches=num_batches)
        return [self.task.arguments("train", inputs, targets) for inputs, targets in batches]

    @torch.no_grad()
    def show(self, network: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> None:
        """Evaluate the network on these arguments, every layer of it."""
        network.eval()
        self.task.model = network
        with self.task.calling_all_layers():
            for arguments in batches:
                with self._compute.forward_format():
                    network(*arguments)

    def _arguments(self, batch_size: int) -> tuple[Tensor, ...]:
        inputs, targets = next(iter(self.task.examples(self.parts[0], batch_size)))
        return self.task.arguments(self.parts[0], inputs, targets)

    def _evaluating(self, network: nn.Module, arguments: tuple[Tensor, ...]) -> Callable[[], Any]:
        network.eval()

        @torch.no_grad()
        def evaluate() -> Any:
            with self._compute.forward_format():
                return network(*arguments)

        return evaluate
