"""AdamW (Loshchilov and Hutter 2019): Adam with weight decay apart from the gradient (torch.optim.AdamW)."""

from typing import Any

from torch.optim import AdamW, Optimizer

from ksweep.contract.config import RunConfig

NAME = "adamw"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    return AdamW(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        betas=(cfg.float("ADAM_BETA1"), cfg.float("ADAM_BETA2")),
        eps=cfg.float("ADAM_EPSILON"),
        weight_decay=cfg.float("WEIGHT_DECAY"),
        amsgrad=cfg.bool("ADAM_AMSGRAD"),
        fused=True,
    )
