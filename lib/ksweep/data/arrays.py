"""What a data set reads: raw images and labels, as published."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """`images` uint8 [N, channels, height, width], 0 to 255; `labels` uint8 [N], from 0.

    The last `num_test` examples are the official test set; 0: the set has none, and one is drawn from it.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    num_test: int

    def sha256(self) -> str:
        """Digest of shape and content of both arrays."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
