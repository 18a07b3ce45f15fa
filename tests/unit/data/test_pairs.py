"""Embedded images and captions: what fits together, and a set of which it is known how much can be found."""

from dataclasses import fields
from typing import Any

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import paired
from ksweep.data.paired import synthetic
from ksweep.data.pairs import PARTS, Pairs, Part, join_validation, load_pairs
from ksweep.train.registry import plugins

SETS = " ".join(plugins(paired))


def config(
    *, images: int = 400, captions: int = 5, noise: str = "0.1", dataset: str = "synthetic-pairs", more: str = ""
) -> RunConfig:
    symbols = f'CONFIG_DATASET="{dataset}"\nCONFIG_PAIR_IMAGES={images}\nCONFIG_PAIR_CAPTIONS={captions}\n'
    return RunConfig(f'{symbols}CONFIG_PAIR_NOISE="{noise}"\n{more}', "config.txt")


def part(**changed: torch.Tensor) -> Part:
    """Two images, of which the second has two captions."""
    whole = {"images": torch.eye(2), "texts": torch.ones(3, 4), "image_of_text": torch.tensor([0, 1, 1])}
    return Part(**whole | changed)


def three(**changed: Part) -> Pairs:
    train, val, test = (changed.get(name, part()) for name in PARTS)
    return Pairs(name="three", train=train, val=val, test=test, digest="")


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
    chosen: list[Any] = []
    draw, part = synthetic._draw, synthetic._part
    monkeypatch.setattr(synthetic, "_draw", lambda *given: drawn.setdefault("points", draw(*given)))  # reads along

    def noted(images: Any, texts: Any, of_part: Any, num_captions: int) -> Part:
        chosen.append(of_part)
        return part(images, texts, of_part, num_captions)

    monkeypatch.setattr(synthetic, "_part", noted)
    pairs = load_pairs(config(images=4000, noise=noise))
    points, text_points = map(torch.from_numpy, drawn["points"])

    assert pairs.achievable_r1 == achievable
    for held_out, images in zip((pairs.val, pairs.test), chosen[1:], strict=True):
        captions = synthetic._captions_of(images, 5)
        for reached in oracle_r1(points[images], text_points[captions], held_out.image_of_text):
            assert reached == pytest.approx(achievable, abs=0.005)


def test_images_are_parted_eight_to_one_to_one_with_all_their_captions() -> None:
    pairs = load_pairs(config(images=400, captions=3))

    parts = [pairs.part(name) for name in PARTS]
    assert [len(part.texts) for part in parts] == [960, 120, 120]
    assert [len(part.images) for part in parts] == [320, 40, 40]
    assert len(torch.cat([part.images for part in parts]).unique(dim=0)) == 400  # none in two
    assert len(torch.cat([part.texts for part in parts]).unique(dim=0)) == 1200
    for part in parts:
        assert part.image_of_text.bincount().tolist() == [3] * len(part.images)


def test_rows_are_float32_of_length_one() -> None:
    pairs = load_pairs(config())

    for name in PARTS:
        for rows in (pairs.part(name).images, pairs.part(name).texts):
            assert rows.dtype == torch.float32
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert pairs.train.images.shape[1] != pairs.train.texts.shape[1]  # two modalities


def test_the_set_is_the_same_each_time_and_whatever_the_seed_and_another_with_other_symbols() -> None:
    first = load_pairs(config(more="CONFIG_SEED=1"))
    again = load_pairs(config(more="CONFIG_SEED=2"))

    assert first.digest == again.digest
    assert torch.equal(first.train.texts, again.train.texts)
    assert torch.equal(first.test.images, again.test.images)
    others = (config(noise="0.2"), config(captions=4), config(images=410))
    assert len({first.digest, *(load_pairs(other).digest for other in others)}) == 4


def test_noise_changes_the_captions_of_its_share_of_images_and_nothing_else() -> None:
    clean, noisy = load_pairs(config(noise="0")), load_pairs(config(noise="0.25"))

    for name in PARTS:
        assert torch.equal(clean.part(name).images, noisy.part(name).images)
        is_changed = (clean.part(name).texts != noisy.part(name).texts).any(dim=1)
        assert is_changed.double().mean().item() == 0.25
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
        ({"dataset": "mnist"}, f'CONFIG_DATASET: found "mnist", allowed: {SETS} (the files of ksweep.data.paired)'),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(symbols: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_pairs(config(**symbols))
    assert str(raised.value) == f"config.txt: {expected}"


def test_the_smallest_set_has_an_image_in_each_part() -> None:
    pairs = load_pairs(config(images=10, captions=1, noise="0.9"))

    assert [len(pairs.part(name).texts) for name in PARTS] == [8, 1, 1]
    assert pairs.achievable_r1 == 0.0  # of one image, to the nearest image


def test_with_train_on_validation_its_rows_are_trained_on() -> None:
    parted, joined = load_pairs(config()), load_pairs(config(more="CONFIG_TRAIN_ON_VALIDATION=y"))

    joined.check()
    for what in ("images", "texts"):
        expected = torch.cat([getattr(parted.train, what), getattr(parted.val, what)])
        assert torch.equal(getattr(joined.train, what).unique(dim=0), expected.unique(dim=0))
        assert getattr(joined.val, what).shape == (0, expected.shape[1])
    assert joined.train.image_of_text.bincount().tolist() == [5] * 360
    assert torch.equal(joined.test.texts, parted.test.texts)
    assert joined.digest == parted.digest


def test_a_joined_set_keeps_each_caption_with_its_image() -> None:
    train, val = part(texts=torch.eye(3)), part(images=torch.eye(2) + 2, texts=torch.eye(3) + 3)

    joined = join_validation(three(train=train, val=val, test=part(texts=torch.eye(3))))

    joined.check()
    assert joined.train.image_of_text.tolist() == [0, 1, 1, 2, 3, 3]
    assert torch.equal(joined.train.images[joined.train.image_of_text[3:]], val.images[val.image_of_text])
    assert torch.equal(joined.train.texts[3:], val.texts)
    assert joined.val.image_of_text.dtype == torch.int64
    assert join_validation(joined) is joined  # there is nothing left to join


def test_a_set_goes_to_a_device_whole() -> None:
    moved = three().to(torch.device("meta"))

    tensors = [getattr(moved.part(name), field.name) for name in PARTS for field in fields(Part)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"train": part(texts=torch.ones(3, 4, dtype=torch.float64))},
            "train texts torch.float64 [3, 4], allowed: float32 [rows, dimensions], at least one row",
        ),
        (
            {"test": part(images=torch.ones(0, 2))},
            "test images torch.float32 [0, 2], allowed: float32 [rows, dimensions], at least one row",
        ),
        (
            {"val": part(images=torch.ones(2, 3))},
            "val images of 3 dimensions, allowed: 2, as those of train",
        ),
        (
            {"test": part(texts=torch.ones(4, 4))},
            "test image_of_text torch.int64 [3], allowed: int64 [4], one for each row of texts",
        ),
        (
            {"val": part(image_of_text=torch.tensor([0.0, 1, 1]))},
            "val image_of_text torch.float32 [3], allowed: int64 [3], one for each row of texts",
        ),
        (
            {"train": part(image_of_text=torch.tensor([0, 1, 2]))},
            "train image_of_text[2] = 2, allowed: 0 to 1, a row of images",
        ),
        (
            {"train": part(image_of_text=torch.tensor([0, -1, 1]))},
            "train image_of_text[1] = -1, allowed: 0 to 1, a row of images",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(changed: dict[str, Part], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        three(**changed).check()
    assert str(raised.value) == f"three: found {expected}"
