"""What adaptive depth saves: counted in multiply-adds, and timed against the same weights at full depth."""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.transformer.blocks import Block
from models.transformer.model import Transformer
from models.transformer.moe import Mixture


class Speed(NamedTuple):
    """Milliseconds a token as the model is and at full depth, and how many times faster the first is (median of the pairs)."""

    ms_per_token: float
    ms_per_token_full: float
    speedup: float


def flops_per_token(model: Transformer, depth: Tensor) -> float:
    """Floating-point operations of the matrix products of one evaluation, over the number of its tokens; 2 a multiply-add.

    `depth`: int [B, T], the layers that each token enters, as in `Output`. Each query counts all keys of its sequence, causal or
    not, as torch's own counter has it. Keys and values of tokens that stopped count while another of their sequence runs.
    Queries that only fill up a batch (Attention.of_some) do not: the depths do not ask for them.
    """
    length = depth.shape[1]
    num_units = len(model.halting_units) if model.is_adaptive else 0
    num_predictions = depth.numel() if model.settings.is_language_model else len(depth)
    total = num_predictions * 2 * model.head.weight.numel()
    for number, (block, _) in enumerate(model.stages()):
        is_running = depth > number
        num_queries, num_keys = int(is_running.sum()), int(is_running.any(1).sum()) * length
        width = block.attention.out.in_features
        attention = num_queries * 4 * width * (width + length) + num_keys * 4 * width**2
        unit = 2 * width if number < num_units else 0
        total += attention + num_queries * (_mlp_flops(block) + unit)
    return total / depth.numel()


def _mlp_flops(block: Block) -> int:
    """Of one token."""
    if not isinstance(block.mlp, Mixture):
        return 2 * sum(weight.numel() for weight in block.mlp.parameters())
    expert = 2 * sum(weight.numel() for weight in block.mlp.experts[0].parameters())
    return 2 * block.mlp.router.weight.numel() + block.mlp.top_k * expert


def time_against_full_depth(model: Transformer, batches: Sequence[Tensor], num_pairs: int) -> Speed:
    """Time evaluations of `batches`, each int [B, T] on the model's device, with halting and at full depth in turns.

    Each pair is one pass over all batches either way, the first of the two in alternation; one pass of each goes before and is
    not counted. The model is in evaluation mode afterwards.
    """
    model.eval()
    _seconds(model, batches, full=False)
    _seconds(model, batches, full=True)
    pairs = []
    for number in range(num_pairs):
        seconds = {full: _seconds(model, batches, full=full) for full in ((False, True) if number % 2 else (True, False))}
        pairs.append((seconds[False], seconds[True]))
    ms_a_pass = 1000 / sum(batch.numel() for batch in batches)
    return Speed(
        ms_per_token=statistics.median(own for own, _ in pairs) * ms_a_pass,
        ms_per_token_full=statistics.median(full for _, full in pairs) * ms_a_pass,
        speedup=statistics.median(full / own for own, full in pairs),
    )


@torch.no_grad()
def _seconds(model: Transformer, batches: Sequence[Tensor], *, full: bool) -> float:
    _wait(batches[0])
    start = time.perf_counter()
    for batch in batches:
        if full:
            with model.full_depth():
                model(batch)
        else:
            model(batch)
    _wait(batches[0])
    return time.perf_counter() - start


def _wait(batch: Tensor) -> None:
    """Until the device has done its work."""
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
