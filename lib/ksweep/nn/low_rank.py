"""Linear and convolution layers whose weight is a product of two thin ones: less to store, and less to compute."""

from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.nn.calibration import Moments
from ksweep.nn.factorization import activation_svd, truncated_svd

Pair = int | tuple[int, int]


class LowRankLinear(nn.Module):
    """y = up (down x) + bias, in place of nn.Linear: `down` [rank, in_features], `up` [out_features, rank].

    Stores rank (in_features + out_features) numbers and the bias. Inputs are as nn.Linear's: [..., in_features]. Initial
    values, drawn from `generator` (default: one of its own, seed 0, so the global random state is neither read nor changed), give
    up @ down the variance of nn.Linear's initial weight, 1 / (3 in_features). Raises ValueError for a rank that is not 1 to
    min(in_features, out_features).
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_rank(rank, min(in_features, out_features), "min(in_features, out_features)")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.down = nn.Parameter(torch.empty(rank, in_features, device=device, dtype=dtype))
        self.up = nn.Parameter(torch.empty(out_features, rank, device=device, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(self.up.new_empty(out_features)) if bias else None)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws initial values anew."""
        generator = generator or own_generator()
        draw_uniform_(self.down, (3 / self.in_features) ** 0.5, generator)
        draw_uniform_(self.up, self.rank**-0.5, generator)
        if self.bias is not None:
            draw_uniform_(self.bias, self.in_features**-0.5, generator)

    @classmethod
    def from_dense(cls, layer: nn.Linear, rank: int, moments: Moments | None = None) -> Self:
        """The best layer of this rank in place of `layer`, with its dtype, device, training mode and requires_grad.

        Without `moments` best means the weight (truncated SVD, bias as it is). With them it means the outputs: the least
        E||W x + b - (up down x + b')||^2 over the calibration inputs. b' = b + (W - up down) E[x] is its minimum in b' for
        any up and down; put in, it leaves E||(W - up down)(x - E[x])||^2, so that up and down come from the centred second
        moments (see `activation_svd`). A layer without a bias stays without one and takes the uncentred ones.
        """
        check_forward(layer, nn.Linear)
        down, up, bias = factors(layer.weight.unsqueeze(0), layer.bias, rank, moments)
        new = cls(layer.in_features, layer.out_features, rank, bias=bias is not None, device="meta", dtype=down.dtype)
        new.down, new.up = _like(down[0], layer.weight), _like(up[0], layer.weight)
        new.bias = bias if bias is None else _like(bias, layer.bias)
        return new.train(layer.training)

    def to_dense(self) -> nn.Linear:
        """One nn.Linear that computes the same, up to rounding."""
        return dense_linear(multiply(self.up, self.down), self.up, self.bias, self.training)

    @torch.no_grad()
    def refit_(self, inputs: Tensor, targets: Tensor, ridge: float = 1e-6) -> Self:
        """Sets `up` and the bias so that inputs [..., in_features] give targets [..., out_features] with least squared error.

        Use: inputs as the compressed network makes them, targets as the dense one's layer gives for its own inputs, so that
        errors of earlier layers are made good. `ridge` > 0 ties `up` to its present value: it is the weight of
        ||up - present||^2 against the mean of the squared errors, in units of the mean energy of down x; 1e-6 only keeps the
        system solvable. In float64.
        """
        if not ridge > 0:
            raise ValueError(f"ridge: found {ridge}, allowed: above 0")
        present = self.up.double()
        hidden = inputs.reshape(-1, self.in_features).double() @ self.down.double().T
        wanted = targets.reshape(-1, self.out_features).double()
        if len(hidden) != len(wanted) or not len(hidden):
            raise ValueError(f"found {len(hidden)} inputs and {len(wanted)} targets, allowed: as many of either, at least one")
        mean_hidden, mean_wanted = hidden.mean(0), wanted.mean(0)
        if self.bias is not None:
            hidden, wanted = hidden - mean_hidden, wanted - mean_wanted
        energy = hidden.T @ hidden / len(hidden)
        tie = ridge * energy.diagonal().mean()
        if not tie > 0:  # down x is constant: nothing in it to fit `up` to
            tie = torch.ones_like(tie)
        tied = energy + tie * torch.eye(self.rank, dtype=energy.dtype, device=energy.device)
        up = torch.linalg.solve(tied, (wanted.T @ hidden / len(hidden) + tie * present).T).T
        self.up.copy_(up)
        if self.bias is not None:
            self.bias.copy_(mean_wanted - up @ mean_hidden)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        return F.linear(F.linear(inputs, self.down), self.up, self.bias)

    def extra_repr(self) -> str:
        stored = describe_stored(self.down.numel() + self.up.numel(), self.bias, self.in_features * self.out_features)
        sizes = f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"
        return f"{sizes}, bias={self.bias is not None}, {stored}"


