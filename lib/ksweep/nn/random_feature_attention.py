"""Attention in time and memory linear in the length of sequences, by random features (Choromanski et al. 2021, "Performers")."""

import contextlib
import math
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ksweep.nn.low_rank import draw_uniform_, own_generator
from ksweep.nn.modes import evaluation_mode

_CHUNK = 64  # queries of one block of causal attention; changes no result but the last bits
# The least logarithm of a key's feature below the largest: far below rounding, and a sum of such is no zero. Of causal attention
# the largest may be a later key of the same chunk; a query all of whose keys are so small beside it attends to them all alike.
_FLOOR = -70.0
_RELU_OFFSET = 1e-3  # as in the authors' code: a query that no feature of any key answers to attends to all keys alike
_NEVER = -1e4  # a number of a float mask that is at most this is a ban: exact attention's weight is 0 there too


class RandomFeatureAttention(nn.Module):
    """nn.MultiheadAttention with its softmax estimated from random features: FAVOR+ of Choromanski et al. 2021.

    The weight of a key k for a query q is phi(q) . phi(k) over its sum over all keys. So the values are added up once, each
    times the features of its key, and no query looks at a single key: time and memory are linear in the length.

    `num_random_features`: m, rows of the projection w: blocks of head size orthogonal directions, each as long as a Gaussian
    vector is. It is drawn once and is a buffer, the same for all heads. `kernel_fn`, of x = the vector / head size^(1/4):

      softmax  phi(x) = exp(w x - |x|^2 / 2), always positive: the expected phi(q) . phi(k) is softmax attention's exp(q . k), and
               the error falls as 1 / sqrt(m); how large it is grows fast with |x|
      relu     phi(x) = max(w x, 0) + 0.001: an attention of its own and no estimate of the softmax, so weights that were trained
               with the softmax must be trained further

    Parameters, their names and shapes, forward's arguments and what it returns are those of nn.MultiheadAttention; what differs:
    a mask is causal or none, `kdim` and `vdim` are `embed_dim`, and dropout, in training, drops the weights of a key for all
    queries of a sequence and head at once, for no single weight is computed. Narrower inputs get float32 features and sums.

    Initial weights and projection are drawn from `generator` (default: one of its own, seed 0), never from the global one, which
    dropout alone uses. Raises ValueError for sizes that are not allowed.
    """

    in_proj_weight: nn.Parameter
    in_proj_bias: nn.Parameter | None
    projection: Tensor
    kernels: ClassVar[tuple[str, ...]] = ("softmax", "relu")

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_random_features: int,
        kernel_fn: str = "softmax",
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(embed_dim, num_heads, num_random_features, kernel_fn, dropout)
        self.embed_dim = self.kdim = self.vdim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.num_random_features = num_random_features
        self.kernel_fn = kernel_fn
        self.dropout = dropout
        self.batch_first = batch_first
        # What nn.TransformerEncoderLayer and nn.TransformerEncoder read before they call their attention, or do its work from its
        # weights themselves: False keeps them from that.
        self._qkv_same_embed_dim = False
        self.bias_k = self.bias_v = None
        self.add_zero_attn = False

        kind: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_buffer("projection", torch.empty(num_random_features, self.head_dim, **kind))
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim, **kind))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim, **kind)) if bias else None
        with torch.device("meta"):  # where nn.Linear draws no numbers
            self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, dtype=self.projection.dtype)
        self.out_proj.to_empty(device=self.projection.device)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draws projection and initial weights anew; the latter as nn.MultiheadAttention does."""
        generator = generator or own_generator()
        if not self.projection.is_meta:
            self.projection.copy_(orthogonal_projection(self.num_random_features, self.head_dim, generator))
        draw_uniform_(self.in_proj_weight, math.sqrt(1.5 / self.embed_dim), generator)
        draw_uniform_(self.out_proj.weight, math.sqrt(1 / self.embed_dim), generator)
        if self.in_proj_bias is not None:
            self.in_proj_bias.zero_()
            self.out_proj.bias.zero_()

    @classmethod
    def from_dense(
        cls,
        attention: nn.MultiheadAttention,
        num_random_features: int,
        kernel_fn: str = "softmax",
        generator: Generator | None = None,
    ) -> "RandomFeatureAttention":
        """With copies of the weights of `attention`, and its dropout, layout, dtype, device, mode and requires_grad flags.

        Raises ValueError with the words of `why_no_random_features`.
        """
        if why := why_no_random_features(attention):
            raise ValueError(why)
        like = next(attention.parameters())
        new = cls(
            attention.embed_dim,
            attention.num_heads,
            num_random_features,
            kernel_fn,
            dropout=attention.dropout,
            bias=attention.in_proj_bias is not None,
            batch_first=attention.batch_first,
            device=like.device,
            dtype=like.dtype,
            generator=generator,
        )
        _copy_weights(attention, new)
        return new

    def to_dense(self) -> nn.MultiheadAttention:
        """Exact attention with copies of the weights, the same dropout, layout, dtype, device, mode and requires_grad flags."""
        new: nn.MultiheadAttention = nn.utils.skip_init(
            nn.MultiheadAttention,
            self.embed_dim,
            self.num_heads,
            dropout=self.dropout,
            bias=self.in_proj_bias is not None,
            batch_first=self.batch_first,
            device=self.in_proj_weight.device,
            dtype=self.in_proj_weight.dtype,
        )
        _copy_weights(self, new)
        return new

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As nn.MultiheadAttention's: outputs of the shape of `query`, and the weights [(B,) (heads,) L, S] or None.

        query [L, B, E], or [B, L, E] with batch_first, or [L, E]; key and value the same with a length S of their own;
        key_padding_mask [B, S] or [S]: bool (True: left out) or float (added to the logarithms of the weights; -inf: left out).
        A query whose keys are all left out gets the bias of out_proj. A nested tensor is taken as query, key and value in one.

        The weights are those by which the outputs are made; they take time and memory L * S, and are worked out only where
        `need_weights` asks for them. `is_causal` alone makes attention causal; with it, `attn_mask` is taken to be the causal
        mask without a look. Without it, a mask is read (on a GPU a wait for it) and must be the causal one.

        Raises ValueError for shapes that do not fit, and for masks other than the causal one.
        """
        if query.is_nested:
            return self._forward_nested(query, key, value, (key_padding_mask, attn_mask), is_causal, need_weights)
        _check_shapes(query, key, value, key_padding_mask, self.embed_dim, self.batch_first)
        is_batched = query.dim() == 3
        length, num_keys = (x.shape[1 if self.batch_first and is_batched else 0] for x in (query, key))
        if not length or not num_keys:
            raise ValueError(f"there must be a query and a key: found {length} and {num_keys}")
        is_causal = _is_causal(attn_mask, is_causal, length, num_keys)
        projected = self._in_projection(query, key, value)
        queries, keys, values = (self._heads(x if is_batched else x.unsqueeze(0 if self.batch_first else 1)) for x in projected)
        mask = key_padding_mask if key_padding_mask is None or is_batched else key_padding_mask.unsqueeze(0)
        outputs, weights = self._attend(queries, keys, values, mask, is_causal, need_weights)
        outputs = outputs.permute(0, 2, 1, 3) if self.batch_first else outputs.permute(2, 0, 1, 3)
        outputs = outputs.flatten(2)
        outputs = self.out_proj(outputs if is_batched else outputs.squeeze(0 if self.batch_first else 1))
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if is_batched else weights.squeeze(0)
        return outputs, weights

    def extra_repr(self) -> str:
        num_biases = 0 if self.in_proj_bias is None else 4 * self.embed_dim
        num_dense, num_more = 4 * self.embed_dim**2, self.projection.numel()
        share = (num_dense + num_more + num_biases) / (num_dense + num_biases)
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, num_random_features={self.num_random_features}, "
            f"kernel_fn={self.kernel_fn}, dropout={self.dropout}, bias={num_biases > 0}, batch_first={self.batch_first}, "
            f"stored={num_dense + num_more}{f'+{num_biases}' if num_biases else ''} ({share:.1%} of dense)"
        )

    def _in_projection(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values in as few matrix products as there are different inputs."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key and key is value:
            return F.linear(query, weight, bias).chunk(3, -1)
        biases = (None, None, None) if bias is None else bias.chunk(3)
        queries = F.linear(query, weight[:width], biases[0])
        if key is value:
            return queries, *F.linear(key, weight[width:], None if bias is None else bias[width:]).chunk(2, -1)
        keys = F.linear(key, weight[width : 2 * width], biases[1])
        return queries, keys, F.linear(value, weight[2 * width :], biases[2])

    def _heads(self, x: Tensor) -> Tensor:
        """[B, L, E], or [L, B, E], to [B, heads, L, head size]."""
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        return x.permute(0, 2, 1, 3) if self.batch_first else x.permute(1, 2, 0, 3)

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, is_causal: bool, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, H, L, d] and, where needed, weights [B, H, L, S]; `queries` [B, H, L, d], the others [B, H, S, d]."""
        narrow = values.dtype
        if narrow in (torch.float16, torch.bfloat16):
            queries, keys, values = queries.float(), keys.float(), values.float()
        with _without_autocast(queries.device):
            length, num_keys = queries.shape[2], keys.shape[2]
            size = min(_CHUNK, length) if is_causal else None
            num_filled = -num_keys % size if size else 0
            features = self._features(_chunks(queries, size), _chunks(keys, size), *_of_mask(mask, keys, size), num_filled)
            kept = None
            if self.training and self.dropout:
                kept = F.dropout(values.new_ones(values.shape[:-1]), self.dropout).unsqueeze(-1)

            def attend(values: Tensor) -> Tensor:
                values = values if kept is None else values * kept
                return _attention(features, _chunks(values, size), is_causal).flatten(2, 3)[:, :, :length].to(narrow)

            outputs, weights = attend(values), None
            if need_weights:  # outputs are linear in the values, so values that are the unit vectors give the weights
                weights = attend(torch.eye(num_keys, dtype=keys.dtype, device=keys.device).expand(*keys.shape[:2], -1, -1))
        return outputs, weights

    def _features(
        self, queries: Tensor, keys: Tensor, is_kept: Tensor | None, log_weights: Tensor | None, num_filled: int
    ) -> "_Features":
        """Of chunks [B, H, n, c, d], of which the last `num_filled` places are no tokens.

        `is_kept` and `log_weights` [B, 1, n, c, 1] of the keys; None: all of them, and all 0.
        """
        projection = self.projection.to(queries.dtype).mT * self.head_dim**-0.25  # [d, m]
        queries, products = queries @ projection, keys @ projection
        if self.kernel_fn == "relu":
            keys = F.relu(products) + _RELU_OFFSET
            keys = keys if log_weights is None else keys * log_weights.exp()
            return _Features(F.relu(queries) + _RELU_OFFSET, keys if is_kept is None else keys * is_kept, None)
        # In place where autograd allows it: fresh memory is half of what this costs on a CPU.
        logs = products.sub_(keys.square().sum(-1, keepdim=True) / (2 * math.sqrt(self.head_dim)))
        if log_weights is not None:
            logs = logs.add_(log_weights)
        if is_kept is not None:
            logs = logs.masked_fill_(~is_kept, torch.finfo(logs.dtype).min / 2)
        if num_filled:
            logs[:, :, -1, -num_filled:] = torch.finfo(logs.dtype).min / 2
        # A factor of a feature of all keys may go to the queries, and one of a query cancels: so each feature's largest key is 1,
        # and each query's largest feature. Nothing overflows, and no sum of weights is 0. A chunk's largest is that of itself and
        # the chunks before it: what comes later never takes the digits of what was before.
        largest = logs.detach().amax(-2, keepdim=True).cummax(2).values  # [B, H, n, 1, m]
        queries = queries.add_(largest)
        queries = queries.sub_(queries.detach().amax(-1, keepdim=True)).exp_()
        keys = logs.sub_(largest).clamp_(min=_FLOOR).exp_()
        decay = (largest[:, :, :-1] - largest[:, :, 1:]).exp().mT
        return _Features(queries, keys if is_kept is None else keys * is_kept, decay)

    def _forward_nested(
        self, query: Tensor, key: Tensor, value: Tensor, masks: tuple[Tensor | None, ...], is_causal: bool, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Sequences of different lengths, as nn.TransformerEncoder packs them in evaluation without gradients."""
        if not (query is key and key is value and self.batch_first) or any(mask is not None for mask in masks):
            raise ValueError("a nested tensor is taken as query, key and value in one, with batch_first and without masks")
        sequences = query.unbind()
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=query.device)
        padded = query.to_padded_tensor(0.0)
        is_padding = torch.arange(padded.shape[1], device=query.device) >= lengths.unsqueeze(1)
        outputs, weights = self(padded, padded, padded, is_padding, need_weights, is_causal=is_causal)
        rows = [row[: len(sequence)] for row, sequence in zip(outputs, sequences, strict=True)]
        return torch.nested.as_nested_tensor(rows), weights


