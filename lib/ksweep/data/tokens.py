"""Images as sequences of tokens: a pixel of the digits is a token, its grey level; what a sequence is, is its class."""

import numpy as np
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.dataset import split
from ksweep.data.sets import digits
from ksweep.data.text import Sequences, join_validation

NUM_LEVELS = digits.LARGEST + 1


def load_digit_tokens(cfg: RunConfig) -> Sequences:
    """scikit-learn's digits, 64 tokens each, row by row; parted as for the image models. With TRAIN_ON_VALIDATION the validation
    part has joined the training part. ConfigError when DATASET names another set; KsweepError when the training part is not as
    large as the Kconfig says, by which schedules are planned."""
    if cfg.str("DATASET") != digits.NAME:
        raise ConfigError(
            f'{cfg.source}: CONFIG_DATASET: found "{cfg.str("DATASET")}", allowed: {digits.NAME} (images as tokens)'
        )
    arrays = digits.read(cfg)
    levels = np.rint(arrays.images.reshape(len(arrays.labels), -1) * (digits.LARGEST / 255)).astype(np.int32)
    train, val, test = split(arrays.labels, arrays.num_test)
    sequences = Sequences(
        name=digits.NAME,
        vocabulary=tuple(f"grey {level}" for level in range(NUM_LEVELS)),
        num_outputs=int(arrays.labels.max()) + 1,
        inputs=torch.from_numpy(levels),
        targets=torch.from_numpy(arrays.labels).long(),
        train=train,
        val=val,
        test=test,
        digest=arrays.sha256(),
    )
    if cfg.bool("TRAIN_ON_VALIDATION"):
        sequences = join_validation(sequences)
    if len(sequences.train) != cfg.int("TRAIN_EXAMPLES"):
        raise KsweepError(
            f"data set {digits.NAME}: found {len(sequences.train)} training examples, but CONFIG_TRAIN_EXAMPLES says"
            f" {cfg.int('TRAIN_EXAMPLES')}; correct its default in lib/ksweep/data/Kconfig"
        )
    return sequences
