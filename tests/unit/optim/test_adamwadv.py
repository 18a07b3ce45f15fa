"""AdamWAdv: the norm of all gradients together."""

import pytest
import torch
from torch import Tensor, nn

SYMBOLS = {
    "OPTIMIZER": "adamwadv",
    "LEARNING_RATE": "0.1",
    "WEIGHT_DECAY": "0",
    "ADAM_BETA1": "0.9",
    "ADAM_BETA2": "0.999",
    "ADAM_EPSILON": "1e-8",
    "ADAM_AMSGRAD": "y",
}


@pytest.mark.parametrize(("size", "expected"), [(10.0, 0.5), (0.001, 0.003)], ids=["above: scaled down", "below: as it is"])
def test_norm_over_all_groups_is_clipped(built, size: float, expected: float) -> None:
    model = nn.Linear(2, 3)
    optimizer = built(model, ADAMWADV_MAX_GRAD_NORM="0.5", **SYMBOLS)
    model.weight.grad, model.bias.grad = torch.full((3, 2), size), torch.full((3,), size)  # 9 entries: norm 3 * size
    optimizer.step()

    norm = torch.cat([model.weight.grad.flatten(), model.bias.grad]).norm().item()
    assert norm == pytest.approx(expected, rel=1e-5)


def test_parameter_without_a_gradient_stays_as_it_is(built) -> None:
    model = nn.Linear(2, 3)
    before = model.weight.detach().clone()
    optimizer = built(model, ADAMWADV_MAX_GRAD_NORM="0.5", **SYMBOLS)
    optimizer.step()
    model.bias.grad = torch.ones(3)
    optimizer.step()

    assert torch.equal(model.weight, before)


def test_closure_computes_the_loss(built) -> None:
    model = nn.Linear(2, 3)
    optimizer = built(model, ADAMWADV_MAX_GRAD_NORM="0.5", **SYMBOLS)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(4, 2)).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0] / 2