class _Features(NamedTuple):
    """Of queries and keys [B, H, n, c, m]; by what sums over the keys of earlier chunks shrink when the next one comes."""

    queries: Tensor
    keys: Tensor
    decay: Tensor | None  # [B, H, n - 1, m, 1]; None: by nothing


def _attention(features: _Features, values: Tensor, is_causal: bool) -> Tensor:
    """The weighted means of `values` [B, H, n, c, d]; 0 for a query without any key."""
    values = torch.cat([values, torch.ones_like(values[..., :1])], -1)  # the last column sums up the weights
    if is_causal:
        sums = (features.queries @ features.keys.mT).tril() @ values
        if values.shape[2] > 1:
            before = _sums_before(features.keys[:, :, :-1].mT @ values[:, :, :-1], features.decay)
            sums[:, :, 1:] += features.queries[:, :, 1:] @ before
    else:
        sums = features.queries @ (features.keys.mT @ values)
    total = sums[..., -1:]
    return sums[..., :-1] / torch.where(total > 0, total, 1)


def _sums_before(sums: Tensor, decay: Tensor | None) -> Tensor:
    """Of each chunk but the first, the sum over all before it [B, H, n - 1, m, d], from the sums over each but the last."""
    if decay is None:
        return sums.cumsum(2)
    total, totals = torch.zeros_like(sums[:, :, 0]), []
    for one, factor in zip(sums.unbind(2), decay.unbind(2), strict=True):
        total = (total + one) * factor
        totals.append(total)
    return torch.stack(totals, 2)


