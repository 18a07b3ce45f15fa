"""AdamWPrune: AdamW, by default with AMSGrad, whose second moment also scores the weights for pruning (ksweep.prune.state)."""

from typing import Any

from torch.optim import AdamW, Optimizer

from ksweep.contract.config import RunConfig

NAME = "adamwprune"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    return AdamW(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        betas=(cfg.float("ADAMWPRUNE_BETA1"), cfg.float("ADAMWPRUNE_BETA2")),
        weight_decay=cfg.float("ADAMWPRUNE_WEIGHT_DECAY"),
        amsgrad=cfg.bool("ADAMWPRUNE_AMSGRAD"),
        fused=True,
    )
