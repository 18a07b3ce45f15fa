"""Embedded images and their captions: each image once, and of each caption the image that it is of; fixed parts by image."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import paired
from ksweep.train.registry import selected

PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Embeddings of two modalities, and the index of each part.

    `images` float32 [I, Di], each image once; `texts` float32 [T, Dt]; `image_of_text` int64 [T]: a row of `images`;
    `train val test` int64 rows of `texts`, no image in two of them, `val` empty where the validation part is trained on;
    `digest`: the sha256 of what was read; `achievable_r1`, where a set knows it: the share of the images, and of the captions,
    of validation and of test, 0 to 1, that can be found at rank 1 by more than luck.
    """

    name: str
    images: Tensor
    texts: Tensor
    image_of_text: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    digest: str
    achievable_r1: float | None = None

    def to(self, device: torch.device) -> "Pairs":
        """The same set on `device`, whole."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ("images", "texts", "image_of_text", *PARTS)})

    def check(self) -> None:
        """ConfigError, naming what and the first row of it, where embeddings and indices do not fit together."""
        self._check_embeddings()
        self._check_rows("image_of_text", self.image_of_text, "images", len(self.images))
        if len(self.image_of_text) != len(self.texts):
            raise self._wrong(f"{len(self.image_of_text)} rows of image_of_text", f"{len(self.texts)}, one for each row of texts")
        owner = torch.full((len(self.images),), -1, device=self.images.device)
        for number, part in enumerate(PARTS):
            rows = getattr(self, part)
            self._check_rows(part, rows, "texts", len(self.texts))
            if len(rows.unique()) < len(rows):
                raise self._wrong(f"a row of texts twice in {part}", "each at most once")
            own = self.image_of_text[rows]
            taken = own[(owner[own] >= 0)]
            if len(taken):
                image = int(taken[0])
                raise self._wrong(f"image {image} in {PARTS[int(owner[image])]} and in {part}", "each image in one part")
            owner[own] = number

    def _check_embeddings(self) -> None:
        for what in ("images", "texts"):
            rows = getattr(self, what)
            if rows.dim() != 2 or rows.dtype != torch.float32 or not len(rows):
                raise self._wrong(f"{what} {rows.dtype} {list(rows.shape)}", "float32 [rows, dimensions], at least one row")
            unfit = (~rows.isfinite()).any(dim=1).nonzero()
            if len(unfit):
                raise self._wrong(f"{len(unfit)} rows of {what} that are not finite, first {int(unfit[0])}", "finite numbers")

    def _check_rows(self, what: str, rows: Tensor, of: str, count: int) -> None:
        if rows.dim() != 1 or rows.dtype != torch.int64:
            raise self._wrong(f"{what} {rows.dtype} {list(rows.shape)}", "int64 [rows]")
        unfit = ((rows < 0) | (rows >= count)).nonzero()
        if len(unfit):
            place = int(unfit[0])
            raise self._wrong(f"{what}[{place}] = {int(rows[place])}", f"0 to {count - 1}, a row of {of}")

    def _wrong(self, found: str, allowed: str) -> ConfigError:
        return ConfigError(f"{self.name}: found {found}, allowed: {allowed}")


def load_pairs(cfg: RunConfig) -> Pairs:
    """What DATASET names, checked; with TRAIN_ON_VALIDATION its validation part has joined the training part. ConfigError when
    there is no such set, or it does not fit together."""
    pairs: Pairs = selected(cfg, "DATASET", paired).read(cfg)
    pairs.check()
    return join_validation(pairs) if cfg.bool("TRAIN_ON_VALIDATION") else pairs


def join_validation(pairs: Pairs) -> Pairs:
    """The same rows, those of the validation part in the training part."""
    return replace(pairs, train=torch.cat([pairs.train, pairs.val]).sort().values, val=pairs.val[:0])
