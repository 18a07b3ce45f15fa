"""What a pruning method has to say: how much each weight is worth."""

from collections.abc import Sequence

from torch import Tensor, nn


class Importance:
    """Scores for `weights`; of all live weights those with the smallest scores are pruned."""

    method: str
    variant: str | None = None
    is_signed = False  # True: scores may be negative, and their size means nothing

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = weights
        self.buffers: list[Tensor] = []  # what the method remembers between steps; saved with a checkpoint

    def observe(self) -> None:
        """Called before each optimizer step up to the end of the ramp, with all gradients in place, under no_grad."""

    def score(self, index: int) -> Tensor:
        """Score of each entry of `weights[index]`, in its shape; called after an optimizer step, under no_grad."""
        raise NotImplementedError