class FactoredConv2d(nn.Module):
    """A convolution to `width` channels a group, `down`, then one of 1x1 to the output channels, `up`, which adds the bias.

    `down` [groups * width, in_channels / groups, kh, kw] has stride, padding, dilation and padding mode of the nn.Conv2d that the
    two stand for, whose `arguments` are given, bias and padding mode included; `up` is [out_channels, width, 1, 1]. Subclasses
    register them, as parameters or buffers.
    """

    down: Tensor
    up: Tensor
    bias: nn.Parameter | None

    def __init__(self, width: int, *arguments: Any) -> None:
        super().__init__()
        shape: nn.Conv2d = partial(nn.Conv2d, device="meta")(*arguments)  # checks them; on the meta device nothing is drawn
        self.in_channels, self.out_channels, self.groups = shape.in_channels, shape.out_channels, shape.groups
        self.kernel_size: tuple[int, ...] = shape.kernel_size
        self.stride: tuple[int, ...] = shape.stride
        self.padding: str | tuple[int, ...] = shape.padding
        self.dilation: tuple[int, ...] = shape.dilation
        self.padding_mode = shape.padding_mode
        self.down_shape = (self.groups * width, self.in_channels // self.groups, *self.kernel_size)
        self.up_shape = (self.out_channels, width, 1, 1)
        # torch keeps here what its own forward pads with: left, right, top, bottom, of "same" too.
        self._pads: list[int] = list(shape._reversed_padding_repeated_twice)
        self._is_padded_before = self.padding_mode != "zeros" or self._pads[::2] != self._pads[1::2]

    @property
    def fan_in(self) -> int:
        """Numbers that one output is computed from."""
        return self.down_shape[1] * self.kernel_size[0] * self.kernel_size[1]

    def to_dense(self) -> nn.Conv2d:
        """One nn.Conv2d that computes the same, up to rounding."""
        up = self.up.view(self.groups, -1, self.up_shape[1])
        down = self.down.reshape(self.groups, self.up_shape[1], -1)
        shape = (self.out_channels, *self.down_shape[1:])
        dense = nn.Conv2d(**geometry(self), bias=self.bias is not None, device="meta", dtype=self.up.dtype)
        dense.weight = _like(multiply(up, down).reshape(shape), self.down)
        if self.bias is not None:
            dense.bias = _like(self.bias, self.bias)
        return dense.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, H, W] or [in_channels, H, W], as nn.Conv2d."""
        padding: Pair = (self._pads[2], self._pads[0])
        if self._is_padded_before:
            images = F.pad(images, self._pads, "constant" if self.padding_mode == "zeros" else self.padding_mode)
            padding = 0
        middle = F.conv2d(images, self.down, None, self.stride, padding, self.dilation, self.groups)
        return F.conv2d(middle, self.up, self.bias, groups=self.groups)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        parts += [f"padding={self.padding}"] if self.padding != (0, 0) else []
        parts += [f"dilation={self.dilation}"] if self.dilation != (1, 1) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        num_dense = self.out_channels * self.fan_in
        stored = describe_stored(self.down.numel() + self.up.numel(), self.bias, num_dense)
        return ", ".join([*parts, self._repr_of_width(), f"bias={self.bias is not None}", stored])

    def _repr_of_width(self) -> str:
        raise NotImplementedError


class LowRankConv2d(FactoredConv2d):
    """In place of nn.Conv2d: its kernel to `rank` channels a group, then 1x1 (Denil et al. 2013; Zhang et al. 2015).

    Takes what nn.Conv2d takes, and stores rank (in_channels kh kw + out_channels) numbers and the bias. Initial
    values as in LowRankLinear. Raises ValueError for a rank that is not 1 to min(out_channels, in_channels kh kw) / groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        rank: int,
        stride: Pair = 1,
        padding: str | Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        size = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(rank, *size)
        limit = min(self.out_channels // self.groups, self.fan_in)
        check_rank(rank, limit, "min(out_channels, in_channels kh kw) / groups")
        self.rank = rank
        self.down = nn.Parameter(torch.empty(self.down_shape, device=device, dtype=dtype))
        self.up = nn.Parameter(torch.empty(self.up_shape, device=device, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(self.up.new_empty(out_channels)) if bias else None)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws initial values anew."""
        generator = generator or own_generator()
        draw_uniform_(self.down, (3 / self.fan_in) ** 0.5, generator)
        draw_uniform_(self.up, self.rank**-0.5, generator)
        if self.bias is not None:
            draw_uniform_(self.bias, self.fan_in**-0.5, generator)

    @classmethod
    def from_dense(cls, conv: nn.Conv2d, rank: int, moments: Moments | None = None) -> Self:
        """The best layer of this rank in place of `conv`, group by group, as LowRankLinear.from_dense: x is a patch."""
        check_forward(conv, nn.Conv2d)
        new = cls(**geometry(conv), rank=rank, bias=conv.bias is not None, device="meta")
        down, up, bias = factors(conv.weight.reshape(conv.groups, -1, new.fan_in), conv.bias, rank, moments)
        new.down = _like(down.reshape(new.down_shape), conv.weight)
        new.up = _like(up.reshape(new.up_shape), conv.weight)
        if bias is not None and conv.bias is not None:
            new.bias = _like(bias, conv.bias)
        return new.train(conv.training)

    def _repr_of_width(self) -> str:
        return f"rank={self.rank}"


def factors(weight: Tensor, bias: Tensor | None, rank: int, moments: Moments | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """(down [groups, rank, d], up [groups, out, rank], bias) of a weight [groups, out, d], as LowRankLinear.from_dense says."""
    if moments is None:
        down, up = _stacked([truncated_svd(one, rank) for one in weight])
        return down, up, bias
    if moments.mean.shape != (weight.shape[0], weight.shape[2]):
        wanted = [weight.shape[0], weight.shape[2]]
        raise ValueError(f"moments: found means {list(moments.mean.shape)}, allowed: {wanted}, [groups, inputs] of the layer")
    second = moments.second if bias is None else moments.covariance
    down, up = _stacked([activation_svd(one, rank, its) for one, its in zip(weight, second, strict=True)])
    if bias is None:
        return down, up, None
    lost = (exact(weight) - multiply(up, down)) @ exact(moments.mean).unsqueeze(-1)
    return down, up, (exact(bias) + lost.flatten()).to(bias)


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    downs, ups = zip(*pairs, strict=True)
    return torch.stack(downs), torch.stack(ups)


def check_rank(rank: int, limit: int, meaning: str) -> None:
    """Raises ValueError where a layer cannot have this rank."""
    if not 1 <= rank <= limit:
        raise ValueError(f"rank: found {rank}, allowed: 1 to {limit}, which is {meaning}")


def computes_as(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether neither the class of `layer` nor the layer itself has another forward than `kind`."""
    return getattr(layer.forward, "__func__", None) is kind.forward


def check_forward(layer: nn.Module, kind: type[nn.Module]) -> None:
    """Raises ValueError for a subclass that computes something else than `kind`: factors of its weight would not stand for it."""
    if not isinstance(layer, kind) or not computes_as(layer, kind):
        name = kind.__name__
        raise ValueError(f"layer: found {type(layer).__name__}, allowed: nn.{name} and subclasses that keep its forward")


def geometry(conv: "nn.Conv2d | FactoredConv2d") -> dict[str, Any]:
    """The arguments that all convolution layers take."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {name: getattr(conv, name) for name in names}


def own_generator() -> torch.Generator:
    """What initial values are drawn from where no generator is given."""
    return torch.Generator("cpu").manual_seed(0)


@torch.no_grad()
def draw_uniform_(tensor: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fills with numbers between -bound and bound, the same ones for any dtype and device; leaves meta tensors alone."""
    if not tensor.is_meta:
        drawn = torch.empty(tensor.shape, device=generator.device, dtype=torch.float32)
        tensor.copy_(drawn.uniform_(-bound, bound, generator=generator))


def exact(tensor: Tensor) -> Tensor:
    """In float64, on the CPU: some accelerators have none."""
    return tensor.detach().to("cpu", torch.float64)


def multiply(up: Tensor, down: Tensor) -> Tensor:
    """up @ down, in float64 on the CPU."""
    return exact(up) @ exact(down)


def dense_linear(weight: Tensor, like: Tensor, bias: nn.Parameter | None, is_training: bool) -> nn.Linear:
    """An nn.Linear of these numbers, with dtype, device and requires_grad of `like`; the bias is copied."""
    num_out, num_in = weight.shape
    dense = nn.Linear(num_in, num_out, bias=bias is not None, device="meta", dtype=like.dtype)
    dense.weight = _like(weight, like)
    if bias is not None:
        dense.bias = _like(bias, bias)
    return dense.train(is_training)


def describe_stored(num_weights: int, bias: Tensor | None, num_dense: int) -> str:
    """Numbers that a layer stores, buffers included, and their share of its dense layer's, as printed with the layer."""
    num_bias = 0 if bias is None else bias.numel()
    share = (num_weights + num_bias) / (num_dense + num_bias)
    return f"stored={num_weights}{f'+{num_bias}' if num_bias else ''} ({share:.1%} of dense)"


def _like(values: Tensor, like: Tensor) -> nn.Parameter:
    """A parameter of these values, with dtype, device and requires_grad of `like`, sharing no memory with the values."""
    return nn.Parameter(values.detach().to(like.device, like.dtype, copy=True), requires_grad=like.requires_grad)
