"""Splits, sizes, normalisation."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import KsweepError
from ksweep.data import sets
from ksweep.data.dataset import DataSet, load, mean_and_std, resize, split
from ksweep.kconfig.tree import load_tree
from ksweep.train.registry import plugins

ROOT = Path(__file__).resolve().parents[3]
# Examples of each class that are not in the official test set, as published; digits has none, and is read.
DRAWN_FROM = {
    "mnist": ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 10_000),
    "fashion-mnist": ([6000] * 10, 10_000),
    "cifar10": ([5000] * 10, 10_000),
    "cifar100": ([500] * 100, 10_000),
}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(RunConfig('CONFIG_DATASET="digits"\nCONFIG_TRAIN_EXAMPLES=1079\n', "config.txt"))


def test_parts_share_out_every_class_and_every_example_once(digits: DataSet) -> None:
    parts = [digits.train, digits.val, digits.test]
    whole = torch.bincount(digits.labels)

    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1797))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert torch.allclose(torch.bincount(digits.labels[part]) / whole, torch.tensor(share), atol=0.01)


def test_split_is_the_same_for_ever(digits: DataSet) -> None:
    """Results of different releases are comparable only on the same split: if this fails, change it back."""
    digest = hashlib.sha256(torch.cat([digits.train, digits.val, digits.test]).numpy().astype("<i8").tobytes()).hexdigest()

    assert digest[:16] == "9384b7393e8099d0"


def test_official_test_set_stays_whole_and_out_of_the_rest() -> None:
    labels = np.array([0, 1] * 100 + [0] * 7 + [1] * 13, dtype=np.uint8)
    train, val, test = split(labels, num_test=20)

    assert test.tolist() == list(range(200, 220))
    assert (len(train), len(val)) == (180, 20)
    assert sorted(train.tolist() + val.tolist()) == list(range(200))
    assert np.bincount(labels[val]).tolist() == [10, 10]


def test_images_become_32_by_32() -> None:
    image = torch.arange(28 * 28, dtype=torch.uint8).view(1, 1, 28, 28)
    padded = resize(image)

    assert padded.shape == (1, 1, 32, 32)
    assert torch.equal(padded[..., 2:30, 2:30], image)
    assert padded.sum() == image.sum()
    assert resize(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)).unique().tolist() == [255]
    colour = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert resize(colour) is colour


def test_mean_and_deviation_agree_with_torch() -> None:
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = mean_and_std(images)

    assert torch.allclose(mean.flatten(), images.double().mean((0, 2, 3)).float())
    assert torch.allclose(std.flatten(), images.double().std((0, 2, 3), correction=0).float())


def test_normalisation_is_that_of_the_training_part(digits: DataSet) -> None:
    mean, std = mean_and_std(digits.images[digits.train])

    assert torch.equal(mean, digits.mean)
    assert torch.equal(std, digits.std)
    assert not torch.equal(mean, mean_and_std(digits.images)[0])


def test_kconfig_knows_every_data_set_and_the_size_of_its_training_part_without_and_with_validation(digits: DataSet) -> None:
    """Warm-ups and ramps are planned by that number, before anything reads the data."""
    kconf = load_tree(ROOT)
    said: dict[str, list[int]] = {}
    for is_joined in (0, 2):
        kconf.syms["TRAIN_ON_VALIDATION"].set_value(is_joined)
        for member in (member for member in kconf.syms["DATASET_SELECT_DIGITS"].choice.syms if member.visibility):
            member.set_value(2)
            said.setdefault(kconf.syms["DATASET"].str_value, []).append(int(kconf.syms["TRAIN_EXAMPLES"].str_value))
    found = {"digits": [len(digits.train), len(digits.train) + len(digits.val)]}
    for name, (counts, num_test) in DRAWN_FROM.items():
        labels = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.zeros(num_test)])
        train, val, _ = split(labels, num_test)
        found[name] = [len(train), len(train) + len(val)]

    assert said == found
    assert set(said) == set(plugins(sets))


def test_a_size_that_the_kconfig_has_wrong_is_refused() -> None:
    with pytest.raises(KsweepError, match="digits: found 1079 training examples, but CONFIG_TRAIN_EXAMPLES says 1000; correct"):
        load(RunConfig('CONFIG_DATASET="digits"\nCONFIG_TRAIN_EXAMPLES=1000\n', "config.txt"))


def test_a_model_that_takes_no_images_has_no_data_set_and_no_size(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(f'source "{ROOT}/lib/ksweep/data/Kconfig"\nconfig MODEL_TAKES_IMAGES\n\tbool "Images"\n')
    symbols = load_tree(tmp_path).syms
    names = ("DATASET", "TRAIN_EXAMPLES", "IMAGE_SIZE", "RANDOM_CROP")

    assert [symbols[name].str_value for name in names] == ["", "", "", ""]
    symbols["MODEL_TAKES_IMAGES"].set_value(2)
    assert [symbols[name].str_value for name in names] == ["digits", "1079", "32", "0"]
