"""One layer, or a model's chosen layers, replaced by smaller ones: what may be asked for, what it stores, how far it is off.

What a setting stands for: Setting. A layer whose weight is computed (torch.nn.utils.parametrize, weight_norm, spectral_norm,
pruning masks) is compressed as the weight that it computes with at that time, `layer.weight`; what computed it is gone in the
new layer.
"""

import copy
import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import UninitializedParameter

from ksweep.nn.calibration import Moments
from ksweep.nn.low_rank import LowRankConv2d, LowRankLinear, computes_as, geometry
from ksweep.nn.random_feature_attention import RandomFeatureAttention, why_no_random_features
from ksweep.nn.replacement import (
    WEIGHT_HOOKS,
    called_part,
    carry,
    carry_mode_and_flags,
    copied,
    replace_layers,
    shared_names,
    submodule,
)
from ksweep.nn.sketched import SketchedConv2d, SketchedLinear

Dense = nn.Linear | nn.Conv2d

METHODS = ("activation-svd", "svd", "sketch")

_RANK_PARAMS = ("rank", "num_terms", "low_rank")
_ATTENTION_PARAMS = ("num_random_features", "kernel_fn")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What becomes of one layer.

    `params` of a Linear or a Conv2d: `rank`; or `num_terms` l and `low_rank` k (one of the two may be missing: 1 term; 16 for a
    Linear, 8 for a Conv2d). With the methods svd and activation-svd (l, k) is a budget, the numbers that a sketch of l terms of
    rank k stores, and buys the rank 2 l k. With `sketch` it builds that sketch, and `rank` is refused. Of a MultiheadAttention,
    and of a TransformerEncoderLayer for its `self_attn`: `num_random_features`, and `kernel_fn` (softmax or relu; softmax).

    `copy_weights` False: fresh initial weights, to be trained: (l, k) builds a sketch, `rank` a factorisation, whatever `method`.
    """

    params: Mapping[str, int | float | str]
    method: str = "activation-svd"
    copy_weights: bool = True


def describe(layer: nn.Module) -> str:
    """`Linear 64 -> 10`, `Conv2d 3 -> 64, 3x3`, or only its class."""
    kind = type(layer).__name__
    if isinstance(layer, nn.Linear):
        return f"{kind} {layer.in_features} -> {layer.out_features}"
    if isinstance(layer, nn.Conv2d):
        return f"{kind} {layer.in_channels} -> {layer.out_channels}, {'x'.join(str(size) for size in layer.kernel_size)}"
    return kind


def allowed_params(layer: nn.Module) -> tuple[str, ...]:
    """Names that a setting's `params` may have. Empty: this kind of layer cannot be compressed. Subclasses count as their kind,
    but not the `out_proj` of a MultiheadAttention, which reads its weights and never calls it."""
    if isinstance(layer, nn.Linear | nn.Conv2d) and not isinstance(layer, NonDynamicallyQuantizableLinear):
        return _RANK_PARAMS
    if isinstance(layer, nn.MultiheadAttention | nn.TransformerEncoderLayer):
        return _ATTENTION_PARAMS
    return ()


def max_rank(layer: Dense) -> int:
    """The smaller side of the weight, of a grouped convolution that of one group: with this rank nothing is lost."""
    if isinstance(layer, nn.Linear):
        return min(layer.in_features, layer.out_features)
    return min(layer.out_channels // layer.groups, layer.in_channels // layer.groups * math.prod(layer.kernel_size))


def rank_of(layer: nn.Module, setting: Setting) -> int | None:
    """The rank of the factorisation that the setting builds; none for a sketch and for attention."""
    if not isinstance(layer, nn.Linear | nn.Conv2d) or _builds_sketch(setting):
        return None
    if "rank" in setting.params:
        return int(setting.params["rank"])
    num_terms, low_rank = _terms(layer, setting)
    return 2 * num_terms * low_rank


def needs_moments(layer: nn.Module, setting: Setting) -> bool:
    """Whether compress_layer needs the moments of the layer's inputs."""
    return setting.method == "activation-svd" and setting.copy_weights and rank_of(layer, setting) is not None


