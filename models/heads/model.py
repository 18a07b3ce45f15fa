"""The network: a head for each modality, and the loss between them, whose state is part of it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.heads.heads import AttentionBody, HeadSettings, build_head
from models.heads.losses import LossSettings, QueueLoss, build_loss

CHUNK = 8192  # embeddings that are projected at once in evaluation


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

    def effective(self) -> dict[str, Any]:
        """What the constructed modules are: the proof that the configuration arrived. None: not of this head, or this loss."""
        body: Any = self.image_head.body
        linears = [layer for layer in body.modules() if isinstance(layer, nn.Linear)]
        attention: Any = body if isinstance(body, AttentionBody) else None
        return {
            "head": {
                "layers": [type(layer).__name__ for layer in body.children()],
                "output_dim": linears[-1].out_features,
                "dropout": next(layer.p for layer in body.modules() if isinstance(layer, nn.Dropout)),
                "hidden_dim": linears[-1].in_features if len(linears) > 1 else None,
                "num_tokens": attention.pieces.num_tokens if attention else None,
                "num_heads": attention.blocks[0].attention.num_heads if attention else None,
                "num_layers": len(attention.blocks) if attention else None,
            },
            "loss": {
                "kind": type(self.loss).__name__,
                "temperature": float(f"{self.loss.temperature.item():.6g}"),  # float32 made of the number asked for
                "is_temperature_learned": self.loss.log_scale.requires_grad,
                "queue_size": len(self.loss.ids) if isinstance(self.loss, QueueLoss) else None,
            },
        }


def scaled(embeddings: Tensor) -> Tensor:
    """Times the root of their width: the numbers of a unit vector are as small as that, and first layers expect about 1."""
    return embeddings * embeddings.shape[-1] ** 0.5


def project(head: nn.Module, embeddings: Tensor) -> Tensor:
    """All rows [N, in] of one modality behind its head, [N, output_dim], in pieces that fit in memory."""
    return torch.cat([head(scaled(some)) for some in embeddings.split(CHUNK)])
