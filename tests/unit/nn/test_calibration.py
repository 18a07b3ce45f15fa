"""Moments of the inputs of layers: what a plain computation over all rows gives, for every kind of convolution."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.nn import calibration
from ksweep.nn.calibration import Moments, capture_inputs, collect_moments


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(moments: Moments, rows: Tensor, tolerance: float = 1e-6) -> None:
    """`rows` [groups, n, d]."""
    rows = rows.double()
    assert moments.num_rows == rows.shape[1]
    assert moments.mean.dtype == moments.second.dtype == torch.float64
    assert torch.allclose(moments.mean, rows.mean(1), atol=tolerance)
    assert torch.allclose(moments.second, rows.mT @ rows / rows.shape[1], atol=tolerance)


def test_a_linear_layer_has_the_moments_of_all_its_rows_over_batches_and_leading_dimensions() -> None:
    layer, batches = nn.Linear(5, 3), [draw(4, 7, 5), draw(2, 5, seed=1), draw(5, seed=2), draw(0, 5)]

    def run() -> None:
        for batch in batches:
            layer(batch)

    moments = collect_moments(nn.Sequential(layer), ["0"], run)["0"]
    check(moments, torch.cat([batch.reshape(-1, 5) for batch in batches]).unsqueeze(0))


def test_the_number_of_rows_held_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = nn.Sequential(nn.Conv2d(4, 2, 3, padding=1), nn.Flatten(), nn.Linear(72, 3)), draw(9, 4, 6, 6)
    whole = collect_moments(model, ["0", "2"], lambda: model(images))
    monkeypatch.setattr(calibration, "_CHUNK", 1500)
    parts = collect_moments(model, ["0", "2"], lambda: model(images))
    for name in whole:
        assert whole[name].num_rows == parts[name].num_rows
        assert torch.allclose(whole[name].second, parts[name].second, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1},
        {"padding": (2, 0), "stride": (2, 1)},
        {"padding": "same", "kernel_size": (2, 4)},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"padding": 1, "groups": 2},
        {"padding": 2, "groups": 4, "dilation": (1, 2), "bias": False},
        *({"padding": 2, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_convolution_has_the_moments_of_its_patches(options: dict[str, Any]) -> None:
    """Patches in the order of the weight: then the weight times a patch is an output."""
    conv = nn.Conv2d(4, 8, **({"kernel_size": 3} | options))
    images = draw(3, 4, 9, 8) + 1
    moments = collect_moments(conv, [""], lambda: conv(images))[""]
    weight = conv.weight.detach().double().reshape(conv.groups, 8 // conv.groups, -1)
    bias = torch.zeros(8) if conv.bias is None else conv.bias.detach()
    outputs = (conv(images).detach() - bias.reshape(1, 8, 1, 1)).double()
    by_group = outputs.transpose(0, 1).reshape(conv.groups, 8 // conv.groups, -1)
    assert moments.num_rows == by_group.shape[-1]
    assert torch.allclose((weight @ moments.mean.unsqueeze(-1)).squeeze(-1), by_group.mean(-1), atol=1e-5)
    products = by_group @ by_group.mT / by_group.shape[-1]
    assert torch.allclose(weight @ moments.second @ weight.mT, products, atol=1e-5)


def test_an_image_without_a_batch_dimension_is_a_batch_of_one() -> None:
    conv, image = nn.Conv2d(2, 3, 3), draw(2, 6, 6)
    moments = collect_moments(conv, [""], lambda: conv(image))[""]
    check(moments, F.unfold(image.unsqueeze(0), 3).mT)


def test_small_differences_on_top_of_a_large_mean_are_kept() -> None:
    layer, rows = nn.Linear(3, 3), draw(1000, 3) + 4096.0
    moments = collect_moments(layer, [""], lambda: layer(rows))[""]
    covariance = moments.second[0] - torch.outer(moments.mean[0], moments.mean[0])
    centred = rows.double() - rows.double().mean(0)
    assert torch.allclose(covariance, centred.T @ centred / 1000, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_summed_in_no_less_than_float32(dtype: torch.dtype) -> None:
    layer, rows = nn.Linear(4, 3, dtype=dtype), draw(257, 4).to(dtype)
    check(collect_moments(layer, [""], lambda: layer(rows))[""], rows.unsqueeze(0), tolerance=1e-6)


def test_autocast_makes_the_sums_no_coarser() -> None:
    layer, rows = nn.Linear(4, 3), draw(257, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moments = collect_moments(layer, [""], lambda: layer(rows))[""]
    check(moments, rows.unsqueeze(0))


def test_layers_that_were_not_called_are_left_out_and_a_layer_at_two_places_has_one_answer() -> None:
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Linear(3, 3)})
    found = collect_moments(model, ["a", "b", "c"], lambda: shared(draw(4, 3)))
    assert list(found) == ["a", "b"]
    assert found["a"].num_rows == found["b"].num_rows == 4


def test_a_layer_called_by_keyword_is_seen_and_nothing_stays_on_the_model_after_an_exception() -> None:
    layer = nn.Linear(3, 3)
    assert collect_moments(layer, [""], lambda: layer(input=draw(4, 3)))[""].num_rows == 4

    def run() -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        collect_moments(layer, [""], run)
    with pytest.raises(RuntimeError, match="in the middle"):
        capture_inputs(layer, run)
    assert not layer._forward_pre_hooks


def test_names_that_have_no_moments_and_inputs_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(ValueError, match='found "fc", which the model does not have'):
        collect_moments(model, ["fc"], lambda: None)
    with pytest.raises(ValueError, match="1: found ReLU; only a Linear and a Conv2d"):
        collect_moments(model, ["1"], lambda: None)
    with pytest.raises(ValueError, match="inputs of 0: NaN or infinity"):
        collect_moments(model, ["0"], lambda: model(torch.tensor([[1.0, torch.inf, 0.0]])))


class Adder(nn.Module):
    """Changes what it is given, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor, *, scale: dict[str, Tensor]) -> Tensor:
        return self.fc(x.add_(1.0) * scale["by"])


def test_captured_inputs_are_those_of_the_first_calls_as_they_were_and_can_be_trained_on() -> None:
    model, given = Adder(), draw(2, 3)
    before = given.clone()
    with torch.inference_mode():
        captured = capture_inputs(model, lambda: [model(given, scale={"by": torch.ones(3)}) for _ in range(3)], max_batches=2)
    assert len(captured) == 2
    (args, kwargs), _ = captured
    assert torch.equal(args[0], before)
    model(args[0].clone(), scale=kwargs["scale"]).sum().backward()
    assert model.fc.weight.grad is not None
    assert capture_inputs(model, lambda: model.fc(given)) == []


def test_the_model_computes_the_same_with_moments_taken() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    images, other = draw(5, 1, 4, 4), copy.deepcopy(model)
    outputs: list[Tensor] = []
    collect_moments(model, ["0", "2"], lambda: outputs.append(model(images)))
    assert torch.equal(outputs[0], other(images))
    outputs[0].sum().backward()
