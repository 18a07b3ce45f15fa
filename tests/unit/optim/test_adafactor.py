"""Adafactor: torch's own steps where both mean the same, small state for every shape, small gradients."""

import pytest
import torch
from torch import nn

from ksweep.optim.adafactor import Adafactor

DEFAULTS = {"beta2_decay": 0.8, "eps": (1e-30, 1e-3), "d": 1.0, "weight_decay": 0.1}


def test_steps_of_matrices_are_torchs_while_the_rate_is_below_its_bound() -> None:
    draw = torch.Generator().manual_seed(1)
    ours, torchs = (nn.Linear(7, 5, dtype=torch.float64) for _ in range(2))
    torchs.load_state_dict(ours.state_dict())
    optimizer = Adafactor([{"params": list(ours.parameters())}], lr=0.03, **DEFAULTS)
    reference = torch.optim.Adafactor(torchs.parameters(), lr=0.03, eps=(1e-15, 1e-3), weight_decay=0.1)
    for _ in range(200):
        for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=draw, dtype=torch.float64)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()

    for mine, other in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-10)


def test_a_kernel_is_the_matrix_of_its_first_dimension_against_the_rest() -> None:
    draw = torch.Generator().manual_seed(1)
    start = torch.randn(5, 3, 2, 2, generator=draw, dtype=torch.float64)
    kernel, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1))
    optimizer = Adafactor([{"params": [kernel, matrix]}], lr=0.03, **DEFAULTS)
    for _ in range(20):
        kernel.grad = torch.randn(start.shape, generator=draw, dtype=torch.float64)
        matrix.grad = kernel.grad.flatten(1)
        optimizer.step()

    assert torch.allclose(kernel.flatten(1), matrix, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 32), 96), ((64, 32, 3, 3), 64 + 32 * 9), ((64,), 64), ((), 1)],
    ids=["matrix", "kernel", "vector", "scalar"],
)
def test_state_of_a_weight_is_a_row_and_a_column(shape: tuple[int, ...], size: int) -> None:
    weight = nn.Parameter(torch.randn(shape))
    optimizer = Adafactor([{"params": [weight]}], lr=0.01, **DEFAULTS)
    weight.grad = torch.randn(shape)
    optimizer.step()

    assert sum(moment.numel() for moment in optimizer.state[weight]["second_moments"]) == size


def test_gradients_of_any_size_make_steps_of_the_same_size() -> None:
    """Single precision: the product of two moments of 1e-30 would be 0."""
    sizes = []
    for scale in (1.0, 1e-12):
        weight = nn.Parameter(torch.ones(4, 6))
        optimizer = Adafactor([{"params": [weight]}], lr=0.01, **DEFAULTS | {"weight_decay": 0.0})
        weight.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)) * scale
        optimizer.step()
        sizes.append((weight - 1).abs().mean().item())

    assert sizes == pytest.approx([sizes[0]] * 2, rel=1e-3)
    assert 0.005 < sizes[0] <= 0.0101


def test_a_weight_that_has_no_gradient_anywhere_stays_finite() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    optimizer = Adafactor([{"params": [weight]}], lr=0.01, **DEFAULTS)
    for _ in range(3):
        weight.grad = torch.zeros(4, 6)
        optimizer.step()

    assert torch.equal(weight, torch.full((4, 6), weight[0, 0].item()))
    assert weight[0, 0].item() == pytest.approx((1 - 0.01 * 0.1) ** 3)
