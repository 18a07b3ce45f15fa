"""Batches and their order."""

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.data.dataset import DataSet, load
from ksweep.data.images import image_batches
from ksweep.data.loader import Batches

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(RunConfig('CONFIG_DATASET="digits"\nCONFIG_TRAIN_EXAMPLES=1079\n', "config.txt"))


def labels_of_a_pass(batches: Batches) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


def test_a_pass_holds_every_example_once_normalised(digits: DataSet) -> None:
    batches = image_batches(digits, digits.train, batch_size=64, device=CPU, generator=torch.Generator().manual_seed(1))
    found = list(batches)
    images = torch.cat([images for images, _ in found])

    assert [len(images) for images, _ in found] == [64] * 16 + [55]
    assert len(batches) == 17
    assert sorted(labels_of_a_pass(batches)) == sorted(digits.labels[digits.train].tolist())
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std().item() == pytest.approx(1, abs=1e-5)
    assert images.dtype == torch.float32


def test_order_changes_with_each_pass_and_with_the_seed(digits: DataSet) -> None:
    def two_passes(seed: int) -> list[list[int]]:
        batches = image_batches(digits, digits.train, batch_size=64, device=CPU, generator=torch.Generator().manual_seed(seed))
        return [labels_of_a_pass(batches) for _ in range(2)]

    one, same, other = two_passes(1), two_passes(1), two_passes(2)

    assert one == same
    assert one[0] != one[1]
    assert one[0] != other[0]


def test_evaluation_goes_in_order(digits: DataSet) -> None:
    batches = image_batches(digits, digits.val, batch_size=100, device=CPU)

    assert labels_of_a_pass(batches) == digits.labels[digits.val].tolist()


def test_loading_does_not_touch_the_global_generator(digits: DataSet) -> None:
    """Else the number of passes would change what dropout draws, and a resumed run would differ."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    labels_of_a_pass(image_batches(digits, digits.train, batch_size=64, device=CPU, generator=torch.Generator()))

    assert torch.equal(torch.get_rng_state(), before)


def test_dataset_is_not_changed_by_normalising(digits: DataSet) -> None:
    before = digits.images.clone()
    list(image_batches(digits, digits.val, batch_size=359, device=CPU))

    assert torch.equal(digits.images, before)
