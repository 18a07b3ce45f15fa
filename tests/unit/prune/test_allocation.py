"""How a number of weights is spread over layers."""

import pytest
import torch

from ksweep.prune.allocation import allocate, groups, spread

RESNET18 = [1728, *[36864] * 4, 73728, 147456, 8192, *[147456] * 2, 294912, 589824, 32768, *[589824] * 2]


def shares(name: str, sizes: list[int], count: int, target: float) -> list[float]:
    counts = allocate(name, torch.zeros(sum(sizes)), sizes, count, target)
    assert sum(counts) == count
    return [number / size for number, size in zip(counts, groups(name, sizes), strict=True)]


@pytest.mark.parametrize("name", ["per_layer", "depth"])
@pytest.mark.parametrize("sizes", [[1], [3, 3, 3], [1, 1000], [7, 100, 13, 5000, 2], RESNET18], ids=len)
def test_every_number_is_met_and_no_layer_ever_gives_one_back(name: str, sizes: list[int]) -> None:
    total = sum(sizes)
    before = [0] * len(sizes)
    for count in sorted({*range(1, min(total, 100)), *(int(total * s / 200) for s in range(1, 200))} - {0}):
        now = allocate(name, torch.zeros(total), sizes, count, target=0.999)

        assert sum(now) == count
        assert all(earlier <= later <= size for earlier, later, size in zip(before, now, sizes, strict=True))
        before = now


def test_per_layer_is_the_same_share_to_one_weight() -> None:
    counts = allocate("per_layer", torch.zeros(sum(RESNET18)), RESNET18, int(0.7 * sum(RESNET18)), 0.7)

    assert all(abs(number - 0.7 * size) <= 1 for number, size in zip(counts, RESNET18, strict=True))


def test_depth_grows_from_the_first_layer_to_the_last_as_the_formula_says() -> None:
    found = shares("depth", [10_000] * 4, count=20_000, target=0.5)

    assert found == pytest.approx([0.5 * 0.7, 0.5 * 0.9, 0.5 * 1.1, 0.5 * 1.3], abs=1e-4)


def test_depth_spares_layers_their_last_weights_and_asks_the_others_for_more() -> None:
    found = shares("depth", [10_000] * 4, count=32_000, target=0.8)
    x = (4 * 0.8 - 0.95) / (0.7 + 0.9 + 1.1)

    assert found == pytest.approx([0.7 * x, 0.9 * x, 1.1 * x, 0.95], abs=1e-4)


@pytest.mark.parametrize("target", [0.95, 0.97, 0.995])
def test_depth_beyond_its_limit_is_the_same_in_each_layer(target: float) -> None:
    sizes = [997, 10_007, 101]
    count = int(target * sum(sizes))

    assert shares("depth", sizes, count, target) == pytest.approx([target] * 3, abs=0.01)


def test_of_layers_with_the_same_claim_the_first_give_first() -> None:
    assert spread(5, [10, 10, 10, 10], [1.0] * 4, [10] * 4) == [2, 1, 1, 1]


def test_global_is_one_group() -> None:
    assert groups("global", [3, 4]) == [7]
    assert allocate("global", torch.zeros(7), [3, 4], 5, 0.9) == [5]


def test_layer_adaptive_scores_are_those_of_the_paper() -> None:
    layers = [torch.tensor([3.0, 0.5, torch.inf, 1.0]), torch.tensor([200.0, 100.0, 300.0]), torch.zeros(2)]
    scores = torch.cat(layers)
    allocate("layer_adaptive", scores, [4, 3, 2], 3, 0.5)

    # w_u^2 / sum of w_v^2 over all v not smaller; inf is pruned, and no part of a sum
    expected = [9 / 9, 0.25 / 10.25, torch.inf, 1 / 10, 4e4 / 13e4, 1e4 / 14e4, 9e4 / 9e4, 0, 0]
    assert scores.square().tolist() == pytest.approx(expected)