def _chunks(x: Tensor, size: int | None) -> Tensor:
    """[B, H, L, d] to [B, H, n, c, d] with c = `size`, filled up with zeros; None: one chunk."""
    if size is None:
        return x.unsqueeze(2)
    missing = -x.shape[2] % size
    return (F.pad(x, (0, 0, 0, missing)) if missing else x).unflatten(2, (-1, size))


def _of_mask(mask: Tensor | None, keys: Tensor, size: int | None) -> tuple[Tensor | None, Tensor | None]:
    """Which keys [B, H, S, d] are kept and the logarithms of their weights, [B, 1, n, c, 1] both; None: all, and all 0."""
    if mask is None:
        return None, None
    is_kept, log_weights = (~mask, None) if mask.dtype == torch.bool else (~mask.isneginf(), mask.to(keys.dtype))
    if log_weights is not None:
        log_weights = _chunks(torch.where(is_kept, log_weights, 0)[:, None, :, None], size)
    return _chunks(is_kept[:, None, :, None], size), log_weights


def _is_causal(mask: Tensor | None, is_causal: bool, length: int, num_keys: int) -> bool:
    """Whether attention is causal, from forward's two arguments. ValueError for a mask that is not."""
    if mask is None and not is_causal:
        return False
    if length != num_keys:
        raise ValueError(f"causal attention needs as many queries as keys: found {length} and {num_keys}")
    if mask is not None and mask.shape[-2:] != (length, num_keys):
        raise ValueError(f"attn_mask: found the shape {tuple(mask.shape)}, needed ({length}, {num_keys})")
    if is_causal or mask is None:
        return True
    is_later = torch.ones(length, num_keys, dtype=torch.bool, device=mask.device).triu(1)
    is_right = mask == is_later if mask.dtype == torch.bool else torch.where(is_later, mask <= _NEVER, mask == 0)
    if not bool(is_right.all()):
        raise ValueError(
            "attn_mask: random features know the causal mask alone (later keys left out), and found another one; keys that no "
            "query may see go into key_padding_mask; for other masks keep nn.MultiheadAttention"
        )
    return True


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, width: int, batch_first: bool) -> None:
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if query.dim() not in (2, 3) or key.dim() != query.dim() or query.shape[-1] != width:
        raise ValueError(f"query, key and value: found {shapes}, needed 2 or 3 dimensions, the last of {width} numbers")
    batch_at = 0 if batch_first else 1
    if key.shape != value.shape or key.shape[-1] != width or (query.dim() == 3 and query.shape[batch_at] != key.shape[batch_at]):
        raise ValueError(f"key and value must have one shape, and query's width and batch: found {shapes}")
    keys = key.shape[:-1] if batch_first or key.dim() == 2 else key.shape[:-1][::-1]
    if mask is not None and (mask.shape != keys or not (mask.dtype == torch.bool or mask.is_floating_point())):
        raise ValueError(f"key_padding_mask: found {mask.dtype} {tuple(mask.shape)}, needed bool or float {tuple(keys)}")


