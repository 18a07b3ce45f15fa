"""The transformer without halting: it computes what a plain restatement of it computes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.transformer.blocks import GeluMlp, Rotary, SwigluMlp
from models.transformer.model import Output, Transformer
from tests.unit.nn.transformers import (
    ACT,
    LENGTH,
    MIXTURE,
    NUM_CLASSES,
    NUM_LAYERS,
    NUM_TOKENS,
    PONDERNET,
    make_settings,
    make_targets,
    make_tokens,
    make_transformer,
)

HALTINGS = pytest.mark.parametrize("halting", [None, ACT, PONDERNET], ids=["none", "act", "pondernet"])
TASKS = pytest.mark.parametrize("task", ["language-model", "classifier"])


def restated(model: Transformer, tokens: Tensor) -> Tensor:
    """The logits, a sequence and a head at a time: softmax written out, rotation by complex numbers."""
    state, settings = model.state_dict(), model.settings
    size = settings.d_model // settings.num_heads
    rates = torch.tensor([10000.0 ** (-2 * i / size) for i in range(size // 2)], dtype=torch.float64)
    turns = torch.exp(1j * torch.arange(tokens.shape[1]).unsqueeze(1) * rates)

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]

    def turn(x: Tensor) -> Tensor:
        if settings.positions == "learned":
            return x
        turned = torch.complex(x[:, : size // 2].double(), x[:, size // 2 :].double()) * turns
        return torch.cat([turned.real, turned.imag], 1).to(x.dtype)

    def attention(x: Tensor, name: str) -> Tensor:
        parts = (x @ state[f"{name}.queries_keys_values.weight"].T).split(settings.d_model, -1)
        heads = []
        for head in range(settings.num_heads):
            queries, keys, values = (part[:, head * size : (head + 1) * size] for part in parts)
            scores = turn(queries) @ turn(keys).T / math.sqrt(size)
            if settings.is_language_model:
                later = torch.ones_like(scores, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(later, -math.inf)
            odds = (scores - scores.max(-1, keepdim=True).values).exp()
            heads.append(odds / odds.sum(-1, keepdim=True) @ values)
        return torch.cat(heads, -1) @ state[f"{name}.out.weight"].T

    def mlp(x: Tensor, name: str) -> Tensor:
        if settings.mlp == "gelu":
            hidden = x @ state[f"{name}.up.weight"].T
            hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        else:
            gate, up = (x @ state[f"{name}.gate_up.weight"].T).chunk(2, -1)
            hidden = gate / (1 + (-gate).exp()) * up
        return hidden @ state[f"{name}.down.weight"].T

    rows = []
    for row in tokens:
        x = state["embedding.weight"][row]
        if settings.positions == "learned":
            x = x + state["positions.weight"][: len(row)]
        for number in range(settings.num_layers):
            name = f"blocks.{number}"
            x = x + attention(norm(x, f"{name}.norm1"), f"{name}.attention")
            x = x + mlp(norm(x, f"{name}.norm2"), f"{name}.mlp")
        x = norm(x, "norm")
        if settings.is_language_model:
            rows.append(x @ state["head.weight"].T)
        else:
            rows.append(state["head.weight"] @ x.mean(0) + state["head.bias"])
    return torch.stack(rows)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("positions", ["rotary", "learned"])
@TASKS
def test_without_halting_it_is_a_plain_transformer(
    task: str, positions: str, mlp: str, dtype: torch.dtype, tolerance: float
) -> None:
    model = make_transformer(task=task, positions=positions, mlp=mlp).to(dtype)
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    tokens = make_tokens()[:, : LENGTH - 3]  # shorter ones are allowed

    found, expected = model(tokens), restated(model, tokens)

    assert expected.std() > 0.1
    assert torch.allclose(found.logits, expected, rtol=tolerance, atol=tolerance)
    assert (found.ponder, found.balance, found.depth, found.weights) == (None, None, None, None)


@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("experts", [None, MIXTURE], ids=["plain", "mixture"])
@HALTINGS
def test_a_later_token_changes_no_earlier_prediction(halting, experts, is_training: bool) -> None:
    model = make_transformer(halting=halting, experts=experts).train(is_training)
    tokens = make_tokens()
    other = tokens.clone()
    other[:, 7:] = (other[:, 7:] + 1) % NUM_TOKENS
    logits, changed = model(tokens).logits, model(other).logits

    assert torch.allclose(logits[..., :7, :], changed[..., :7, :], atol=1e-5)
    assert (logits[..., 7:, :] - changed[..., 7:, :]).abs().amax(-1).min() > 1e-3


@HALTINGS
def test_a_classifier_sees_all_tokens(halting) -> None:
    model = make_transformer(task="classifier", halting=halting).eval()
    tokens = make_tokens()
    other = tokens.clone()
    other[:, -1] = (other[:, -1] + 1) % NUM_TOKENS

    assert model(tokens).logits.shape == (len(tokens), NUM_CLASSES)
    assert (model(tokens).logits - model(other).logits).abs().amax(-1).min() > 1e-3


def test_rotary_products_depend_on_the_distance_alone() -> None:
    rotary = Rotary(8, 64)
    query, key = torch.randn(8), torch.randn(8)

    def product(query_at: int, key_at: int) -> float:
        turned = [rotary(x.unsqueeze(0), torch.tensor([at])) for x, at in ((query, query_at), (key, key_at))]
        return float((turned[0] * turned[1]).sum())

    for distance in (0, 1, 7, 20):
        assert product(distance, 0) == pytest.approx(product(distance + 41, 41), abs=1e-5)
    assert abs(product(1, 0) - product(7, 0)) > 1e-3
    assert product(3, 3) == pytest.approx(float(query @ key), abs=1e-5)


@pytest.mark.parametrize("width", [48, 64, 250])
def test_both_kinds_of_mlp_have_as_many_parameters_but_for_rounding(width: int) -> None:
    gelu, swiglu = (sum(weight.numel() for weight in kind(width, 4).parameters()) for kind in (GeluMlp, SwigluMlp))

    assert abs(gelu - swiglu) <= 3 * width / 2
    assert gelu == 8 * width**2


def test_initial_weights_are_those_of_gpt2() -> None:
    torch.manual_seed(1)
    model = Transformer(make_settings(d_model=128, positions="learned"), num_tokens=500, num_outputs=500, length=300)
    expected = {
        "embedding": 0.02,
        "positions": 0.02,
        "head": 0.02,
        "blocks.1.attention.queries_keys_values": 0.02,
        "blocks.1.mlp.up": 0.02,
        "blocks.1.attention.out": 0.02 / math.sqrt(2 * NUM_LAYERS),
        "blocks.1.mlp.down": 0.02 / math.sqrt(2 * NUM_LAYERS),
    }

    assert {name: model.get_parameter(f"{name}.weight").std().item() for name in expected} == pytest.approx(expected, rel=0.02)


def test_a_tied_head_is_the_embedding() -> None:
    tied, untied = make_transformer(is_head_tied=True), make_transformer()

    assert tied.head.weight is tied.embedding.weight
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == NUM_TOKENS * 16


def test_dropout_acts_in_training_only() -> None:
    model, tokens = make_transformer(dropout=0.5), make_tokens()

    assert not torch.equal(model(tokens).logits, model(tokens).logits)
    assert torch.equal(model.eval()(tokens).logits, model(tokens).logits)
    assert torch.equal(model(tokens).logits, make_transformer()(tokens).logits)


@TASKS
@pytest.mark.parametrize("experts", [None, MIXTURE], ids=["plain", "mixture"])
@HALTINGS
def test_weights_go_through_a_file_unchanged(halting, experts, task: str, tmp_path) -> None:
    model = make_transformer(task=task, halting=halting, experts=experts, is_head_tied=task == "language-model").eval()
    other = make_transformer(task=task, halting=halting, experts=experts, is_head_tied=task == "language-model", seed=9).eval()
    tokens = make_tokens()
    before = other(tokens).logits
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))

    assert torch.equal(other(tokens).logits, model(tokens).logits)
    assert not torch.equal(before, model(tokens).logits)


@pytest.mark.parametrize("experts", [None, MIXTURE], ids=["plain", "mixture"])
@HALTINGS
def test_it_trains_and_evaluates_in_bf16(halting, experts) -> None:
    model = make_transformer(halting=halting, experts=experts)
    tokens = make_tokens()
    exact = model.eval()(tokens).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.train()(tokens)
        loss = model.loss(output, make_targets(model, tokens))
        evaluated = model.eval()(tokens)
    loss.backward()

    assert loss.dtype == torch.float32
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    if output.weights is not None:
        assert torch.allclose(output.weights.sum(0), torch.ones(tokens.shape), atol=1e-5)
    # A bf16 number has 8 bits; single tokens may stop, or be routed, elsewhere.
    assert evaluated.logits.dtype == torch.bfloat16
    assert (evaluated.logits - exact).abs().median() < 0.1


def test_targets_of_minus_100_are_not_asked_for() -> None:
    model, tokens = make_transformer(), make_tokens()
    targets, output = make_targets(model, tokens), model(tokens)
    asked = torch.full_like(targets, -100)
    asked[2, 3], asked[4, 0] = targets[2, 3], targets[4, 0]
    expected = F.cross_entropy(torch.stack([output.logits[2, 3], output.logits[4, 0]]), targets[[2, 4], [3, 0]])

    assert torch.allclose(model.loss(output, asked), expected)


@HALTINGS
def test_the_loss_is_the_sum_of_its_terms(halting) -> None:
    model, tokens = make_transformer(halting=halting, experts=MIXTURE), make_tokens()
    targets, output = make_targets(model, tokens), model(tokens)
    targets[:, :4] = -100
    layers = output.logits if halting is PONDERNET else output.logits.unsqueeze(0)
    weights = output.weights if halting is PONDERNET else torch.ones(1, *tokens.shape)
    total, num_asked = torch.zeros(()), 0
    for row, position in torch.nonzero(targets != -100).tolist():
        num_asked += 1
        for layer in range(len(layers)):
            logits = layers[layer, row, position]
            smoothed = 0.9 * logits[targets[row, position]] + 0.1 * logits.mean()
            total += weights[layer, row, position] * (logits.exp().sum().log() - smoothed)
    expected = total / num_asked + 0.01 * output.balance + (0.01 * output.ponder if halting else 0)

    assert model.loss(output, targets, label_smoothing=0.1).item() == pytest.approx(expected.item(), abs=1e-5)


def test_it_reports_the_layers_that_it_has() -> None:
    model = make_transformer(mlp="swiglu", halting=PONDERNET, experts=MIXTURE, is_head_tied=True, dropout=0.25)

    assert model.effective() == {
        "d_model": 16,
        "layers": 4,
        "heads": 2,
        "is_causal": True,
        "positions": "rotary",
        "mlp": "SwigluMlp",
        "mlp_hidden": 32,
        "tied_head": True,
        "dropout": 0.25,
        "experts": 4,
        "experts_per_token": 2,
        "balance_weight": 0.01,
        "halting": "pondernet",
        "halting_threshold": 0.8,
        "halting_prior": 0.3,
        "halting_bias": -1.0,
        "ponder_weight": 0.01,
    }
    assert isinstance(model(make_tokens()), Output)
