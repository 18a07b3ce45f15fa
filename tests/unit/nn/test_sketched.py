"""Sketched layers compute the published estimator, with the error it has, and their joined memory is never out of step."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ksweep.nn.sketched import SketchedConv2d, SketchedLinear
from tests.unit.nn.factored import (
    CONVS,
    check_gradients,
    check_that_a_copy_is_independent,
    check_that_copies_compute_the_same,
    dense_conv,
    dense_linear,
    draw,
    global_random_state_is_left_alone,
)

# torch's own convolution warns so; a sketched one pads by itself and does not.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def published_weights(layer: SketchedLinear) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S1 [l, in, k], U1 [l, k, out], U2 [l, in, k], S2 [l, k, out] of the published formula, U without the scale folded in."""
    num_terms = layer.num_terms
    S1, U2 = (part.unflatten(0, (num_terms, -1)).mT for part in (layer.S1, 2 * num_terms * layer.U2))
    U1, S2 = (part.unflatten(0, (num_terms, -1)) for part in (2 * num_terms * layer.U1, layer.S2))
    return S1, U1, U2, S2


def four_matmuls(layer: SketchedLinear, inputs: Tensor) -> Tensor:
    """The formula as it is written."""
    S1, U1, U2, S2 = published_weights(layer)
    sums = (inputs @ S1 @ U1).mean(0) + (inputs @ U2 @ S2).mean(0)
    return sums / 2 if layer.bias is None else sums / 2 + layer.bias


def is_one_pair_of_products(layer: nn.Module, inputs: Tensor) -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.no_grad():
        layer(inputs)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert "aten::cat" not in counts
    return counts["aten::linear"] == 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_terms", "low_rank"), [(1, 4), (3, 2), (2, 16)])
