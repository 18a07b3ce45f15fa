"""Small transformers with weights large enough that tokens differ: in what they attend to, and in their depth."""

from typing import Any

import torch
from torch import Tensor, nn

from models.transformer.model import Transformer
from models.transformer.settings import Experts, Halting, Settings

LENGTH, NUM_TOKENS, NUM_CLASSES, NUM_LAYERS = 12, 11, 5, 4
ACT = Halting(kind="act", threshold=0.8, ponder_weight=0.01, bias=-1.0, prior=None)
PONDERNET = Halting(kind="pondernet", threshold=0.8, ponder_weight=0.01, bias=-1.0, prior=0.3)
MIXTURE = Experts(number=4, top_k=2, balance_weight=0.01)


def make_settings(**changes: Any) -> Settings:
    known: dict[str, Any] = {
        "task": "language-model",
        "d_model": 16,
        "num_layers": NUM_LAYERS,
        "num_heads": 2,
        "mlp_ratio": 3,
        "positions": "rotary",
        "mlp": "gelu",
        "dropout": 0.0,
        "is_head_tied": False,
        "halting": None,
        "experts": None,
    }
    return Settings(**known | changes)


def make_transformer(*, seed: int = 1, **changes: Any) -> Transformer:
    """In training mode. Initial values are drawn from `seed`, and are larger than the model's own."""
    torch.manual_seed(seed)
    settings = make_settings(**changes)
    num_outputs = NUM_TOKENS if settings.is_language_model else NUM_CLASSES
    model = Transformer(settings, num_tokens=NUM_TOKENS, num_outputs=num_outputs, length=LENGTH)
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    for unit in model.halting_units:
        nn.init.normal_(unit.linear.weight, std=0.5)
    return model


def descend(model: Transformer, tokens: Tensor, num_steps: int) -> None:
    """Train by the signs of the gradients: about what Adam's first steps are, without the seconds that its import takes."""
    for _ in range(num_steps):
        model.zero_grad()
        model.loss(model(tokens), make_targets(model, tokens)).backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 0.01 * weight.grad.sign()


def make_tokens(batch: int = 6, seed: int = 2) -> Tensor:
    return torch.randint(NUM_TOKENS, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def make_targets(model: Transformer, tokens: Tensor) -> Tensor:
    return tokens.roll(-1, 1) if model.settings.is_language_model else tokens.sum(1) % NUM_CLASSES


class StopAt(nn.Module):
    """In place of a halting unit: lets those tokens stop that are to have no more layers than `number`."""

    def __init__(self, number: int, depth: Tensor) -> None:
        super().__init__()
        self.number = number
        self.depth = depth.flatten()

    def forward(self, x: Tensor) -> Tensor:
        depth = self.depth if x.shape[:-1].numel() == len(self.depth) else self.depth[self.depth >= self.number]
        return torch.where(depth <= self.number, 30.0, -30.0).view(x.shape[:-1])


def force_depth(model: Transformer, depth: Tensor) -> None:
    """Each token enters `depth` int [B, T] layers, whatever the weights say."""
    for number in range(1, len(model.blocks)):
        model.halting_units[number - 1] = StopAt(number, depth)
