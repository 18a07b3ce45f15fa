"""Make the pruner that a configuration asks for."""

from torch import nn
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.schedule import read_schedule
from ksweep.prune.state import StatePruner


def build_pruner(cfg: RunConfig, model: nn.Module, optimizer: Optimizer, steps_per_epoch: int) -> StatePruner | None:
    """A pruner, or None for PRUNING_METHOD none. ConfigError when the method, its schedule or the optimizer does not allow it."""
    method = cfg.str("PRUNING_METHOD")
    if method == "none":
        return None
    if method != "state":
        raise ConfigError(f'{cfg.source}: CONFIG_PRUNING_METHOD: found "{method}", allowed: none state')
    if "betas" not in optimizer.param_groups[0]:
        raise ConfigError(
            f"{cfg.source}: CONFIG_PRUNING_METHOD=state needs an optimizer with a second moment;"
            f" {type(optimizer).__name__} has none"
        )
    return StatePruner(model, optimizer, read_schedule(cfg, steps_per_epoch))
