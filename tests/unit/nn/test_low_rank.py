"""Low-rank layers compute what their dense forms do, are the best of their rank, and behave like any layer of torch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.nn.calibration import Moments
from ksweep.nn.factorization import error_by_rank, truncated_svd
from ksweep.nn.low_rank import LowRankConv2d, LowRankLinear
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

# torch's own convolution warns so; a low-rank one pads by itself and does not.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


def moments_of(rows: Tensor) -> Moments:
    """Of `[groups, rows, d]`."""
    rows = rows.double()
    return Moments(mean=rows.mean(1), second=rows.mT @ rows / rows.shape[1], num_rows=rows.shape[1])


def activations(num_rows: int, num_in: int) -> Tensor:
    """Of unequal strength, none of them centred."""
    mixed = draw(num_rows, num_in, seed=3, dtype=torch.float64) * torch.logspace(0, -2, num_in, dtype=torch.float64)
    return mixed @ draw(num_in, num_in, seed=4, dtype=torch.float64) + 2.0


def patches_of(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """[groups, rows, d], what each group's kernel sees."""
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = F.pad(images, conv._reversed_padding_repeated_twice, mode)
    unfolded = F.unfold(padded, conv.kernel_size, conv.dilation, 0, conv.stride)
    return unfolded.unflatten(1, (conv.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def mean_squared(difference: Tensor) -> float:
    """Mean over rows, or over images and positions, of the squared length over features or channels."""
    return difference.detach().square().sum(1).mean().item()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_linear_layer_is_the_truncated_svd_of_its_weight_and_turns_back_into_a_dense_one(rank: int, bias: bool) -> None:
    dense = dense_linear(7, 5, bias=bias)
    layer = LowRankLinear.from_dense(dense, rank)
    down, up = truncated_svd(dense.weight, rank)
    back = layer.to_dense()
    inputs = draw(9, 7)

    assert torch.equal(layer.down, down)
    assert torch.equal(layer.up, up)
    assert (layer.bias is None) is (not bias)
    assert torch.allclose(layer(inputs), F.linear(inputs, up @ down, dense.bias), atol=1e-6)
    assert type(back) is nn.Linear
    assert torch.allclose(back(inputs), layer(inputs), atol=1e-6)
    assert torch.allclose(back(inputs), dense(inputs), atol=1e-5) is (rank == 5)
    assert (back.in_features, back.out_features) == (7, 5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (6, 8)], ids=str)
def test_calibrated_the_error_of_the_outputs_is_the_optimum(size: tuple[int, int], bias: bool) -> None:
    dense, inputs = dense_linear(*size, bias=bias, dtype=torch.float64), activations(60, size[0])
    centred = inputs - inputs.mean(0) if bias else inputs
    second = centred.T @ centred / len(inputs)
    energy = mean_squared(centred @ dense.weight.T)
    for rank in range(1, 6):
        aware = LowRankLinear.from_dense(dense, rank, moments_of(inputs[None]))
        error = mean_squared(aware(inputs) - dense(inputs))
        assert error == pytest.approx(error_by_rank(dense.weight, second)[rank].item() ** 2 * energy, rel=1e-5, abs=1e-9 * energy)
        assert error < mean_squared(LowRankLinear.from_dense(dense, rank)(inputs) - dense(inputs))
        if aware.bias is not None:
            assert torch.allclose(aware(inputs).mean(0), dense(inputs).mean(0)), "the corrected bias meets the mean output"
            with torch.no_grad():
                aware.bias += 1e-3
                assert mean_squared(aware(inputs) - dense(inputs)) > error


def test_with_constant_inputs_the_bias_alone_makes_the_outputs_right() -> None:
    dense = dense_linear(6, 4, dtype=torch.float64)
    inputs = torch.full((10, 6), 3.0, dtype=torch.float64)
    layer = LowRankLinear.from_dense(dense, 1, moments_of(inputs[None]))
    assert torch.allclose(layer(inputs), dense(inputs), atol=1e-9)


def test_refit_makes_good_what_earlier_layers_lost() -> None:
    """On inputs that differ from those that the dense layer saw; the optimum is that of ordinary least squares."""
    dense, inputs = dense_linear(8, 6, dtype=torch.float64), activations(200, 8)
    targets = dense(inputs).detach()
    disturbed = inputs + 0.3 * draw(200, 8, seed=9, dtype=torch.float64)
    layer = LowRankLinear.from_dense(dense, 3, moments_of(inputs[None]))
    before = mean_squared(layer(disturbed) - targets)

    assert layer.refit_(disturbed.view(20, 10, 8), targets.view(20, 10, 6), ridge=1e-9) is layer

    hidden = torch.cat([disturbed @ layer.down.detach().T, torch.ones(200, 1, dtype=torch.float64)], dim=1)
    best = hidden @ torch.linalg.lstsq(hidden, targets).solution
    after = mean_squared(layer(disturbed) - targets)
    assert after < before
    assert after == pytest.approx(mean_squared(best - targets), rel=1e-6)
    present = layer.up.clone()
    layer.refit_(draw(3, 8, seed=1, dtype=torch.float64), draw(3, 6, seed=2, dtype=torch.float64), ridge=1e9)
    assert torch.allclose(layer.up, present, atol=1e-6), "a large ridge keeps what is there"


def test_refit_refuses_what_it_cannot_fit() -> None:
    layer = LowRankLinear(4, 3, 2, bias=False)
    with pytest.raises(ValueError, match="ridge: found 0, allowed: above 0"):
        layer.refit_(draw(5, 4), draw(5, 3), ridge=0)
    with pytest.raises(ValueError, match="found 5 inputs and 6 targets"):
        layer.refit_(draw(5, 4), draw(6, 3))
    present = layer.up.clone()
    layer.refit_(torch.zeros(5, 4), draw(5, 3))
    assert torch.allclose(layer.up, present), "inputs that say nothing change nothing"


@pytest.mark.parametrize(("size", "options"), CONVS)
def test_a_convolution_of_full_rank_is_the_dense_one_and_turns_back_into_one_like_it(size: Any, options: dict[str, Any]) -> None:
    conv = dense_conv(size, options)
    rank = min(conv.out_channels // conv.groups, conv.weight[0].numel())
    layer = LowRankConv2d.from_dense(conv, rank)
    back = layer.to_dense()
    images = draw(2, 4, 9, 8, dtype=torch.float64)

    expected = conv(images)
    assert torch.allclose(layer(images), expected, atol=1e-12)
    assert torch.allclose(layer(images[0]), expected[0], atol=1e-12), "one image without a batch"
    assert torch.allclose(back(images), expected, atol=1e-12)
    assert back.extra_repr() == conv.extra_repr()


@pytest.mark.parametrize(("size", "options"), CONVS)
def test_a_convolution_of_low_rank_is_the_best_one_for_its_patches(size: Any, options: dict[str, Any]) -> None:
    conv = dense_conv(size, options)
    images = activations(2 * 4 * 9, 8).view(2, 4, 9, 8)
    patches = patches_of(conv, images)
    layer = LowRankConv2d.from_dense(conv, 1, moments_of(patches))
    centred = patches if conv.bias is None else patches - patches.mean(1, keepdim=True)
    optimum = 0.0
    for weight, rows in zip(conv.weight.detach().view(conv.groups, -1, patches.shape[2]), centred, strict=True):
        optimum += (torch.linalg.svdvals(rows @ weight.T)[1:].square().sum() / len(rows)).item()
    found = mean_squared(layer(images) - conv(images))

    assert found == pytest.approx(optimum, rel=1e-5, abs=1e-9)
    assert found <= mean_squared(LowRankConv2d.from_dense(conv, 1)(images) - conv(images)) + 1e-9
    assert torch.allclose(layer.to_dense()(images), layer(images), atol=1e-9)


@pytest.mark.parametrize("shape", [(7,), (0, 7), (3, 7), (2, 3, 7), (2, 0, 3, 7)], ids=str)
def test_a_linear_layer_takes_inputs_of_any_shape_and_layout(shape: tuple[int, ...]) -> None:
    layer = LowRankLinear.from_dense(dense_linear(7, 5), 2)
    inputs = draw(*shape)
    expected = layer.to_dense()(inputs)
    assert layer(inputs).shape == (*shape[:-1], 5)
    assert torch.allclose(layer(inputs), expected, atol=1e-6)
    turned = inputs.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.allclose(layer(turned), expected, atol=1e-6)


def test_a_convolution_takes_empty_batches_and_images_with_channels_last() -> None:
    layer = LowRankConv2d.from_dense(dense_conv((4, 6, 3), {"padding": 1}, torch.float32), 3)
    images = draw(2, 4, 8, 8)
    assert layer(images[:0]).shape == (0, 6, 8, 8)
    expected = layer(images)
    layer.to(memory_format=torch.channels_last)
    found = layer(images.to(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtype_device_mode_and_requires_grad_are_those_of_the_dense_layer(dtype: torch.dtype) -> None:
    dense, conv = dense_linear(7, 5, dtype=dtype).eval(), dense_conv((4, 6, 3), {}, dtype).eval()
    for source in (dense, conv):
        source.weight.requires_grad_(False)
    linear_moments, conv_moments = moments_of(activations(9, 7)[None]), moments_of(activations(90, 36)[None])
    layers = [
        (LowRankLinear.from_dense(dense, 2), draw(3, 7, dtype=dtype)),
        (LowRankLinear.from_dense(dense, 2, linear_moments), draw(3, 7, dtype=dtype)),
        (LowRankConv2d.from_dense(conv, 2), draw(1, 4, 6, 6, dtype=dtype)),
        (LowRankConv2d.from_dense(conv, 2, conv_moments), draw(1, 4, 6, 6, dtype=dtype)),
    ]
    for layer, inputs in layers:
        back = layer.to_dense()
        assert layer(inputs).dtype == back.weight.dtype == dtype
        assert {param.dtype for param in layer.parameters()} == {dtype}
        assert not layer.training
        assert not back.training
        flags = {name: param.requires_grad for name, param in layer.named_parameters()}
        assert flags == {"down": False, "up": False, "bias": True}
        assert not back.weight.requires_grad
        assert torch.allclose(back(inputs), layer(inputs), rtol=0.05, atol=8 * torch.finfo(dtype).eps)


def test_derivatives_of_first_and_second_order_are_right() -> None:
    check_gradients(LowRankLinear(4, 3, 2, dtype=torch.float64), draw(2, 4, dtype=torch.float64))
    conv = LowRankConv2d(2, 4, 2, 1, stride=2, padding="valid", groups=2, padding_mode="zeros", dtype=torch.float64)
    check_gradients(conv, draw(1, 2, 4, 4, dtype=torch.float64))
    padded = LowRankConv2d(2, 2, 2, 1, padding="same", padding_mode="circular", bias=False, dtype=torch.float64)
    check_gradients(padded, draw(1, 2, 3, 3, dtype=torch.float64))


def test_copies_of_all_kinds_compute_the_same_and_are_independent() -> None:
    other = torch.Generator().manual_seed(5)
    for layer, fresh, inputs in (
        (LowRankLinear(6, 5, 3), LowRankLinear(6, 5, 3, generator=other), draw(4, 6)),
        (LowRankConv2d(4, 6, 3, 2), LowRankConv2d(4, 6, 3, 2, generator=other), draw(2, 4, 6, 6)),
    ):
        check_that_copies_compute_the_same(layer, fresh, inputs)
        check_that_a_copy_is_independent(layer, inputs)
    dense = dense_linear(6, 5)
    back = LowRankLinear.from_dense(dense, 5).to_dense()
    assert back.bias.data_ptr() != dense.bias.data_ptr()


def test_the_global_random_state_is_left_alone_and_a_seed_gives_the_same_values_in_any_dtype() -> None:
    dense, conv = dense_linear(7, 5), dense_conv((4, 6, 3), {})
    with global_random_state_is_left_alone():
        LowRankConv2d(4, 6, 3, 2).to_dense()
        LowRankLinear.from_dense(dense, 2).to_dense()
        LowRankConv2d.from_dense(conv, 2).to_dense()
        layer = LowRankLinear(7, 5, 2)
    drawn = [LowRankLinear(7, 5, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert torch.equal(layer.down, drawn[0].down)
    assert not torch.equal(layer.down, drawn[1].down)
    assert torch.equal(LowRankLinear(7, 5, 2, dtype=torch.bfloat16).up, layer.up.bfloat16())
    assert LowRankConv2d(4, 6, 3, 2, device="meta").down.is_meta
    on_meta = LowRankLinear(7, 5, 2, device="meta").to_empty(device="cpu")
    on_meta.reset_parameters()
    assert torch.equal(on_meta.up, layer.up)


def test_initial_values_have_the_variance_of_those_of_the_dense_layers() -> None:
    linear = LowRankLinear(256, 512, 32).to_dense()
    assert linear.weight.var().item() == pytest.approx(1 / (3 * 256), rel=0.05)
    assert linear.bias.abs().max() <= 256**-0.5
    conv = LowRankConv2d(32, 128, 3, 16).to_dense()
    assert conv.weight.var().item() == pytest.approx(1 / (3 * 32 * 9), rel=0.05)


@pytest.mark.parametrize("rank", [0, -3, 6])
def test_a_rank_that_cannot_be_is_refused_with_what_is_allowed(rank: int) -> None:
    allowed = rf"rank: found {rank}, allowed: 1 to 5"
    for make in (
        lambda: LowRankLinear(7, 5, rank),
        lambda: LowRankLinear.from_dense(dense_linear(7, 5), rank),
        lambda: LowRankConv2d(4, 5, 3, rank),
        lambda: LowRankConv2d(5, 9, 1, rank),
    ):
        with pytest.raises(ValueError, match=allowed):
            make()
    with pytest.raises(ValueError, match="allowed: 1 to 3, which is"):
        LowRankConv2d(4, 6, 3, 4, groups=2)


def test_a_layer_that_computes_something_of_its_own_is_refused() -> None:
    class Scaled(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return 2 * super().forward(inputs)

    class Renamed(nn.Linear):
        pass

    with pytest.raises(ValueError, match=r"found Scaled, allowed: nn\.Linear and subclasses that keep its forward"):
        LowRankLinear.from_dense(Scaled(4, 4), 2)
    with pytest.raises(ValueError, match=r"found ConvTranspose2d, allowed: nn\.Conv2d"):
        LowRankConv2d.from_dense(nn.ConvTranspose2d(4, 4, 3), 2)  # type: ignore[arg-type]
    assert LowRankLinear.from_dense(Renamed(4, 4), 2).rank == 2


def test_what_is_printed_says_the_sizes() -> None:
    assert repr(LowRankLinear(512, 512, 64)) == (
        "LowRankLinear(in_features=512, out_features=512, rank=64, bias=True, stored=65536+512 (25.1% of dense))"
    )
    assert repr(LowRankConv2d(8, 16, (3, 1), 2, stride=2, padding="valid", groups=2, bias=False, padding_mode="reflect")) == (
        "LowRankConv2d(8, 16, kernel_size=(3, 1), stride=(2, 2), padding=valid, groups=2, padding_mode=reflect, rank=2, "
        "bias=False, stored=80 (41.7% of dense))"
    )
