"""What a data set of a language model reads: a text as published, or rows of tokens that it made itself."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError

PARTS = ("TRAIN_TOKENS", "VAL_TOKENS", "TEST_TOKENS")
WORD_OR_SIGN = r"\w+|[^\w\s]|\n"  # for running text: words, each sign by itself, line ends
BETWEEN_BLANKS = r"\S+|\n"  # for a text whose words are apart by blanks already


@dataclass(frozen=True, kw_only=True)
class Text:
    """`parts`, UTF-8: train, validation and test as published, or one that is to be parted; `word`: what a word is (regex)."""

    parts: tuple[bytes, ...]
    word: str = WORD_OR_SIGN

    @cached_property
    def sha256(self) -> str:
        """Digest of content and parts."""
        return hashlib.sha256("".join(hashlib.sha256(part).hexdigest() for part in self.parts).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """`vocabulary`: what each token is, in words; `inputs targets` int32 [N, T]; `difficulty` int8 [N, T]. First the rows of
    training, then those of validation and of test, as many as `sequence_counts` says."""

    vocabulary: tuple[str, ...]
    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    difficulty: NDArray[np.int8]

    @cached_property
    def sha256(self) -> str:
        """Digest of inputs and targets."""
        return hashlib.sha256(self.inputs.tobytes() + self.targets.tobytes()).hexdigest()


def sequence_counts(cfg: RunConfig) -> list[int]:
    """Rows of each part, those of the validation part not yet joined. ConfigError when a part has less than one."""
    length = cfg.int("SEQUENCE_LENGTH")
    if length < 1:
        raise ConfigError(f"{cfg.source}: CONFIG_SEQUENCE_LENGTH: found {length}, allowed: 1 or more")
    for symbol in PARTS:
        if cfg.int(symbol) < length:
            raise ConfigError(
                f"{cfg.source}: CONFIG_{symbol}: found {cfg.int(symbol)}, allowed: {length} or more, the tokens of one sequence"
                f" (CONFIG_SEQUENCE_LENGTH)"
            )
    return [cfg.int(symbol) // length for symbol in PARTS]
