"""Adam (Kingma and Ba 2015); weight decay is L2, added to the gradient (torch.optim.Adam)."""

from typing import Any

from torch.optim import Adam, Optimizer

from ksweep.contract.config import RunConfig
from ksweep.optim.settings import adam_settings

NAME = "adam"


def build(cfg: RunConfig, param_groups: list[dict[str, Any]], prefix: str = "ADAM") -> Optimizer:
    """ValueError or ConfigError when a value is refused. `prefix`: whose symbols it reads (see adam_settings)."""
    return Adam(param_groups, **adam_settings(cfg, prefix))
