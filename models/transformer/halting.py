"""When a token stops, and what its layers count: ACT (Graves 2016) and PonderNet (Banino, Balaguer, Blundell 2021).

Both give each token one unit of halting mass to spend on its layers, the last layer taking what is left. A token runs while it
has spent less than the threshold.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HaltingUnit(nn.Module):
    """The logit of the chance to stop here: linear in the normalised state of a token."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] to [...], in the number format of the weights: halting mass is summed, which bf16 is too coarse for."""
        logits: Tensor = self.linear(F.layer_norm(x, x.shape[-1:])).squeeze(-1)
        return logits.to(self.linear.weight.dtype)


class Act:
    """Graves 2016, "Adaptive Computation Time for Recurrent Neural Networks", section 2, with layers for steps.

    With h_n = sigmoid(logit) after layer n, a token stops at the first layer N by which the h sum up to the threshold, or at the
    last one. Its layers n < N count h_n, and N counts the rest R = 1 - sum of these.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def start(self, x: Tensor) -> Tensor:
        """What tokens [..., d] have left before their first layer, [...]."""
        return torch.ones_like(x[..., 0])

    def after(self, left: Tensor, logits: Tensor | None) -> Tensor:
        """What they have left after a layer whose halting unit says `logits`; nothing after the last layer (None)."""
        return torch.zeros_like(left) if logits is None else left - logits.sigmoid()

    def is_running(self, left: Tensor) -> Tensor:
        """Whether they go on."""
        return left > 1 - self.threshold

    def depth(self, lefts: Tensor) -> Tensor:
        """N, int64 [...], from what was left before each layer and after the last, [L + 1, ...]."""
        return self.is_running(lefts).sum(0)

    def weights(self, lefts: Tensor) -> Tensor:
        """What each layer counts, [L, ...], from [L + 1, ...]. Sums to 1."""
        before, after = lefts[:-1], lefts[1:]
        count = torch.where(self.is_running(after), before - after, before)
        return torch.where(self.is_running(before), count, 0)

    def ponder(self, lefts: Tensor) -> Tensor:
        """Mean over tokens of N + R. N has no gradient; R falls as the h before N rise, so the cost makes tokens stop sooner."""
        depth = self.depth(lefts)
        rest = lefts.gather(0, depth.unsqueeze(0) - 1)
        return (depth + rest).mean()


class PonderNet:
    """Banino et al. 2021, "PonderNet: Learning to Ponder", with layers for steps.

    lambda_n = sigmoid(logit) is the chance to stop at layer n having come there: p_n = lambda_n prod_{j<n} (1 - lambda_j), and
    lambda of the last layer is 1. A token is computed until the p_n sum up to the threshold, and leaves with the state it has
    there. What is left is kept as its logarithm, which a chance close to 1 does not round to nothing.
    """

    def __init__(self, threshold: float, prior: float) -> None:
        self.threshold = threshold
        self.prior = prior

    def start(self, x: Tensor) -> Tensor:
        """The logarithm of what tokens [..., d] have left before their first layer, [...]."""
        return torch.zeros_like(x[..., 0])

    def after(self, left: Tensor, logits: Tensor | None) -> Tensor:
        """That after a layer whose halting unit says `logits`; nothing is left after the last layer (None)."""
        return torch.full_like(left, -math.inf) if logits is None else left + F.logsigmoid(-logits)

    def is_running(self, left: Tensor) -> Tensor:
        """Whether they go on."""
        return left.exp() > 1 - self.threshold

    def depth(self, lefts: Tensor) -> Tensor:
        """The layers that are computed, int64 [...], from what was left before each layer and after the last, [L + 1, ...]."""
        return self.is_running(lefts).sum(0)

    def log_weights(self, lefts: Tensor, logits: Tensor) -> Tensor:
        """log p_n, [L, ...], from [L + 1, ...] and the logits of the halting units, [L - 1, ...]."""
        return lefts[:-1] + torch.cat([F.logsigmoid(logits), torch.zeros_like(lefts[:1])])

    def ponder(self, log_weights: Tensor) -> Tensor:
        """Mean over tokens of the divergence KL(p || prior), where the prior is geometric, cut off after L layers."""
        layers = torch.arange(len(log_weights), device=log_weights.device, dtype=log_weights.dtype)
        log_prior = (layers * math.log(1 - self.prior)).log_softmax(0)
        log_prior = log_prior.view(-1, *[1] * (log_weights.ndim - 1))
        return (log_weights.exp() * (log_weights - log_prior)).sum(0).mean()
