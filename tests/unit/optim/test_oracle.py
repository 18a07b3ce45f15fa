"""The fused kernels take the steps of the published formulas, computed here by hand in double precision."""

import pytest
import torch
from torch import Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.optim.build import build_optimizer

BASE = {"LEARNING_RATE": "0.1", "WEIGHT_DECAY": "0.2"}
SGD = {**BASE, "OPTIMIZER": "sgd", "SGD_MOMENTUM": "0.9", "SGD_NESTEROV": "n"}
ADAM = {**BASE, "ADAM_BETA1": "0.8", "ADAM_BETA2": "0.95", "ADAM_EPSILON": "1e-6", "ADAM_AMSGRAD": "n"}
PRUNE = {"ADAMWPRUNE_BETA1": "0.8", "ADAMWPRUNE_BETA2": "0.95", "ADAMWPRUNE_WEIGHT_DECAY": "0.2", "ADAMWPRUNE_AMSGRAD": "y"}


def sgd(weight: Tensor, gradients: list[Tensor], nesterov: bool = False) -> Tensor:
    """Sutskever et al. 2013 as torch writes it, L2 weight decay in the gradient."""
    velocity = torch.zeros_like(weight)
    for gradient in gradients:
        gradient = gradient + 0.2 * weight
        velocity = 0.9 * velocity + gradient
        weight = weight - 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
    return weight


def adam(weight: Tensor, gradients: list[Tensor], *, decoupled: bool, amsgrad: bool, eps: float = 1e-6) -> Tensor:
    """Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2; Reddi et al. 2018, algorithm 2."""
    m, v, largest = (torch.zeros_like(weight) for _ in range(3))
    for t, gradient in enumerate(gradients, 1):
        if decoupled:
            weight = weight * (1 - 0.1 * 0.2)
        else:
            gradient = gradient + 0.2 * weight
        m, v = 0.8 * m + 0.2 * gradient, 0.95 * v + 0.05 * gradient**2
        largest = torch.maximum(largest, v) if amsgrad else v
        weight = weight - 0.1 * (m / (1 - 0.8**t)) / ((largest / (1 - 0.95**t)).sqrt() + eps)
    return weight


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SGD, sgd),
        ({**SGD, "SGD_NESTEROV": "y"}, lambda w, g: sgd(w, g, nesterov=True)),
        ({**ADAM, "OPTIMIZER": "adam"}, lambda w, g: adam(w, g, decoupled=False, amsgrad=False)),
        ({**ADAM, "OPTIMIZER": "adamw"}, lambda w, g: adam(w, g, decoupled=True, amsgrad=False)),
        ({**ADAM, "OPTIMIZER": "adamw", "ADAM_AMSGRAD": "y"}, lambda w, g: adam(w, g, decoupled=True, amsgrad=True)),
        ({**BASE, **PRUNE, "OPTIMIZER": "adamwprune"}, lambda w, g: adam(w, g, decoupled=True, amsgrad=True, eps=1e-8)),
    ],
    ids=["sgd", "nesterov", "adam", "adamw", "adamw amsgrad", "adamwprune"],
)
def test_steps_are_those_of_the_formula(settings: dict[str, str], expected) -> None:
    draw = torch.Generator().manual_seed(1)
    gradients = [torch.randn(5, 7, generator=draw, dtype=torch.float64) * scale for scale in (1, 3, 0.1, 2, 0.01)]
    model = nn.Linear(7, 5, bias=False)
    start = model.weight.detach().double()
    optimizer = build_optimizer(RunConfig("".join(f"CONFIG_{k}={v}\n" for k, v in settings.items()), "config.txt"), model)
    for gradient in gradients:
        model.weight.grad = gradient.float()
        optimizer.step()

    # Five steps in single precision: a few units in the last place of values near 1.
    assert torch.allclose(model.weight.double(), expected(start, gradients), rtol=0, atol=2e-6)
