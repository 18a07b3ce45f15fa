"""The projection heads: from a frozen embedding to a unit vector in the space that both modalities share."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, empty, nn

MLP_RATIO = 4  # hidden units of a block's MLP, as a multiple of the width of the tokens


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """What `build_head` makes. `kind`: siglip, clip, attention or mlp; `output_dim`: width of the shared space; `dropout`, 0 to
    below 1: the share of numbers that training drops.

    `hidden_dim`: hidden units of clip and mlp, width of the tokens of attention; else 0. `num_tokens`, `num_heads`,
    `num_layers`: of attention; else 0.
    """

    kind: str
    output_dim: int
    dropout: float
    hidden_dim: int
    num_tokens: int
    num_heads: int
    num_layers: int


class Head(nn.Module):
    """`body`, and rows of length 1 behind it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [B, in] to unit rows float32 [B, out], also where the body computes in 16 bits.

        A row of zeros out of the body has no direction: it stays zeros and gets no gradient.
        """
        y = self.body(x).float()
        # Without the mask the gradient of such a row is 1 / eps: it alone would be what a clipped step follows.
        return F.normalize(y.masked_fill(~y.any(-1, keepdim=True), 0.0), dim=-1)


class Pieces(nn.Module):
    """Cuts an embedding into `num_tokens` pieces of equal size, each with a projection and a position of its own.

    The embedding is padded with zeros to a multiple of `num_tokens`. Its coordinates have no order that all pieces share: one
    projection for all would add up numbers of different meaning in the mean over tokens.
    """

    def __init__(self, in_dim: int, width: int, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        size = math.ceil(in_dim / num_tokens)
        num_filled = math.ceil(in_dim / size)
        if num_filled < num_tokens:
            found = f"num_tokens is {num_tokens}, but pieces of {size} cut an embedding of {in_dim} numbers into {num_filled}"
            raise ValueError(f"{found}: choose {num_filled}")
        self.padding = num_tokens * size - in_dim
        self.weight = nn.Parameter(nn.init.normal_(empty(num_tokens, size, width), std=size**-0.5))
        self.position = nn.Parameter(nn.init.normal_(empty(num_tokens, width), std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] to tokens [B, T, width]."""
        pieces = F.pad(x, (0, self.padding)).unflatten(-1, (self.num_tokens, -1)).transpose(0, 1)  # [T, B, size]
        return (pieces @ self.weight).transpose(0, 1) + self.position


class Attention(nn.Module):
    """Multi-head self-attention, every token to every token."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"hidden_dim is {width}, which {num_heads} heads do not divide: choose a multiple of num_heads")
        self.num_heads = num_heads
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to [B, T, width]."""
        parts = self.queries_keys_values(x).chunk(3, -1)
        queries, keys, values = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        return self.out(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); each branch with dropout."""

    def __init__(self, width: int, num_heads: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        hidden = MLP_RATIO * width
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.attention.queries_keys_values, self.up):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        for layer in (self.attention.out, self.down):  # as many as 2 num_layers of them add up in the state of a token
            nn.init.normal_(layer.weight, std=(2 * num_layers * layer.in_features) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] to [B, T, width]."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class AttentionBody(nn.Module):
    """Attention between the pieces of one embedding: pieces, `num_layers` blocks, mean over tokens, norm, linear."""

    def __init__(self, settings: HeadSettings, in_dim: int) -> None:
        super().__init__()
        width, number = settings.hidden_dim, settings.num_layers
        self.pieces = Pieces(in_dim, width, settings.num_tokens)
        self.blocks = nn.Sequential(*(Block(width, settings.num_heads, settings.dropout, number) for _ in range(number)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, settings.output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] to [B, out], of any length."""
        return self.out(self.norm(self.blocks(self.pieces(x)).mean(-2)))


def build_head(settings: HeadSettings, in_dim: int) -> nn.Module:
    """The head of one modality: embeddings float [B, `in_dim`] to unit rows float32 [B, `settings.output_dim`].

    Initial weights are drawn from torch's generator. Raises ValueError for an unknown kind, where the heads of attention do
    not divide `hidden_dim`, and where a token would be of padding alone.
    """
    return Head(_build_body(settings, in_dim))


def _build_body(settings: HeadSettings, in_dim: int) -> nn.Module:
    hidden, out, dropout = settings.hidden_dim, settings.output_dim, nn.Dropout(settings.dropout)
    match settings.kind:
        case "siglip":
            linear = nn.Linear(in_dim, out, bias=False)
            nn.init.normal_(linear.weight, std=in_dim**-0.5)
            return nn.Sequential(nn.LayerNorm(in_dim), dropout, linear)
        case "clip":
            return nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU(), dropout, nn.Linear(hidden, out))
        case "mlp":
            return nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU(), dropout, nn.Linear(hidden, out), nn.LayerNorm(out))
        case "attention":
            return AttentionBody(settings, in_dim)
    raise ValueError(f"head {settings.kind!r} is not known: choose siglip, clip, attention or mlp")
