"""AdamWPrune with pruning off is its base."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

BASE = {"OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": "adamw", "LEARNING_RATE": "0.003"}
KNOBS = {"BETA1": "0.85", "BETA2": "0.99", "EPSILON": "1e-7", "WEIGHT_DECAY": "0.03"}


@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_200_steps_equal_those_of_torch_adamw_to_the_last_bit(built, amsgrad: bool) -> None:
    ours, torchs = network(), network()
    symbols = {f"ADAMWPRUNE_{name}": value for name, value in {**KNOBS, "AMSGRAD": "y" if amsgrad else "n"}.items()}
    optimizer = built(ours, **BASE, **symbols)
    groups = [
        {"params": [param for param in torchs.parameters() if param.ndim > 1]},
        {"params": [param for param in torchs.parameters() if param.ndim <= 1], "weight_decay": 0.0},
    ]
    reference = AdamW(groups, lr=0.003, betas=(0.85, 0.99), eps=1e-7, weight_decay=0.03, amsgrad=amsgrad, fused=True)
    train(ours, optimizer)
    train(torchs, reference)

    for found, wanted in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(found, wanted)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    draw = torch.Generator().manual_seed(2)
    for _ in range(200):
        images: Tensor = torch.randn(16, 1, 8, 8, generator=draw)
        labels = torch.randint(10, (16,), generator=draw)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
