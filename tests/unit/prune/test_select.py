"""The choice of the smallest scores."""

import pytest
import torch
from torch import Tensor

from ksweep.prune.select import mask_smallest, mask_smallest_sampled

DEAD = torch.inf  # the score of what is pruned already


def gone(mask: Tensor) -> list[int]:
    return (mask == 0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (6, [0, 1, 2, 3, 4, 5])]
)
def test_of_equals_the_earlier_go_first(count: int, expected: list[int]) -> None:
    mask = torch.ones(6)
    mask_smallest(mask, torch.tensor([2.0, 1.0, 1.0, 0.5, 1.0, 3.0]), count)

    assert gone(mask) == expected


def test_what_is_gone_stays_and_is_not_counted_again() -> None:
    mask = torch.tensor([1.0, 0, 1, 1, 0, 1])
    mask_smallest(mask, torch.tensor([4.0, DEAD, -3, 0, DEAD, 2]), 2)

    assert gone(mask) == [1, 2, 3, 4]


@pytest.mark.parametrize("dead", [0.0, 0.4, 0.8, 0.99])
def test_agrees_with_a_sort(dead: float) -> None:
    draw = torch.Generator().manual_seed(1)
    scores = torch.randn(20_000, generator=draw).mul_(50).round_()  # many ties
    mask = (torch.rand(20_000, generator=draw) >= dead).float()
    scores[mask == 0] = DEAD
    before = mask.clone()
    mask_smallest(mask, scores, 100)
    expected = sorted((i for i in range(20_000) if before[i]), key=lambda i: (scores[i].item(), i))[:100]

    assert (before - mask).nonzero().flatten().tolist() == sorted(expected)


@pytest.mark.parametrize(("num_nan", "expected"), [(1, [0, 2, 4]), (3, [0, 1, 2]), (5, []), (6, [])])
def test_nan_counts_as_the_largest_and_never_ends_the_run(num_nan: int, expected: list[int]) -> None:
    scores = torch.tensor([2.0, 5.0, 1.0, 4.0, 3.0, 0.0])
    scores[-num_nan:] = torch.nan
    mask = torch.ones(6)
    mask_smallest(mask, scores, 3)

    assert gone(mask) == expected


def test_selection_by_a_sample_stays_below_the_count_and_near_it() -> None:
    scores = torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(400_000)
    for seed, count in enumerate([100_000, 200_000, 300_000, 300_000]):
        before = mask.clone()
        mask_smallest_sampled(mask, scores, count, seed)
        num_gone = 400_000 - int(mask.sum())
        scores[mask == 0] = DEAD

        assert 0 <= count - num_gone <= 400_000 * 1e-4
        assert not ((before == 0) & (mask == 1)).any()


def test_selection_by_a_sample_takes_the_smallest() -> None:
    scores = torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(400_000)
    mask_smallest_sampled(mask, scores, 280_000, seed=1)
    exact = scores.kthvalue(280_000).values

    assert scores[mask == 0].max() < exact + 0.01
    assert ((scores < exact - 0.01) & (mask == 1)).sum() == 0


def test_selection_by_a_sample_repeats_itself() -> None:
    scores = torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    masks = [torch.ones(50_000) for _ in range(3)]
    for mask, seed in zip(masks, [7, 7, 8], strict=True):
        mask_smallest_sampled(mask, scores, 25_000, seed)

    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