def num_stored(layer: nn.Module, setting: Setting) -> int:
    """How many numbers the new layer stores, weights, buffers and bias, without building it. ValueError as compress_layer."""
    _check(layer, setting)
    if isinstance(layer, nn.TransformerEncoderLayer):
        rest = sum(part.numel() for name, part in layer.state_dict().items() if not name.startswith("self_attn."))
        return rest + num_stored(layer.self_attn, setting)
    if isinstance(layer, nn.MultiheadAttention):
        features = int(setting.params["num_random_features"]) * layer.head_dim
        return sum(part.numel() for part in layer.parameters()) + features
    if isinstance(layer, nn.Linear):
        sides = layer.in_features + layer.out_features
    else:
        assert isinstance(layer, nn.Conv2d)
        sides = layer.in_channels * math.prod(layer.kernel_size) + layer.out_channels
    rank = rank_of(layer, setting)
    num_columns = 2 * math.prod(_terms(layer, setting)) if rank is None else rank
    return num_columns * sides + (0 if layer.bias is None else layer.bias.numel())


def why_not(layer: nn.Module, setting: Setting) -> str:
    """Why the setting cannot be built for this layer, in a line; empty when it can."""
    allowed = allowed_params(layer)
    if not allowed:
        return f"{type(layer).__name__} cannot be compressed; what can: Linear Conv2d MultiheadAttention TransformerEncoderLayer"
    for name in setting.params:
        if name not in allowed:
            return f"{name}: not a parameter of a {type(layer).__name__}; allowed: {' '.join(allowed)}"
    if setting.method not in METHODS:
        return f'method: found "{setting.method}", allowed: {" ".join(METHODS)}'
    part = layer.self_attn if isinstance(layer, nn.TransformerEncoderLayer) else layer
    if why := _why_other_forward(part) or _why_no_numbers(part, setting):
        return why
    if isinstance(part, nn.Linear | nn.Conv2d):
        return _why_no_rank(part, setting)
    if not isinstance(part, nn.MultiheadAttention):
        return f"self_attn: found {type(part).__name__}, allowed: MultiheadAttention"
    return _why_no_features(part, setting)


def compress_layer(layer: nn.Module, setting: Setting, *, moments: Moments | None = None, seed: int = 0) -> nn.Module:
    """The new layer, with device, dtype, mode and requires_grad flags of `layer`, which is left as it is; hooks are carried by
    replace_layers. A TransformerEncoderLayer gives a copy with another `self_attn`. `seed`: of the random draw of a sketch, of
    random features and of fresh weights.

    Raises ValueError with the words of why_not, and for the method activation-svd without moments.
    """
    _check(layer, setting)
    if isinstance(layer, nn.TransformerEncoderLayer):
        block = copy.deepcopy(layer)
        replace_layers(block, {"self_attn": compress_layer(layer.self_attn, setting, seed=seed)})
        return block
    if needs_moments(layer, setting) and moments is None:
        raise ValueError(
            "method activation-svd: found no moments of this layer's inputs; calibrate first (collect_moments, on batches that "
            'reach the layer), or take the method "svd"'
        )
    new = _built(layer, setting, moments, torch.Generator().manual_seed(seed))
    carry_mode_and_flags(layer, new)
    return new


def compressed(model: nn.Module, settings: Mapping[str, Setting], *, moments: Mapping[str, Moments], seed: int = 0) -> nn.Module:
    """A deep copy of `model` with the layers of `settings` compressed; `model` is untouched. The random draw of a layer depends
    on `seed` and its name, on nothing else. The name "" is the model itself.

    Raises ValueError, naming the layer: unknown names, what why_not says, missing moments, tied weights (replacing one of the
    layers would untie them).
    """
    layers = {name: submodule(model, name) for name in settings}
    tied = shared_names(model)
    for name, setting in settings.items():
        if reason := why_not(layers[name], setting) or _why_tied(name, tied):
            raise ValueError(f"{name} ({describe(layers[name])}): {reason}")
    result = copied(model)
    new: dict[str, nn.Module] = {}
    for name, setting in settings.items():
        place, _ = called_part(name, layers[name])
        try:
            new[place] = compress_layer(
                result.get_submodule(place), setting, moments=moments.get(name), seed=layer_seed(seed, name)
            )
        except ValueError as error:
            raise ValueError(f"{name} ({describe(layers[name])}): {error}") from error
    if list(new) == [""]:
        carry(result, new[""])
        return new[""]
    replace_layers(result, new)
    return result


def relative_error(dense: nn.Module, new: nn.Module, moments: Moments) -> float:
    """How far the outputs are off: sqrt(E||(W - W') x + b - b'||^2 / E||W x + b||^2), exactly, for inputs of these moments.
    `dense`: a Linear or a Conv2d; `new`: one, or a layer that has `to_dense()`. Infinite when only the dense outputs are zero."""
    weight, bias = _grouped(dense)
    new_weight, new_bias = _grouped(new.to_dense() if hasattr(new, "to_dense") else new)  # type: ignore[operator]
    off = _mean_square(weight - new_weight, bias - new_bias, moments)
    whole = _mean_square(weight, bias, moments)
    if whole == 0.0:
        return 0.0 if off == 0.0 else math.inf
    return math.sqrt(off / whole)


