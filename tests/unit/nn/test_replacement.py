"""Layers put into a model: what they take over, ties, torch's own transformer, copies, and calls counted."""

import copy
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from ksweep.nn.calibration import capture_inputs, collect_moments
from ksweep.nn.compress import Setting, compress_layer, compressed
from ksweep.nn.low_rank import LowRankLinear
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.replacement import copied, count_calls, replace_layers, shared_names
from tests.unit.nn.factored import draw

SVD_4 = Setting(params={"rank": 4}, method="svd")


class Tied(nn.Module):
    def __init__(self, tie: Callable[[nn.Embedding, nn.Linear], None]) -> None:
        super().__init__()
        self.encoder = nn.Embedding(12, 8)
        self.middle = nn.Linear(8, 8)
        self.decoder = nn.Linear(8, 12, bias=False)
        tie(self.encoder, self.decoder)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.middle(self.encoder(tokens)))


def tie_parameter(encoder: nn.Embedding, decoder: nn.Linear) -> None:
    decoder.weight = encoder.weight


def tie_storage(encoder: nn.Embedding, decoder: nn.Linear) -> None:
    decoder.weight = nn.Parameter(encoder.weight.detach())


@pytest.mark.parametrize("tie", [tie_parameter, tie_storage])
def test_tied_layers_are_found_and_refused_by_name_and_the_others_are_not(tie: Callable[[nn.Embedding, nn.Linear], None]) -> None:
    model = Tied(tie)
    assert shared_names(model) == {"encoder": ("decoder",), "decoder": ("encoder",)}
    with pytest.raises(ValueError, match=r"^decoder \(Linear 8 -> 12\): its weight is that of encoder too \(tied\)"):
        compressed(model, {"decoder": SVD_4}, moments={})
    new = compressed(model, {"middle": SVD_4}, moments={})
    assert new.decoder.weight.data_ptr() == new.encoder.weight.data_ptr()


def test_parts_of_one_flat_storage_a_module_at_two_places_and_parametrized_weights_are_not_tied() -> None:
    flat = torch.zeros(32)
    parts = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    parts[0].weight, parts[1].weight = nn.Parameter(flat[:16].view(4, 4)), nn.Parameter(flat[16:].view(4, 4))
    twice = nn.Linear(4, 4)
    for model in (
        parts,
        nn.Sequential(twice, twice),
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
        nn.LSTM(3, 4, 2),
    ):
        assert shared_names(model) == {}
    overlapping = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    overlapping[0].weight, overlapping[1].weight = nn.Parameter(flat[:16].view(4, 4)), nn.Parameter(flat[8:24].view(4, 4))
    assert shared_names(overlapping) == {"0": ("1",), "1": ("0",)}


# --- what a new layer takes over ---


