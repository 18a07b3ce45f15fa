"""The layers of a transformer: positions, attention, MLP, and the pre-norm block of them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.transformer.moe import Mixture
from models.transformer.settings import Settings


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021): a pair of numbers of a query or key turns by position * 10000^(-2 i / head size).

    The product of a query and a key then depends on their distance alone. Pairs are number i and i + half of the head size.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_size: int, length: int) -> None:
        super().__init__()
        rates = 10000.0 ** -(torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
        angles = torch.arange(length, dtype=torch.float64).unsqueeze(1) * rates  # [T, head size / 2]
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Turn x [..., T, head size] by positions int [..., T], 0 to length - 1; None: 0 to T - 1."""
        at = slice(x.shape[-2]) if positions is None else positions
        cos, sin = self.cos[at], self.sin[at]
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention. `rotary` None: positions are in the embedding."""

    def __init__(self, d_model: int, num_heads: int, *, is_causal: bool, rotary: Rotary | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.is_causal = is_causal
        self.rotary = rotary
        self.queries_keys_values = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[B, T, d] to [B, T, d]: queries from `x`, keys and values from `context` [B, T, d], or from `x` too."""
        if context is None:
            queries, keys, values = self.queries_keys_values(x).chunk(3, -1)
        else:
            queries, (keys, values) = self._queries(x), self._keys_values(context)
        queries, keys = self._turned(self._heads(queries)), self._turned(self._heads(keys))
        y = F.scaled_dot_product_attention(queries, keys, self._heads(values), is_causal=self.is_causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def of_some(self, context: Tensor, is_asking: Tensor) -> Tensor:
        """The rows of forward(context) [B, T, d] at which `is_asking` bool [B, T] is true, [R, d]; the others cost no query.

        Queries are packed to the left and padded to the longest sequence of them: one call, and faster than one a sequence.
        """
        keys, values = (self._heads(part) for part in self._keys_values(context))
        counts = is_asking.sum(1, keepdim=True)  # [B, 1]
        is_query = torch.arange(int(counts.max()), device=context.device) < counts  # [B, M]
        positions = torch.zeros_like(is_query, dtype=torch.int64)
        positions[is_query] = is_asking.nonzero()[:, 1]
        queries = context.new_zeros(*is_query.shape, context.shape[-1], dtype=keys.dtype)
        queries[is_query] = self._queries(context[is_asking])
        queries, keys = self._turned(self._heads(queries), positions.unsqueeze(1)), self._turned(keys)
        mask = None
        if self.is_causal:
            mask = torch.arange(context.shape[1], device=context.device) <= positions[:, None, :, None]  # [B, 1, M, T]
        y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2)[is_query])

    def _queries(self, x: Tensor) -> Tensor:
        layer, width = self.queries_keys_values, x.shape[-1]
        # Once compressed it has no rows of weights to leave out, and gives all three.
        return F.linear(x, layer.weight[:width]) if isinstance(layer, nn.Linear) else layer(x)[..., :width]

    def _keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layer, width = self.queries_keys_values, x.shape[-1]
        y = F.linear(x, layer.weight[width:]) if isinstance(layer, nn.Linear) else layer(x)[..., width:]
        keys, values = y.chunk(2, -1)
        return keys, values

    def _heads(self, x: Tensor) -> Tensor:
        """[B, T, d] to [B, heads, T, head size]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _turned(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        return x if self.rotary is None else self.rotary(x, positions)


class GeluMlp(nn.Module):
    """down(gelu(up(x)))."""

    def __init__(self, d_model: int, ratio: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, ratio * d_model, bias=False)
        self.down = nn.Linear(ratio * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] to [..., d]."""
        return self.down(F.gelu(self.up(x)))


class SwigluMlp(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020), two thirds as wide as the GELU one: as many parameters, but for rounding."""

    def __init__(self, d_model: int, ratio: int) -> None:
        super().__init__()
        hidden = round(2 * ratio * d_model / 3)
        self.gate_up = nn.Linear(d_model, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] to [..., d]."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


MLPS: dict[str, type[GeluMlp] | type[SwigluMlp]] = {"gelu": GeluMlp, "swiglu": SwigluMlp}


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); each branch with dropout. The MLP may be a mixture of experts."""

    def __init__(self, settings: Settings, rotary: Rotary | None) -> None:
        super().__init__()
        width, experts = settings.d_model, settings.experts
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, settings.num_heads, is_causal=settings.is_language_model, rotary=rotary)
        self.norm2 = nn.LayerNorm(width)

        def make_mlp() -> nn.Module:
            return MLPS[settings.mlp](width, settings.mlp_ratio)

        self.mlp = Mixture(width, experts.number, experts.top_k, make_mlp) if experts else make_mlp()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, context: Tensor | None = None, is_running: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """All tokens [B, T, d] one layer further, and the balance of the experts over those that `is_running` bool [B, T].

        Keys and values are made from `context` [B, T, d]; None: from `x`.
        """
        x = x + self.dropout(self.attention(self.norm1(x), None if context is None else self.norm1(context)))
        return self._through_mlp(x, is_running)

    def some(self, states: Tensor, is_running: Tensor) -> tuple[Tensor, Tensor | None]:
        """What forward(states) gives for the tokens that `is_running` bool [B, T], [R, d]: halted ones are not computed.

        A sequence that no running token belongs to costs nothing at all.
        """
        is_alive = is_running.any(1)
        if not is_alive.all():
            states, is_running = states[is_alive], is_running[is_alive]
        if is_running.all():
            x, balance = self(states)
            return x.flatten(0, 1), balance
        x = states[is_running]
        x = x + self.dropout(self.attention.of_some(self.norm1(states), is_running))
        return self._through_mlp(x, None)

    def _through_mlp(self, x: Tensor, is_counted: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not isinstance(self.mlp, Mixture):
            return x + self.dropout(self.mlp(self.norm2(x))), None
        counted = None if is_counted is None else is_counted.flatten()
        y, balance = self.mlp(self.norm2(x).flatten(0, -2), counted)
        return x + self.dropout(y.view_as(x)), balance


def initialize(module: nn.Module, num_layers: int) -> None:
    """As GPT-2 (Radford et al. 2019): all weights from N(0, 0.02^2); those that end a branch by sqrt(2 num_layers) smaller."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            ends_branch = name.endswith(("attention.out", ".down"))
            nn.init.normal_(part.weight, std=0.02 / math.sqrt(2 * num_layers) if ends_branch else 0.02)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
