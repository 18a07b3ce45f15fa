"""What the tests of layers that stand for dense ones share: convolutions of all kinds, and what must hold for each such layer."""

import contextlib
import copy
import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

MODES = ("zeros", "reflect", "replicate", "circular")
# Arguments of nn.Conv2d: (in_channels, out_channels, kernel_size) and the rest.
_KINDS: list[tuple[tuple[int, int, Any], dict[str, Any]]] = [
    ((4, 6, 3), {}),
    ((4, 6, 1), {}),
    ((4, 6, 1), {"stride": 2}),
    ((4, 6, (2, 3)), {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)}),
    ((4, 6, 3), {"groups": 2, "padding": 1, "bias": False}),
    ((4, 4, 3), {"groups": 4, "padding": 1}),
    ((4, 6, 3), {"padding": "same"}),
    ((4, 6, (4, 2)), {"padding": "same"}),
    ((4, 6, 4), {"padding": "same", "dilation": (1, 3), "groups": 2}),
    ((4, 6, 3), {"padding": "valid", "dilation": 2}),
]
CONVS = [
    pytest.param(size, {**options, "padding_mode": mode}, id=f"{size[2]}-{options}-{mode}".replace(" ", "").replace("'", ""))
    for (size, options), mode in itertools.product(_KINDS, MODES)
]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def dense_linear(num_in: int, num_out: int, *, bias: bool = True, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Linear:
    layer = nn.Linear(num_in, num_out, bias=bias, device="meta", dtype=dtype)
    layer.weight = nn.Parameter(draw(num_out, num_in, seed=seed, dtype=dtype) / num_in**0.5)
    if bias:
        layer.bias = nn.Parameter(draw(num_out, seed=seed + 1, dtype=dtype))
    return layer


def dense_conv(size: tuple[int, int, Any], options: dict[str, Any], dtype: torch.dtype = torch.float64) -> nn.Conv2d:
    conv = nn.Conv2d(*size, **options, device="meta", dtype=dtype)
    conv.weight = nn.Parameter(draw(*conv.weight.shape, dtype=dtype))
    if conv.bias is not None:
        conv.bias = nn.Parameter(draw(*conv.bias.shape, seed=1, dtype=dtype))
    return conv


@contextlib.contextmanager
def global_random_state_is_left_alone() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def check_that_copies_compute_the_same(layer: nn.Module, fresh: nn.Module, inputs: Tensor) -> None:
    """A deep copy, an unpickled one, ones that loaded the state, also from safetensors, and ones made on the meta device that
    loaded it; with gradients and without them."""
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    fresh.load_state_dict(layer.state_dict())
    assigned = copy.deepcopy(fresh).to("meta")
    assigned.load_state_dict(layer.state_dict(), assign=True)
    emptied = copy.deepcopy(fresh).to("meta").to_empty(device="cpu")
    emptied.load_state_dict(layer.state_dict())
    safe = copy.deepcopy(fresh)
    safe.load_state_dict(safetensors.torch.load(safetensors.torch.save(layer.state_dict())))
    others = [safe, copy.deepcopy(layer), torch.load(saved, weights_only=False), fresh, assigned, emptied]
    trained = layer(inputs)
    with torch.no_grad():
        plain = layer(inputs)
    for other in others:
        assert torch.equal(other(inputs), trained)
        with torch.no_grad():
            assert torch.allclose(other(inputs), plain, rtol=1e-5, atol=1e-6)  # its products may be taken in another order
        assert [name for name, _ in other.named_parameters()] == [name for name, _ in layer.named_parameters()]


def check_that_a_copy_is_independent(layer: nn.Module, inputs: Tensor) -> None:
    other = copy.deepcopy(layer)
    with torch.no_grad():
        before = layer(inputs)
        for param in other.parameters():
            param.add_(1.0)
        assert torch.equal(layer(inputs), before)
        assert not torch.allclose(other(inputs), before)


def check_gradients(layer: nn.Module, inputs: Tensor) -> None:
    """First and second derivatives by inputs and parameters, against differences, in float64."""
    names = [name for name, _ in layer.named_parameters()]

    def call(inputs: Tensor, *params: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (inputs,))

    variables = [inputs.requires_grad_(), *(param.detach().clone().requires_grad_() for param in layer.parameters())]
    assert torch.autograd.gradcheck(call, variables)
    assert torch.autograd.gradgradcheck(call, variables)
