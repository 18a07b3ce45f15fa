"""What flows into the layers of a model while it is run: moments of a layer's inputs, and the model's own inputs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ksweep.nn.modes import uncompiled
from ksweep.nn.replacement import submodule

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""(args, kwargs) of one call of a model."""

_CHUNK = 1 << 22  # numbers of the rows that are held at once: 16 MiB in float32; a convolution's patches are many times its input


@dataclass(frozen=True, kw_only=True)
class Moments:
    """First and second moments of the inputs of one layer, over all rows that it was given; float64, on the CPU.

    A row is what one output position sees: of a Linear the `in_features` numbers, of a Conv2d the patch of one group, padding
    included, in the order of the weight's `[in_channels / groups, height, width]` (that of F.unfold).
    """

    mean: Tensor
    """`[groups, d]`; groups is 1 for a Linear."""
    second: Tensor
    """`[groups, d, d]`, not centred: the mean of x x^T."""
    num_rows: int

    @property
    def covariance(self) -> Tensor:
        """`[groups, d, d]`, centred: the mean of (x - mean) (x - mean)^T."""
        return self.second - self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)


def collect_moments(model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> dict[str, Moments]:
    """Moments of the named Linear and Conv2d layers while `run()` calls the model as it likes; put the model into evaluation mode
    first. Layers that were never called are left out. Adds nothing to the model and takes its hooks off, whatever happens.

    Raises ValueError for a name that the model lacks, a layer of another kind, and inputs that are not finite.
    """
    layers = {name: _layer(model, name) for name in names}
    sums: dict[nn.Module, _Sums] = {layer: _Sums() for layer in layers.values()}
    with contextlib.ExitStack() as hooks:
        hooks.enter_context(uncompiled())
        for layer, layer_sums in sums.items():
            hooks.callback(layer.register_forward_pre_hook(_adding(layer_sums), with_kwargs=True).remove)
        run()
    found = {name: sums[layer].moments() for name, layer in layers.items() if sums[layer].num_rows}
    for name, moments in found.items():
        if not (moments.mean.isfinite().all() and moments.second.isfinite().all()):
            raise ValueError(f"inputs of {name}: NaN or infinity; calibrate on batches whose activations are finite")
    return found


def capture_inputs(model: nn.Module, run: Callable[[], object], max_batches: int = 1) -> list[Call]:
    """(args, kwargs) of the first `max_batches` calls of the model itself while `run()` runs; tensors are copies without
    gradient. Fewer when it was called less often: a model of which only parts are called gives none."""
    captured: list[Call] = []

    def capture(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(captured) < max_batches:
            with torch.inference_mode(False):  # a tensor of inference mode could not be used for a gradient later
                captured.append(pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), (args, kwargs)))

    hook = model.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        with uncompiled():
            run()
    finally:
        hook.remove()
    return captured


def _layer(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    layer = submodule(model, name)
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise ValueError(f"{name}: found {type(layer).__name__}; only a Linear and a Conv2d have moments")
    return layer


class _Sums:
    """Sums over rows, of differences from a point near their mean: squares of the rows themselves would lose what varies in them
    when the mean is large."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._shift = torch.empty(0)  # [groups, d], of the first rows
        self._first = torch.empty(0)  # [groups, d]
        self._second = torch.empty(0)  # [groups, d, d]

    def add(self, rows: Tensor) -> None:
        """`[groups, rows, d]`. The products of a chunk in its own precision where it is, their sum in float64 on the CPU."""
        if not self.num_rows:
            self._shift = rows.mean(1)
            self._first = torch.zeros_like(self._shift, dtype=torch.float64, device="cpu")
            self._second = self._first.unsqueeze(-1) * self._first.unsqueeze(-2)
        centred = rows - self._shift.unsqueeze(1)
        self._first += centred.sum(1).cpu().double()
        self._second += (centred.mT @ centred).cpu().double()
        self.num_rows += rows.shape[1]

    def moments(self) -> Moments:
        first = self._first / self.num_rows
        mean = first + self._shift.cpu().double()
        # E[x x^T] = C + m m^T for the mean m, and C the same for the differences. In place: second moments may be large.
        second = self._second / self.num_rows
        second.baddbmm_(torch.stack([mean, -first], -1), torch.stack([mean, first], -2))
        return Moments(mean=mean, second=second, num_rows=self.num_rows)


def _adding(sums: _Sums) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs: Tensor = (args[0] if args else kwargs["input"]).detach()
        # Under autocast the products would be taken in 16 bits.
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs if inputs.dtype == torch.float64 else inputs.float()
            for rows in _patches(layer, inputs) if isinstance(layer, nn.Conv2d) else _linear_rows(inputs):
                sums.add(rows)

    return hook


def _linear_rows(inputs: Tensor) -> Iterator[Tensor]:
    """Chunks `[1, rows, in_features]` of inputs with any leading dimensions."""
    if inputs.numel():
        yield from inputs.reshape(1, -1, inputs.shape[-1]).split(max(1, _CHUNK // inputs.shape[-1]), dim=1)


def _patches(conv: nn.Conv2d, images: Tensor) -> Iterator[Tensor]:
    """Chunks `[groups, rows, d]` of what the kernel sees in images `[N, C, H, W]` or `[C, H, W]`, at all output positions."""
    images = images if images.dim() == 4 else images.unsqueeze(0)
    if not images.numel():
        return
    # torch keeps here what its own forward pads with: (left, right, top, bottom), of "same" too.
    sides: list[int] = conv._reversed_padding_repeated_twice
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    kernel: Any = conv.kernel_size
    height, width = conv.stride
    per_image = images[0].numel() * kernel[0] * kernel[1] // (height * width)
    for some in images.split(max(1, _CHUNK // max(1, per_image))):
        unfolded = F.unfold(F.pad(some, sides, mode=mode), kernel, dilation=conv.dilation, stride=conv.stride)
        by_group = unfolded.unflatten(1, (conv.groups, -1))  # [n, groups, d, positions]
        yield by_group.permute(1, 0, 3, 2).flatten(1, 2)
