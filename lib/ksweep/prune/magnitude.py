"""Magnitude pruning: importance is |w| (Han, Pool, Tran, Dally 2015, "Learning both Weights and Connections").

It needs no memory beyond the masks, and works with every optimizer.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.prune.importance import Importance

NAME = "magnitude"


class Magnitude(Importance):
    """|w|."""

    method = NAME

    def score(self, index: int) -> Tensor:
        """See Importance."""
        return self.weights[index].abs()


def build(cfg: RunConfig, weights: Sequence[nn.Parameter], optimizer: Optimizer) -> Magnitude:
    """It has no symbols of its own."""
    return Magnitude(weights)
