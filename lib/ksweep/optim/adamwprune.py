"""AdamWPrune: an optimizer of the Adam family whose moments also score the weights for pruning (ksweep.prune).

What is built here is the optimizer alone: the class that ADAMWPRUNE_BASE names, by the ADAMWPRUNE_ knobs. With pruning off it
is that optimizer, to the last bit (torch's Adam and AdamW in their fused form, which rounds otherwise than the default one).
"""

from typing import Any

from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.optim import adam, adamw, adamwadv, adamwspam

NAME = "adamwprune"

_BASES = {module.NAME: module for module in (adam, adamw, adamwadv, adamwspam)}


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    base = cfg.str("ADAMWPRUNE_BASE")
    if base not in _BASES:
        raise ConfigError(f'{cfg.source}: CONFIG_ADAMWPRUNE_BASE: found "{base}", allowed: {" ".join(_BASES)}')
    optimizer: Optimizer = _BASES[base].build(cfg, param_groups, prefix="ADAMWPRUNE")
    return optimizer