def _mean_square(weight: Tensor, bias: Tensor, moments: Moments) -> float:
    """E||W x + b||^2 as what varies, tr(W C W^T), and the mean: neither can cancel the other. `weight` [groups, out, d]."""
    mean = moments.mean.unsqueeze(-1)
    varying = ((weight @ moments.covariance) * weight).sum().clamp(min=0.0)
    constant = ((weight @ mean).squeeze(-1) + bias).square().sum()
    return float(varying + constant)


def _grouped(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [groups, out / groups, d] and bias [groups, out / groups] (zeros when there is none), float64, on the CPU."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise ValueError(
            f"relative_error: found {type(layer).__name__}, allowed: Linear Conv2d and what has a to_dense() to them"
        )
    plain = _plain(layer)
    groups = plain.groups if isinstance(plain, nn.Conv2d) else 1
    weight = plain.weight.detach().double().cpu()
    weight = weight.reshape(groups, weight.shape[0] // groups, -1)
    if plain.bias is None:
        return weight, weight.new_zeros(weight.shape[:2])
    return weight, plain.bias.detach().double().cpu().reshape(weight.shape[:2])


def _builds_sketch(setting: Setting) -> bool:
    return "rank" not in setting.params and (setting.method == "sketch" or not setting.copy_weights)


def _terms(layer: nn.Module, setting: Setting) -> tuple[int, int]:
    """(num_terms, low_rank) of a setting without `rank`."""
    default = 16 if isinstance(layer, nn.Linear) else 8
    return int(setting.params.get("num_terms", 1)), int(setting.params.get("low_rank", default))


def _check(layer: nn.Module, setting: Setting) -> None:
    if reason := why_not(layer, setting):
        raise ValueError(reason)


def _why_other_forward(layer: nn.Module) -> str:
    """A subclass, or an instance, that computes something else of its weight: the new layer would not stand for it."""
    for kind in (nn.Linear, nn.Conv2d, nn.MultiheadAttention):
        if isinstance(layer, kind) and not computes_as(layer, kind):
            return f"{type(layer).__name__} has a forward of its own; allowed: {kind.__name__} and what keeps its forward"
    return ""


def _why_no_numbers(layer: nn.Module, setting: Setting) -> str:
    """Looked up in what is stored, not in `layer.weight`: computing that may change the layer (spectral_norm in training)."""
    stored = [*layer.parameters(), *layer.buffers()]
    if any(isinstance(one, UninitializedParameter) for one in stored):
        return f"{type(layer).__name__} has no sizes before its first call; call the model once"
    if setting.copy_weights and any(one.is_meta for one in stored):
        return 'device: found "meta", which holds no weights to copy; load the model first'
    if stored[0].dtype not in _DTYPES:
        return f"dtype: found {stored[0].dtype}, allowed: {' '.join(str(one) for one in _DTYPES)}"
    return ""


def _why_no_rank(layer: Dense, setting: Setting) -> str:
    params = setting.params
    if not params:
        return "params: found none, allowed: rank, or num_terms and low_rank"
    if "rank" in params and len(params) > 1:
        return "rank: found together with num_terms or low_rank; give one of the two"
    for name, value in params.items():
        if why := _why_not_count(name, value):
            return why
    if "rank" in params and setting.method == "sketch":
        return "rank: not a parameter of the method sketch; allowed: num_terms low_rank"
    rank, limit = rank_of(layer, setting), max_rank(layer)
    if rank is None or rank <= limit:
        return ""
    if "rank" in params:
        return f"rank: found {rank}, allowed: 1 to {limit}"
    num_terms, low_rank = _terms(layer, setting)
    found = f"{num_terms}, {low_rank}, which buy the rank 2 * {num_terms} * {low_rank} = {rank}"
    return f"num_terms, low_rank: found {found}, allowed: 1 to {limit}"


def _why_not_count(name: str, value: object) -> str:
    is_count = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
    return "" if is_count else f"{name}: found {value!r}, allowed: whole numbers from 1"


def _why_no_features(attention: nn.MultiheadAttention, setting: Setting) -> str:
    if "num_random_features" not in setting.params:
        return "num_random_features: missing, allowed: whole numbers from 1"
    if why := _why_not_count("num_random_features", setting.params["num_random_features"]):
        return why
    kernel_fn = setting.params.get("kernel_fn", "softmax")
    if kernel_fn not in RandomFeatureAttention.kernels:
        return f"kernel_fn: found {kernel_fn!r}, allowed: {' '.join(RandomFeatureAttention.kernels)}"
    return why_no_random_features(attention)


def _why_tied(name: str, tied: Mapping[str, tuple[str, ...]]) -> str:
    """For the layer and its parts: sharing among themselves is no harm."""

    def is_part(other: str) -> bool:
        return not name or other == name or other.startswith(f"{name}.")

    others = dict.fromkeys(other for owner in tied if is_part(owner) for other in tied[owner] if not is_part(other))
    return f"its weight is that of {', '.join(others)} too (tied); leave it out, or untie them first" if others else ""


def layer_seed(seed: int, name: str) -> int:
    """Of the random draw of one layer: the same in every process, whatever other layers are drawn."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def _plain(layer: Dense) -> Dense:
    """torch's own layer with copies of the weight and bias that `layer` computes with."""
    weight, bias = _effective_weight(layer).clone(), None if layer.bias is None else layer.bias.detach().clone()
    plain = _empty_like(layer)
    plain.weight = nn.Parameter(weight)
    plain.bias = None if bias is None else nn.Parameter(bias)
    return plain


def _effective_weight(layer: Dense) -> Tensor:
    was_training, layer.training = layer.training, False  # no power iteration of spectral_norm
    try:
        with torch.no_grad():
            for hook in layer._forward_pre_hooks.values():
                if isinstance(hook, WEIGHT_HOOKS):  # `weight` is as old as the last call
                    hook(layer, ())
            return layer.weight.detach()
    finally:
        layer.training = was_training


def _empty_like(layer: Dense) -> Dense:
    """Without values; on the device "meta", where initialising draws nothing from the global generator."""
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, bias=has_bias, device="meta")
    return nn.Conv2d(**geometry(layer), bias=has_bias, device="meta")


