"""Sequences of tokens ready for training: rows of one length in memory, with fixed parts for training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import texts
from ksweep.data.text_encoding import Encoded, Encoding, encode
from ksweep.data.text_source import PARTS, Rows, Text, sequence_counts
from ksweep.train.registry import selected


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Rows of T tokens, and the index of each part.

    `vocabulary`: what each token is, in words; `inputs` int32 [N, T], below `num_tokens`; `targets`, below `num_outputs`: int32
    [N, T] for a language model, what is asked for at each place, int64 [N] for a classifier; `train val test` int64 rows, without
    overlap, `val` empty where the validation part is trained on (a row of a text may be in none of them: it is there so that the
    others are views); `difficulty` int8 [N, T], where a set knows it: how many steps in a row it takes to find the target, 0 or
    more; `digest`: the sha256 of what was read.
    """

    name: str
    vocabulary: tuple[str, ...]
    num_outputs: int
    inputs: Tensor
    targets: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    digest: str
    difficulty: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """The size of the vocabulary."""
        return len(self.vocabulary)

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self.inputs.shape[1]

    def to(self, device: torch.device) -> "Sequences":
        """The same set with its rows on `device`, whole."""
        moved = {name: getattr(self, name).to(device) for name in ("inputs", "targets", "train", "val", "test")}
        return replace(self, difficulty=None if self.difficulty is None else self.difficulty.to(device), **moved)


def load_sequences(cfg: RunConfig) -> Sequences:
    """What DATASET names, for a language model; with TRAIN_ON_VALIDATION its validation part has joined the training part.
    ConfigError when there is no such text, it is not to be had, or it is shorter than the configuration asks."""
    source = selected(cfg, "DATASET", texts)
    content: Text | Rows = source.read(cfg)
    sequences = _from_rows(cfg, source.NAME, content) if isinstance(content, Rows) else _from_text(cfg, source.NAME, content)
    return join_validation(sequences) if cfg.bool("TRAIN_ON_VALIDATION") else sequences


def join_validation(sequences: Sequences) -> Sequences:
    """The same rows, those of the validation part in the training part."""
    train = torch.cat([sequences.train, sequences.val]).sort().values
    return replace(sequences, train=train, val=sequences.val[:0])


def _from_rows(cfg: RunConfig, name: str, rows: Rows) -> Sequences:
    counts = sequence_counts(cfg)
    train, val, test = torch.arange(sum(counts)).split(counts)
    return Sequences(
        name=name,
        vocabulary=rows.vocabulary,
        num_outputs=len(rows.vocabulary),
        inputs=torch.from_numpy(rows.inputs),
        targets=torch.from_numpy(rows.targets),
        train=train,
        val=val,
        test=test,
        digest=rows.sha256,
        difficulty=torch.from_numpy(rows.difficulty),
    )


def _from_text(cfg: RunConfig, name: str, text: Text) -> Sequences:
    """Windows of SEQUENCE_LENGTH tokens without overlap; what is asked for is the token after each."""
    asked = [cfg.int(symbol) for symbol in PARTS]
    try:
        encoded = encode(text, _encoding(cfg, text, asked), name, Path(cfg.str("DATA_DIR")) / ".cache")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{cfg.source}: CONFIG_DATASET={name}: its text is not UTF-8 ({error}); get it anew") from None
    pieces = _pieces(cfg, name, encoded, asked)
    length, counts = cfg.int("SEQUENCE_LENGTH"), sequence_counts(cfg)
    stream, starts = _stream(pieces, length, counts)
    train, val, test = (torch.arange(start, start + count) for start, count in zip(starts, counts, strict=True))
    return Sequences(
        name=name,
        vocabulary=encoded.vocabulary,
        num_outputs=len(encoded.vocabulary),
        inputs=stream[:-1].view(-1, length),
        targets=stream[1:].view(-1, length),
        train=train,
        val=val,
        test=test,
        digest=text.sha256,
    )


def _encoding(cfg: RunConfig, text: Text, asked: Sequence[int]) -> Encoding:
    """How a text becomes numbers. Words are counted where neither validation nor test is, TRAIN_TOKENS or not: so the vocabulary,
    and what a perplexity means, are the same for every TRAIN_TOKENS."""
    level = cfg.str("TEXT_LEVEL")
    if level not in ("word", "char"):
        raise ConfigError(f'{cfg.source}: CONFIG_TEXT_LEVEL: found "{level}", allowed: word char')
    if level == "word" and cfg.int("VOCABULARY_SIZE") < 2:
        raise ConfigError(f"{cfg.source}: CONFIG_VOCABULARY_SIZE: found {cfg.int('VOCABULARY_SIZE')}, allowed: 2 or more")
    return Encoding(
        word=text.word if level == "word" else None,
        vocabulary_size=cfg.int("VOCABULARY_SIZE") if level == "word" else None,
        num_uncounted=asked[1] + asked[2] + 1 if len(text.parts) == 1 else 0,
    )


def _pieces(cfg: RunConfig, name: str, encoded: Encoded, asked: Sequence[int]) -> list[NDArray[np.int32]]:
    """The tokens of each part, and one more, which the last of them asks for. ConfigError when there are fewer.

    Of an official part the first; of a text in one piece the first for training, the last for test, and before these those for
    validation, so that a smaller training part leaves the others as they are.
    """
    level = cfg.str("TEXT_LEVEL")
    if len(encoded.parts) > 1:
        for symbol, count, part in zip(PARTS, asked, encoded.parts, strict=True):
            if count >= len(part):
                raise ConfigError(_too_few(cfg, symbol, count, f"the {level}s of that part of {name}, less one", len(part) - 1))
        return [part[: count + 1] for part, count in zip(encoded.parts, asked, strict=True)]
    (all_tokens,) = encoded.parts
    num_train, num_val, num_test = asked
    most = len(all_tokens) - 1 - num_val - num_test
    if num_train > most:
        used = f"one and CONFIG_VAL_TOKENS={num_val} and CONFIG_TEST_TOKENS={num_test}"
        raise ConfigError(_too_few(cfg, PARTS[0], num_train, f"the {len(all_tokens)} {level}s of {name}, less {used}", most))
    test = len(all_tokens) - 1 - num_test
    return [all_tokens[: num_train + 1], all_tokens[test - num_val : test + 1], all_tokens[test:]]


def _too_few(cfg: RunConfig, symbol: str, count: int, what: str, most: int) -> str:
    return f"{cfg.source}: CONFIG_{symbol}: found {count}, allowed: up to {max(most, 0)} ({what})"


def _stream(pieces: Sequence[NDArray[np.int32]], length: int, counts: Sequence[int]) -> tuple[Tensor, list[int]]:
    """One array of which inputs and targets, one further, are views: WikiText-103 lies in memory once. And each part's first row.

    After the rows of a part comes one that is in no part: it begins with the token that the last row asks for.
    """
    starts = [sum(counts[:number]) + number for number in range(len(counts))]
    stream = np.zeros((sum(counts) + len(counts)) * length + 1, np.int32)
    for piece, start, count in zip(pieces, starts, counts, strict=True):
        used = count * length + 1
        stream[start * length : start * length + used] = piece[:used]
    return torch.from_numpy(stream), starts
