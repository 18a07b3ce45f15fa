"""AdamWAdv: AdamW, by default with AMSGrad (Reddi et al. 2018), whose gradients are clipped to a global norm.

The clipping is that of Pascanu et al. 2013, section 3.2. The third part of the recipe, a cosine schedule of the learning rate,
is LR_SCHEDULE's default.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import AdamW, Optimizer

from ksweep.contract.config import RunConfig
from ksweep.optim.settings import adam_settings

NAME = "adamwadv"


class AdamWAdv(AdamW):
    """AdamW that scales all gradients down together, in place, where their norm is above `max_grad_norm` (above 0)."""

    def __init__(self, params: list[dict[str, Any]], *, max_grad_norm: float, **adamw: Any) -> None:
        if not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm: found {max_grad_norm}, allowed: above 0")
        # In the groups, as torch keeps every setting: so it is in the checkpoint and among the effective settings.
        super().__init__([{**group, "max_grad_norm": max_grad_norm} for group in params], **adamw)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; moves nothing to the host. A `closure` computes the loss and the gradients, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        params = [param for group in self.param_groups for param in group["params"]]
        norm = get_total_norm([param.grad for param in params if param.grad is not None])
        clip_grads_with_norm_(params, self.param_groups[0]["max_grad_norm"], norm)
        super().step()
        return loss


def build(cfg: RunConfig, param_groups: list[dict[str, Any]], prefix: str = "ADAM") -> Optimizer:
    """ValueError or ConfigError when a value is refused. `prefix`: whose symbols it reads (see adam_settings)."""
    return AdamWAdv(param_groups, max_grad_norm=cfg.float("ADAMWADV_MAX_GRAD_NORM"), **adam_settings(cfg, prefix))
