"""AdamWSPAM: AdamW that clips single spiking gradients and starts its moments afresh from time to time.

Huang et al. 2025, "SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training", arXiv 2501.06842, algorithm 1;
reference implementation: galore_torch/SPAM.py of TianjinYellow/SPAM-Optimizer. Departures from it:

- The threshold compares with the bias-corrected second moment. The paper's raw one is a thousandth of it right after a reset;
  with theta 50 instead of the paper's 5000 it would clip everything. The reference waits for 20 steps instead.
- An entry whose second moment is 0 has no history and is not clipped: its limit would be 0, for ever.
- After a reset the bias correction starts again as well, and with AMSGrad the largest second moment.
- The warm-up factor is 0.5*(1-cos(pi*k/N)), k = 1 to N, and reaches 1 at its last step; the weight decay, which the learning
  rate multiplies, warms up with it.
- All entries are momentum entries; the sparse momentum of the paper's section 4 is not here.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ksweep.contract.config import RunConfig
from ksweep.optim.settings import adam_settings

NAME = "adamwspam"


class AdamWSPAM(AdamW):
    """AdamW with spike-aware clipping and periodic momentum reset.

    `theta`: an entry g of a gradient with g^2 > theta * v_hat, v_hat its second moment before this step, is a spike; above 0.
    `clip`: bring spikes down, in place, to sqrt(theta * v_hat), sign kept.
    `interval`: steps between two resets of the moments; 0: never.
    `warmup_steps`: steps after each reset during which the learning rate rises to that of its schedule; below `interval`.

    A learning-rate schedule never sees the warm-up: between two steps each group holds the rate that the schedule gave it.
    Clipping costs about two fused steps more on a CPU, and on a GPU, during the step, memory for one more copy of the weights.
    """

    def __init__(
        self, params: list[dict[str, Any]], *, theta: float, clip: bool, interval: int, warmup_steps: int, **adamw: Any
    ) -> None:
        if not theta > 0:
            raise ValueError(f"theta: found {theta}, allowed: above 0")
        if interval < 0 or warmup_steps < 0:
            raise ValueError(f"interval and warmup_steps: found {interval} and {warmup_steps}, allowed: 0 or more")
        if 0 < interval <= warmup_steps:
            raise ValueError(
                f"{warmup_steps} warm-up steps do not end before the next reset, {interval} steps after the last one:"
                " fewer warm-up steps, a longer interval, or interval 0 for no reset"
            )
        # In the groups, as torch keeps every setting: so they are in the checkpoint and among the effective settings. The
        # count of steps is a number of our own, since torch's fused `step` is a tensor, and reading it waits for the device.
        own = {"theta": theta, "clip": clip, "interval": interval, "warmup_steps": warmup_steps, "spam_step": 0}
        super().__init__([{**group, **own} for group in params], **adamw)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; moves nothing to the host. A `closure` computes the loss and the gradients, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        scheduled = [group["lr"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                self._prepare(group)
            super().step()
        finally:
            for group, rate in zip(self.param_groups, scheduled, strict=True):
                group["lr"] = rate
        for group in self.param_groups:
            group["spam_step"] += 1
        return loss

    def _prepare(self, group: dict[str, Any]) -> None:
        """Reset, clip and warm up for the coming step, whatever of it is due."""
        since_start, interval, warmup_steps = group["spam_step"], group["interval"], group["warmup_steps"]
        since_reset = since_start % interval if interval else since_start
        if since_reset == 0:
            self._forget(group)  # at the start there is nothing yet
        elif group["clip"]:
            self._clip_spikes(group, since_reset)
        if interval and since_start >= interval and since_reset < warmup_steps:
            group["lr"] = group["lr"] * 0.5 * (1 - math.cos(math.pi * (since_reset + 1) / warmup_steps))

    def _forget(self, group: dict[str, Any]) -> None:
        """Zero the moments and the step count of the bias correction, in place."""
        state = [tensor for param in group["params"] for tensor in self.state.get(param, {}).values()]
        if state:
            torch._foreach_zero_(state)

    def _clip_spikes(self, group: dict[str, Any], num_updates: int) -> None:
        """`num_updates`: steps that the second moments have seen since they were zero, 1 or more."""
        known = [param for param in group["params"] if param.grad is not None and param in self.state]
        scale = math.sqrt(group["theta"] / (1 - group["betas"][1] ** num_updates))
        # On a GPU all at once, for few launches; on a CPU one by one, for few fresh pages (1.7x as fast).
        at_once = len(known) if known and known[0].is_cuda else 1
        for first in range(0, len(known), at_once):
            part = known[first : first + at_once]
            _clip_to([param.grad for param in part], [self.state[param]["exp_avg_sq"] for param in part], scale)


def _clip_to(grads: list[Tensor], squares: list[Tensor], scale: float) -> None:
    """Bring each entry of `grads` into +-scale * sqrt(square), in place; one whose square is 0 stays as it is."""
    limits = [torch.threshold(square, 0.0, math.inf) for square in squares]  # 0 becomes infinite
    torch._foreach_rsqrt_(limits)  # with the reciprocal below, 1.3x as fast as sqrt on a CPU; infinite ones pass through 0
    torch._foreach_mul_(limits, 1 / scale)
    torch._foreach_reciprocal_(limits)
    torch._foreach_minimum_(grads, limits)
    torch._foreach_neg_(limits)
    torch._foreach_maximum_(grads, limits)


def build(cfg: RunConfig, param_groups: list[dict[str, Any]], prefix: str = "ADAM") -> Optimizer:
    """ValueError or ConfigError when a value is refused. `prefix`: whose symbols it reads (see adam_settings)."""
    return AdamWSPAM(
        param_groups,
        theta=cfg.float("SPAM_THETA"),
        clip=cfg.bool("SPAM_CLIP"),
        interval=cfg.int("SPAM_INTERVAL"),
        warmup_steps=cfg.int("SPAM_WARMUP_STEPS"),
        **adam_settings(cfg, prefix),
    )
