"""Embeddings of small pictures and of short texts by what is counted in them: nothing is known but a training part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_DIM, TEXT_DIM = 128, 256
SIZE, CELL, BINS = 64, 8, 9  # pixels of a picture and of a cell; directions, as in Dalal and Triggs 2005
COLOUR_SIZE = 16
CLIP, EPS = 0.2, 0.1  # of a block: the largest share of one direction, also theirs; the length below which it is faint
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


def embed_images(pictures: Sequence[Image.Image], train: Rows) -> Floats:
    """Unit rows [len(pictures), IMAGE_DIM]: PCA, fitted on the rows `train`, over gradients and colours, either as heavy."""
    from sklearn.decomposition import PCA

    grounds = [_on_white(picture) for picture in pictures]
    both = (np.stack([of(ground) for ground in grounds]) for of in (_gradients, _colours))
    rows = np.concatenate([_of_unit_spread(each, train) for each in both], axis=1)
    pca = PCA(min(IMAGE_DIM, len(train)), svd_solver="full").fit(rows[train])
    return _unit(pca.transform(rows))


def embed_texts(texts: Sequence[str], train: Rows) -> Floats:
    """Unit rows [len(texts), TEXT_DIM]: SVD over TF-IDF of words and of 3 to 5 letters in a row, fitted on the rows `train`. A
    text of which nothing occurs there is a row of zeros."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    counts = make_union(
        TfidfVectorizer(sublinear_tf=True),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5), min_df=2),
    )
    known = counts.fit_transform([texts[row] for row in train])
    svd = TruncatedSVD(min(TEXT_DIM, known.shape[1]), random_state=0).fit(known)
    return _unit(svd.transform(counts.transform(texts)))


def oriented_gradients(pixels: Floats) -> Floats:
    """Histograms of oriented gradients (Dalal and Triggs 2005, section 6): of the colour with the largest gradient, shared out
    between the two nearest directions; blocks of 2 x 2 cells, each of length 1 at most. A pixel counts in its own cell only,
    where theirs counts in four.

    `pixels` [SIZE, SIZE, 3], 0 to 1.
    """
    dy, dx = np.zeros_like(pixels), np.zeros_like(pixels)
    dy[1:-1], dx[:, 1:-1] = pixels[2:] - pixels[:-2], pixels[:, 2:] - pixels[:, :-2]
    strongest = np.hypot(dx, dy).argmax(axis=2)[..., None]
    dy, dx = (np.take_along_axis(each, strongest, axis=2)[..., 0] for each in (dy, dx))
    place = np.arctan2(dy, dx) % np.pi / np.pi * BINS - 0.5
    lower = np.floor(place).astype(int)
    share, strength = place - lower, np.hypot(dx, dy)
    rows, columns = np.mgrid[:SIZE, :SIZE] // CELL
    cells = np.zeros((SIZE // CELL, SIZE // CELL, BINS), np.float32)
    np.add.at(cells, (rows, columns, lower % BINS), strength * (1 - share))
    np.add.at(cells, (rows, columns, (lower + 1) % BINS), strength * share)
    blocks = np.concatenate([cells[:-1, :-1], cells[1:, :-1], cells[:-1, 1:], cells[1:, 1:]], axis=2)
    blocks /= np.linalg.norm(blocks, axis=2, keepdims=True) + EPS
    return np.minimum(blocks, CLIP).ravel()


def _on_white(picture: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _colours(ground: Image.Image) -> Floats:
    """Means over squares, 0 to 1."""
    return np.asarray(ground.resize((COLOUR_SIZE, COLOUR_SIZE), Image.Resampling.BOX), np.float32).ravel() / np.float32(255)


def _gradients(ground: Image.Image) -> Floats:
    return oriented_gradients(np.asarray(ground.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32) / np.float32(255))


def _of_unit_spread(rows: Floats, train: Rows) -> Floats:
    """Around the mean of the rows `train`, and their mean square length 1: neither kind outweighs the other for its scale."""
    centred = rows - rows[train].mean(axis=0)
    spread: Floats = centred / np.sqrt((centred[train] ** 2).sum(axis=1).mean())
    return spread


def _unit(rows: NDArray[np.floating]) -> Floats:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