def test_every_place_of_a_layer_that_is_used_twice_gets_the_new_one() -> None:
    twice = nn.Linear(8, 8)
    model = nn.ModuleDict({"a": nn.Sequential(twice, nn.ReLU(), twice), "b": nn.ModuleList([twice])})
    new = compressed(model, {"a.0": SVD_4}, moments={})
    assert isinstance(new["a"][0], LowRankLinear)
    assert new["a"][0] is new["a"][2] is new["b"][0]
    with pytest.raises(ValueError, match=r"layers: a\.0 and a\.2 are one and the same layer; name it once"):
        compressed(model, {"a.0": SVD_4, "a.2": SVD_4}, moments={})


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(("weight", "bias"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("params", [{"rank": 4}, {"low_rank": 2}], ids=str)
def test_mode_gradient_flags_dtype_and_device_are_carried(
    is_training: bool, weight: bool, bias: bool, params: dict[str, Any]
) -> None:
    model = nn.Sequential(nn.Linear(8, 8, dtype=torch.float64)).train(is_training)
    model[0].weight.requires_grad_(weight)
    model[0].bias.requires_grad_(bias)
    method = "svd" if "rank" in params else "sketch"
    for copy_weights in (True, False):
        setting = Setting(params=params, method=method, copy_weights=copy_weights)
        alone = compress_layer(model[0], setting)
        new = compressed(model, {"0": setting}, moments={})[0]
        assert alone.training is is_training
        assert [one.requires_grad for one in alone.parameters()] == [one.requires_grad for one in new.parameters()]
        assert new.training is is_training
        assert {name: one.requires_grad for name, one in new.named_parameters() if name != "bias"} == dict.fromkeys(
            [name for name, _ in new.named_parameters() if name != "bias"], weight
        )
        assert new.bias.requires_grad is bias
        assert {one.dtype for one in new.parameters()} == {torch.float64}


def test_hooks_of_calls_are_carried_with_their_kinds_and_their_handles_stay_good() -> None:
    model, seen = nn.Sequential(nn.Linear(4, 4)), list[str]()
    layer = model[0]
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append("pre")),
        layer.register_forward_pre_hook(lambda module, args, kwargs: seen.append(f"pre with {sorted(kwargs)}"), with_kwargs=True),
        layer.register_forward_hook(lambda module, args, output: seen.append("post")),
        layer.register_forward_hook(lambda module, args, kwargs, output: seen.append("post with"), with_kwargs=True),
        layer.register_forward_hook(lambda module, args, output: seen.append(f"always {output}"), always_call=True),
        layer.register_full_backward_pre_hook(lambda module, grad: seen.append("backward pre")),
        layer.register_full_backward_hook(lambda module, grads_in, grads_out: seen.append("backward")),
    ]
    copied = compressed(model, {"0": SVD_4}, moments={})
    replace_layers(model, {"0": compress_layer(layer, SVD_4)})
    for new in (copied, model):
        seen.clear()
        assert isinstance(new[0], LowRankLinear)
        new[0](draw(2, 4).requires_grad_()).sum().backward()
        assert seen[:4] == ["pre", "pre with []", "post", "post with"]
        assert seen[4].startswith("always tensor")
        assert seen[5:] == ["backward pre", "backward"]
        seen.clear()
        with pytest.raises(RuntimeError):
            new[0](draw(2, 5))
        assert seen == ["pre", "pre with []", "always None"]
    for handle in handles:
        handle.remove()
    seen.clear()
    model[0](draw(2, 4))
    assert seen == []


def test_a_model_that_cannot_be_copied_is_an_error_that_says_why() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    model(draw(2, 6))
    with pytest.raises(ValueError, match=r"the model cannot be copied: .*make it permanent"):
        copied(model)
    model = nn.Sequential(nn.Linear(6, 6))
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(
        ValueError, match=r"the model cannot be copied: .*lock.*; keep what cannot be copied out of its attributes"
    ):
        copied(model)


def test_nothing_is_changed_when_replacing_is_refused() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4))
    layers = [*model.modules()]
    for new, words in (
        ({"1": nn.Identity(), "2": nn.Identity()}, 'found "2", which the model does not have'),
        ({"1": nn.Identity(), "": nn.Identity()}, "the model itself"),
        ({"1": nn.Identity(), "0": nn.Identity(), "0.0": nn.Identity()}, r"0\.0 is inside of 0, which is replaced too"),
    ):
        with pytest.raises(ValueError, match=words):
            replace_layers(model, new)
    assert all(one is other for one, other in zip(layers, model.modules(), strict=True))


# --- inside torch's own transformer ---


def modes() -> list[tuple[str, Callable[[], Any]]]:
    return [("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode), ("grad", torch.enable_grad)]


class CountedLinear(LowRankLinear):
    calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        type(self).calls += 1
        return super().forward(inputs)


class CountedAttention(RandomFeatureAttention):
    calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        type(self).calls += 1
        return super().forward(*args, **kwargs)


def make_encoder(**options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, **options)
    return nn.TransformerEncoder(block, 3).eval()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # the dense model gets there
@pytest.mark.parametrize("name", ["layers.0.linear1", "layers.2.linear2", "layers.1"])
@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "whole"])
@pytest.mark.parametrize(("mode", "grad_mode"), modes(), ids=[name for name, _ in modes()])
def test_a_new_layer_in_torchs_encoder_is_called_though_no_hook_is_there(
    name: str, is_padded: bool, mode: str, grad_mode: Callable[[], Any]
) -> None:
    model, inputs = make_encoder(), draw(5, 7, 16)
    if mode == "grad":
        model.requires_grad_(False)  # or torch leaves its fused path by itself
    padding = torch.arange(7).expand(5, 7) >= torch.tensor([[7], [5], [3], [7], [1]]) if is_padded else None
    is_linear = "linear" in name
    setting = Setting(params={"rank": 16}, method="svd") if is_linear else Setting(params={"num_random_features": 4096})
    new = compressed(model, {name: setting}, moments={})
    place = name if is_linear else f"{name}.self_attn"
    kind: Any = CountedLinear if is_linear else CountedAttention
    kind.calls = 0
    new.get_submodule(place).__class__ = kind
    with grad_mode():
        outputs, wanted = new(inputs, src_key_padding_mask=padding), model(inputs, src_key_padding_mask=padding)
    assert kind.calls == 1
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in new.modules())
    is_real = torch.ones(5, 7, dtype=torch.bool) if padding is None else ~padding
    assert torch.allclose(outputs[is_real], wanted[is_real], atol=1e-4 if is_linear else 0.15)


