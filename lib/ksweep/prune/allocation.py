"""How the weights that go are spread over the layers."""

import math
from collections.abc import Sequence

from torch import Tensor

LAYER_ADAPTIVE = "layer_adaptive"  # the one that compares the sizes of scores, which signed ones do not have
ALLOCATIONS = ("global", "per_layer", LAYER_ADAPTIVE, "depth")
MOST = 0.95  # of a layer, with allocation by depth


def groups(name: str, sizes: list[int]) -> list[int]:
    """Number of weights in each stretch within which weights compete: all of them, or each of the layers, of `sizes` weights."""
    return [sum(sizes)] if name in ("global", LAYER_ADAPTIVE) else sizes


def allocate(name: str, scores: Tensor, sizes: list[int], count: int, target: float) -> list[int]:
    """How many in each group are pruned when `count` are in all. With a growing count no group's number ever falls.

    `scores`: of one layer after the other, inf for what is pruned already; `target`: the sparsity at the end.

      global          one group: all layers compete
      layer_adaptive  the same, with scores made comparable between layers, in place
      per_layer       the same share in each layer
      depth           layer i of L in proportion to 0.7 + 0.6 i / (L - 1) (bitter4 in AdamWPrune), but never more than 95 %,
                      or the target where that is more; what a layer cannot take, the others do
    """
    if name == LAYER_ADAPTIVE:
        for part in scores.split(sizes):
            _make_comparable(part)
    if name in ("global", LAYER_ADAPTIVE):
        return [count]
    if name == "per_layer":
        return spread(count, sizes, [1.0] * len(sizes), limits=sizes)
    most, last = max(MOST, target), max(1, len(sizes) - 1)
    rates = [0.7 + 0.6 * i / last for i in range(len(sizes))]
    return spread(count, sizes, rates, limits=[math.ceil(most * size) for size in sizes])


def _make_comparable(scores: Tensor) -> None:
    """Divide each score of a layer by the root of the sum of squares of those not smaller.

    Lee, Park, Mo, Ahn, Shin 2021, "Layer-Adaptive Sparsity for the Magnitude-based Pruning" (LAMP), equation 3, of which this is
    the root: the same order, and no underflow in single precision.
    """
    ordered, places = scores.sort(stable=True)
    squares = ordered.double().square_().nan_to_num_(posinf=0.0)  # what is pruned counts as zero, and stays at inf
    not_smaller = squares.flip(0).cumsum(0).flip(0).sqrt_().clamp_(min=1e-300)  # a layer of zeros has scores of zero
    scores.scatter_(0, places, (ordered / not_smaller).to(scores.dtype))


def spread(count: int, sizes: Sequence[int], rates: Sequence[float], limits: Sequence[int]) -> list[int]:
    """`count` over layers of `sizes` weights: each gives x times its rate of its weights, and no more than its limit.

    x is the same for all, so that each number only ever grows with the count (to round the shares of the count and hand out the
    rest by the largest remainders does not have this property). Of layers that would give one more at the same x, the first do.
    """

    def numbers(x: float) -> list[int]:
        return [min(limit, int(x * rate * size + 0.5)) for size, rate, limit in zip(sizes, rates, limits, strict=True)]

    low, high = 0.0, 2 / min(rates)  # at `high` all are at their limits
    while low < (middle := (low + high) / 2) < high:
        if sum(numbers(middle)) <= count:
            low = middle
        else:
            high = middle
    below, above = numbers(low), numbers(high)
    rest = count - sum(below)
    for i in range(len(sizes)):
        step = min(rest, above[i] - below[i])
        below[i] += step
        rest -= step
    return below
