"""Make the pruner that a configuration asks for."""

from torch import nn
from torch.optim import Optimizer

from ksweep import prune
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.allocation import ALLOCATIONS, LAYER_ADAPTIVE
from ksweep.prune.importance import Importance
from ksweep.prune.pruner import Pruner
from ksweep.prune.schedule import read_schedule
from ksweep.prune.weights import prunable_layers, read_dense_layers
from ksweep.train.registry import selected


def build_pruner(cfg: RunConfig, model: nn.Module, optimizer: Optimizer, steps_per_epoch: int) -> Pruner | None:
    """A pruner, or None for PRUNING_METHOD none. ConfigError when a value, the model or the optimizer does not allow it.

    The model has its final memory format and device.
    """
    if cfg.str("PRUNING_METHOD") == "none":
        return None
    module = selected(cfg, "PRUNING_METHOD", prune)
    layers = prunable_layers(model)
    dense_layers = read_dense_layers(cfg, layers)
    weights = [weight for name, weight in layers.items() if name not in dense_layers]
    importance = module.build(cfg, weights, optimizer)
    exact_limit = cfg.int("PRUNING_EXACT_LIMIT")
    if exact_limit < 1:
        raise ConfigError(f"{cfg.source}: CONFIG_PRUNING_EXACT_LIMIT: found {exact_limit}, allowed: 1 or more")
    return Pruner(
        importance,
        optimizer,
        read_schedule(cfg, steps_per_epoch),
        allocation=_read_allocation(cfg, importance),
        exact_limit=exact_limit,
        dense_layers=dense_layers,
    )


def _read_allocation(cfg: RunConfig, importance: Importance) -> str:
    allocation = cfg.str("PRUNING_ALLOCATION")
    allowed = [name for name in ALLOCATIONS if name != LAYER_ADAPTIVE or not importance.is_signed]
    if allocation not in allowed:
        of_signed = " (signed scores have no size to compare between layers)" if importance.is_signed else ""
        raise ConfigError(
            f'{cfg.source}: CONFIG_PRUNING_ALLOCATION: found "{allocation}", allowed: {" ".join(allowed)}{of_signed}'
        )
    return allocation
