"""Layers replaced by smaller ones: what is built, what is refused and with what words, and that nothing else changes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from ksweep.nn.calibration import Moments, collect_moments
from ksweep.nn.compress import (
    Setting,
    allowed_params,
    compress_layer,
    compressed,
    describe,
    layer_seed,
    num_stored,
    rank_of,
    relative_error,
    why_not,
)
from ksweep.nn.low_rank import LowRankConv2d, LowRankLinear
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.replacement import replace_layers
from ksweep.nn.sketched import SketchedConv2d, SketchedLinear
from tests.unit.nn.factored import draw

SVD_4 = Setting(params={"rank": 4}, method="svd")


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))


def calibrated(model: nn.Module, inputs: Tensor, *names: str) -> dict[str, Moments]:
    return collect_moments(model, names, lambda: model(inputs))


# --- what a setting builds ---


@pytest.mark.parametrize(
    ("params", "method", "copy_weights", "kind", "rank"),
    [
        ({"rank": 5}, "svd", True, LowRankLinear, 5),
        ({"rank": 5}, "activation-svd", True, LowRankLinear, 5),
        ({"num_terms": 2, "low_rank": 3}, "svd", True, LowRankLinear, 12),
        ({"num_terms": 2, "low_rank": 3}, "activation-svd", True, LowRankLinear, 12),
        ({"low_rank": 3}, "svd", True, LowRankLinear, 6),
        ({"num_terms": 1}, "svd", True, LowRankLinear, 32),
        ({"num_terms": 2, "low_rank": 3}, "sketch", True, SketchedLinear, None),
        ({"num_terms": 2, "low_rank": 3}, "sketch", False, SketchedLinear, None),
        ({"num_terms": 2, "low_rank": 3}, "activation-svd", False, SketchedLinear, None),
        ({"rank": 5}, "activation-svd", False, LowRankLinear, 5),
    ],
)
def test_a_setting_of_a_linear_layer_builds_what_it_says_and_stores_what_num_stored_says(
    params: dict[str, Any], method: str, copy_weights: bool, kind: type[nn.Module], rank: int | None
) -> None:
    setting = Setting(params=params, method=method, copy_weights=copy_weights)
    for has_bias in (True, False):
        layer = nn.Linear(40, 36, bias=has_bias)
        moments = calibrated(layer, draw(100, 40), "")[""]
        state = torch.get_rng_state()
        new = compress_layer(layer, setting, moments=moments)
        assert torch.equal(torch.get_rng_state(), state)
        assert type(new) is kind
        assert rank_of(layer, setting) == rank
        if isinstance(new, LowRankLinear):
            assert new.rank == rank
        stored = sum(one.numel() for one in [*new.parameters(), *new.buffers()])
        assert num_stored(layer, setting) == stored
        assert new(draw(3, 40)).shape == (3, 36)


@pytest.mark.parametrize(
    "options", [{}, {"groups": 2, "bias": False}, {"padding": 1, "padding_mode": "reflect", "stride": 2}], ids=str
)
@pytest.mark.parametrize(
    ("params", "method", "copy_weights", "kind"),
    [
        ({"rank": 3}, "svd", True, LowRankConv2d),
        ({"rank": 3}, "activation-svd", True, LowRankConv2d),
        ({"rank": 3}, "svd", False, LowRankConv2d),
        ({"num_terms": 1, "low_rank": 2}, "activation-svd", True, LowRankConv2d),
        ({"num_terms": 2, "low_rank": 2}, "sketch", True, SketchedConv2d),
        ({"low_rank": 2}, "svd", False, SketchedConv2d),
    ],
)
def test_a_setting_of_a_convolution_builds_what_it_says_with_the_same_geometry(
    options: dict[str, Any], params: dict[str, Any], method: str, copy_weights: bool, kind: type[nn.Module]
) -> None:
    layer, images = nn.Conv2d(6, 12, 3, **options), draw(2, 6, 9, 9)
    setting = Setting(params=params, method=method, copy_weights=copy_weights)
    new = compress_layer(layer, setting, moments=calibrated(layer, images, "")[""])
    assert type(new) is kind
    assert new(images).shape == layer(images).shape
    assert num_stored(layer, setting) == sum(one.numel() for one in [*new.parameters(), *new.buffers()])


def test_fresh_weights_are_not_the_dense_ones_and_follow_the_seed() -> None:
    layer = nn.Linear(64, 64)
    for params in ({"rank": 8}, {"low_rank": 8}):
        setting = Setting(params=params, copy_weights=False)
        one, same, other = (compress_layer(layer, setting, seed=seed).to_dense().weight for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert abs(torch.corrcoef(torch.stack([one.flatten(), layer.weight.flatten()]))[0, 1]) < 0.1
        on_meta = compress_layer(nn.Linear(64, 64, device="meta"), setting)
        assert all(parameter.is_meta for parameter in on_meta.parameters())


@pytest.mark.parametrize("copy_weights", [True, False])
def test_attention_gets_random_features_and_an_encoder_layer_gets_them_in_its_self_attention(copy_weights: bool) -> None:
    block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    setting = Setting(params={"num_random_features": 8, "kernel_fn": "relu"}, copy_weights=copy_weights)
    new = compress_layer(block, setting)
    assert isinstance(block.self_attn, nn.MultiheadAttention)
    assert isinstance(new.self_attn, RandomFeatureAttention)
    assert new.self_attn.kernel_fn == "relu"
    assert torch.equal(new.self_attn.in_proj_weight, block.self_attn.in_proj_weight) is copy_weights
    for layer, built in ((block, new), (block.self_attn, compress_layer(block.self_attn, setting))):
        assert num_stored(layer, setting) == sum(one.numel() for one in [*built.parameters(), *built.buffers()])
    assert not new.self_attn.training


def test_activation_svd_loses_less_of_the_outputs_than_svd_and_relative_error_is_the_measured_error() -> None:
    torch.manual_seed(0)
    scales = torch.logspace(0, -2, 30)
    for layer, inputs in (
        (nn.Linear(30, 20), draw(4000, 30) * scales + 0.3),
        (nn.Linear(30, 20, bias=False), draw(4000, 30) * scales + 0.3),
        (nn.Conv2d(4, 12, 3, groups=2, padding=1), draw(40, 4, 9, 9).cumsum(-1) * 0.3 + 0.2),
    ):
        moments = calibrated(layer, inputs, "")[""]
        errors = {}
        for method in ("svd", "activation-svd"):
            new = compress_layer(layer, Setting(params={"rank": 4}, method=method), moments=moments)
            with torch.no_grad():
                measured = float((new(inputs) - layer(inputs)).norm() / layer(inputs).norm())
            errors[method] = relative_error(layer, new, moments)
            assert errors[method] == pytest.approx(measured, rel=1e-3)
        assert errors["activation-svd"] < 0.9 * errors["svd"]
    assert relative_error(layer, layer, moments) == 0.0


def test_the_error_of_a_dense_layer_of_zeros_is_infinite_or_nothing() -> None:
    layer, moments = nn.Linear(4, 3), calibrated(nn.Linear(4, 3), draw(9, 4), "")[""]
    zeros = nn.Linear(4, 3)
    nn.init.zeros_(zeros.weight)
    nn.init.zeros_(zeros.bias)
    assert relative_error(zeros, layer, moments) == float("inf")
    assert relative_error(zeros, copy.deepcopy(zeros), moments) == 0.0
    assert relative_error(layer, zeros, moments) == pytest.approx(1.0)


# --- what is refused ---


class Doubled(nn.Linear):
    """Computes something else than a Linear."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Named(nn.Linear):
    """Computes as a Linear."""


