"""A data set ready for training: 32x32 images in memory, one fixed split, normalisation from its training part."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import KsweepError
from ksweep.data import sets
from ksweep.data.arrays import Arrays
from ksweep.train.registry import selected

SIDE = 32
SPLIT_SEED = 20170101  # never the run's SEED: runs are only comparable on the same split
SHARE = 0.2  # of all examples, for validation and test each, where there is no official test set
VAL_SHARE = 0.1  # of the official training set, for validation


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images and labels of all parts, and the index of each part.

    `images` uint8 [N, C, 32, 32]; `labels` int64 [N], below `num_classes`; `train val test` int64 indices, without overlap, `val`
    empty where the validation part is trained on; `mean std` float32 [C, 1, 1], over the pixels (0 to 255) of the training part.
    """

    name: str
    num_classes: int
    images: Tensor
    labels: Tensor
    train: Tensor
    val: Tensor
    test: Tensor
    mean: Tensor
    std: Tensor

    @property
    def num_channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.images.shape[1]

    def to(self, device: torch.device) -> "DataSet":
        """The same set with its examples on `device`, whole."""
        moved = {name: getattr(self, name).to(device) for name in ("images", "labels", "train", "val", "test")}
        return replace(self, **moved)


def load(cfg: RunConfig) -> DataSet:
    """The data set that DATASET names; with TRAIN_ON_VALIDATION its validation part has joined the training part. ConfigError
    when there is no such set or it is not to be had; KsweepError when its training part is not as large as the Kconfig says, by
    which schedules are planned."""
    source = selected(cfg, "DATASET", sets)
    arrays: Arrays = source.read(cfg)
    train, val, test = split(arrays.labels, arrays.num_test)
    if cfg.bool("TRAIN_ON_VALIDATION"):
        train, val = torch.cat([train, val]).sort().values, val[:0]
    if len(train) != cfg.int("TRAIN_EXAMPLES"):
        raise KsweepError(
            f"data set {source.NAME}: found {len(train)} training examples, but CONFIG_TRAIN_EXAMPLES says"
            f" {cfg.int('TRAIN_EXAMPLES')}; correct its default in lib/ksweep/data/Kconfig"
        )
    images = resize(torch.from_numpy(arrays.images))
    mean, std = mean_and_std(images[train])
    return DataSet(
        name=source.NAME,
        num_classes=int(arrays.labels.max()) + 1,
        images=images,
        labels=torch.from_numpy(arrays.labels).long(),
        train=train,
        val=val,
        test=test,
        mean=mean,
        std=std,
    )


def split(labels: np.ndarray, num_test: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of train, validation and test, each class shared out alike; the same at every call, on every machine.

    With an official test set (the last `num_test`) that is the test part and a tenth of the rest is validation; else 60/20/20.
    """
    draw = np.random.RandomState(SPLIT_SEED)  # the one generator whose stream numpy has frozen for good (NEP 19)
    num_drawn = len(labels) - num_test
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels[:num_drawn] == label))
        num_val = round(len(members) * (VAL_SHARE if num_test else SHARE))
        cuts = [num_val, num_val if num_test else 2 * num_val]
        for part, chosen in zip(parts, np.split(members, cuts), strict=True):
            part.append(chosen)
    val, test, train = (np.sort(np.concatenate(part)) for part in parts)
    if num_test:
        test = np.arange(num_drawn, len(labels))
    return torch.from_numpy(train), torch.from_numpy(val), torch.from_numpy(test)


def resize(images: Tensor) -> Tensor:
    """To 32x32, uint8 [N, C, H, W]: 28x28 gets a border of zeros, as for the first LeNet-5; others are scaled, bilinear."""
    side = images.shape[-1]
    if side == SIDE:
        return images
    if side == 28:
        return F.pad(images, (2, 2, 2, 2))
    scaled = F.interpolate(images.float(), size=(SIDE, SIDE), mode="bilinear")
    return scaled.round().to(torch.uint8)


def mean_and_std(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32 [C, 1, 1]. From counts of whole numbers, so exact in any order."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    share = counts / counts.sum(1, keepdim=True)  # [C, 256]
    mean = share @ values
    std = (share @ values.square() - mean.square()).sqrt()
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)
