"""AdamW (Loshchilov and Hutter 2019): Adam with weight decay apart from the gradient (torch.optim.AdamW)."""

from typing import Any

from torch.optim import AdamW, Optimizer

from ksweep.contract.config import RunConfig
from ksweep.optim.settings import adam_settings

NAME = "adamw"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]], prefix: str = "ADAM") -> Optimizer:
    """ValueError or ConfigError when a value is refused. `prefix`: whose symbols it reads (see adam_settings)."""
    return AdamW(param_groups, **adam_settings(cfg, prefix))