def test_torchs_fused_path_would_not_call_a_layer_and_is_what_these_tests_are_about() -> None:
    model = make_encoder()
    model.layers[0].linear1.__class__ = type("Loud", (nn.Linear,), {"forward": lambda self, x: 1 / 0})
    with torch.no_grad():
        model(draw(2, 3, 16))
    replace_layers(model, {"layers.1.linear1": nn.Linear(16, 32)})
    with torch.no_grad():
        model(draw(2, 3, 16))  # of the first layer nothing was replaced: its path is as it was
    replace_layers(model, {"layers.0.linear2": nn.Linear(32, 16)})
    with torch.no_grad(), pytest.raises(ZeroDivisionError):
        model(draw(2, 3, 16))


def test_a_dense_layer_put_back_gives_the_dense_outputs_again() -> None:
    model, inputs = make_encoder(), draw(2, 7, 16)
    new = compressed(model, {"layers.0.linear1": SVD_4, "layers.1": Setting(params={"num_random_features": 16})}, moments={})
    assert not torch.allclose(new(inputs), model(inputs), atol=1e-3)
    replace_layers(new, {"layers.0.linear1": model.layers[0].linear1, "layers.1": model.layers[1]})
    with torch.no_grad():
        assert torch.allclose(new(inputs), model(inputs), atol=1e-5)


def test_an_encoder_layer_and_a_linear_layer_of_it_are_compressed_together() -> None:
    model = make_encoder()
    settings = {"layers.1": Setting(params={"num_random_features": 16}), "layers.1.linear1": SVD_4}
    new = compressed(model, settings, moments={})
    assert isinstance(new.layers[1].self_attn, RandomFeatureAttention)
    assert isinstance(new.layers[1].linear1, LowRankLinear)
    with count_calls(new, list(settings)) as calls, torch.no_grad():
        new(draw(2, 3, 16))
    assert calls == {"layers.1": 1, "layers.1.linear1": 1}


# --- counting ---


def test_calls_are_counted_while_open_in_copies_too_and_nothing_stays() -> None:
    model, inputs = nn.Sequential(*[nn.Linear(8, 8) for _ in range(5)]), draw(2, 8)
    with count_calls(model, ["0", "4"]) as calls:
        assert calls == {"0": 0, "4": 0}
        model(inputs)
        copy.deepcopy(model)(inputs)
        model[0](inputs)
        assert calls == {"0": 3, "4": 2}
    model(inputs)
    assert dict(calls) == {"0": 3, "4": 2}
    assert not model[0]._forward_pre_hooks
    with pytest.raises(ZeroDivisionError), count_calls(model, ["0"]):
        1 / 0  # noqa: B018
    assert not model[0]._forward_pre_hooks


def test_hooks_see_the_layers_of_a_model_that_was_compiled_before() -> None:
    model, inputs = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), draw(5, 8)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        outputs = compiled(inputs)
        again = copied(compiled)
        with count_calls(again, ["_orig_mod.0"]) as calls:
            moments = collect_moments(again, ["_orig_mod.0"], lambda: again(inputs))
        captured = capture_inputs(compiled, lambda: compiled(inputs))
        assert torch.equal(again(inputs), outputs)
    assert calls == {"_orig_mod.0": 1}
    assert moments["_orig_mod.0"].num_rows == 5
    assert torch.equal(captured[0][0][0], inputs)
    torch.compiler.reset()
