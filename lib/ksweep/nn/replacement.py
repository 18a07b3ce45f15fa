"""Layers put in the places of others in a model, with all that hangs on the old ones; what keeps a model from that (ties), and
how often a layer is called.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ksweep.nn.modes import uncompiled

WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)  # forward pre-hooks that set `weight`
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)


def replace_layers(model: nn.Module, new: Mapping[str, nn.Module]) -> None:
    """Puts the layers in, in place, at every place where the old one stands. A new layer takes over from the old one: training
    mode, requires_grad (of weights from weights, of the bias from the bias) and hooks of its calls (the dictionaries themselves,
    so that handles stay good), but for those that computed the old one's weight; hooks of its state_dict are left. Of an
    nn.TransformerEncoderLayer only the `self_attn` is put in, as compress_layer gives it.

    An nn.TransformerEncoderLayer with a new part, and the nn.TransformerEncoder around it, compute without torch's fused path
    from then on, since that reads weights and calls no layer: also when a dense layer is put back, where results stay right.

    Raises ValueError, before anything is changed, for a name that the model lacks, its root, one layer under two names, and a
    layer inside of another one that is replaced.
    """
    new = dict(called_part(name, layer) for name, layer in new.items())
    old = {name: submodule(model, name) for name in new}
    _check_names(old)
    for name, layer in new.items():
        carry(old[name], layer)
    new_by_old = {id(old[name]): layer for name, layer in new.items()}
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is not None and id(child) in new_by_old:
                parent._modules[key] = new_by_old[id(child)]
    _leave_fast_path(model, {id(layer) for layer in new.values()})


def carry(old: nn.Module, new: nn.Module) -> None:
    """Gives `new` what replace_layers says that it takes over."""
    carry_mode_and_flags(old, new)
    for kind in _HOOKS:
        setattr(new, kind, getattr(old, kind))
    if any(isinstance(hook, WEIGHT_HOOKS) for hook in old._forward_pre_hooks.values()):
        others = ((key, hook) for key, hook in old._forward_pre_hooks.items() if not isinstance(hook, WEIGHT_HOOKS))
        new._forward_pre_hooks = type(old._forward_pre_hooks)(others)


def carry_mode_and_flags(old: nn.Module, new: nn.Module) -> None:
    """Gives `new` the training mode and the requires_grad flags of `old`."""
    new.train(old.training)
    flags = {name: parameter.requires_grad for name, parameter in old.named_parameters()}
    is_trained = {is_bias: any(flag for name, flag in flags.items() if _is_bias(name) is is_bias) for is_bias in (True, False)}
    # Not every layer stores its weight as a parameter of that name (a parametrized one): all its weights together decide.
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(flags.get(name, is_trained[_is_bias(name)]))


def called_part(name: str, layer: nn.Module) -> tuple[str, nn.Module]:
    """What of a layer is replaced, with its name."""
    if isinstance(layer, nn.TransformerEncoderLayer):
        return f"{name}.self_attn".lstrip("."), layer.self_attn
    return name, layer


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module of this dotted name; "" is the model. ValueError where there is none."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ValueError(f'layers: found "{name}", which the model does not have') from None


def shared_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Tied layers: the name of each module that owns a parameter whose storage another module owns too, with the names of those.
    Parts of one flat storage that do not overlap are not tied; a module that stands at two places is one, at its first."""
    places: dict[int, list[tuple[int, int, str]]] = {}
    for owner, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is None or isinstance(parameter, UninitializedParameter) or not parameter.numel():
                continue
            start = parameter.storage_offset()
            span = 1 + sum((size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride(), strict=True))
            # A parametrized weight belongs to the layer whose weight it gives.
            place = (start, start + span, owner.split(".parametrizations.")[0])
            places.setdefault(parameter.untyped_storage()._cdata, []).append(place)
    tied: dict[str, dict[str, None]] = {}
    for sharers in places.values():
        for start, end, owner in sharers:
            for other_start, other_end, other in sharers:
                if other != owner and start < other_end and other_start < end:
                    tied.setdefault(owner, {})[other] = None
    return {name: tuple(tied[name]) for name, _ in model.named_modules() if name in tied}


def copied(model: nn.Module) -> nn.Module:
    """A deep copy in which what shares storage still does: torch's own keeps only parameters tied that are one object.

    ValueError, with what to do, for a model that cannot be copied.
    """
    sharers: dict[tuple[int, torch.dtype], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter and parameter.numel():
            sharers.setdefault((parameter.untyped_storage()._cdata, parameter.dtype), []).append(parameter)
    memo: dict[int, Any] = {}
    for (_, dtype), group in sharers.items():
        if len(group) > 1:
            flat = torch.empty(0, dtype=dtype, device=group[0].device)
            flat.set_(group[0].untyped_storage().clone())
            for one in group:
                view = flat.as_strided(one.shape, one.stride(), one.storage_offset())
                memo[id(one)] = nn.Parameter(view, requires_grad=one.requires_grad)
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        # "Only Tensors created explicitly by the user support the deepcopy protocol"; "cannot pickle '_thread.lock' object"
        raise ValueError(
            f"the model cannot be copied: {error}; keep what cannot be copied out of its attributes; a layer under the older "
            "weight_norm, spectral_norm or prune of torch.nn.utils keeps a computed weight: make it permanent (remove), or use "
            "torch.nn.utils.parametrizations"
        ) from error


@contextmanager
def count_calls(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Counts, while it is open, how often each named layer runs, in copies of the model too that are made meanwhile. Of a
    TransformerEncoderLayer its `self_attn` is counted: that is what compressed() replaces. Compiled models compute uncompiled
    meanwhile, unless there is nothing to count."""
    calls = dict.fromkeys(names, 0)
    with ExitStack() as stack:
        if names:
            stack.enter_context(uncompiled())
        for name in names:
            _, layer = called_part(name, submodule(model, name))
            stack.callback(layer.register_forward_pre_hook(_counting(calls, name)).remove)
        yield calls


def _check_names(layers: Mapping[str, nn.Module]) -> None:
    first: dict[int, str] = {}
    for name, layer in layers.items():
        if not name:
            raise ValueError('layers: found "", the model itself, which cannot be replaced in place')
        if id(layer) in first:
            raise ValueError(f"layers: {first[id(layer)]} and {name} are one and the same layer; name it once")
        first[id(layer)] = name
    for name, layer in layers.items():
        for part in layer.modules():
            if part is not layer and id(part) in first:
                raise ValueError(f"layers: {first[id(part)]} is inside of {name}, which is replaced too; name one of them")


def _is_bias(name: str) -> bool:
    return name.rsplit(".", 1)[-1].endswith("bias")


def _leave_fast_path(model: nn.Module, new: set[int]) -> None:
    """torch.nn.modules.transformer asks these two for its fused path: the layer for the kernel of its activation (the slow path
    calls `activation` itself), the encoder for its permission to hand on nested tensors, which only the fused path takes."""
    for parent in model.modules():
        if not isinstance(parent, nn.TransformerEncoderLayer | nn.TransformerEncoder):
            continue
        if any(id(part) in new for part in parent.modules()):
            if isinstance(parent, nn.TransformerEncoder):
                parent.use_nested_tensor = False
            else:
                parent.activation_relu_or_gelu = 0


def _counting(calls: dict[str, int], name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(_layer: nn.Module, _args: tuple[Any, ...]) -> None:
        calls[name] += 1

    return hook
