"""Random crop and flip, mixup and CutMix: a whole batch at a time, on the device where the batch lies."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


class Augment:
    """Shift each image by up to `padding` pixels both ways (He et al. 2016, section 4.2: pad with black, crop at random), and
    mirror every other one, left to right, when `flip` is set.

    All that is drawn for an epoch is drawn before it, on the CPU: it is the same on every device, costs one copy an epoch, and
    leaves nothing to save between epochs but the state of `generator`.
    """

    def __init__(self, *, padding: int, flip: bool, generator: torch.Generator, device: torch.device) -> None:
        self.padding = padding
        self.flip = flip
        self._generator = generator
        self._device = device

    def draw(self, num_examples: int, batch_size: int) -> Iterator[Tensor]:
        """For each batch of an epoch, int64 [3, B]: rows and columns to shift by (0 to 2 * padding), 1 where to mirror."""
        shifts = torch.randint(2 * self.padding + 1, (2, num_examples), generator=self._generator)
        mirrored = torch.randint(2 if self.flip else 1, (1, num_examples), generator=self._generator)
        return iter(torch.cat([shifts, mirrored]).to(self._device).split(batch_size, dim=1))

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [B, C, H, W], of any number format, shifted and mirrored as `drawn`; black is 0."""
        rows, columns, mirrored = drawn
        if self.padding:
            height, width = images.shape[2:]
            padded = F.pad(images, (self.padding,) * 4)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: [B, C, 2p+1, 2p+1, H, W]
            images = windows[torch.arange(len(images), device=images.device), :, rows, columns]
        if self.flip:
            images = torch.where(mirrored.bool()[:, None, None, None], images.flip(3), images)
        return images


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How one batch is mixed.

    `share`: what each image keeps of itself, 0 to 1; with CutMix it keeps more where the box lies across an edge.
    `centre`: of CutMix's box, its row and column as shares of height and width, 0 to below 1; None: mixup.
    """

    share: float
    centre: tuple[float, float] | None = None

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns that CutMix replaces: 1 - `share` of the image, less what lies beyond its edges."""
        assert self.centre is not None
        rows, columns = (
            _around(int(centre * side), int(side * (1 - self.share) ** 0.5), side)
            for centre, side in zip(self.centre, (height, width), strict=True)
        )
        return rows, columns


def _around(centre: int, length: int, side: int) -> slice:
    return slice(max(0, centre - length // 2), min(side, centre + length // 2))


class Mix:
    """Mix each image, and its label, with another one of its batch, by a share that is drawn from Beta(alpha, alpha) for a batch.

    mixup (Zhang et al. 2018, equation 1): the weighted sum of both images. CutMix (Yun et al. 2019, equations 1 and 2, and their
    code): a box of one in the other, weighted by area. An alpha of 0 turns one off; with both on, each batch takes either with
    probability 1/2. The other image is the one before it in the batch, whose order is random already.

    As with Augment, all that is drawn for an epoch is drawn before it. It stays on the host, as numbers that no step waits for.
    """

    def __init__(self, *, mixup_alpha: float, cutmix_alpha: float, num_classes: int, generator: torch.Generator) -> None:
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self._num_classes = num_classes
        self._generator = generator

    def draw(self, num_batches: int) -> Iterator[Mixture]:
        """One for each batch of an epoch."""
        # torch draws from no beta distribution by a generator of ours: so numpy does, from a seed that this one draws.
        seed = int(torch.randint(2**63 - 1, (), generator=self._generator))
        rng = np.random.default_rng(seed)
        both = self.mixup_alpha > 0 and self.cutmix_alpha > 0
        is_cutmix = rng.random(num_batches) < 0.5 if both else np.full(num_batches, self.cutmix_alpha > 0)
        alphas = np.where(is_cutmix, self.cutmix_alpha, self.mixup_alpha)
        columns = (rng.beta(alphas, alphas), *rng.random((2, num_batches)), is_cutmix)
        drawn = zip(*(column.tolist() for column in columns), strict=True)
        return iter([Mixture(share=share, centre=(y, x) if cuts else None) for share, y, x, cuts in drawn])

    def apply(self, images: Tensor, labels: Tensor, drawn: Mixture) -> tuple[Tensor, Tensor]:
        """Images float [B, C, H, W] and their labels, int64 [B], mixed as `drawn`; labels become shares, float32 [B, classes].

        The images that it is given may be overwritten.
        """
        share = drawn.share
        if drawn.centre is None:
            images = images.roll(1, 0).lerp_(images, share)
        else:
            height, width = images.shape[2:]
            rows, columns = drawn.box(height, width)
            images[:, :, rows, columns] = images[:, :, rows, columns].roll(1, 0)
            share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        targets = torch.zeros(len(labels), self._num_classes, device=labels.device).scatter_(1, labels[:, None], 1.0)
        return images, targets.roll(1, 0).lerp_(targets, share)


def read_mix(cfg: RunConfig, *, num_classes: int, generator: torch.Generator) -> Mix | None:
    """What MIXUP_ALPHA and CUTMIX_ALPHA ask for; None where both are 0. ConfigError for one below 0."""
    alphas = {name: cfg.float(f"{name}_ALPHA") for name in ("MIXUP", "CUTMIX")}
    for name, alpha in alphas.items():
        if alpha < 0:
            raise ConfigError(f"{cfg.source}: CONFIG_{name}_ALPHA: found {alpha}, allowed: 0 or more")
    if not any(alphas.values()):
        return None
    return Mix(mixup_alpha=alphas["MIXUP"], cutmix_alpha=alphas["CUTMIX"], num_classes=num_classes, generator=generator)
