"""Embedded images and their captions: each image once, and of each caption the image that it is of; fixed parts by image."""

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import paired
from ksweep.train.registry import selected

PartName = Literal["train", "val", "test"]
PARTS: tuple[PartName, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Part:
    """`images` float32 [I, Di], each image once; `texts` float32 [T, Dt]; `image_of_text` int64 [T]: a row of `images`.

    Either may be a file mapped into memory: what takes rows of it reads only these.
    """

    images: Tensor
    texts: Tensor
    image_of_text: Tensor

    def to(self, device: torch.device) -> "Part":
        """The same rows on `device`, whole; what is there already is not copied."""
        return Part(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def none(self) -> "Part":
        """As this one, without any row."""
        return Part(**{field.name: getattr(self, field.name)[:0] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Three parts that share no image, of embeddings of the same widths; `val` is empty where it is trained on.

    `digest`: the sha256 of what was read; `achievable_r1`, where a set knows it: the share of the images, and of the captions,
    of validation and of test, 0 to 1, that can be found at rank 1 by more than luck.
    """

    name: str
    train: Part
    val: Part
    test: Part
    digest: str
    achievable_r1: float | None = None

    def part(self, name: PartName) -> Part:
        """The part of that name."""
        part: Part = getattr(self, name)
        return part

    def to(self, device: torch.device) -> "Pairs":
        """The same set on `device`, whole."""
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device))

    def check(self) -> None:
        """ConfigError, naming what, the part and the first row of it, where shapes, types and indices do not fit together.

        What the embeddings are is not looked at: this takes no time that counts, also for files of gigabytes.
        """
        for name in PARTS:
            self._check_embeddings(name)
            self._check_index(name, self.part(name))

    def _check_embeddings(self, name: PartName) -> None:
        for what in ("images", "texts"):
            rows, first = getattr(self.part(name), what), getattr(self.train, what)
            if rows.dim() != 2 or rows.dtype != torch.float32 or not (len(rows) or name == "val"):
                raise self._wrong(f"{name} {what} {_form(rows)}", "float32 [rows, dimensions], at least one row")
            if rows.shape[1] != first.shape[1]:
                raise self._wrong(f"{name} {what} of {rows.shape[1]} dimensions", f"{first.shape[1]}, as those of train")

    def _check_index(self, name: PartName, part: Part) -> None:
        index, count = part.image_of_text, len(part.images)
        if index.dim() != 1 or index.dtype != torch.int64 or len(index) != len(part.texts):
            raise self._wrong(f"{name} image_of_text {_form(index)}", f"int64 [{len(part.texts)}], one for each row of texts")
        unfit = ((index < 0) | (index >= count)).nonzero()
        if len(unfit):
            place = int(unfit[0])
            raise self._wrong(f"{name} image_of_text[{place}] = {int(index[place])}", f"0 to {count - 1}, a row of images")

    def _wrong(self, found: str, allowed: str) -> ConfigError:
        return ConfigError(f"{self.name}: found {found}, allowed: {allowed}")


def _form(rows: Tensor) -> str:
    return f"{rows.dtype} {list(rows.shape)}"


def load_pairs(cfg: RunConfig) -> Pairs:
    """What DATASET names, checked; with TRAIN_ON_VALIDATION its validation part has joined the training part. ConfigError when
    there is no such set, or it does not fit together."""
    pairs: Pairs = selected(cfg, "DATASET", paired).read(cfg)
    pairs.check()
    return join_validation(pairs) if cfg.bool("TRAIN_ON_VALIDATION") else pairs


def join_validation(pairs: Pairs) -> Pairs:
    """The same rows, those of the validation part behind those of the training part: a copy of both, in memory."""
    if not len(pairs.val.texts):
        return pairs
    train, val = pairs.train, pairs.val
    joined = Part(
        images=torch.cat([train.images, val.images]),
        texts=torch.cat([train.texts, val.texts]),
        image_of_text=torch.cat([train.image_of_text, val.image_of_text + len(train.images)]),
    )
    return replace(pairs, train=joined, val=val.none())