class Rotated(nn.MultiheadAttention):
    """Computes something else than a MultiheadAttention."""

    def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().forward(query.roll(1, -1), *args, **kwargs)


def with_attention(attention: nn.MultiheadAttention) -> nn.TransformerEncoderLayer:
    block = nn.TransformerEncoderLayer(8, 2, 16)
    block.self_attn = attention
    return block


UNFIT = " cannot be compressed; what can: Linear Conv2d MultiheadAttention TransformerEncoderLayer"
LINEAR, CONV, ATTENTION = nn.Linear(64, 10), nn.Conv2d(4, 8, 3, groups=2), nn.MultiheadAttention(8, 2)


@pytest.mark.parametrize(
    ("layer", "params", "method", "words"),
    [
        (LINEAR, {"rank": 16}, "svd", "rank: found 16, allowed: 1 to 10"),
        (
            LINEAR,
            {"num_terms": 2, "low_rank": 4},
            "svd",
            "num_terms, low_rank: found 2, 4, which buy the rank 2 * 2 * 4 = 16, allowed: 1 to 10",
        ),
        (LINEAR, {"low_rank": 0}, "sketch", "low_rank: found 0, allowed: whole numbers from 1"),
        (LINEAR, {"rank": 2.0}, "svd", "rank: found 2.0, allowed: whole numbers from 1"),
        (LINEAR, {"rank": True}, "svd", "rank: found True, allowed: whole numbers from 1"),
        (LINEAR, {"rank": "4"}, "svd", "rank: found '4', allowed: whole numbers from 1"),
        (LINEAR, {"rank": 2}, "sketch", "rank: not a parameter of the method sketch; allowed: num_terms low_rank"),
        (LINEAR, {"rank": 2, "num_terms": 1}, "svd", "rank: found together with num_terms or low_rank; give one of the two"),
        (LINEAR, {}, "svd", "params: found none, allowed: rank, or num_terms and low_rank"),
        (LINEAR, {"ranks": 2}, "svd", "ranks: not a parameter of a Linear; allowed: rank num_terms low_rank"),
        (LINEAR, {"rank": 2}, "qr", 'method: found "qr", allowed: activation-svd svd sketch'),
        (
            LINEAR,
            {"num_random_features": 2},
            "svd",
            "num_random_features: not a parameter of a Linear; allowed: rank num_terms low_rank",
        ),
        (CONV, {"rank": 5}, "svd", "rank: found 5, allowed: 1 to 4"),
        (ATTENTION, {"kernel_fn": "relu"}, "svd", "num_random_features: missing, allowed: whole numbers from 1"),
        (ATTENTION, {"num_random_features": 8, "kernel_fn": "elu"}, "svd", "kernel_fn: found 'elu', allowed: softmax relu"),
        (
            nn.MultiheadAttention(8, 2, kdim=4),
            {"num_random_features": 8},
            "svd",
            "kdim, vdim: found 4, 8, allowed: embed_dim (8)",
        ),
        (
            nn.MultiheadAttention(8, 2, add_zero_attn=True),
            {"num_random_features": 8},
            "svd",
            "add_bias_kv, add_zero_attn: found one of them set, allowed: neither",
        ),
        (
            nn.ReLU(),
            {"rank": 2},
            "svd",
            f"ReLU{UNFIT}",
        ),
        (
            ATTENTION.out_proj,
            {"rank": 2},
            "svd",
            f"NonDynamicallyQuantizableLinear{UNFIT}",
        ),
        (
            with_attention(Rotated(8, 2)),
            {"num_random_features": 2},
            "svd",
            "Rotated has a forward of its own; allowed: MultiheadAttention and what keeps its forward",
        ),
        (
            nn.Conv2d(4, 4, 3, device="meta"),
            {"rank": 2},
            "svd",
            'device: found "meta", which holds no weights to copy; load the model first',
        ),
        (Doubled(8, 8), {"rank": 2}, "svd", "Doubled has a forward of its own; allowed: Linear and what keeps its forward"),
        (nn.LazyLinear(8), {"rank": 2}, "svd", "LazyLinear has no sizes before its first call; call the model once"),
        (
            nn.Linear(8, 8, dtype=torch.complex64),
            {"rank": 2},
            "svd",
            "dtype: found torch.complex64, allowed: torch.float16 torch.bfloat16 torch.float32 torch.float64",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_was_found_and_what_is_allowed(
    layer: nn.Module, params: dict[str, Any], method: str, words: str
) -> None:
    setting = Setting(params=params, method=method)
    assert why_not(layer, setting) == words
    for refused in (lambda: compress_layer(layer, setting), lambda: num_stored(layer, setting)):
        with pytest.raises(ValueError) as caught:
            refused()
        assert str(caught.value) == words


def test_what_can_be_built_is_not_refused() -> None:
    assert why_not(LINEAR, Setting(params={"rank": 10})) == ""
    assert why_not(Named(8, 8), Setting(params={"rank": 2})) == ""
    assert why_not(CONV, Setting(params={"rank": 4})) == ""
    assert why_not(LINEAR, Setting(params={"num_terms": 3, "low_rank": 64}, method="sketch")) == ""
    assert allowed_params(ATTENTION) == ("num_random_features", "kernel_fn")
    assert allowed_params(nn.Dropout()) == ()
    assert [describe(one) for one in (LINEAR, CONV, nn.ReLU())] == ["Linear 64 -> 10", "Conv2d 4 -> 8, 3x3", "ReLU"]


def test_errors_name_the_layer_and_leave_the_model_as_it_was() -> None:
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    for settings, words in (
        ({"4": Setting(params={"rank": 11}, method="svd")}, "4 (Linear 24 -> 10): rank: found 11, allowed: 1 to 10"),
        ({"fc": SVD_4}, 'layers: found "fc", which the model does not have'),
        (
            {"0": SVD_4, "2": Setting(params={"rank": 4})},
            "2 (Linear 32 -> 24): method activation-svd: found no moments of this layer's inputs",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            compressed(model, settings, moments={})
        assert str(caught.value).startswith(words)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_moments_of_a_layer_of_another_size_are_refused() -> None:
    of_one_group = calibrated(nn.Conv2d(2, 4, 3), draw(2, 2, 5, 5), "")[""]
    with pytest.raises(ValueError, match=r"moments: found means \[1, 18\], allowed: \[2, 18\], \[groups, inputs\]"):
        compress_layer(nn.Conv2d(4, 8, 3, groups=2), Setting(params={"rank": 2}), moments=of_one_group)


# --- the copy ---


def test_only_the_chosen_layers_differ_and_the_model_that_was_given_is_untouched() -> None:
    model, inputs = make_model(), draw(50, 20)
    before, text, outputs = copy.deepcopy(model.state_dict()), repr(model), model(inputs)
    state = torch.get_rng_state()
    new = compressed(model, {"2": Setting(params={"rank": 6})}, moments=calibrated(model, inputs, "2"))
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(old) is type(layer) for old, layer in zip(model, new, strict=True)] == [True, True, False, True, True]
    assert repr(model) == text
    assert torch.equal(model(inputs), outputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {id(one) for one in model.parameters()}.isdisjoint(id(one) for one in new.parameters())


def test_a_model_that_is_a_single_layer_is_compressed_itself() -> None:
    layer = nn.Linear(8, 8).eval()
    new = compressed(layer, {"": SVD_4}, moments={})
    assert isinstance(new, LowRankLinear)
    assert not new.training


def test_the_draw_of_a_layer_depends_on_seed_and_name_and_not_on_the_others_or_the_hash_seed() -> None:
    model = make_model()
    setting = Setting(params={"low_rank": 4}, method="sketch")
    one = compressed(model, {"0": setting, "2": setting}, moments={}, seed=3)
    other = compressed(model, {"2": setting}, moments={}, seed=3)
    assert torch.equal(one[2].S1, other[2].S1)
    assert not torch.equal(one[2].S1, compressed(model, {"2": setting}, moments={}, seed=4)[2].S1)
    assert not torch.equal(one[0].U1[:, :20], one[2].U1[:, :20])


def test_the_seed_of_a_layer_is_the_same_in_every_process() -> None:
    assert layer_seed(3, "encoder.0") == 13287628745857392295


def test_a_computed_weight_is_compressed_as_what_it_is_and_what_computed_it_is_gone() -> None:
    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    torch.manual_seed(0)
    parametrized, masked = nn.Linear(6, 6), nn.Linear(6, 6)
    parametrize.register_parametrization(parametrized, "weight", Halved())
    normed = parametrizations.weight_norm(nn.Linear(6, 6))
    with torch.no_grad():
        normed.parametrizations.weight.original0.mul_(3)
    prune.l1_unstructured(masked, "weight", amount=0.5)
    with torch.no_grad():
        masked.weight_orig.add_(1.0)  # `weight` is as it was at the last call
    for layer in (parametrized, normed, masked):
        new = compress_layer(layer, Setting(params={"rank": 6}, method="svd"))
        assert torch.allclose(new(draw(3, 6)), layer(draw(3, 6)), atol=1e-5)
        replaced = nn.Sequential(layer)
        replace_layers(replaced, {"0": new})
        assert torch.allclose(replaced(draw(3, 6)), layer(draw(3, 6)), atol=1e-5)


def test_a_weight_that_changes_when_it_is_computed_in_training_stays_as_it_was() -> None:
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 6))).train()
    before = copy.deepcopy(model.state_dict())
    compressed(model, {"0": SVD_4}, moments={})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_attention_with_computed_weights_is_compressed_with_what_they_are() -> None:
    attention = nn.MultiheadAttention(8, 2)
    dense = copy.deepcopy(attention)
    parametrizations.weight_norm(attention.out_proj)
    parametrizations.orthogonal(attention, "in_proj_weight")
    attention.out_proj.bias.requires_grad_(False)
    new = compress_layer(attention, Setting(params={"num_random_features": 4}))
    assert torch.equal(new.in_proj_weight, attention.in_proj_weight)
    assert torch.equal(new.out_proj.weight, attention.out_proj.weight)
    assert not torch.equal(new.in_proj_weight, dense.in_proj_weight)
    assert {name for name, weight in new.named_parameters() if not weight.requires_grad} == {"out_proj.bias"}


def test_where_new_tensors_are_put_by_default_changes_nothing() -> None:
    model, inputs = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)), draw(20, 6)
    settings = {
        "0": Setting(params={"rank": 2}),
        "1": Setting(params={"low_rank": 2}, method="sketch"),
        "2": Setting(params={"rank": 2}, copy_weights=False),
    }
    attention = Setting(params={"num_random_features": 4})
    with torch.device("meta"):  # as a default device that is not the model's
        moments = calibrated(model, inputs, "0")
        new = compressed(model, settings, moments=moments)
        assert 0 < relative_error(model[0], new[0], moments["0"]) < 1
        of_attention = compress_layer(nn.MultiheadAttention(8, 2, device="cpu"), attention)
    assert torch.equal(new(inputs), compressed(model, settings, moments=moments)(inputs))
    assert of_attention.projection.device.type == "cpu"
