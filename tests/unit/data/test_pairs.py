"""Embedded images and captions: what fits together, and a set of which it is known how much can be found."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import paired
from ksweep.data.paired import synthetic
from ksweep.data.pairs import PARTS, Pairs, load_pairs
from ksweep.train.registry import plugins


def config(
    *, images: int = 400, captions: int = 5, noise: str = "0.1", dataset: str = "synthetic-pairs", more: str = ""
) -> RunConfig:
    symbols = f'CONFIG_DATASET="{dataset}"\nCONFIG_PAIR_IMAGES={images}\nCONFIG_PAIR_CAPTIONS={captions}\n'
    return RunConfig(f'{symbols}CONFIG_PAIR_NOISE="{noise}"\n{more}', "config.txt")


def three() -> Pairs:
    """Three images with two captions each, one image a part."""
    train, val, test = torch.arange(6).split(2)
    return Pairs(
        name="three",
        images=torch.eye(3),
        texts=torch.ones(6, 2),
        image_of_text=torch.tensor([0, 0, 1, 1, 2, 2]),
        train=train,
        val=val,
        test=test,
        digest="",
    )


def oracle_r1(points: torch.Tensor, text_points: torch.Tensor, own: torch.Tensor) -> tuple[float, float]:
    """R@1 of who knows the points: shares of images whose nearest caption is theirs, and of captions whose nearest image is."""
    distance = torch.cdist(points, text_points, compute_mode="donot_use_mm_for_euclid_dist")
    i2t = own[distance.argmin(dim=1)] == torch.arange(len(points))
    return i2t.double().mean().item(), (distance.argmin(dim=0) == own).double().mean().item()


@pytest.mark.parametrize(("noise", "achievable"), [("0", 1.0), ("0.1", 0.9), ("0.5", 0.5)])
def test_who_knows_the_points_reaches_the_achievable_recall_and_no_more_than_luck_beyond(
    noise: str, achievable: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    draw = synthetic._draw
    monkeypatch.setattr(synthetic, "_draw", lambda *given: drawn.setdefault("points", draw(*given)))  # reads along
    pairs = load_pairs(config(images=4000, noise=noise))
    points, text_points = map(torch.from_numpy, drawn["points"])

    assert pairs.achievable_r1 == achievable
    for part in (pairs.val, pairs.test):
        images, own = pairs.image_of_text[part].unique(return_inverse=True)
        for reached in oracle_r1(points[images], text_points[part], own):
            assert reached == pytest.approx(achievable, abs=0.005)


def test_images_are_parted_eight_to_one_to_one_with_all_their_captions() -> None:
    pairs = load_pairs(config(images=400, captions=3))

    assert [len(getattr(pairs, part)) for part in PARTS] == [960, 120, 120]
    assert sorted(torch.cat([pairs.train, pairs.val, pairs.test]).tolist()) == list(range(1200))
    of_parts = [set(pairs.image_of_text[getattr(pairs, part)].tolist()) for part in PARTS]
    assert [len(images) for images in of_parts] == [320, 40, 40]
    assert len(set().union(*of_parts)) == 400  # none in two
    assert pairs.image_of_text.bincount().tolist() == [3] * 400


def test_rows_are_float32_of_length_one() -> None:
    pairs = load_pairs(config())

    for rows in (pairs.images, pairs.texts):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert pairs.images.shape[1] != pairs.texts.shape[1]  # two modalities


def test_the_set_is_the_same_each_time_and_whatever_the_seed_and_another_with_other_symbols() -> None:
    first = load_pairs(config(more="CONFIG_SEED=1"))
    again = load_pairs(config(more="CONFIG_SEED=2"))

    assert first.digest == again.digest
    assert torch.equal(first.texts, again.texts)
    assert torch.equal(first.test, again.test)
    others = (config(noise="0.2"), config(captions=4), config(images=410))
    assert len({first.digest, *(load_pairs(other).digest for other in others)}) == 4


def test_noise_changes_the_captions_of_its_share_of_images_and_nothing_else() -> None:
    clean, noisy = load_pairs(config(noise="0")), load_pairs(config(noise="0.25"))

    assert torch.equal(clean.images, noisy.images)
    is_changed = (clean.texts != noisy.texts).any(dim=1)
    for part in PARTS:
        rows = getattr(clean, part)
        assert is_changed[rows].double().mean().item() == 0.25
    assert is_changed.view(-1, 5).sum(dim=1).unique().tolist() == [0, 5]  # all captions of an image or none


def test_symbols_that_are_read_are_those_of_the_set() -> None:
    cfg = config()
    load_pairs(cfg)

    assert cfg.symbols_read.keys() == {"DATASET", "PAIR_IMAGES", "PAIR_CAPTIONS", "PAIR_NOISE", "TRAIN_ON_VALIDATION"}


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ({"images": 9}, "CONFIG_PAIR_IMAGES: found 9, allowed: 10 or more, one for validation and one for test"),
        ({"captions": 0}, "CONFIG_PAIR_CAPTIONS: found 0, allowed: 1 or more"),
        ({"noise": "1"}, "CONFIG_PAIR_NOISE: found 1.0, allowed: 0 or more, below 1"),
        ({"dataset": "emoji"}, 'CONFIG_DATASET: found "emoji", allowed: synthetic-pairs (the files of ksweep.data.paired)'),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(symbols: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_pairs(config(**symbols))
    assert str(raised.value) == f"config.txt: {expected}"


def test_the_smallest_set_has_an_image_in_each_part() -> None:
    pairs = load_pairs(config(images=10, captions=1, noise="0.9"))

    assert [len(getattr(pairs, part)) for part in PARTS] == [8, 1, 1]
    assert pairs.achievable_r1 == 0.0  # of one image, to the nearest image


def test_with_train_on_validation_its_rows_are_trained_on() -> None:
    parted, joined = load_pairs(config()), load_pairs(config(more="CONFIG_TRAIN_ON_VALIDATION=y"))

    assert joined.train.tolist() == sorted([*parted.train.tolist(), *parted.val.tolist()])
    assert len(joined.val) == 0
    assert torch.equal(joined.test, parted.test)
    joined.check()


def test_a_set_goes_to_a_device_whole() -> None:
    moved = three().to(torch.device("meta"))

    assert {getattr(moved, name).device.type for name in ("images", "texts", "image_of_text", *PARTS)} == {"meta"}


def test_what_fits_together_passes() -> None:
    three().check()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"images": torch.tensor([[1.0, 0], [math.nan, 0], [0, math.inf]])},
            "2 rows of images that are not finite, first 1, allowed: finite numbers",
        ),
        (
            {"texts": torch.ones(6, 2, dtype=torch.float64)},
            "texts torch.float64 [6, 2], allowed: float32 [rows, dimensions], at least one row",
        ),
        (
            {"texts": torch.ones(7, 2)},
            "6 rows of image_of_text, allowed: 7, one for each row of texts",
        ),
        (
            {"image_of_text": torch.tensor([0, 0, 1, 1, 2, 3])},
            "image_of_text[5] = 3, allowed: 0 to 2, a row of images",
        ),
        (
            {"image_of_text": torch.tensor([0, -1, 1, 1, 2, 2])},
            "image_of_text[1] = -1, allowed: 0 to 2, a row of images",
        ),
        ({"val": torch.tensor([2, 6])}, "val[1] = 6, allowed: 0 to 5, a row of texts"),
        ({"val": torch.tensor([2.0])}, "val torch.float32 [1], allowed: int64 [rows]"),
        ({"train": torch.tensor([0, 1, 1])}, "a row of texts twice in train, allowed: each at most once"),
        (
            {"train": torch.tensor([0, 1, 4]), "test": torch.tensor([5])},
            "image 2 in train and in test, allowed: each image in one part",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        replace(three(), **changed).check()
    assert str(raised.value) == f"three: found {expected}"


def test_a_set_is_a_file_with_a_name() -> None:
    assert plugins(paired)["synthetic-pairs"] is synthetic
