"""Make the optimizer that a configuration names."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from ksweep import optim
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.train.registry import selected


def build_optimizer(cfg: RunConfig, model: nn.Module) -> Optimizer:
    """The optimizer OPTIMIZER over all of the model's parameters. ConfigError when it does not know or refuses a value."""
    module = selected(cfg, "OPTIMIZER", optim)
    try:
        optimizer: Optimizer = module.build(cfg, param_groups(model))
    except ValueError as error:  # how torch's optimizers refuse a scalar
        raise ConfigError(f"{cfg.source}: optimizer {module.NAME}: {error}") from None
    return optimizer


def param_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups: weights, which decay; biases and normalisation parameters (one dimension or none), which never do."""
    params = [param for param in model.parameters() if param.requires_grad]
    return [
        {"params": [param for param in params if param.ndim > 1]},
        {"params": [param for param in params if param.ndim <= 1], "weight_decay": 0.0},
    ]


def effective_settings(optimizer: Optimizer) -> dict[str, Any]:
    """What the optimizer itself reports: its class, and the settings of each group with its number of parameters."""
    return {
        "class": type(optimizer).__name__,
        "param_groups": [
            {
                "num_parameters": sum(param.numel() for param in group["params"]),
                **{name: value for name, value in group.items() if name not in ("params", "initial_lr")},
            }
            for group in optimizer.param_groups
        ],
    }
