"""The scores of each method are those of its formula, computed here number by number in double precision."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune import magnitude, movement, state

EPS, BETA1, STEP = 1e-8, 0.8, 3


def sign(x: float) -> float:
    return math.copysign(1.0, x) if x else 0.0


# The table of AdamWPrune's variants, from its documents where they differ from its code.
FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "bitter0": lambda w, m, v: w * w * abs(m) / (math.sqrt(v) + EPS),
    "bitter1": lambda w, m, v: abs(w),
    "bitter2": lambda w, m, v: abs(w),
    "bitter3": lambda w, m, v: abs(w) * math.sqrt(abs(m) + EPS),
    "bitter4": lambda w, m, v: abs(w) * math.sqrt(abs(m) + EPS),
    "bitter5": lambda w, m, v: sign(w) * m / (math.sqrt(v) + EPS) + 0.1 * abs(w),
    "bitter6": lambda w, m, v: abs(w) * math.sqrt(abs(m) + EPS) * math.sqrt(m * m / (v + EPS)),
    "bitter7": lambda w, m, v: abs(w) * (abs(v) + EPS) ** 0.25,
    "bitter8": lambda w, m, v: abs(w) * math.sqrt(abs(m / (1 - BETA1**STEP))),
    "bitter9": lambda w, m, v: w * w * abs(m) / (math.sqrt(v) + EPS),
}


def trained() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """A weight after three steps of Adam, with entries that are zero and that never had a gradient."""
    draw = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(6, 5, generator=draw))
    weight.data[0, 0] = 0
    optimizer = torch.optim.AdamW([weight], betas=(BETA1, 0.9), lr=0.01, weight_decay=0, fused=True)
    for scale in (1, 1e-3, 1e-6):
        weight.grad = torch.randn(6, 5, generator=draw) * scale
        weight.grad[0] = 0
        optimizer.step()
    return weight, optimizer


def test_every_variant_has_its_formula() -> None:
    assert list(state.VARIANTS) == list(FORMULAS)


@pytest.mark.parametrize("variant", FORMULAS)
def test_state_scores_are_those_of_the_formula(variant: str) -> None:
    weight, optimizer = trained()
    moments = optimizer.state[weight]
    scores = state.build(RunConfig(f'CONFIG_PRUNING_VARIANT="{variant}"\n', "config.txt"), [weight], optimizer).score(0)
    numbers = zip(*(tensor.flatten().tolist() for tensor in (weight, moments["exp_avg"], moments["exp_avg_sq"])), strict=True)

    assert scores.shape == weight.shape
    assert scores.flatten().tolist() == pytest.approx([FORMULAS[variant](*number) for number in numbers], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("variant", FORMULAS)
def test_weight_that_never_had_a_gradient_has_a_score(variant: str) -> None:
    weight = nn.Parameter(torch.tensor([2.0, -3.0]))
    optimizer = torch.optim.AdamW([weight], betas=(BETA1, 0.9), fused=True)
    scores = state.build(RunConfig(f'CONFIG_PRUNING_VARIANT="{variant}"\n', "config.txt"), [weight], optimizer).score(0)

    expected = [FORMULAS[variant](w, 0.0, 0.0) for w in (2.0, -3.0)]
    assert scores.tolist() == pytest.approx(expected, rel=1e-5)
    assert not optimizer.state  # looking made nothing


def test_magnitude_is_the_size_of_the_weight() -> None:
    weight, optimizer = trained()

    assert torch.equal(magnitude.build(RunConfig("", "config.txt"), [weight], optimizer).score(0), weight.abs())


def test_movement_adds_up_what_each_step_takes_from_a_weight() -> None:
    weight = nn.Parameter(torch.tensor([2.0, -3.0, 0.5]))
    unused = nn.Parameter(torch.ones(2))
    importance = movement.build(RunConfig("", "config.txt"), [weight, unused], torch.optim.SGD([weight, unused]))
    for gradient in ([1.0, 1.0, 0.0], [-0.5, 2.0, 4.0]):
        weight.grad = torch.tensor(gradient)
        with torch.no_grad():
            importance.observe()

    # S <- S - w g: the first shrinks at first and grows then, the second grows, the third shrinks
    assert importance.score(0).tolist() == [-2.0 + 1.0, 3.0 + 6.0, -2.0]
    assert importance.score(1).tolist() == [0.0, 0.0]


def test_optimizer_without_moments_is_refused() -> None:
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ConfigError, match="CONFIG_PRUNING_METHOD=state needs an optimizer with two moments; SGD has none"):
        state.build(RunConfig('CONFIG_PRUNING_VARIANT="bitter7"\n', "config.txt"), [weight], torch.optim.SGD([weight]))


def test_unknown_variant_is_refused_with_the_list() -> None:
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ConfigError, match='found "bitter10", allowed: bitter0 bitter1'):
        state.build(RunConfig('CONFIG_PRUNING_VARIANT="bitter10"\n', "config.txt"), [weight], torch.optim.AdamW([weight]))
