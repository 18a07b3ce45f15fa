"""RMSprop goes on from the state of a run with another momentum, as population based training has it."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

SYMBOLS = {
    "OPTIMIZER": "rmsprop",
    "LEARNING_RATE": "0.01",
    "RMSPROP_ALPHA": "0.9",
    "RMSPROP_EPSILON": "1e-8",
    "WEIGHT_DECAY": "0",
}


@pytest.mark.parametrize(("before", "after"), [("0", "0.5"), ("0.5", "0"), ("0.5", "0.9")])
def test_momentum_may_change_from_one_run_to_the_next(built, before: str, after: str) -> None:
    model = nn.Linear(3, 2)
    parent, child = (built(model, RMSPROP_MOMENTUM=momentum, **SYMBOLS) for momentum in (before, after))
    step(model, parent)
    child.load_state_dict(copy.deepcopy(parent.state_dict()))
    for group in child.param_groups:
        group["momentum"] = float(after)
    start = model.weight.detach().clone()
    old = parent.state[model.weight].get("momentum_buffer", torch.zeros(2, 3)).clone()
    step(model, child)

    square_avg = torch.full((2, 3), 0.1 * 0.9 + 0.1)  # after two gradients of 1
    assert torch.allclose(model.weight, start - 0.01 * (float(after) * old + square_avg.rsqrt()))


def step(model: nn.Linear, optimizer: Optimizer) -> None:
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
