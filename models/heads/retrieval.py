"""Retrieval metrics of embedded images and texts: recall and median rank in both directions, in pieces that fit in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

RECALLS = (1, 5, 10)
TIE = 1e-6  # similarities closer than this are equal: float32 gives the same pair another last bit in another place of a product
CHUNK = 1024


@torch.no_grad()
def retrieval_metrics(images: Tensor, texts: Tensor, image_of_text: Tensor, chunk: int = CHUNK) -> dict[str, float]:
    """How well images [I, d] find their captions, and texts [T, d] find their image, by dot product of float32 rows of length 1.

    `image_of_text` int64 [T]: a row of `images`. The gallery is each row that occurs there, once; rows that do not occur are no
    part of it, and equal embeddings of two images stay two. `i2t`: the rank of the best caption of the image among all texts,
    its other captions not counted. `t2i`: the rank of its image in the gallery. A rank is 1 + the number of others that are more
    similar or as similar (to `TIE`): ties count against, so a collapsed embedding finds nothing.

    Gives `i2t_r1 i2t_r5 i2t_r10 t2i_r1 t2i_r5 t2i_r10`, shares 0 to 1 with rank <= k; `r_mean`, mean of the six; `r1_mean`, mean
    of the two at 1; `median_rank_i2t median_rank_t2i`. Of similarities no more than `chunk` x `chunk` are in memory at once.
    ValueError without texts.
    """
    if len(image_of_text) == 0:
        raise ValueError("retrieval_metrics: found no text: at least one is needed")
    i2t, t2i = retrieval_ranks(images, texts, image_of_text, chunk)
    measured = {f"{way}_r{k}": (ranks <= k).double().mean() for way, ranks in (("i2t", i2t), ("t2i", t2i)) for k in RECALLS}
    measured["r_mean"] = torch.stack(list(measured.values())).mean()
    measured["r1_mean"] = (measured["i2t_r1"] + measured["t2i_r1"]) / 2
    measured |= {"median_rank_i2t": _median(i2t), "median_rank_t2i": _median(t2i)}
    return dict(zip(measured, torch.stack(list(measured.values())).tolist(), strict=True))  # the one wait for the device


@torch.no_grad()
def retrieval_ranks(images: Tensor, texts: Tensor, image_of_text: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Ranks from 1 on, int64: of each image of the gallery, by row, [G], and of each text, [T]."""
    rows, own = image_of_text.unique(return_inverse=True)  # the gallery, and each text's place in it
    gallery, texts = images[rows].float(), texts.float()
    similar = torch.cat([(gallery[own[part]] * texts[part]).sum(dim=1) for part in _parts(len(texts), chunk)])
    best = torch.full((len(rows),), -torch.inf, device=texts.device).scatter_reduce(0, own, similar, "amax")
    i2t, t2i = torch.ones_like(rows), torch.ones_like(own)
    places = torch.arange(len(rows), device=texts.device)
    # Autocast would take the products in 16 bits, and not the similarities that they are compared to.
    with torch.autocast(texts.device.type, enabled=False):
        for some in _parts(len(rows), chunk):
            for part in _parts(len(texts), chunk):
                block = gallery[some] @ texts[part].T
                is_own = places[some, None] == own[None, part]
                # Not "more similar": a similarity that is no number counts against.
                i2t[some] += (~(is_own | (block < best[some, None] - TIE))).sum(dim=1)
                t2i[part] += (~(is_own | (block < similar[None, part] - TIE))).sum(dim=0)
    return i2t, t2i


def _parts(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, count, chunk))


def _median(ranks: Tensor) -> Tensor:
    """The middle one, or the mean of the middle two; without `quantile`, which takes no more than 16 million."""
    ordered = ranks.sort().values
    return (ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]).double() / 2
