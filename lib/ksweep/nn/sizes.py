"""What a network stores and computes: numbers, bytes, floating-point operations."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ksweep.nn.modes import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Each number is counted where it lies in memory, once: tied tensors and views of one storage do not count twice.

    A tensor that is parameter and buffer is a parameter. Buffers count whether or not a state dict holds them. What a module
    keeps outside of both (a plain attribute) is not seen.
    """

    num_params: int
    num_buffers: int
    num_bytes: int

    @property
    def num_stored(self) -> int:
        """Numbers of parameters and buffers."""
        return self.num_params + self.num_buffers

    def __add__(self, other: "Sizes") -> "Sizes":
        return Sizes(
            num_params=self.num_params + other.num_params,
            num_buffers=self.num_buffers + other.num_buffers,
            num_bytes=self.num_bytes + other.num_bytes,
        )

    def __sub__(self, other: "Sizes") -> "Sizes":
        return Sizes(
            num_params=self.num_params - other.num_params,
            num_buffers=self.num_buffers - other.num_buffers,
            num_bytes=self.num_bytes - other.num_bytes,
        )


NO_SIZE = Sizes(num_params=0, num_buffers=0, num_bytes=0)


def sizes(model: nn.Module) -> Sizes:
    """Of all of `model`. Raises ValueError where a lazy parameter has no shape yet."""
    return sum(own_sizes(model).values(), NO_SIZE)


def sizes_of_layers(model: nn.Module) -> dict[str, Sizes]:
    """Of each module with all that is in it, by dotted name, in model order; "" is the model itself.

    A tensor counts for the first module that has it, in model order, and for those around that one: what a later one shares
    with it is 0 there. A module that has several names is under each of them, and 0 but under the first. Raises ValueError as
    `sizes`.
    """
    total: dict[str, Sizes] = defaultdict(lambda: NO_SIZE)
    for name, own in own_sizes(model).items():
        total[name] += own
        while name:
            name = name.rpartition(".")[0]
            total[name] += own
    return {name: total[name] for name, _ in model.named_modules(remove_duplicate=False)}


def own_sizes(model: nn.Module) -> dict[str, Sizes]:
    """Of each module's own tensors, without those of the modules in it; otherwise as `sizes_of_layers`."""
    counted: dict[Any, _Runs] = {}
    modules = list(model.named_modules(remove_duplicate=False))
    found = {name: NO_SIZE for name, _ in modules}
    for name, module in modules:
        for tensor_name, parameter in module.named_parameters(recurse=False):
            numbers, num_bytes = _count_new(parameter, counted, f"{name}.{tensor_name}".lstrip("."))
            found[name] += Sizes(num_params=numbers, num_buffers=0, num_bytes=num_bytes)
    for name, module in modules:
        for tensor_name, buffer in module.named_buffers(recurse=False):
            numbers, num_bytes = _count_new(buffer, counted, f"{name}.{tensor_name}".lstrip("."))
            found[name] += Sizes(num_params=0, num_buffers=numbers, num_bytes=num_bytes)
    return found


@contextlib.contextmanager
def counting_flops() -> Iterator[FlopCounterMode]:
    """What is counted while it is open is `get_total_flops()` of what it gives.

    Matrix products, convolutions, attention and recurrent layers count, 2 a multiply-add; the rest (exponentials, norms, sums) is
    0. Of causal attention all keys count for each query, as torch's own counter has it.
    """
    was_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whole encoder layers as one operation, of which the counter knows nothing
    try:
        with FlopCounterMode(display=False, custom_mapping=_FURTHER_FLOPS) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)


def count_flops(model: nn.Module, *args: Any, **kwargs: Any) -> int:
    """Floating-point operations of one call of `model` in evaluation mode, without gradients: see `counting_flops`.

    The model stays as it is, its modes too.
    """
    with evaluation_mode(model), torch.no_grad(), counting_flops() as counter:
        model(*args, **kwargs)
    return int(counter.get_total_flops())


def _recurrent_flops(inputs: torch.Size, weights: list[torch.Size]) -> int:
    return 2 * math.prod(inputs[:-1]) * sum(math.prod(shape) for shape in weights if len(shape) == 2)


# Operations that torch 2.13's counter passes over: from shapes of their arguments.
_FURTHER_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten.mkldnn_rnn_layer: lambda x, w0, w1, *_, **__: _recurrent_flops(x, [w0, w1]),
    torch.ops.aten._cudnn_rnn: lambda x, weights, *_, **__: _recurrent_flops(x, weights),
    torch.ops.aten.mv: lambda matrix, *_, **__: 2 * math.prod(matrix),
    torch.ops.aten.addmv: lambda _, matrix, *__, **___: 2 * math.prod(matrix),
    torch.ops.aten.dot: lambda vector, *_, **__: 2 * math.prod(vector),
}

# Runs of bytes of a storage: where each starts and ends. They may overlap.
_Runs = tuple[np.ndarray, np.ndarray]


def _count_new(tensor: Tensor, counted: dict[Any, _Runs], name: str) -> tuple[int, int]:
    """Numbers and bytes of `tensor` that lie where none of those counted before do; notes them."""
    if nn.parameter.is_lazy(tensor):
        raise ValueError(f"{name} has no shape yet: call the model once before its size is asked for")
    if tensor.layout != torch.strided:
        parts = [_count_new(part, counted, name) for part in _parts_of_sparse(tensor)]
        return sum(numbers for numbers, _ in parts), sum(num_bytes for _, num_bytes in parts)
    if not tensor.numel():
        return 0, 0
    storage, runs = tensor.untyped_storage()._cdata, _runs(tensor)
    before = counted.get(storage, (np.empty(0, np.int64), np.empty(0, np.int64)))
    counted[storage] = (np.append(before[0], runs[0]), np.append(before[1], runs[1]))
    num_bytes = _covered(counted[storage]) - _covered(before)
    return num_bytes // tensor.element_size(), num_bytes


def _parts_of_sparse(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    is_by_row = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    indices = (tensor.crow_indices(), tensor.col_indices()) if is_by_row else (tensor.ccol_indices(), tensor.row_indices())
    return *indices, tensor.values()


def _runs(tensor: Tensor) -> _Runs:
    """As few as there are."""
    size, offset = tensor.element_size(), int(tensor.storage_offset())
    run, starts = 1, np.zeros(1, dtype=np.int64)
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if stride == run:
            run *= length
        elif stride and length > 1:  # expanded dimensions lie on themselves
            starts = (starts[:, None] + stride * np.arange(length)).ravel()
    return (offset + starts) * size, (offset + starts + run) * size


def _covered(runs: _Runs) -> int:
    """Bytes of their union."""
    order = np.argsort(runs[0], kind="stable")
    starts, ends = runs[0][order], np.maximum.accumulate(runs[1][order])
    return int((ends - np.maximum(starts, np.append(0, ends[:-1]))).clip(min=0).sum())
