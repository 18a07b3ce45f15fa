"""RMSprop (Tieleman and Hinton 2012, lecture 6.5); weight decay is L2, added to the gradient (torch.optim.RMSprop)."""

from typing import Any

import torch
from torch.optim import Optimizer, RMSprop

from ksweep.contract.config import RunConfig

NAME = "rmsprop"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused. It goes on from a state without momentum as well."""
    optimizer = RMSprop(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        alpha=cfg.float("RMSPROP_ALPHA"),
        eps=cfg.float("RMSPROP_EPSILON"),
        momentum=cfg.float("RMSPROP_MOMENTUM"),
        weight_decay=cfg.float("WEIGHT_DECAY"),
    )
    optimizer.register_load_state_dict_post_hook(_start_momentum)
    return optimizer


def _start_momentum(optimizer: Optimizer) -> None:
    """Where another run's state has none: torch makes the buffers in the first step of all, and nowhere else."""
    if optimizer.defaults["momentum"]:
        for state in optimizer.state.values():
            state.setdefault("momentum_buffer", torch.zeros_like(state["square_avg"]))