def test_it_is_the_published_formula_with_and_without_gradients(num_terms: int, low_rank: int, bias: bool) -> None:
    layer = SketchedLinear(12, 10, num_terms, low_rank, bias=bias)
    inputs = draw(5, 12)
    expected = four_matmuls(layer, inputs)

    assert torch.allclose(layer(inputs), expected, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(layer(inputs), expected, atol=1e-5)
        assert torch.allclose(layer.to_dense()(inputs), expected, atol=1e-5)
    params, by_layer, by_formula = list(layer.parameters()), layer(inputs), four_matmuls(layer, inputs)
    weights = draw(5, 10, seed=1)
    for found, right in zip(
        torch.autograd.grad(by_layer, params, weights), torch.autograd.grad(by_formula, params, weights), strict=True
    ):
        assert torch.allclose(found, right, atol=1e-5)


def test_without_gradients_it_is_one_pair_of_matrix_products_and_nothing_is_copied() -> None:
    layer, inputs = SketchedLinear(12, 10, 2, 3), draw(5, 12)
    assert is_one_pair_of_products(layer, inputs)
    layer.S1.requires_grad_(False)
    layer.S2.requires_grad_(False)
    tracked = inputs.requires_grad_()
    (found,) = torch.autograd.grad(layer(tracked).sum(), tracked)
    assert torch.allclose(found, layer.to_dense().weight.sum(0).expand(5, 12), atol=1e-5)


def test_signs_are_fixed_numbers_of_one_size_and_only_the_other_factors_are_trained() -> None:
    layer = SketchedLinear(40, 30, 2, 8)
    signs = layer.U1.clone(), layer.U2.clone()
    for sign in signs:
        assert torch.equal(sign.abs(), torch.full_like(sign, 8**-0.5 / 4))
        assert 0.4 < (sign > 0).double().mean() < 0.6
    assert [name for name, _ in layer.named_parameters()] == ["S1", "S2", "bias"]
    assert [name for name, _ in layer.named_buffers()] == ["U1", "U2"]
    assert sum(tensor.numel() for tensor in layer.state_dict().values()) == 2 * 2 * 8 * (40 + 30) + 30

    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    layer(draw(5, 40)).square().sum().backward()
    before = layer.S1.clone()
    optimizer.step()
    assert not torch.equal(layer.S1, before)
    assert torch.equal(layer.U1, signs[0])
    assert torch.equal(layer.U2, signs[1])


def test_a_sketch_of_a_dense_layer_is_the_published_projection_of_its_weight() -> None:
    dense = dense_linear(12, 10)
    layer = SketchedLinear.from_dense(dense, 2, 3, seeded(1))
    S1, U1, U2, S2 = published_weights(layer)
    for term in range(2):
        assert torch.allclose(S1[term], dense.weight.T @ U1[term].T, atol=1e-5)
        assert torch.allclose(S2[term], U2[term].T @ dense.weight.T, atol=1e-5)
    assert torch.equal(layer.bias, dense.bias)
    assert layer.bias.data_ptr() != dense.bias.data_ptr()


@pytest.mark.parametrize(("num_terms", "low_rank"), [(1, 8), (4, 32)])
def test_its_mean_over_draws_is_the_dense_weight_and_its_error_the_published_one(num_terms: int, low_rank: int) -> None:
    """Relative error sqrt((in + out) / (4 l k)), whatever the weight: here one of rank 1, which truncated SVD meets exactly."""
    num_draws, generator = 200, seeded(1)
    dense = nn.Linear(48, 32, device="meta")
    dense.weight = nn.Parameter(torch.outer(draw(32), draw(48, seed=1)))
    dense.bias = nn.Parameter(draw(32, seed=2))
    total, squares = torch.zeros(32, 48), 0.0
    for _ in range(num_draws):
        weight = SketchedLinear.from_dense(dense, num_terms, low_rank, generator).to_dense().weight
        total += weight.detach()
        squares += ((weight - dense.weight).norm() / dense.weight.norm()).item() ** 2
    error = (squares / num_draws) ** 0.5
    assert error == pytest.approx(((48 + 32) / (4 * num_terms * low_rank)) ** 0.5, rel=0.08)
    of_the_mean = ((total / num_draws - dense.weight).norm() / dense.weight.norm()).item()
    assert of_the_mean == pytest.approx(error / num_draws**0.5, rel=0.25), "as for means of unbiased draws"


@pytest.mark.parametrize(("size", "options"), CONVS)
def test_a_sketched_convolution_of_any_kind_is_the_published_formula(size: Any, options: dict[str, Any]) -> None:
    conv = dense_conv(size, options)
    layer = SketchedConv2d.from_dense(conv, 2, 3, seeded(1))
    images = draw(2, 4, 9, 8, dtype=torch.float64)
    signs = 2 * 2 * layer.up.view(conv.groups, -1, 4, 3)  # [groups, out, 2 l, k]: the U_i, without the scale folded in
    kernels = conv.weight.detach().view(conv.groups, -1, *conv.weight.shape[1:])
    mean = torch.zeros_like(kernels)
    for term in range(4):
        projected = torch.einsum("gok,goihw->gkihw", signs[:, :, term], kernels)
        mean += torch.einsum("gok,gkihw->goihw", signs[:, :, term], projected) / 4
    expected = copy.deepcopy(conv)
    expected.weight.data = mean.flatten(0, 1)

    assert torch.equal(signs.abs(), torch.full_like(signs, 3**-0.5))
    assert torch.allclose(layer(images), expected(images), atol=1e-9)
    assert torch.allclose(layer(images[0]), expected(images)[0], atol=1e-9)
    assert torch.allclose(layer.to_dense()(images), expected(images), atol=1e-9)
    assert layer.to_dense().extra_repr() == conv.extra_repr()


def test_the_mean_of_sketched_convolutions_is_the_dense_one_and_their_error_the_published_one() -> None:
    num_draws, generator = 200, seeded(2)
    conv = dense_conv((4, 32, 3), {"groups": 2})
    total, squares = torch.zeros_like(conv.weight), 0.0
    for _ in range(num_draws):
        weight = SketchedConv2d.from_dense(conv, 1, 8, generator).to_dense().weight.detach()
        total += weight
        squares += ((weight - conv.weight).norm() / conv.weight.norm()).item() ** 2
    error = (squares / num_draws) ** 0.5
    assert error == pytest.approx((15 / 16) ** 0.5, rel=0.05)
    assert ((total / num_draws - conv.weight).norm() / conv.weight.norm()).item() == pytest.approx(error / 200**0.5, rel=0.25)


@pytest.mark.parametrize("shape", [(7,), (0, 7), (3, 7), (2, 3, 7), (2, 0, 3, 7)], ids=str)
def test_inputs_of_any_shape_and_layout_are_taken(shape: tuple[int, ...]) -> None:
    layer = SketchedLinear(7, 5, 1, 2)
    inputs = draw(*shape)
    turned = inputs.transpose(0, -1).contiguous().transpose(0, -1)
    expected = layer.to_dense()(inputs)
    for values in (inputs, turned):
        assert torch.allclose(layer(values), expected, atol=1e-6)
        with torch.inference_mode():
            assert torch.allclose(layer(values), expected, atol=1e-6)
    assert layer(inputs).shape == (*shape[:-1], 5)
    assert SketchedConv2d(4, 6, 3, 1, 2)(draw(0, 4, 8, 8)).shape == (0, 6, 6, 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtype_device_mode_and_requires_grad_are_those_of_the_dense_layer(dtype: torch.dtype) -> None:
    dense, conv = dense_linear(7, 5, dtype=dtype).eval(), dense_conv((4, 6, 3), {}, dtype).eval()
    for source in (dense, conv):
        source.weight.requires_grad_(False)
    for layer, inputs in (
        (SketchedLinear.from_dense(dense, 2, 4), draw(3, 7, dtype=dtype)),
        (SketchedConv2d.from_dense(conv, 2, 4), draw(1, 4, 6, 6, dtype=dtype)),
    ):
        back = layer.to_dense()
        assert layer(inputs).dtype == back.weight.dtype == dtype
        assert {tensor.dtype for tensor in layer.state_dict().values()} == {dtype}
        assert not layer.training
        assert not back.training
        assert {name for name, param in layer.named_parameters() if param.requires_grad} == {"bias"}
        assert not back.weight.requires_grad
        assert torch.allclose(back(inputs), layer(inputs), rtol=0.05, atol=40 * torch.finfo(dtype).eps)


def test_derivatives_of_first_and_second_order_are_right() -> None:
    check_gradients(SketchedLinear(4, 3, 2, 1, dtype=torch.float64), draw(2, 4, dtype=torch.float64))
    check_gradients(SketchedConv2d(2, 2, 2, 1, 1, groups=2, dtype=torch.float64), draw(1, 2, 3, 3, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_a_trace_computes_the_same_with_and_without_gradients() -> None:
    layer, inputs = SketchedLinear(6, 5, 2, 3), draw(4, 6)
    traced = torch.jit.trace(layer, (inputs,))  # torch traces twice, and compares
    assert torch.allclose(traced(inputs), layer(inputs), atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(traced(inputs), layer(inputs), atol=1e-6)


def test_copies_of_all_kinds_compute_the_same_and_are_independent() -> None:
    for layer, fresh, inputs in (
        (SketchedLinear(6, 5, 2, 3), SketchedLinear(6, 5, 2, 3, generator=seeded(5)), draw(4, 6)),
        (SketchedConv2d(4, 6, 3, 1, 2), SketchedConv2d(4, 6, 3, 1, 2, generator=seeded(5)), draw(2, 4, 6, 6)),
    ):
        check_that_copies_compute_the_same(layer, fresh, inputs)
        check_that_a_copy_is_independent(layer, inputs)


MOVES = {
    "to another dtype": lambda layer: layer.double(),
    "deep copy": copy.deepcopy,
    "state loaded": lambda layer: (layer.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()}), layer)[1],
    "state assigned": lambda layer: (
        layer.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()}, assign=True),
        layer,
    )[1],
    "from meta": lambda layer: (
        (moved := copy.deepcopy(layer).to("meta").to_empty(device="cpu")).load_state_dict(layer.state_dict()),
        moved,
    )[1],
    "shared between processes": lambda layer: layer.share_memory(),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_wherever_it_is_moved_it_stays_one_pair_and_follows_its_parameters(move: Any) -> None:
    before = SketchedLinear(6, 5, 2, 3)
    params_before = list(before.parameters())
    layer = move(before)
    inputs = draw(4, 6).to(layer.S1.dtype)
    assert is_one_pair_of_products(layer, inputs)
    if layer is before and move is not MOVES["state assigned"]:
        assert all(one is other for one, other in zip(layer.parameters(), params_before, strict=True)), "optimizers keep them"
    for param in layer.parameters():  # in ways that autograd's own version counters do not all see
        param.data.mul_(1.5)
    with torch.no_grad():
        assert torch.allclose(layer(inputs), four_matmuls(layer, inputs), atol=1e-5)


def test_tensors_put_in_the_place_of_its_own_are_what_it_computes_with() -> None:
    layer, inputs = SketchedLinear(6, 5, 2, 3), draw(4, 6)
    other = SketchedLinear(6, 5, 2, 3, generator=seeded(9))
    with torch.no_grad():
        expected = other(inputs)
        assert torch.allclose(torch.func.functional_call(layer, other.state_dict(), (inputs,)), expected, atol=1e-6)
        stacked, _ = torch.func.stack_module_state([layer, other])  # type: ignore[list-item]
        both = torch.func.vmap(lambda params: torch.func.functional_call(layer, params, (inputs,)))(stacked)
        signs_of_first = torch.func.functional_call(layer, dict(other.named_parameters()), (inputs,))
        assert torch.allclose(both[1], signs_of_first, atol=1e-6)
        nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(other.parameters()), layer.parameters())
        assert torch.allclose(layer(inputs), signs_of_first, atol=1e-6)
        for name in ("S1", "S2", "U1", "U2"):  # one of the four alone
            layer = SketchedLinear(6, 5, 2, 3)
            getattr(layer, name).data = getattr(other, name).clone()
            assert torch.allclose(layer(inputs), four_matmuls(layer, inputs), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")  # torch's own, in its first forward derivative
def test_transforms_of_torch_func_see_its_parameters_and_buffers() -> None:
    """Forward-mode derivatives without gradients, whose tensors lie where the parameters do; other signs for each of a batch."""
    layer, inputs = SketchedLinear(6, 5, 2, 3), draw(4, 6)
    params = {name: param.detach() for name, param in layer.named_parameters()}
    along = {name: draw(*param.shape, seed=3) for name, param in params.items()}
    signs = {name: torch.stack([buffer, -buffer]) for name, buffer in layer.named_buffers()}

    def call(given: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, given, (inputs,))

    with torch.no_grad():
        with forward_ad.dual_level():
            duals = {name: forward_ad.make_dual(param, along[name]) for name, param in params.items()}
            change = forward_ad.unpack_dual(call(duals)).tangent
        _, also_change = torch.func.jvp(call, (params,), (along,))
        expected = call(along)  # the layer is linear in its parameters
        both = torch.func.vmap(call)(signs)
        assert torch.allclose(both[0], layer(inputs), atol=1e-6)
        assert torch.allclose(both[1] + both[0], 2 * layer.bias.expand(4, 5), atol=1e-5)
    assert torch.allclose(change, expected, atol=1e-5)
    assert torch.allclose(also_change, expected, atol=1e-5)


def test_a_step_between_forward_and_backward_is_noticed_as_in_any_layer() -> None:
    layer = SketchedLinear(6, 5, 1, 3)
    outputs = layer(draw(4, 6).requires_grad_()).sum()
    with torch.no_grad():
        layer.S1.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.backward()


def test_the_global_random_state_is_left_alone_and_a_seed_gives_the_same_values_in_any_dtype() -> None:
    dense, conv = dense_linear(7, 5), dense_conv((4, 6, 3), {})
    with global_random_state_is_left_alone():
        layer = SketchedLinear(7, 5, 1, 2)
        SketchedLinear.from_dense(dense, 1, 2).to_dense()
        SketchedConv2d.from_dense(conv, 1, 2).to_dense()
        SketchedConv2d(4, 6, 3, 1, 2)
    drawn = [SketchedLinear(7, 5, 1, 2, generator=seeded(seed)) for seed in (0, 1)]
    assert torch.equal(layer.U1, drawn[0].U1)
    assert torch.equal(layer.S1, drawn[0].S1)
    assert not torch.equal(layer.S1, drawn[1].S1)
    assert torch.equal(SketchedLinear(7, 5, 1, 2, dtype=torch.bfloat16).U1, layer.U1.bfloat16())
    on_meta = SketchedLinear(7, 5, 1, 2, device="meta").to_empty(device="cpu")
    on_meta.reset_parameters()
    assert torch.equal(on_meta(draw(3, 7)), layer(draw(3, 7)))


def test_initial_values_have_the_variance_of_those_of_the_dense_layers() -> None:
    assert SketchedLinear(256, 512, 2, 32).to_dense().weight.var().item() == pytest.approx(1 / (3 * 256), rel=0.1)
    assert SketchedConv2d(32, 128, 3, 2, 8).to_dense().weight.var().item() == pytest.approx(1 / (3 * 32 * 9), rel=0.1)


def test_sizes_that_cannot_be_and_layers_with_a_forward_of_their_own_are_refused() -> None:
    class Scaled(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return 2 * super().forward(inputs)

    for make in (
        lambda: SketchedLinear(7, 5, 0, 2),
        lambda: SketchedConv2d(4, 6, 3, 0, 2),
        lambda: SketchedLinear.from_dense(dense_linear(7, 5), 0, 2),
    ):
        with pytest.raises(ValueError, match="num_terms: found 0, allowed: 1 and more"):
            make()
    with pytest.raises(ValueError, match="low_rank: found -1, allowed: 1 and more"):
        SketchedLinear(7, 5, 1, -1)
    with pytest.raises(ValueError, match=r"found Scaled, allowed: nn\.Linear and subclasses"):
        SketchedLinear.from_dense(Scaled(4, 4), 1, 2)


def test_it_learns_as_a_layer_of_its_own() -> None:
    """Trained from scratch: the use that the estimator was made for."""
    inputs = draw(256, 16)
    targets = F.linear(inputs, draw(8, 16, seed=1) / 4)
    layer = SketchedLinear(16, 8, 1, 12)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        F.mse_loss(layer(inputs), targets).backward()
        optimizer.step()
    with torch.no_grad():
        assert F.mse_loss(layer(inputs), targets) < 0.01 * targets.var()
        assert torch.allclose(layer(inputs), four_matmuls(layer, inputs), atol=1e-5)


def test_what_is_printed_says_the_sizes() -> None:
    assert repr(SketchedLinear(512, 512, 1, 64)) == (
        "SketchedLinear(in_features=512, out_features=512, num_terms=1, low_rank=64, bias=True, "
        "stored=131072+512 (50.1% of dense))"
    )
    assert repr(SketchedConv2d(8, 16, 3, 1, 2, dilation=2, bias=False)) == (
        "SketchedConv2d(8, 16, kernel_size=(3, 3), stride=(1, 1), dilation=(2, 2), num_terms=1, low_rank=2, bias=False, "
        "stored=352 (30.6% of dense))"
    )
