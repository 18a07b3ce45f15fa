"""The weights that may be pruned, and how many of them are zero."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


def prunable_layers(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name of each convolution and linear layer -> its weight, first and last layer included; no bias, no normalisation.

    In the order of the model; a weight that several layers share comes once, under the first name.
    """
    layers: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear) or not isinstance(module.weight, nn.Parameter):
            continue
        if all(module.weight is not weight for weight in layers.values()):
            layers[name] = module.weight
    return layers


def prunable_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights of `prunable_layers`."""
    return list(prunable_layers(model).values())


def share_of_zeros(weights: Sequence[Tensor]) -> float:
    """Zeros among all entries of the tensors, 0 to 1, counted; 0 without any tensor. Waits for the device."""
    if not weights:
        return 0.0
    num_zeros = torch.stack([(weight == 0).sum() for weight in weights]).sum().item()
    return num_zeros / sum(weight.numel() for weight in weights)


def read_dense_layers(cfg: RunConfig, layers: dict[str, nn.Parameter]) -> list[str]:
    """Names of the layers that PRUNING_DENSE_LAYERS leaves dense. ConfigError when it names none, or all of them."""
    patterns = [pattern.strip() for pattern in cfg.str("PRUNING_DENSE_LAYERS").split(",") if pattern.strip()]
    where, known = f"{cfg.source}: CONFIG_PRUNING_DENSE_LAYERS", f"the layers are {' '.join(layers) or 'none'}"
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in layers)]
    if unknown:
        raise ConfigError("\n".join(f'{where}: "{pattern}" matches no layer; {known}' for pattern in unknown))
    dense = [name for name in layers if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(dense) == len(layers):
        raise ConfigError(f"{where}: nothing is left to prune; {known}; for a dense run use CONFIG_PRUNING_METHOD=none")
    return dense
