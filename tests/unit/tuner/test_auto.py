"""The ranks that "auto" offers: by an independent SVD, never one that stores no less, none where there is nothing to save."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrizations

from ksweep.nn.calibration import collect_moments
from ksweep.nn.compress import Setting, compress_layer, num_stored, relative_error
from ksweep.tuner.auto import auto_choices, why_no_choices

LOST = [1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


def make_weight(num_out: int, num_in: int, power: float, seed: int = 0) -> Tensor:
    """A weight with the singular values i^-power, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(num_out, num_in, generator=generator, dtype=torch.float64), full_matrices=False)
    return (left * torch.arange(1.0, min(num_out, num_in) + 1, dtype=torch.float64).pow(-power)) @ right


def make_linear(num_in: int, num_out: int, power: float, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(num_in, num_out, bias=bias)
    layer.weight.data = make_weight(num_out, num_in, power).float()
    return layer


def ranks(layer: nn.Module, **options: object) -> list[int]:
    return [choice["rank"] for choice in auto_choices(layer, **options)]  # type: ignore[arg-type]


def test_ranks_are_the_smallest_that_lose_no_more_than_each_share() -> None:
    layer = make_linear(48, 64, power=1.0)
    energies = torch.linalg.svdvals(layer.weight.detach().double()).square()

    wanted = []
    for level in LOST:
        rank = next(rank for rank in range(49) if energies[rank:].sum() <= level * energies.sum())
        wanted.append(rank if rank <= 16 else min(24, 27))  # 27 (48 + 64) < 48 64: the largest rank that stores less

    assert ranks(layer) == sorted(set(wanted))


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sizes", [(8, 8), (64, 48), (128, 10), (96, 200)], ids=str)
def test_each_rank_stores_less_than_the_dense_layer_and_stands_once(sizes: tuple[int, int], power: float) -> None:
    layer = make_linear(*sizes, power)
    found = ranks(layer)

    assert found == sorted(set(found))
    for rank in found:
        assert num_stored(layer, Setting(params={"rank": rank})) < layer.weight.numel() + layer.bias.numel()


def test_ranks_above_16_are_multiples_of_8() -> None:
    layer = make_linear(256, 256, power=0.75)
    found = ranks(layer)

    assert len([rank for rank in found if rank > 16]) >= 3
    assert all(rank % 8 == 0 for rank in found if rank > 16)


def test_a_rank_is_not_rounded_to_where_nothing_is_saved() -> None:
    layer = nn.Linear(44, 44)  # 21 (44 + 44) < 44 44: rank 21 is the last that saves, 24 does not
    layer.weight.data = torch.diag(torch.cat([torch.ones(21), torch.zeros(23)]))

    assert ranks(layer) == [16, 19, 20, 21]


def test_a_weight_of_low_rank_takes_no_more_than_its_rank() -> None:
    layer = nn.Linear(64, 64, bias=False)
    layer.weight.data = (make_weight(64, 5, power=0.0) @ make_weight(5, 64, power=0.0, seed=1)).float()

    assert ranks(layer) == [4, 5]


@pytest.mark.parametrize("bias", [False, True])
def test_moments_turn_the_ranks_to_what_the_inputs_hold(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = make_linear(64, 64, power=0.0, bias=bias)
    inputs = torch.randn(500, 3, generator=generator) @ torch.randn(3, 64, generator=generator)
    moments = collect_moments(nn.Sequential(layer), ["0"], lambda: layer(inputs))["0"]

    assert ranks(layer) == []  # all directions of the weight are alike
    assert max(ranks(layer, moments=moments)) == 3


def test_a_mean_that_the_bias_takes_over_needs_no_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 64, generator=generator) + 30 * torch.randn(64, generator=generator)
    found = {}
    for bias in (False, True):
        layer = make_linear(64, 64, power=1.0, bias=bias)
        moments = collect_moments(nn.Sequential(layer), ["0"], lambda layer=layer: layer(inputs))["0"]
        found[bias] = ranks(layer, moments=moments)

    assert found[False] == [1]
    assert len(found[True]) >= 4


@pytest.mark.parametrize("groups", [1, 4])
def test_what_a_rank_of_a_convolution_loses_is_what_the_built_layer_loses(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(16, 64, 3, groups=groups, bias=False)
    weight = torch.cat([(1 + group) * make_weight(64 // groups, 144 // groups, 1.0, seed=group) for group in range(groups)])
    layer.weight.data = weight.reshape(layer.weight.shape).float()
    images = torch.randn(4, 16, 8, 8, generator=generator)
    moments = collect_moments(nn.Sequential(layer), ["0"], lambda: layer(images))["0"]
    found = ranks(layer, moments=moments)
    errors = [
        relative_error(layer, compress_layer(layer, Setting(params={"rank": rank}), moments=moments), moments) for rank in found
    ]

    assert len(found) >= 4
    assert all(any(error**2 <= level * (1 + 1e-4) for level in LOST) for error in errors)
    for rank, level in zip(found[1:], LOST[1:], strict=False):  # one less would lose more than the level before
        if rank <= 16:
            fewer = compress_layer(layer, Setting(params={"rank": rank - 1}), moments=moments)
            assert relative_error(layer, fewer, moments) ** 2 > level * (1 - 1e-4) / 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(1, 64),
        nn.Linear(2, 2),
        nn.Conv2d(32, 32, 3, groups=32),
        nn.Conv2d(1, 8, 1),
        nn.MultiheadAttention(16, 2),
        nn.TransformerEncoderLayer(16, 2, 32),
        NonDynamicallyQuantizableLinear(64, 64),
        nn.LayerNorm(64),
        nn.ReLU(),
        nn.Sequential(nn.Linear(64, 64)),
        nn.Embedding(64, 64),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_nothing_is_offered_where_no_rank_can_save_and_the_reason_is_told(layer: nn.Module) -> None:
    assert auto_choices(layer) == []
    assert why_no_choices(layer)


def test_attention_is_told_what_it_needs_instead() -> None:
    assert '{"num_random_features": [...]}' in why_no_choices(nn.MultiheadAttention(16, 2))


def test_a_layer_whose_spectrum_is_flat_is_told_so() -> None:
    assert why_no_choices(make_linear(64, 64, power=0.0)) == ("no rank that stores less keeps 75% of the energy of its outputs")


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.orthogonal], ids=["weight_norm", "orthogonal"])
def test_a_parametrized_layer_is_judged_by_the_weight_that_it_computes(wrap: object) -> None:
    layer = make_linear(64, 64, power=1.0)
    before = ranks(layer)
    wrapped = wrap(layer)  # type: ignore[operator]

    assert ranks(wrapped) == (before if wrap is parametrizations.weight_norm else [])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_of_the_weight_changes_little(dtype: torch.dtype) -> None:
    exact, rounded = ranks(make_linear(64, 64, power=1.0)), ranks(make_linear(64, 64, power=1.0).to(dtype))

    assert len(exact) == len(rounded)
    assert all(abs(one - other) <= 1 for one, other in zip(exact, rounded, strict=True))


def test_a_zero_weight_takes_rank_one() -> None:
    layer = nn.Linear(64, 64)
    nn.init.zeros_(layer.weight)

    assert ranks(layer) == [1]


def test_a_weight_with_nan_is_refused() -> None:
    layer = nn.Linear(64, 64)
    layer.weight.data[3, 4] = torch.nan

    with pytest.raises(ValueError, match="NaN"):
        auto_choices(layer)


def test_neither_the_layer_nor_the_global_random_state_is_changed() -> None:
    layer = make_linear(64, 64, power=1.0)
    weight, state = layer.weight.detach().clone(), torch.random.get_rng_state()
    auto_choices(layer)

    assert torch.equal(layer.weight, weight)
    assert layer.weight.requires_grad
    assert torch.equal(torch.random.get_rng_state(), state)
