"""Digits as rows of tokens."""

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.dataset import load
from ksweep.data.sets import digits
from ksweep.data.tokens import load_digit_tokens


def config(name: str = "digits", size: int = 1079, joined: str = "n") -> RunConfig:
    return RunConfig(
        f'CONFIG_DATASET="{name}"\nCONFIG_TRAIN_EXAMPLES={size}\nCONFIG_TRAIN_ON_VALIDATION={joined}\n', "config.txt"
    )


def test_a_token_is_the_grey_level_of_a_pixel_as_published() -> None:
    """As scikit-learn loads it: tests/unit/data/test_digits.py compares what is read here."""
    sequences, read = load_digit_tokens(config()), digits.read(RunConfig("", "config.txt"))

    assert torch.round(sequences.inputs * (255 / 16)).tolist() == read.images.reshape(1797, 64).tolist()
    assert sequences.targets.tolist() == read.labels.tolist()
    assert sequences.inputs.dtype == torch.int32
    assert (sequences.num_tokens, sequences.num_outputs, sequences.length) == (17, 10, 64)


@pytest.mark.parametrize(("joined", "size"), [("n", 1079), ("y", 1438)])
def test_parts_are_those_of_the_image_models(joined: str, size: int) -> None:
    tokens, images = load_digit_tokens(config(size=size, joined=joined)), load(config(size=size, joined=joined))

    for part in ("train", "val", "test"):
        assert torch.equal(getattr(tokens, part), getattr(images, part))


def test_another_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'CONFIG_DATASET: found "mnist", allowed: digits'):
        load_digit_tokens(config("mnist"))


def test_a_size_that_the_kconfig_has_wrong_is_refused() -> None:
    with pytest.raises(KsweepError, match="digits: found 1079 training examples, but CONFIG_TRAIN_EXAMPLES says 1000; correct"):
        load_digit_tokens(config(size=1000))
