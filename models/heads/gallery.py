"""Draw what the heads of a finished run find in the test part, into its directory: python -m models.heads.gallery RUN

retrieval_gallery.png  captions with their five nearest images, images with their five nearest captions
embedding_pca.png      both modalities before, each alone, and behind the heads, in the space that they share

Which captions and images are shown does not depend on how well they do: they lie evenly through the part.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ksweep.contract.atomic import read_json
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.contract.paths import RunDir
from ksweep.data.pairs import Part, load_pairs
from ksweep.train.checkpoint import Checkpoints
from models.heads.model import Heads, project
from models.heads.pictures import NEAREST, Found, Gallery, Spaces, draw_gallery, draw_pca
from models.heads.retrieval import RECALLS, retrieval_metrics
from models.heads.settings import read_head, read_loss
from models.heads.shown import Shown, what_is_shown

NUM_CAPTIONS, NUM_IMAGES = 12, 12  # that are asked about
MAX_DRAWN = 1000  # images that are drawn as points, with all their captions


@dataclass(frozen=True, kw_only=True)
class Projected:
    """The test part of a finished run, as it came and behind its heads: unit rows, images [I, d] and texts [T, d]."""

    cfg: RunConfig
    data: Part
    images: Tensor
    texts: Tensor


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; the exit code: 0, or 2 for what is no finished run of heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a finished run of models/heads")
    dir = RunDir(parser.parse_args(argv).run)
    try:
        projected = of_run(dir)
        shown = what_is_shown(projected.cfg)
        _draw(dir.path, projected, shown)
    except KsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _draw(folder: Path, projected: Projected, shown: Shown | None) -> None:
    title, pca, found = describe(projected), folder / "embedding_pca.png", folder / "retrieval_gallery.png"
    try:
        draw_pca(pca, spaces(projected), title)
        print(f"{pca}: written")
        if shown is None:
            print(f"{found}: not drawn: {projected.cfg.str('DATASET')} has neither captions nor pictures to show")
        else:
            draw_gallery(found, gallery(projected, shown, title))
            missing = next((path for path in shown.paths if path and not path.is_file()), None)
            print(f"{found}: written" + (f"; ids in place of pictures that are not there, such as {missing}" if missing else ""))
    except OSError as error:
        raise KsweepError(f"{folder}: the pictures cannot be written there: {error.strerror or error}") from None


@torch.no_grad()
def of_run(dir: RunDir) -> Projected:
    """The test part behind the heads that the run selected, on the CPU in float32. ConfigError for what is no finished run of
    heads, or has no weights any more, or not the data that it was trained on."""
    cfg, weights, digest = _trained(dir)
    pairs = load_pairs(cfg)
    if pairs.digest != digest:  # what is for test now may have been trained on
        raise ConfigError(f"{dir.path}: {pairs.name} is other data now than it was trained on: train it again (make rerun)")
    data = pairs.test
    heads = Heads(read_head(cfg), read_loss(cfg), image_dim=data.images.shape[1], text_dim=data.texts.shape[1])
    heads.load_state_dict(weights)
    heads.eval()
    return Projected(
        cfg=cfg, data=data, images=project(heads.image_head, data.images), texts=project(heads.text_head, data.texts)
    )


def _trained(dir: RunDir) -> tuple[RunConfig, dict[str, Tensor], str]:
    """Of a finished run its configuration, its weights, and the digest of its data."""
    allowed = "allowed: the directory of a finished run of models/heads, such as test_matrix_results/<sweep>/<run>"
    if not dir.config.is_file():
        raise ConfigError(f"{dir.path}: found no config.txt there, {allowed}")
    cfg = RunConfig.load(dir.config)
    if cfg.str("MODEL") != "heads":
        raise ConfigError(f"{dir.path}: found a run of {cfg.str('MODEL')}, {allowed}")
    result = read_json(dir.training_metrics)
    if not result or result["status"] != "passed":
        found = f"ended as {result['status']}" if result else "was not trained to its end"
        raise ConfigError(f"{dir.path}: found a run that {found}, {allowed}")
    if not (dir.checkpoints / "best.pt").is_file():
        raise ConfigError(
            f"{dir.path}: found no checkpoints/best.pt, the selected weights, {allowed}; train it again (make rerun)"
        )
    try:
        return cfg, Checkpoints(dir).load_best()["model"], result["effective"]["data_digest"]
    except ValueError as error:
        raise ConfigError(f"{error}; train the run again (make rerun)") from None


def gallery(projected: Projected, shown: Shown, title: str) -> Gallery:
    """What is found for captions and images that lie evenly through the part."""
    own, images, texts = projected.data.image_of_text, projected.images, projected.texts
    asked_texts, asked_images = _evenly(len(texts), NUM_CAPTIONS), _evenly(len(images), NUM_IMAGES)
    return Gallery(
        title=title,
        shown=shown,
        of_texts=[
            Found(of=text, rows=rows, values=values, is_right=[row == int(own[text]) for row in rows])
            for text, rows, values in _nearest(texts, asked_texts, images)
        ],
        of_images=[
            Found(of=image, rows=rows, values=values, is_right=[int(own[row]) == image for row in rows])
            for image, rows, values in _nearest(images, asked_images, texts)
        ],
    )


def _evenly(count: int, wanted: int) -> list[int]:
    """The middles of `wanted` equal pieces of range(count); of fewer, each."""
    wanted = min(count, wanted)
    return [(2 * place + 1) * count // (2 * wanted) for place in range(wanted)]


def _nearest(queries: Tensor, asked: list[int], others: Tensor) -> list[tuple[int, list[int], list[float]]]:
    found = (queries[asked] @ others.T).topk(min(NEAREST, len(others)))
    return list(zip(asked, found.indices.tolist(), found.values.tolist(), strict=True))


def describe(projected: Projected) -> str:
    """What was trained on what, and how it does on all of the part, in two lines."""
    cfg, num_images, num_texts = projected.cfg, len(projected.images), len(projected.texts)
    found = retrieval_metrics(projected.images, projected.texts, projected.data.image_of_text)
    ways = []
    for way, words in (("t2i", "caption to image"), ("i2t", "image to caption")):
        recalls = " ".join(f"{found[f'{way}_r{k}']:.3f}" for k in RECALLS)
        ways.append(f"{words} {recalls}, median rank {found[f'median_rank_{way}']:g}")
    return (
        f"{cfg.str('HEAD')} head, {cfg.str('HEAD_LOSS')} loss, seed {cfg.int('SEED')}; {cfg.str('DATASET')}, test part:"
        f" {num_images} images, {num_texts} captions (caption to image at 1 by chance: {1 / num_images:.4f})\n"
        f"recall at {' '.join(map(str, RECALLS))} over the whole part: {'; '.join(ways)}"
    )


def spaces(projected: Projected) -> Spaces:
    """The points to draw: images that lie evenly through the part, with their captions."""
    data = projected.data
    images = torch.tensor(_evenly(len(data.images), MAX_DRAWN))
    texts = torch.isin(data.image_of_text, images).nonzero()[:, 0]
    return Spaces(
        images=data.images[images].numpy(),
        texts=data.texts[texts].numpy(),
        shared_images=projected.images[images].numpy(),
        shared_texts=projected.texts[texts].numpy(),
        image_of_text=torch.searchsorted(images, data.image_of_text[texts]).numpy(),
    )


if __name__ == "__main__":
    sys.exit(main())