def _check_sizes(embed_dim: int, num_heads: int, num_random_features: int, kernel_fn: str, dropout: float) -> None:
    for name, number in (("embed_dim", embed_dim), ("num_heads", num_heads), ("num_random_features", num_random_features)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name}: found {number!r}, needed a whole number from 1 up")
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim: found {embed_dim}, needed a multiple of num_heads, which is {num_heads}")
    if kernel_fn not in RandomFeatureAttention.kernels:
        raise ValueError(f"kernel_fn: found {kernel_fn!r}, allowed: {' '.join(RandomFeatureAttention.kernels)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: found {dropout!r}, allowed >= 0 and < 1")


def why_no_random_features(attention: nn.MultiheadAttention) -> str:
    """What this attention has that random features have not, in a line; empty when there is nothing."""
    if not attention._qkv_same_embed_dim:
        return f"kdim, vdim: found {attention.kdim}, {attention.vdim}, allowed: embed_dim ({attention.embed_dim})"
    if attention.bias_k is not None or attention.add_zero_attn:
        return "add_bias_kv, add_zero_attn: found one of them set, allowed: neither"
    return ""


def _copy_weights(source: Any, target: nn.Module) -> None:
    """Values, requires_grad flags and mode, between attention of the two kinds. A weight may be computed, and `out_proj` be a
    layer that was replaced: what counts is what it computes with."""
    with evaluation_mode(source), torch.enable_grad():
        out_proj = source.out_proj if isinstance(source.out_proj, nn.Linear) else source.out_proj.to_dense()
        parts = (source.in_proj_weight, source.in_proj_bias, out_proj.weight, out_proj.bias)
    known = dict(zip(("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"), parts, strict=True))
    with torch.no_grad():
        for name, weight in target.named_parameters():
            weight.copy_(known[name])
            weight.requires_grad_(known[name].requires_grad)
    target.train(source.training)


def orthogonal_projection(num_rows: int, size: int, generator: Generator) -> Tensor:
    """Float64 [num_rows, size]: each row as a Gaussian vector, and orthogonal to the others of its block of `size` rows.

    Section 3.2 of the paper: the estimate stays unbiased, and varies less than with independent rows.
    """
    num_blocks = -(-num_rows // size)
    kind: dict[str, Any] = {"dtype": torch.float64, "device": generator.device, "generator": generator}
    q, r = torch.linalg.qr(torch.randn(num_blocks, size, size, **kind))
    directions = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # uniform over all rotations, as q alone is not
    lengths = torch.randn(num_rows, size, **kind).norm(dim=-1, keepdim=True)
    return directions.mT.flatten(0, 1)[:num_rows] * lengths


def _without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Features are exponentials: half precision would put whole factors on them."""
    return torch.autocast(device.type, enabled=False) if device.type in ("cpu", "cuda") else contextlib.nullcontext()
