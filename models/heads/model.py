"""The network: a head for each modality, and the loss between them, whose state is part of it."""

from typing import NamedTuple

from torch import Tensor, nn

from models.heads.heads import HeadSettings, build_head
from models.heads.losses import LossSettings, build_loss


class Projected(NamedTuple):
    """Rows of length 1, float32 [B, output_dim], row i of one beside row i of the other."""

    images: Tensor
    texts: Tensor


class Heads(nn.Module):
    """`image_head` and `text_head` share no weights. `loss` holds its temperature, bias and queue."""

    def __init__(self, head: HeadSettings, loss: LossSettings, *, image_dim: int, text_dim: int) -> None:
        super().__init__()
        self.image_head = build_head(head, image_dim)
        self.text_head = build_head(head, text_dim)
        self.loss = build_loss(loss, head.output_dim)

    def forward(self, images: Tensor, texts: Tensor) -> Projected:
        """Embeddings [B, image_dim] and [B, text_dim]. Of unit length as they come, they are scaled to numbers of about 1."""
        return Projected(self.image_head(scaled(images)), self.text_head(scaled(texts)))


def scaled(embeddings: Tensor) -> Tensor:
    """Times the root of their width: the numbers of a unit vector are as small as that, and first layers expect about 1."""
    return embeddings * embeddings.shape[-1] ** 0.5
