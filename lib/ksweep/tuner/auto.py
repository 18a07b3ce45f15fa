"""The ranks that params="auto" offers for a layer: from what its weight does to its inputs, and from what would be stored."""

import torch
from torch import Tensor, nn

from ksweep.nn.calibration import Moments
from ksweep.nn.compress import Setting, allowed_params, why_not
from ksweep.nn.factorization import error_by_rank

# Shares of the energy of the outputs that may be lost: a quarter, and half as much from each level to the next, down to 1/256; as
# relative errors 0.5, 0.35, 0.25, 0.18, 0.13, 0.09, 0.06. Even steps would crowd the ranks at one end, since spectra fall over
# decades. The ends are where networks stop and start to notice: a 64-512-512-512-10 one on scikit-learn's digits, all layers at
# one level, has the accuracies 0.71 0.83 0.95 0.97 0.98 0.98 0.98; dense 0.98.
_LOST = tuple(2.0**-power for power in range(2, 9))

# Matrix products run in blocks of 8 numbers or more (half precision on tensor cores, vector registers). A rank below 17 stays as
# it is: rounding up could nearly double what it stores.
_BLOCK, _UNROUNDED = 8, 16


def auto_choices(layer: nn.Module, *, moments: Moments | None = None) -> list[dict[str, int]]:
    """[{"rank": r}, ...] ascending, at most 7: the smallest ranks that lose no more than given shares of the outputs' energy.

    Above 16 they are rounded up to a multiple of 8 where that still stores less than the dense layer.

    For Linear and Conv2d, subclasses and groups too. The outputs are those of the calibration inputs that `moments` are of, as
    LowRankLinear.from_dense fits them: around their mean where a bias takes the mean over. Without moments, of inputs that are
    alike in all directions: the spectrum of the weight alone.

    Empty where no such rank stores less, and for all other kinds (see `why_no_choices`). Attention with random features stores no
    less, and is worth its error only for sequences longer than `num_random_features`; how long they are a layer does not know, so
    that is given, never guessed. ValueError for a weight or moments that are not finite.
    """
    if _why_no_rank(layer):
        return []
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    weights, most = _by_group(layer), _most_that_saves(layer)
    lost = _lost_by_rank(weights, moments, is_centred=layer.bias is not None)
    ranks = [_rounded(int((lost <= level).int().argmax()), most) for level in _LOST]
    return [{"rank": rank} for rank in sorted(set(ranks)) if rank <= most]


def why_no_choices(layer: nn.Module) -> str:
    """Why `auto_choices` has nothing for a layer, in a line, as a message can end."""
    return _why_no_rank(layer) or f"no rank that stores less keeps {1 - max(_LOST):.0%} of the energy of its outputs"


def _why_no_rank(layer: nn.Module) -> str:
    allowed = allowed_params(layer)
    if "num_random_features" in allowed:
        return (
            'attention needs {"num_random_features": [...]}: worth it below the length of the sequences, which is not known here'
        )
    if reason := why_not(layer, Setting(params={"rank": 1})):
        return reason
    return "" if _most_that_saves(layer) else "its weight is so small that even rank 1 stores no less"


def _by_group(layer: nn.Module) -> Tensor:
    """The weight as [groups, out / groups, d], detached."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1)


def _most_that_saves(layer: nn.Module) -> int:
    """The largest rank r with r (out + d) < out d, a group: 0 when there is none."""
    _, num_out, num_in = _by_group(layer).shape
    return (num_out * num_in - 1) // (num_out + num_in)


def _lost_by_rank(weights: Tensor, moments: Moments | None, *, is_centred: bool) -> Tensor:
    """Share of the energy of the outputs that the best factors of rank 0, 1, ... lose, all groups together: [max rank + 1]."""
    lost = torch.zeros(min(weights.shape[1:]) + 1, dtype=torch.float64)
    for group, weight in enumerate(weights.to("cpu", torch.float64)):
        second = None
        if moments is not None:
            mean = moments.mean[group]
            second = moments.second[group] - (torch.outer(mean, mean) if is_centred else 0.0)
        energy = (weight if second is None else weight @ second).mul(weight).sum()
        lost += error_by_rank(weight, second).square() * energy
    return lost / lost[0] if lost[0] > 0 else torch.zeros_like(lost)


def _rounded(rank: int, most: int) -> int:
    """Rank 0, of a layer whose outputs do not vary, is 1: there is no layer without a rank."""
    rounded = -(-rank // _BLOCK) * _BLOCK
    return rounded if rank > _UNROUNDED and rounded <= most else max(rank, 1)
