"""Random crop and flip: what torchvision's RandomCrop(padding) and RandomHorizontalFlip do, a batch at a time."""

import torch
import torch.nn.functional as F

from ksweep.data.augment import Augment

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
