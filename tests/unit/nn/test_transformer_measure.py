"""What adaptive depth saves is counted as torch counts it, and timed against full depth."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.transformer.measure import flops_per_token, time_against_full_depth
from models.transformer.model import Output, Transformer
from tests.unit.nn.transformers import (
    ACT,
    LENGTH,
    MIXTURE,
    NUM_LAYERS,
    PONDERNET,
    force_depth,
    make_settings,
    make_tokens,
    make_transformer,
)


@torch.no_grad()
def counted(model: Transformer, tokens: Tensor) -> tuple[int, Output]:
    """By torch's own counter, which sees the products of attention only where they are written out."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model.eval()(tokens)
    return counter.get_total_flops(), output


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("experts", [None, MIXTURE], ids=["plain", "mixture"])
@pytest.mark.parametrize("halting", [None, ACT, PONDERNET], ids=["none", "act", "pondernet"])
@pytest.mark.parametrize("task", ["language-model", "classifier"])
def test_operations_are_those_that_torch_counts_but_for_padding(task: str, halting, experts, mlp: str) -> None:
    """Padding: each sequence that still runs attends with as many queries as the one of them with the most."""
    model = make_transformer(task=task, halting=halting, experts=experts, mlp=mlp)
    tokens = make_tokens()
    total, output = counted(model, tokens)
    depth = torch.full(tokens.shape, NUM_LAYERS) if output.depth is None else output.depth
    num_padded = 0
    for number in range(NUM_LAYERS):
        queries = (depth > number).sum(1)
        num_padded += int(queries.max() * (queries > 0).sum() - queries.sum())

    assert flops_per_token(model, depth) * tokens.numel() == total - num_padded * 4 * LENGTH * 16


def test_a_full_depth_evaluation_is_counted_without_halting_units() -> None:
    model, tokens = make_transformer(halting=ACT), make_tokens()
    with model.full_depth():
        total, _ = counted(model, tokens)
        found = flops_per_token(model, torch.full(tokens.shape, NUM_LAYERS))

    assert found * tokens.numel() == total


def test_fewer_layers_take_fewer_operations() -> None:
    model = make_transformer(halting=ACT)
    found = [flops_per_token(model, torch.full((6, LENGTH), depth)) for depth in range(1, NUM_LAYERS + 1)]
    per_layer = {round(more - less) for less, more in pairwise(found)}

    assert found == sorted(found)
    assert max(per_layer) - min(per_layer) == 2 * 16, "the last layer has no halting unit"


def forced(num_layers: int, d_model: int, batch: int, length: int, depth: Tensor) -> tuple[Transformer, Tensor]:
    settings = make_settings(d_model=d_model, num_layers=num_layers, num_heads=d_model // 32, mlp_ratio=4, halting=ACT)
    model = Transformer(settings, num_tokens=256, num_outputs=256, length=length).eval()
    force_depth(model, depth)
    return model, torch.randint(256, (batch, length))


def test_halting_early_is_measured_to_be_faster() -> None:
    model, tokens = forced(8, 64, 4, 64, torch.full((4, 64), 1))
    speed = time_against_full_depth(model, [tokens, tokens], num_pairs=5)

    assert speed.speedup > 1.5
    assert 0 < speed.ms_per_token < speed.ms_per_token_full


def test_halting_late_is_not() -> None:
    model, tokens = forced(8, 64, 4, 64, torch.full((4, 64), 8))

    assert time_against_full_depth(model, [tokens], num_pairs=5).speedup < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["even", "uneven"])
def test_half_the_layers_make_evaluation_1_4_times_as_fast(spread: str) -> None:
    torch.manual_seed(1)
    depth = torch.full((8, 256), 4) if spread == "even" else torch.randint(1, 8, (8, 256))
    model, tokens = forced(8, 256, 8, 256, depth)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        speed = time_against_full_depth(model, [tokens], num_pairs=5)
    finally:
        torch.set_num_threads(num_threads)

    assert depth.float().mean() == pytest.approx(4, abs=0.1)
    assert speed.speedup >= 1.4
