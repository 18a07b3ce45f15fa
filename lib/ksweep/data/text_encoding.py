"""Texts as numbers: cut into words or characters, the frequent ones numbered; kept on disk, since it takes a while."""

import hashlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ksweep.contract.atomic import exclusive
from ksweep.data.text_source import Text

UNKNOWN = "<unk>"  # token 0: what is not in the vocabulary
LINE_END = "<eos>"  # what a line end is called as a word
FORMAT = 1  # of the files below; another number leaves those of before unread
PIECE = 2**22  # bytes that are cut at a time: the words of a whole WikiText-103 would take 10 GB as Python texts


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """`word`: what a word is (regex), None for characters; `vocabulary_size`: at most so many tokens, with UNKNOWN, None: all;
    `num_uncounted`: how many tokens at the end of the first part are not counted."""

    word: str | None
    vocabulary_size: int | None
    num_uncounted: int


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """`parts`: int32 tokens of each part of a text; `vocabulary`: UNKNOWN, then words by falling frequency, or characters."""

    parts: tuple[NDArray[np.int32], ...]
    vocabulary: tuple[str, ...]


def encode(text: Text, encoding: Encoding, name: str, folder: Path) -> Encoded:
    """The tokens of `text`, from `folder` where they lie there, else made, and left there for the next run where that can be.

    A file is named by the digest of all that it follows from. Runs that start at once wait for the first one's.
    UnicodeDecodeError when the text is not UTF-8.
    """
    key = hashlib.sha256(repr((FORMAT, text.sha256, *astuple(encoding))).encode()).hexdigest()[:16]
    path = folder / f"{name}-{key}.npz"
    if found := _read(path):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / ".lock"):
            return _read(path) or _kept(path, make(text, encoding))
    except OSError:  # nobody may write there: training needs no cache
        return make(text, encoding)


def _read(path: Path) -> Encoded | None:
    """What lies there, or None when it is not there or not whole."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            vocabulary = json.loads(file["vocabulary"].tobytes())
            parts = tuple(file[f"part{number}"] for number in range(len(file.files) - 1))
            return Encoded(parts=parts, vocabulary=tuple(vocabulary))
    except (BadZipFile, KeyError, ValueError, EOFError, OSError):
        return None


def _kept(path: Path, encoded: Encoded) -> Encoded:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        vocabulary = np.frombuffer(json.dumps(encoded.vocabulary).encode(), np.uint8)
        parts: dict[str, Any] = {f"part{number}": part for number, part in enumerate(encoded.parts)}
        with open(beside, "wb") as file:
            np.savez(file, allow_pickle=False, vocabulary=vocabulary, **parts)
        os.replace(beside, path)
    except OSError:  # the disk is full: the next run tries again
        beside.unlink(missing_ok=True)
    return encoded


def make(text: Text, encoding: Encoding) -> Encoded:
    """The tokens of `text`, and their vocabulary. UnicodeDecodeError when it is not UTF-8."""
    parts, names = _words(text.parts, encoding.word) if encoding.word else _characters(text.parts)
    counts = np.bincount(parts[0][: max(len(parts[0]) - encoding.num_uncounted, 0)], minlength=len(names))
    chosen = [int(number) for number in np.flatnonzero(counts) if names[number] != UNKNOWN]
    if encoding.word:
        chosen.sort(key=lambda number: (-counts[number], names[number]))
    if encoding.vocabulary_size is not None:
        chosen = chosen[: encoding.vocabulary_size - 1]
    table = np.zeros(len(names), np.int32)
    table[chosen] = np.arange(1, len(chosen) + 1)
    return Encoded(parts=tuple(table[part] for part in parts), vocabulary=(UNKNOWN, *(names[number] for number in chosen)))


def _words(parts: Sequence[bytes], word: str) -> tuple[list[NDArray[np.int32]], list[str]]:
    """Each word by the number of those that came up before it did, and the words in that order."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    words = re.compile(word).findall
    numbered = [
        np.concatenate([np.fromiter(map(numbers.__getitem__, words(piece)), np.int32) for piece in _in_pieces(part)])
        for part in parts
    ]
    return numbered, [LINE_END if name == "\n" else name for name in numbers]


def _characters(parts: Sequence[bytes]) -> tuple[list[NDArray[np.int32]], list[str]]:
    """Each character by its place among those of the text, and these in order of their code points."""
    points = [
        np.concatenate([np.frombuffer(piece.encode("utf-32-le"), np.int32) for piece in _in_pieces(part)]) for part in parts
    ]
    present = np.flatnonzero(sum(np.bincount(part, minlength=sys.maxunicode + 1) for part in points))
    places = np.zeros(sys.maxunicode + 1, np.int32)
    places[present] = np.arange(len(present))
    return [places[part] for part in points], [chr(point) for point in present]


def _in_pieces(part: bytes) -> Iterator[str]:
    """The part in texts of PIECE bytes or a little more, each to the end of a line."""
    start = 0
    while start < len(part) or start == 0:
        line_end = part.find(b"\n", start + PIECE)
        end = len(part) if line_end < 0 else line_end + 1
        yield part[start:end].decode()
        start = max(end, 1)
