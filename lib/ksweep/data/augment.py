"""Random crop and flip, a whole batch at a time, on the device where the batch lies."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


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
