"""Linear and convolution layers through random signs: an unbiased estimate of a weight, of which one factor of two is trained.

The estimator is that of Kasiviswanathan, Narodytska, Jin 2018 ("Network approximation using tensor sketching"), meant for
training from scratch. As a compression of trained weights it is a reference only: whatever the weight, the relative error is
sqrt((in + out) / (4 l k)), above 1 wherever the layer stores less than a dense one. `LowRankLinear` and `LowRankConv2d` are for
that.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.nn.low_rank import (
    FactoredConv2d,
    Pair,
    check_forward,
    dense_linear,
    describe_stored,
    draw_uniform_,
    exact,
    geometry,
    multiply,
    own_generator,
)


class SketchedLinear(nn.Module):
    """y = 1 / (2 l) sum_i (x S1_i U1_i + x U2_i S2_i) + bias, in place of nn.Linear: l = `num_terms`, k = `low_rank`.

    U1_i [k, out] and U2_i [in, k] hold random signs times 1 / sqrt(k), drawn once from `generator` (default: one of its own, seed
    0, so the global random state is neither read nor changed) and never trained; S1_i [in, k] and S2_i [k, out] are trained. The
    layer stores 2 l k (in + out) numbers, half of them fixed, and the bias. What it holds, all l terms below one another:

      S1  parameter [l k, in], the S1_i transposed     U1  buffer [l k, out], the U1_i / (2 l)
      S2  parameter [l k, out], the S2_i               U2  buffer [l k, in], the U2_i / (2 l) transposed

    S1 lies directly before U2 in memory, and U1 before S2: without gradients the layer is one pair of matrix products,
    x [S1; U2]^T and its result times [U1; S2], with nothing copied. With gradients to S, two pairs cost less, since half of the
    weights need none. Initial values give the whole the variance of nn.Linear's initial weight, 1 / (3 in). For safetensors that
    makes it one for `save_file` of the state dict: its `save_model` refuses parts of a larger block.
    """

    S1: Tensor
    S2: Tensor
    U1: Tensor
    U2: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_terms: int,
        low_rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_terms(num_terms, low_rank)
        self.in_features, self.out_features = in_features, out_features
        self.num_terms, self.low_rank = num_terms, low_rank
        height = num_terms * low_rank
        self.S1 = nn.Parameter(torch.empty(height, in_features, device=device, dtype=dtype))
        self.S2 = nn.Parameter(torch.empty(height, out_features, device=device, dtype=dtype))
        self.register_buffer("U1", self.S2.new_empty(height, out_features))
        self.register_buffer("U2", self.S1.new_empty(height, in_features))
        self.register_parameter("bias", nn.Parameter(self.S1.new_empty(out_features)) if bias else None)
        self._join()
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws signs and initial values anew."""
        generator = generator or own_generator()
        self._draw_signs(generator)
        bound = (2 * self.num_terms / self.in_features) ** 0.5
        draw_uniform_(self.S1, bound, generator)
        draw_uniform_(self.S2, bound, generator)
        if self.bias is not None:
            draw_uniform_(self.bias, self.in_features**-0.5, generator)

    @classmethod
    @torch.no_grad()
    def from_dense(cls, layer: nn.Linear, num_terms: int, low_rank: int, generator: torch.Generator | None = None) -> Self:
        """An unbiased estimate of `layer`: S1_i = W^T U1_i^T and S2_i = U2_i^T W^T; dtype, device, mode, requires_grad as its.

        Over the draws the mean of the layer's weight is W, and E||its weight - W||^2 = (in + out - 2) / (4 l k) ||W||^2.
        """
        check_forward(layer, nn.Linear)
        size = (layer.in_features, layer.out_features, num_terms, low_rank, layer.bias is not None)
        new = cls(*size, layer.weight.device, layer.weight.dtype, generator)
        scale = 2 * num_terms
        new.S1.copy_(scale * exact(new.U1) @ exact(layer.weight))
        new.S2.copy_(scale * exact(new.U2) @ exact(layer.weight).T)
        new.S1.requires_grad_(layer.weight.requires_grad)
        new.S2.requires_grad_(layer.weight.requires_grad)
        if new.bias is not None:
            new.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
        return new.train(layer.training)

    def to_dense(self) -> nn.Linear:
        """One nn.Linear that computes the same, up to rounding."""
        weight = multiply(self.U1.T, self.S1) + multiply(self.S2.T, self.U2)
        return dense_linear(weight, self.S1, self.bias, self.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        is_trained = torch.is_grad_enabled() and (self.S1.requires_grad or self.S2.requires_grad)
        if is_trained or not self._is_joined():
            first = F.linear(F.linear(inputs, self.S1), self.U1.T, self.bias)
            return first + F.linear(F.linear(inputs, self.U2), self.S2.T)
        return F.linear(F.linear(inputs, self._down), self._up, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        num_weights = 2 * self.num_terms * self.low_rank * (self.in_features + self.out_features)
        stored = describe_stored(num_weights, self.bias, self.in_features * self.out_features)
        return f"{sizes}, num_terms={self.num_terms}, low_rank={self.low_rank}, bias={self.bias is not None}, {stored}"

    def _draw_signs(self, generator: torch.Generator) -> None:
        size = self.low_rank**-0.5 / (2 * self.num_terms)
        _draw_signs_(self.U1, size, generator)
        _draw_signs_(self.U2, size, generator)

    def _join(self) -> None:
        """Puts the four matrices into two blocks of memory, keeping the parameters themselves; nothing where they are there."""
        if not hasattr(self, "_down") or not self._is_joined():
            height = len(self.S1)
            # Plain attributes, neither parameters nor buffers: their numbers are those of the four, and are saved with these.
            self._down = torch.cat([self.S1.data, self.U2])
            self.S1.data, self.U2 = self._down[:height], self._down[height:]
            up = torch.cat([self.U1, self.S2.data])
            self.U1, self.S2.data = up[:height], up[height:]
            self._up = up.T  # as F.linear takes it

    def _is_joined(self) -> bool:
        """Whether the blocks are what the four matrices hold: false where others were put in their place, as by
        `torch.func.functional_call` and `load_state_dict(assign=True)`. Under tracing it cannot be known: false."""
        # By way of the dictionaries: asking the module itself for each costs a small layer some percent of its time.
        S1, S2 = self._parameters.get("S1"), self._parameters.get("S2")
        U1, U2 = self._buffers.get("U1"), self._buffers.get("U2")
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
        if not (type(S1) is type(S2) is nn.Parameter) or U1 is None or U2 is None:
            return False
        try:
            down, up = self._down.data_ptr(), self._up.data_ptr()
            is_down_whole = S1.data_ptr() == down and U2.data_ptr() == down + S1.nbytes
            return is_down_whole and U1.data_ptr() == up and S2.data_ptr() == up + U1.nbytes
        except RuntimeError:  # what torch.func puts there may have no address
            return False

    # What moves the numbers elsewhere joins them again: to(), half(), to_empty(), a copy, unpickling, loading.

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._join()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._join()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_down", "_up")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._join()


class SketchedConv2d(FactoredConv2d):
    """y = 1 / (2 l) sum_i conv(x, S_i) U_i + bias over 2 l terms, in place of nn.Conv2d: l = `num_terms`, k = `low_rank`.

    U_i [k, out_channels / groups] hold random signs times 1 / sqrt(k), drawn once as in SketchedLinear and never trained; the
    S_i, kernels to k channels, are trained. `down`, a parameter, holds the 2 l k kernels of each group, `up`, a buffer, the
    U_i / (2 l) transposed. The layer stores 2 l k (in_channels kh kw + out_channels) numbers and the bias. Takes what nn.Conv2d
    takes, groups, dilation and padding modes included.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        num_terms: int,
        low_rank: int,
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
        _check_terms(num_terms, low_rank)
        size = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(2 * num_terms * low_rank, *size)
        self.num_terms, self.low_rank = num_terms, low_rank
        self.down = nn.Parameter(torch.empty(self.down_shape, device=device, dtype=dtype))
        self.register_buffer("up", torch.empty(self.up_shape, device=device, dtype=dtype))
        self.register_parameter("bias", nn.Parameter(self.up.new_empty(out_channels)) if bias else None)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws signs and initial values anew."""
        generator = generator or own_generator()
        _draw_signs_(self.up, self.low_rank**-0.5 / (2 * self.num_terms), generator)
        draw_uniform_(self.down, (2 * self.num_terms / self.fan_in) ** 0.5, generator)
        if self.bias is not None:
            draw_uniform_(self.bias, self.fan_in**-0.5, generator)

    @classmethod
    @torch.no_grad()
    def from_dense(cls, conv: nn.Conv2d, num_terms: int, low_rank: int, generator: torch.Generator | None = None) -> Self:
        """An unbiased estimate of `conv`: S_i = U_i kernel; dtype, device, training mode and requires_grad as its.

        E||its kernel - W||^2 = (out_channels / groups - 1) / (2 l k) ||W||^2.
        """
        check_forward(conv, nn.Conv2d)
        like: dict[str, Any] = {"device": conv.weight.device, "dtype": conv.weight.dtype, "generator": generator}
        new = cls(**geometry(conv), num_terms=num_terms, low_rank=low_rank, bias=conv.bias is not None, **like)
        up = exact(new.up).view(conv.groups, -1, new.up_shape[1])
        kernels = 2 * num_terms * up.mT @ exact(conv.weight).reshape(conv.groups, -1, new.fan_in)
        new.down.copy_(kernels.view(new.down_shape)).requires_grad_(conv.weight.requires_grad)
        if new.bias is not None and conv.bias is not None:
            new.bias.copy_(conv.bias).requires_grad_(conv.bias.requires_grad)
        return new.train(conv.training)

    def _repr_of_width(self) -> str:
        return f"num_terms={self.num_terms}, low_rank={self.low_rank}"


def _check_terms(num_terms: int, low_rank: int) -> None:
    for name, value in (("num_terms", num_terms), ("low_rank", low_rank)):
        if value < 1:
            raise ValueError(f"{name}: found {value}, allowed: 1 and more")


@torch.no_grad()
def _draw_signs_(tensor: Tensor, size: float, generator: torch.Generator) -> None:
    """Fills with +size and -size, as likely, the same ones for any dtype and device; leaves meta tensors alone."""
    if not tensor.is_meta:
        is_positive = torch.randint(2, tensor.shape, generator=generator, device=generator.device, dtype=torch.bool)
        tensor.copy_(2 * is_positive.char() - 1).mul_(size)
