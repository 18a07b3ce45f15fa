"""Adam (Kingma and Ba 2015); weight decay is L2, added to the gradient (torch.optim.Adam)."""

from typing import Any

from torch.optim import Adam, Optimizer

from ksweep.contract.config import RunConfig

NAME = "adam"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    return Adam(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        betas=(cfg.float("ADAM_BETA1"), cfg.float("ADAM_BETA2")),
        eps=cfg.float("ADAM_EPSILON"),
        weight_decay=cfg.float("WEIGHT_DECAY"),
        amsgrad=cfg.bool("ADAM_AMSGRAD"),
        fused=True,
    )
