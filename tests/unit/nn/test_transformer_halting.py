"""Adaptive depth: ACT and PonderNet are the papers', and evaluation skips what training masks, with the same result."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.transformer.halting import Act, PonderNet
from models.transformer.model import Output, Transformer
from tests.unit.nn.transformers import (
    ACT,
    LENGTH,
    MIXTURE,
    NUM_LAYERS,
    PONDERNET,
    descend,
    force_depth,
    make_targets,
    make_tokens,
    make_transformer,
)

KINDS = pytest.mark.parametrize("halting", [ACT, PONDERNET], ids=["act", "pondernet"])
TASKS = pytest.mark.parametrize("task", ["language-model", "classifier"])
EXPERTS = pytest.mark.parametrize("experts", [None, MIXTURE], ids=["plain", "mixture"])


def chances_of(model: Transformer, tokens: Tensor) -> tuple[Output, Tensor]:
    """The output in training, and sigmoid of what each halting unit said, [L - 1, B, T]."""
    said: list[Tensor] = []
    hooks = [unit.register_forward_hook(lambda _, __, logits: said.append(logits)) for unit in model.halting_units]
    output = model.train()(tokens)
    for hook in hooks:
        hook.remove()
    return output, torch.stack(said).sigmoid()


def at_depth(model: Transformer, output: Output) -> Tensor:
    """The logits of training; with PonderNet those of the layer where evaluation leaves."""
    if isinstance(model.halting_rule, Act):
        return output.logits
    depth = output.depth if model.settings.is_language_model else output.depth[:, 0]
    return output.logits.gather(0, (depth - 1)[None, ..., None].expand(output.logits[:1].shape))[0]


@EXPERTS
@TASKS
@KINDS
@torch.no_grad()
def test_evaluation_that_skips_gives_what_masked_training_gives(halting, task: str, experts) -> None:
    found_depths = set()
    for seed in range(1, 4):
        model = make_transformer(seed=seed, halting=halting, task=task, experts=experts)
        tokens = make_tokens(seed=seed)
        masked, skipped = model.train()(tokens), model.eval()(tokens)
        found_depths |= set(masked.depth.unique().tolist())

        assert torch.equal(masked.depth, skipped.depth)
        assert torch.allclose(at_depth(model, masked), skipped.logits, atol=1e-5)
        if halting is ACT:
            assert torch.allclose(masked.ponder, skipped.ponder, atol=1e-5)
        if experts:
            assert torch.allclose(masked.balance, skipped.balance, atol=1e-5)
    assert len(found_depths) > 1


@pytest.mark.parametrize("depth", range(1, NUM_LAYERS + 1))
@TASKS
@KINDS
@torch.no_grad()
def test_blocks_that_no_token_enters_are_not_computed(halting, task: str, depth: int) -> None:
    model, tokens, entered = make_transformer(halting=halting, task=task), make_tokens(), []
    force_depth(model, torch.full(tokens.shape, depth))
    masked = model.train()(tokens)
    for number, block in enumerate(model.blocks, 1):
        block.mlp.register_forward_hook(lambda *_, number=number: entered.append(number))
    skipped = model.eval()(tokens)

    assert entered == list(range(1, depth + 1))
    assert torch.equal(skipped.depth, torch.full(tokens.shape, depth))
    assert torch.allclose(at_depth(model, masked), skipped.logits, atol=1e-5)


@EXPERTS
@KINDS
@torch.no_grad()
def test_depth_is_the_number_of_blocks_that_compute_a_token(halting, experts) -> None:
    model, tokens, entered = make_transformer(halting=halting, experts=experts), make_tokens(), []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda _, args, __: entered.append(args[0].numel() // 16))
    output = model.eval()(tokens)

    assert len(output.depth.unique()) >= 3
    assert sum(entered) == output.depth.sum().item()
    assert entered == [(output.depth > number).sum().item() for number in range(NUM_LAYERS)]


@torch.no_grad()
def test_sequences_that_have_stopped_make_no_keys() -> None:
    model, tokens, made = make_transformer(halting=ACT), make_tokens(), []
    depth = torch.ones_like(tokens)
    depth[1], depth[4, 5] = 2, 3
    force_depth(model, depth)
    masked = model.train()(tokens)
    for block in model.blocks:
        block.norm1.register_forward_hook(lambda _, args, __: made.append(len(args[0])))
    skipped = model.eval()(tokens)

    assert made == [6, 2, 1]
    assert torch.equal(skipped.depth, depth)
    assert torch.allclose(masked.logits, skipped.logits, atol=1e-5)


@TASKS
@KINDS
def test_what_layers_count_sums_to_one_for_every_token(halting, task: str) -> None:
    for seed in range(1, 4):
        output = make_transformer(seed=seed, halting=halting, task=task)(make_tokens(seed=seed))

        assert output.weights.shape == (NUM_LAYERS, 6, LENGTH)
        assert output.weights.min() >= 0
        assert (output.weights.sum(0) - 1).abs().max() <= 1e-5


@torch.no_grad()
def test_act_is_that_of_graves() -> None:
    model, tokens = make_transformer(halting=ACT), make_tokens()
    output, chances = chances_of(model, tokens)
    ponders, depths = [], set()
    for row in range(len(tokens)):
        for position in range(LENGTH):
            halting, weights = chances[:, row, position].tolist(), [0.0] * NUM_LAYERS
            depth = next((n for n in range(1, NUM_LAYERS) if sum(halting[:n]) >= 0.8), NUM_LAYERS)
            weights[: depth - 1] = halting[: depth - 1]
            weights[depth - 1] = 1 - sum(halting[: depth - 1])
            ponders.append(depth + weights[depth - 1])
            depths.add(depth)

            assert output.depth[row, position] == depth
            assert output.weights[:, row, position].tolist() == pytest.approx(weights, abs=1e-5)
    assert depths == {1, 2, 3, 4}
    assert output.ponder.item() == pytest.approx(sum(ponders) / len(ponders), abs=1e-5)


@torch.no_grad()
def test_pondernet_is_that_of_banino() -> None:
    model, tokens = make_transformer(halting=PONDERNET), make_tokens()
    output, chances = chances_of(model, tokens)
    prior = [0.3 * 0.7**n for n in range(NUM_LAYERS)]
    divergences = []
    for row in range(len(tokens)):
        for position in range(LENGTH):
            left, expected = 1.0, []
            for chance in [*chances[:, row, position].tolist(), 1.0]:
                expected.append(left * chance)
                left *= 1 - chance
            depth = next(n for n in range(1, NUM_LAYERS + 1) if sum(expected[:n]) >= 0.8 or n == NUM_LAYERS)
            divergences.append(sum(p * math.log(p / (g / sum(prior))) for p, g in zip(expected, prior, strict=True)))

            assert output.depth[row, position] == depth
            assert output.weights[:, row, position].tolist() == pytest.approx(expected, abs=1e-5)
    assert min(divergences) >= 0
    assert output.ponder.item() == pytest.approx(sum(divergences) / len(divergences), abs=1e-5)


def test_the_divergence_is_zero_where_the_chances_are_the_prior() -> None:
    rule = PonderNet(threshold=0.99, prior=0.3)
    prior = torch.tensor([0.3 * 0.7**n for n in range(NUM_LAYERS)], dtype=torch.float64)
    prior /= prior.sum()
    chances = prior[:-1] / torch.tensor([prior[n:].sum() for n in range(NUM_LAYERS - 1)])

    def divergence(logits: Tensor) -> float:
        lefts = [torch.zeros(5, dtype=torch.float64)]
        for said in [*logits, None]:
            lefts.append(rule.after(lefts[-1], said))
        return rule.ponder(rule.log_weights(torch.stack(lefts), logits)).item()

    logits = chances.logit().unsqueeze(1).expand(-1, 5)
    assert divergence(logits) == pytest.approx(0, abs=1e-12)
    assert divergence(logits + 0.5) > 0.01
    assert divergence(logits - 0.5) > 0.01
    assert math.isfinite(divergence(logits + 300))
    assert math.isfinite(divergence(logits - 300))


def test_the_cost_of_depth_falls_as_halting_units_rise() -> None:
    """The gradient of N + R by a bias is negative for every unit that spoke before N > 1."""
    for seed in range(1, 4):
        model = make_transformer(seed=seed, halting=ACT)
        output = model(make_tokens(seed=seed))
        slopes = torch.stack(torch.autograd.grad(output.ponder, [unit.linear.bias for unit in model.halting_units]))

        assert all((output.depth > number).any() for number in range(1, NUM_LAYERS))
        assert (slopes < 0).all()


def test_the_cost_of_depth_has_no_slope_where_all_stop_at_once() -> None:
    model, tokens = make_transformer(halting=ACT), make_tokens()
    with torch.no_grad():
        model.halting_units[0].linear.bias.fill_(50)
    output = model(tokens)

    (slope,) = torch.autograd.grad(output.ponder, model.halting_units[0].linear.bias)

    assert output.depth.unique().tolist() == [1]
    assert slope.item() == 0
    assert output.ponder.item() == 2


@KINDS
def test_a_dearer_depth_makes_act_shallower_and_pondernet_closer_to_its_prior(halting) -> None:
    ponders = []
    for weight in (0.0, 1.0):
        model, tokens = make_transformer(halting=replace(halting, ponder_weight=weight)), make_tokens()
        descend(model, tokens, num_steps=6)
        ponders.append(model(tokens).ponder.item())

    assert ponders[1] < 0.9 * ponders[0]


@EXPERTS
@TASKS
@KINDS
def test_the_loss_reaches_every_weight(halting, task: str, experts) -> None:
    """Without the cost of depth and the balance: halting units and router learn from the predictions alone."""
    model, tokens = make_transformer(halting=halting, task=task, experts=experts), make_tokens(batch=16)
    model.cross_entropy(model(tokens), make_targets(model, tokens)).backward()
    silent = {name for name, weight in model.named_parameters() if weight.grad is None or not (weight.grad.abs() > 1e-9).any()}

    assert silent == set()


@TASKS
@KINDS
@torch.no_grad()
def test_full_depth_is_the_same_weights_without_halting(halting, task: str) -> None:
    model, plain, tokens = make_transformer(halting=halting, task=task), make_transformer(task=task), make_tokens()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "halting" not in name})
    model.eval(), plain.eval()
    with model.full_depth():
        full = model(tokens)

    assert torch.equal(full.logits, plain(tokens).logits)
    assert full.depth is None
    assert model(tokens).depth is not None, "halting is on again"


@pytest.mark.parametrize("halting", [ACT, PONDERNET], ids=["act", "pondernet"])
@torch.no_grad()
def test_tokens_that_never_stop_go_through_all_layers(halting) -> None:
    """Of PonderNet the result is then that of full depth; of ACT it is still a mean over layers."""
    model, tokens = make_transformer(halting=halting), make_tokens()
    force_depth(model, torch.full(tokens.shape, NUM_LAYERS))
    output = model.eval()(tokens)
    with model.full_depth():
        full = model(tokens)

    assert output.depth.unique().tolist() == [NUM_LAYERS]
    assert torch.allclose(output.logits, full.logits, atol=1e-5)
