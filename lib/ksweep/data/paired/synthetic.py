"""synthetic-pairs: a task of our own of which it is known, by how it is made, how much can be found.

An image is a point z ~ N(0, 1) in LATENTS dimensions, and each of its captions that point, a little off. What a head sees of them
are two random networks, one a modality: no projection of one is the other, and none that is linear undoes them whole. Of a share
PAIR_NOISE of the images the captions are of no image: each of a point drawn for itself. These images and these captions can be
found by luck only, so that recall at 1 is at most 1 - PAIR_NOISE both ways, and who knows the points of the others finds these.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.pairs import Pairs, Part

NAME = "synthetic-pairs"
LATENTS, HIDDEN, IMAGE_DIM, TEXT_DIM = 16, 64, 96, 128
GAIN = 2.5  # how far the networks are from linear
CAPTION_NOISE = 0.3  # how far a caption is off, per latent dimension, where those of two images are sqrt(2) apart
EMBEDDING_NOISE = 0.1  # on each output of a network, whose scale is below 1
SEED_OF_DATA = 20240117  # never the run's SEED: runs are only comparable on the same rows
Floats = NDArray[np.float64]


def read(cfg: RunConfig) -> Pairs:
    """PAIR_IMAGES images with PAIR_CAPTIONS captions each; a tenth of the images for validation, a tenth for test."""
    num_images, num_captions, noise = _asked(cfg)
    # The one generator whose stream numpy has frozen for good (NEP 19).
    chance = RandomState(SEED_OF_DATA)
    networks = [_network(chance, dim) for dim in (IMAGE_DIM, TEXT_DIM)]
    num_held_out = num_images // 10
    parts = np.split(chance.permutation(num_images), [num_images - 2 * num_held_out, num_images - num_held_out])
    latents, text_latents = _draw(chance, num_images, num_captions, _without_caption(parts, noise, num_images))
    images, texts = (_embed(*of, chance) for of in zip(networks, (latents, text_latents), strict=True))
    digest = _digest(images, texts, parts, num_captions)
    train, val, test = (_part(images, texts, np.sort(part), num_captions) for part in parts)
    return Pairs(
        name=NAME,
        train=train,
        val=val,
        test=test,
        digest=digest,
        achievable_r1=1 - round(noise * num_held_out) / num_held_out,
    )


def _part(images: NDArray[np.float32], texts: NDArray[np.float32], chosen: NDArray[np.int64], num_captions: int) -> Part:
    return Part(
        images=torch.from_numpy(images[chosen]),
        texts=torch.from_numpy(texts[_captions_of(chosen, num_captions)]),
        image_of_text=torch.arange(len(chosen)).repeat_interleave(num_captions),
    )


def _captions_of(chosen: NDArray[np.int64], num_captions: int) -> NDArray[np.int64]:
    """Rows of texts: those of an image are one after the other."""
    return (chosen[:, None] * num_captions + np.arange(num_captions)).ravel()


def _digest(
    images: NDArray[np.float32], texts: NDArray[np.float32], parts: Sequence[NDArray[np.int64]], num_captions: int
) -> str:
    arrays: list[NDArray[Any]] = [images, texts, *(_captions_of(np.sort(part), num_captions) for part in parts)]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _asked(cfg: RunConfig) -> tuple[int, int, float]:
    num_images, num_captions, noise = cfg.int("PAIR_IMAGES"), cfg.int("PAIR_CAPTIONS"), cfg.float("PAIR_NOISE")
    for symbol, found, is_allowed, allowed in (
        ("PAIR_IMAGES", num_images, num_images >= 10, "10 or more, one for validation and one for test"),
        ("PAIR_CAPTIONS", num_captions, num_captions >= 1, "1 or more"),
        ("PAIR_NOISE", noise, 0 <= noise < 1, "0 or more, below 1"),
    ):
        if not is_allowed:
            raise ConfigError(f"{cfg.source}: CONFIG_{symbol}: found {found}, allowed: {allowed}")
    return num_images, num_captions, noise


def _without_caption(parts: Sequence[NDArray[np.int64]], noise: float, num_images: int) -> NDArray[np.bool_]:
    """Which images have no caption of their own: of each part that share, to the nearest image."""
    chosen = np.zeros(num_images, bool)
    for part in parts:
        chosen[part[: round(noise * len(part))]] = True
    return chosen


def _draw(chance: RandomState, num_images: int, num_captions: int, without_caption: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The points of the images, and of the captions. All is drawn whatever the share: another one leaves the rest as it is."""
    latents = chance.standard_normal((num_images, LATENTS))
    others, off = chance.standard_normal((2, num_images * num_captions, LATENTS))
    meant = np.where(without_caption.repeat(num_captions)[:, None], others, latents.repeat(num_captions, axis=0))
    return latents, meant + CAPTION_NOISE * off


def _network(chance: RandomState, dim: int) -> list[Floats]:
    """Weights of three layers, each scaled so that its sums are about as large as what goes in, times GAIN but the last."""
    sizes, gains = (LATENTS, HIDDEN, HIDDEN, dim), (GAIN, GAIN, 1.0)
    return [gain * chance.standard_normal((m, n)) / np.sqrt(m) for m, n, gain in zip(sizes, sizes[1:], gains, strict=False)]


def _embed(network: Sequence[Floats], points: Floats, chance: RandomState) -> NDArray[np.float32]:
    """Rows of length 1. In float64 until the end, so that the order in which a product is summed is rounded away."""
    states = points
    for weights in network[:-1]:
        states = np.tanh(states @ weights)
    outputs = states @ network[-1]
    outputs += EMBEDDING_NOISE * chance.standard_normal(outputs.shape)
    return (outputs / np.linalg.norm(outputs, axis=1, keepdims=True)).astype(np.float32)