def _built(layer: nn.Module, setting: Setting, moments: Moments | None, generator: torch.Generator) -> nn.Module:
    if isinstance(layer, nn.MultiheadAttention):
        return _random_features(layer, setting, generator)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    rank = rank_of(layer, setting)
    return _sketch(layer, setting, generator) if rank is None else _low_rank(layer, rank, setting, moments, generator)


def _low_rank(layer: Dense, rank: int, setting: Setting, moments: Moments | None, generator: torch.Generator) -> nn.Module:
    if setting.copy_weights:
        used = moments if needs_moments(layer, setting) else None
        plain = _plain(layer)
        if isinstance(plain, nn.Linear):
            return LowRankLinear.from_dense(plain, rank, used)
        return LowRankConv2d.from_dense(plain, rank, used)
    kind = _fresh(layer, generator)
    if isinstance(layer, nn.Linear):
        return LowRankLinear(layer.in_features, layer.out_features, rank, **kind)
    return LowRankConv2d(**geometry(layer), rank=rank, **kind)


def _sketch(layer: Dense, setting: Setting, generator: torch.Generator) -> nn.Module:
    terms = _terms(layer, setting)
    if setting.copy_weights:
        plain = _plain(layer)
        if isinstance(plain, nn.Linear):
            return SketchedLinear.from_dense(plain, *terms, generator=generator)
        return SketchedConv2d.from_dense(plain, *terms, generator=generator)
    kind = _fresh(layer, generator)
    if isinstance(layer, nn.Linear):
        return SketchedLinear(layer.in_features, layer.out_features, *terms, **kind)
    return SketchedConv2d(**geometry(layer), num_terms=terms[0], low_rank=terms[1], **kind)


def _fresh(layer: Dense, generator: torch.Generator) -> dict[str, Any]:
    """Arguments of a layer of fresh weights, without its size."""
    like = next(itertools.chain(layer.parameters(), layer.buffers()))
    return {"bias": layer.bias is not None, "device": like.device, "dtype": like.dtype, "generator": generator}


def _random_features(attention: nn.MultiheadAttention, setting: Setting, generator: torch.Generator) -> nn.Module:
    num_features = int(setting.params["num_random_features"])
    kernel_fn: Any = setting.params.get("kernel_fn", "softmax")
    new = RandomFeatureAttention.from_dense(attention, num_features, kernel_fn=kernel_fn, generator=generator)
    if not setting.copy_weights:
        new.reset_parameters(generator)
    return new
