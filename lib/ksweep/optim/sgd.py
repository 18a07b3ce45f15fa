"""Stochastic gradient descent with momentum; weight decay is L2, added to the gradient (torch.optim.SGD)."""

from typing import Any

from torch.optim import SGD, Optimizer

from ksweep.contract.config import RunConfig

NAME = "sgd"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    return SGD(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        momentum=cfg.float("SGD_MOMENTUM"),
        nesterov=cfg.bool("SGD_NESTEROV"),
        weight_decay=cfg.float("WEIGHT_DECAY"),
        fused=True,
    )
