"""Compressed layers stand in torch's transformers where the dense ones stood: called, trained, saved, compiled."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor, nn

from ksweep.nn.low_rank import LowRankConv2d, LowRankLinear
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.replacement import count_calls, replace_layers
from ksweep.nn.sizes import sizes
from ksweep.nn.sketched import SketchedConv2d, SketchedLinear

WIDTH, HIDDEN, LENGTH = 16, 32, 9

LINEAR: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "low rank": lambda layer: LowRankLinear.from_dense(layer, min(layer.weight.shape)),
    "sketched": lambda layer: SketchedLinear.from_dense(layer, 1, 8),
}


def make_encoder(*, norm_first: bool = False) -> nn.TransformerEncoder:
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, HIDDEN, dropout=0.0, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)


def make_inputs(seed: int = 2) -> Tensor:
    return torch.randn(3, LENGTH, WIDTH, generator=Generator().manual_seed(seed))


def replaced(model: nn.TransformerEncoder, linear: str) -> tuple[nn.TransformerEncoder, list[str]]:
    """A copy with all linear layers and all attention replaced, and the names of these."""
    new, layers = copy.deepcopy(model), {}
    for name, layer in new.named_modules():
        if type(layer) is nn.Linear:
            layers[name] = LINEAR[linear](layer)
        elif isinstance(layer, nn.MultiheadAttention):
            layers[name] = RandomFeatureAttention.from_dense(layer, 2048)
    replace_layers(new, layers)
    return new, list(layers)


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).norm() / wanted.norm()).detach())


@pytest.mark.parametrize(("linear", "norm_first"), [("low rank", False), ("low rank", True), ("sketched", False)])
@pytest.mark.parametrize(("is_training", "has_grad"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("masks", ["none", "padding", "causal"])
def test_each_layer_is_called_and_the_outputs_are_near_the_dense_ones(
    linear: str, has_grad: bool, is_training: bool, norm_first: bool, masks: str
) -> None:
    dense, inputs = make_encoder(norm_first=norm_first), make_inputs()
    new, names = replaced(dense, linear)
    padding = torch.zeros(3, LENGTH, dtype=torch.bool)
    padding[0, 5:] = True
    causal = nn.Transformer.generate_square_subsequent_mask(LENGTH)
    arguments = {"none": {}, "padding": {"src_key_padding_mask": padding}, "causal": {"mask": causal}}[masks]
    for model in (dense, new):
        model.train(is_training)
    with torch.set_grad_enabled(has_grad), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")  # by torch, for the dense one
        wanted = dense(inputs, **arguments)
        free = new(inputs, **arguments)  # without hooks, which alone would turn the fused path off
        with count_calls(new, names) as calls:
            counted = new(inputs, **arguments)

    assert calls == dict.fromkeys(names, 1)
    assert len(names) == 6
    kept = ~padding if masks == "padding" else torch.ones_like(padding)
    torch.testing.assert_close(free[kept], counted[kept])
    if linear == "low rank":  # of full rank: the error is that of the attention
        assert 0 < relative_error(free[kept], wanted[kept]) < 0.1
    assert free.isfinite().all()


@pytest.mark.parametrize("linear", LINEAR)
def test_compressed_layers_learn_all_their_parameters(linear: str) -> None:
    new, _ = replaced(make_encoder(), linear)
    new(make_inputs()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in new.parameters())
    assert all(weight.grad.abs().sum() > 0 for name, weight in new.named_parameters() if "in_proj_bias" not in name)


@pytest.mark.parametrize("linear", LINEAR)
def test_a_state_dict_carries_a_compressed_model(linear: str) -> None:
    inputs = make_inputs()
    new, names = replaced(make_encoder().eval(), linear)
    other = copy.deepcopy(new)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
        other.load_state_dict(new.state_dict())
        assert torch.equal(other(inputs), new(inputs))
    assert sizes(other) == sizes(new)
    assert all(type(other.get_submodule(name)) is type(new.get_submodule(name)) for name in names)


@pytest.mark.slow
def test_it_compiles_in_one_graph_with_its_new_layers() -> None:
    new, _ = replaced(make_encoder().eval(), "low rank")
    inputs = make_inputs()
    torch.testing.assert_close(torch.compile(new, backend="eager", fullgraph=True)(inputs), new(inputs))


@pytest.mark.parametrize("linear", LINEAR)
def test_back_to_dense_layers_the_model_computes_the_same(linear: str) -> None:
    """All but attention: its exact form has other outputs, and the weights that it had."""
    dense, inputs = make_encoder().eval(), make_inputs()
    new, names = replaced(dense, linear)
    back = copy.deepcopy(new)
    replace_layers(back, {name: back.get_submodule(name).to_dense() for name in names if "linear" in name})
    torch.testing.assert_close(back(inputs), new(inputs), rtol=1e-4, atol=1e-5)
    replace_layers(back, {name: back.get_submodule(name).to_dense() for name in names if "self_attn" in name})
    assert list(back.state_dict()) == list(dense.state_dict())
    for name, weight in back.named_parameters():
        assert "self_attn" not in name or torch.equal(weight, dense.get_parameter(name)), name


@pytest.mark.slow
def test_layers_of_all_kinds_compile_into_one_graph_with_and_without_gradients() -> None:
    model = nn.Sequential(
        LowRankConv2d(4, 6, 3, 2, padding="same", padding_mode="reflect", groups=2),
        SketchedConv2d(6, 4, 3, 1, 2, padding=1),
        nn.Flatten(),
        LowRankLinear(4 * 25, 8, 3),
        SketchedLinear(8, 5, 2, 3),
    )
    inputs = torch.randn(2, 4, 5, 5, generator=Generator().manual_seed(1))
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    outputs = [run(inputs) for run in (compiled, model)]
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*[torch.autograd.grad(one.square().sum(), list(model.parameters())) for one in outputs])
    with torch.no_grad():
        torch.testing.assert_close(compiled(inputs), model(inputs))
    torch.compiler.reset()


def test_random_features_whose_out_proj_was_replaced_turn_back_into_attention() -> None:
    attention = RandomFeatureAttention(WIDTH, 2, 8)
    wanted = attention.out_proj.weight.detach().clone()
    replace_layers(attention, {"out_proj": LowRankLinear.from_dense(attention.out_proj, WIDTH)})
    torch.testing.assert_close(attention.to_dense().out_proj.weight.detach(), wanted)
