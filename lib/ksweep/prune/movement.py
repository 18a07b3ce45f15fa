"""Movement pruning: weights that training moves towards zero go first, however large they are.

Sanh, Wolf, Rush 2020, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", section 4: S <- S - w * dL/dw after each step,
the largest S are kept. The learning rate of the scores, a positive constant, does not change their order and is left out.
Departures: the schedule is the one of all methods here; what is pruned never comes back (in the paper its score goes on
through the straight-through estimator); scores gather from the first step on, through the warm-up.

The scores take as much memory as the weights, beside the masks. It works with every optimizer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.prune.importance import Importance

NAME = "movement"


class Movement(Importance):
    """-sum of w * g over all steps so far; negative for a weight that shrinks."""

    method = NAME
    is_signed = True

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        super().__init__(weights)
        self.buffers = [torch.zeros_like(weight) for weight in weights]  # keeps the memory format of the weight

    def observe(self) -> None:
        """See Importance."""
        found = [(total, w, w.grad) for total, w in zip(self.buffers, self.weights, strict=True) if w.grad is not None]
        if found:
            totals, weights, gradients = zip(*found, strict=True)
            torch._foreach_addcmul_(totals, weights, gradients, value=-1)

    def score(self, index: int) -> Tensor:
        """See Importance."""
        return self.buffers[index]


def build(cfg: RunConfig, weights: Sequence[nn.Parameter], optimizer: Optimizer) -> Movement:
    """It has no symbols of its own."""
    return Movement(weights)
