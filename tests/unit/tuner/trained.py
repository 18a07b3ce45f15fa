"""A small trained network, and its accuracy on digits: what the tests of the tuner tune. As a program it tunes it, for tests that
kill it or start it with other hash seeds."""

import copy
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

WIDTH = 96


class Digits(NamedTuple):
    """Images float32 [N, 64] and labels int64 [N] of a part."""

    images: Tensor
    labels: Tensor


@cache
def part(name: str) -> Digits:
    """train: 1,000 images; search: 400; held: 397."""
    # scikit-learn's digits, without scikit-learn: its import takes as long as torch's, and programs that start from here need it.
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
    images, labels = torch.from_numpy(table[:, :-1] / 16), torch.from_numpy(table[:, -1]).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    rows = {"train": order[:1000], "search": order[1000:1400], "held": order[1400:]}[name]
    return Digits(images[rows], labels[rows])


@cache
def _trained() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5, generator=generator)
            nn.init.zeros_(layer.bias)
    images, labels = part("train")
    # By hand, since the optimizers of torch import its compiler.
    speeds = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(images), labels)
        for parameter, speed, grad in zip(
            model.parameters(), speeds, torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            parameter.data -= speed.mul_(0.9).add_(grad, alpha=0.1)
    return model.eval()


def trained() -> nn.Module:
    """A network of layers "0", "2" and "4" that was trained on digits; a copy each time."""
    return copy.deepcopy(_trained())


def accuracy_on(name: str) -> Callable[[nn.Module], float]:
    """The accuracy function of a part."""
    images, labels = part(name)

    def accuracy(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(images).argmax(1) == labels).float().mean())

    return accuracy


def smallness(model: nn.Module) -> float:
    """A speed that no machine disturbs: more with fewer numbers stored."""
    return 1e6 / sum(tensor.numel() for tensor in model.state_dict().values())


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit, names too."""
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
