"""Random crop and flip: what torchvision's RandomCrop and RandomHorizontalFlip do, a batch at a time; mixup and CutMix."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.augment import Augment, Mix, Mixture, read_mix

CPU = torch.device("cpu")


def augment(padding: int, flip: bool, seed: int = 1) -> Augment:
    return Augment(padding=padding, flip=flip, generator=torch.Generator().manual_seed(seed), device=CPU)


def test_each_image_is_a_window_of_its_padded_self() -> None:
    images = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    both = augment(2, flip=True)
    (drawn,) = both.draw(64, 64)

    cropped = both.apply(images, drawn)
    padded = F.pad(images, (2, 2, 2, 2))
    for image, (row, column, mirrored), result in zip(padded, drawn.T.tolist(), cropped, strict=True):
        window = image[:, row : row + 8, column : column + 8]
        assert torch.equal(result, window.flip(2) if mirrored else window)


def test_every_shift_and_both_sides_are_drawn_alike_often() -> None:
    drawn = torch.cat(list(augment(2, flip=True).draw(50_000, 128)), dim=1)

    for row in drawn[:2]:
        shares = torch.bincount(row, minlength=5) / 50_000
        assert (shares - 0.2).abs().max() < 0.01
    assert abs(drawn[2].double().mean().item() - 0.5) < 0.01


def test_draws_go_on_from_the_state_of_their_generator() -> None:
    first, again = augment(4, flip=True), augment(4, flip=True)
    one, two = list(first.draw(100, 32)), list(first.draw(100, 32))

    assert [part.shape[1] for part in one] == [32, 32, 32, 4]
    assert all(torch.equal(a, b) for a, b in zip(one, again.draw(100, 32), strict=True))
    assert not torch.equal(torch.cat(one, 1), torch.cat(two, 1))


def test_what_is_off_changes_nothing() -> None:
    images = torch.randint(0, 256, (10, 1, 6, 6), dtype=torch.uint8)
    flip_only = augment(0, flip=True)
    (drawn,) = flip_only.draw(10, 10)
    result = flip_only.apply(images, drawn)

    assert drawn[:2].eq(0).all()
    for image, mirrored, changed in zip(images, drawn[2].tolist(), result, strict=True):
        assert torch.equal(changed, image.flip(2) if mirrored else image)
    (drawn,) = augment(3, flip=False).draw(10, 10)
    assert drawn[2].eq(0).all()


def mix(mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0, seed: int = 1) -> Mix:
    generator = torch.Generator().manual_seed(seed)
    return Mix(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha, num_classes=4, generator=generator)


LABELS = torch.tensor([2, 0, 1, 1, 3])


def one_hot(label: int) -> torch.Tensor:
    return torch.eye(4)[label]


def test_mixup_is_the_weighted_sum_of_two_images_and_of_their_labels() -> None:
    """Zhang et al. 2018, equation 1."""
    images = torch.randn(5, 3, 6, 8)
    mixed, targets = mix(1.0).apply(images.clone(), LABELS, Mixture(share=0.7))

    for i in range(5):
        assert torch.allclose(mixed[i], 0.7 * images[i] + 0.3 * images[i - 1], atol=1e-6)
        assert torch.allclose(targets[i], 0.7 * one_hot(LABELS[i]) + 0.3 * one_hot(LABELS[i - 1]))


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.0, 0.9), (0.99, 0.3)], ids=["inside", "at two edges", "at one"])
def test_cutmix_puts_a_box_of_another_image_and_weighs_labels_by_its_area(centre: tuple[float, float]) -> None:
    """Yun et al. 2019, equations 1 and 2; the box is that of rand_bbox in their train.py."""
    height, width, share = 12, 16, 0.6
    images = torch.randn(5, 3, height, width)
    mixed, targets = mix(0.0, 1.0).apply(images.clone(), LABELS, Mixture(share=share, centre=centre))

    mask = torch.ones(height, width)  # 1: of the image itself
    half_rows, half_columns = int(height * (1 - share) ** 0.5) // 2, int(width * (1 - share) ** 0.5) // 2
    middle_row, middle_column = int(centre[0] * height), int(centre[1] * width)
    for row in range(middle_row - half_rows, middle_row + half_rows):
        for column in range(middle_column - half_columns, middle_column + half_columns):
            if 0 <= row < height and 0 <= column < width:
                mask[row, column] = 0
    assert 0 < mask.sum() < height * width
    for i in range(5):
        assert torch.equal(mixed[i], mask * images[i] + (1 - mask) * images[i - 1])
        assert torch.allclose(targets[i], mask.mean() * one_hot(LABELS[i]) + (1 - mask.mean()) * one_hot(LABELS[i - 1]))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_those_of_the_beta_distribution(alpha: float) -> None:
    shares = torch.tensor([drawn.share for drawn in mix(alpha).draw(40_000)], dtype=torch.float64)

    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_with_both_on_half_of_the_batches_take_each() -> None:
    drawn = list(mix(0.2, 4.0).draw(20_000))
    mixups, cutmixes = ([d.share for d in drawn if (d.centre is None) == is_mixup] for is_mixup in (True, False))

    assert len(mixups) / 20_000 == pytest.approx(0.5, abs=0.02)
    assert torch.tensor(mixups).var().item() == pytest.approx(1 / (4 * 1.4), rel=0.05)
    assert torch.tensor(cutmixes).var().item() == pytest.approx(1 / (4 * 9), rel=0.05)
    assert {d.centre is None for d in mix(1.0, 0.0).draw(100)} == {True}
    assert {d.centre is None for d in mix(0.0, 1.0).draw(100)} == {False}


def test_mixtures_go_on_from_the_state_of_their_generator() -> None:
    first, again = mix(1.0, 1.0), mix(1.0, 1.0)
    one, two = list(first.draw(20)), list(first.draw(20))

    assert list(again.draw(20)) == one
    assert list(again.draw(20)) == two != one


def test_mixing_keeps_the_memory_format_and_a_batch_of_one() -> None:
    for drawn in (Mixture(share=0.3), Mixture(share=0.3, centre=(0.5, 0.5))):
        images = torch.randn(5, 3, 8, 8).to(memory_format=torch.channels_last)
        assert mix(1.0).apply(images, LABELS, drawn)[0].is_contiguous(memory_format=torch.channels_last)
        single = torch.randn(1, 3, 8, 8)
        mixed, targets = mix(1.0).apply(single.clone(), LABELS[:1], drawn)
        assert torch.allclose(mixed, single)
        assert torch.equal(targets, one_hot(LABELS[0])[None])


def test_mixing_reads_nothing_from_the_device() -> None:
    """The tensors have no values and refuse to be read, as a GPU would be waited for."""
    with FakeTensorMode():
        for drawn in (Mixture(share=0.3), Mixture(share=0.3, centre=(0.5, 0.5))):
            images, targets = mix(1.0).apply(torch.zeros(5, 3, 8, 8), torch.zeros(5, dtype=torch.int64), drawn)

            assert (images.shape, targets.shape) == ((5, 3, 8, 8), (5, 4))


def read(mixup: str, cutmix: str) -> Mix | None:
    cfg = RunConfig(f'CONFIG_MIXUP_ALPHA="{mixup}"\nCONFIG_CUTMIX_ALPHA="{cutmix}"\n', "config.txt")
    return read_mix(cfg, num_classes=4, generator=torch.Generator())


def test_symbols_of_mixing_arrive_and_none_means_none() -> None:
    found = read("0.2", "1")

    assert found is not None
    assert (found.mixup_alpha, found.cutmix_alpha) == (0.2, 1.0)
    assert read("0", "0.0") is None
    with pytest.raises(ConfigError, match=r"config.txt: CONFIG_CUTMIX_ALPHA: found -1.0, allowed: 0 or more"):
        read("0", "-1")
