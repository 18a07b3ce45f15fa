"""The masks of one run, and what keeps them true: pruned weights, their gradients and their optimizer state are zero."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ksweep.prune.allocation import allocate, groups
from ksweep.prune.importance import Importance
from ksweep.prune.schedule import Schedule
from ksweep.prune.select import mask_smallest, mask_smallest_sampled


class Pruner:
    """Prunes the weights of `importance`, which `optimizer` trains: the same way for every method, allocation and schedule.

    Call `before_step` before each step of the optimizer and `after_step` after it. Nothing is moved to the host. A step of any
    optimizer here leaves a weight at zero whose gradient and state are zero, so that only gradients are masked at each step, and
    before the first weight is pruned not even they. What is pruned never comes back.

    A mask has the type of its weight (1 or 0: a product of two types takes many times as long) and its memory format.
    `dense_layers`: names of the layers that are left out, for the record.
    """

    def __init__(
        self,
        importance: Importance,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        allocation: str,
        exact_limit: int,
        dense_layers: Sequence[str] = (),
    ) -> None:
        self.schedule = schedule
        self.weights = list(importance.weights)
        self._importance = importance
        self._optimizer = optimizer
        self._allocation = allocation
        self._exact_limit = exact_limit
        self._dense_layers = list(dense_layers)
        self._sizes = [weight.numel() for weight in self.weights]
        self._mask = torch.ones(sum(self._sizes), dtype=self.weights[0].dtype, device=self.weights[0].device)
        self.masks = self._like_weights(self._mask)
        self._groups = groups(allocation, self._sizes)
        self._step = 0
        self._num_pruned = [0] * len(self._groups)  # as scheduled

    def _like_weights(self, flat: Tensor) -> list[Tensor]:
        """Parts of a vector, each in the shape and memory format of its weight."""
        parts = zip(flat.split(self._sizes), self.weights, strict=True)
        return [part.as_strided(weight.shape, weight.stride()) for part, weight in parts]

    @torch.no_grad()
    def before_step(self) -> None:
        """Look at the gradients, then zero those of what is pruned."""
        if self._step < self.schedule.end_step:
            self._importance.observe()
        if any(self._num_pruned):
            pairs = [(w.grad, mask) for w, mask in zip(self.weights, self.masks, strict=True) if w.grad is not None]
            _multiply(pairs)

    @torch.no_grad()
    def after_step(self) -> None:
        """Count an optimizer step, and prune where one is due."""
        self._step += 1
        if self.schedule.is_due(self._step):
            num_pruned = self.schedule.num_pruned(self._step, len(self._mask))
            if num_pruned > sum(self._num_pruned):
                self._prune(num_pruned)

    def _prune(self, num_pruned: int) -> None:
        scores = self._scores()
        counts = allocate(self._allocation, scores, self._sizes, num_pruned, self.schedule.target)
        parts = zip(self._mask.split(self._groups), scores.split(self._groups), self._num_pruned, counts, strict=True)
        for mask, score, before, now in parts:
            if len(score) <= self._exact_limit:
                mask_smallest(mask, score, now - before)
            else:
                mask_smallest_sampled(mask, score, now, seed=self._step)
        self._num_pruned = counts
        _multiply(
            [(tensor, mask) for w, mask in zip(self.weights, self.masks, strict=True) for tensor in (w, *self._state_of(w))]
        )

    def _scores(self) -> Tensor:
        """Of all weights, one layer after the other; inf where they are pruned, so that they are not chosen again."""
        scores = torch.empty(len(self._mask), device=self._mask.device)
        for i, (score, mask) in enumerate(zip(self._like_weights(scores), self.masks, strict=True)):
            score.copy_(self._importance.score(i))
            score.addcdiv_(1 - mask, mask)  # adds 0 / 1, or 1 / 0; masked_fill_ takes twice as long
        return scores

    def _state_of(self, weight: Tensor) -> list[Tensor]:
        """All that the optimizer remembers of each entry: moments, the largest of them, momentum."""
        state = self._optimizer.state.get(weight, {}).values()
        return [value for value in state if isinstance(value, Tensor) and value.shape == weight.shape]

    def memory_bytes(self) -> int:
        """Bytes of the masks and of what the method remembers. While masks are chosen, for a moment, several times as much."""
        return _num_bytes([self._mask, *self._importance.buffers])

    def effective(self) -> dict[str, Any]:
        """What the objects themselves hold: the proof that the configuration arrived."""
        return {
            "method": self._importance.method,
            "variant": self._importance.variant,
            "allocation": self._allocation,
            "schedule": asdict(self.schedule),
            "exact_limit": self._exact_limit,
            "num_weights": len(self._mask),
            "num_layers": len(self.weights),
            "dense_layers": self._dense_layers,
            "mask_dtype": str(self._mask.dtype).removeprefix("torch."),
            "mask_bytes": _num_bytes([self._mask]),
            "score_bytes": _num_bytes(self._importance.buffers),
        }

    def state_dict(self) -> dict[str, Any]:
        """Masks, counters and what the method remembers, for a checkpoint."""
        return {
            "step": self._step,
            "num_pruned": self._num_pruned,
            "masks": [mask.bool() for mask in self.masks],
            "importance": self._importance.buffers,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._step, self._num_pruned = state["step"], state["num_pruned"]
        own = [*self.masks, *self._importance.buffers]
        for tensor, saved in zip(own, [*state["masks"], *state["importance"]], strict=True):
            tensor.copy_(saved)


def _num_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _multiply(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Multiply the first of each pair by the second, in place."""
    if pairs:
        tensors, masks = zip(*pairs, strict=True)
        torch._foreach_mul_(tensors, masks)
