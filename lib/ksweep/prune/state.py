"""Pruning by the optimizer's own state: the least important weights of the whole net become zero and stay zero.

Importance is |w| * v^(1/4), v the second moment (exp_avg_sq) of Adam: large weights that still see large gradients count.
It needs no memory beyond the masks. Known as "bitter7" in AdamWPrune's code (lib/optimizers.py). Departures from there: the
threshold is exact instead of the k-th value of a 2 % sample, whose spread is over a point of sparsity on a small net; the
ramp is concave (schedule.py) as in the paper; what is pruned never comes back.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ksweep.prune.schedule import Schedule


def prunable_weights(model: nn.Module) -> list[nn.Parameter]:
    """Weights of every convolution and linear layer, first and last included, each once; no bias, no normalisation."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    by_id = {id(layer.weight): layer.weight for layer in layers}
    return [weight for weight in by_id.values() if isinstance(weight, nn.Parameter)]


def measured_sparsity(model: nn.Module) -> float:
    """Share of zeros among the prunable weights, 0 to 1, counted."""
    weights = prunable_weights(model)
    zeros = torch.stack([(weight == 0).sum() for weight in weights]).sum().item()
    return zeros / sum(weight.numel() for weight in weights)


def smallest(scores: Tensor, count: int) -> Tensor:
    """True at exactly `count` entries of a vector, the smallest; among equals at the threshold, at the earlier ones."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count).values  # a tenth of the time of a sort
    below, tied = scores < threshold, scores == threshold
    return below | (tied & (tied.cumsum(0) <= count - below.sum()))


class StatePruner:
    """Masks over the prunable weights of `model`, which `optimizer` (of the Adam family) trains.

    Call `mask_gradients` before each step of the optimizer and `after_step` after it.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, schedule: Schedule) -> None:
        self.schedule = schedule
        self.masks = [torch.ones_like(weight, dtype=torch.bool) for weight in prunable_weights(model)]
        self._weights = prunable_weights(model)
        self._optimizer = optimizer
        self._step = 0

    def mask_gradients(self) -> None:
        """Zero the gradients of what is pruned. Where gradient, moments and weight are zero, Adam's step leaves them so."""
        if self._step > self.schedule.warmup_steps:
            for weight, mask in zip(self._weights, self.masks, strict=True):
                if weight.grad is not None:
                    weight.grad.mul_(mask)

    def after_step(self) -> None:
        """Count an optimizer step, and prune where one is due. Moves nothing to the host."""
        self._step += 1
        if self.schedule.is_due(self._step):
            self._prune(self.schedule.sparsity(self._step))

    @torch.no_grad()
    def _prune(self, sparsity: float) -> None:
        """Mask the `sparsity` share (exact to half a weight) with the smallest importance."""
        pairs = zip(self._weights, self.masks, strict=True)
        scores = torch.cat([self._importance(weight, mask).flatten() for weight, mask in pairs])
        parts = (~smallest(scores, round(sparsity * len(scores)))).split([weight.numel() for weight in self._weights])
        self.masks = [part.view_as(weight) for part, weight in zip(parts, self._weights, strict=True)]
        for weight, mask in zip(self._weights, self.masks, strict=True):
            for tensor in [weight, *self._moments(weight)]:
                tensor.mul_(mask)

    def _importance(self, weight: nn.Parameter, mask: Tensor) -> Tensor:
        score = weight.abs() * self._optimizer.state[weight]["exp_avg_sq"].pow(0.25)
        return score.masked_fill(~mask, -1.0)  # below any live weight, also below one whose score is zero

    def _moments(self, weight: nn.Parameter) -> list[Tensor]:
        """exp_avg, exp_avg_sq and, with AMSGrad, the largest of the latter."""
        state = self._optimizer.state[weight].values()
        return [value for value in state if isinstance(value, Tensor) and value.shape == weight.shape]

    def state_dict(self) -> dict[str, Any]:
        """Masks and step count, for a checkpoint."""
        return {"masks": self.masks, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.masks = [mask.to(weight.device) for mask, weight in zip(state["masks"], self._weights, strict=True)]
        self._step = state["step"]
