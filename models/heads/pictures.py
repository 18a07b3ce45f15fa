"""Pictures of what two heads do: what is found for what, and both modalities before and behind them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.heads.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

NEAREST = 5
RIGHT, WRONG = "#1a7f37", "#9a9a9a"
IMAGE, TEXT = "#1f77b4", "#e07b00"
NUM_LINES = 20  # images that are joined to their captions: of more of them nothing could be told apart
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Found:
    """For the caption or image `of`: the nearest of the others, their cosines, and which are right."""

    of: int
    rows: Sequence[int]
    values: Sequence[float]
    is_right: Sequence[bool]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """What is found for some captions, and for some images."""

    title: str
    shown: Shown
    of_texts: Sequence[Found]
    of_images: Sequence[Found]


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """Points of the same images and captions in three spaces, rows of unit length: images and texts as they came, and both behind
    the heads. `image_of_text`: a row of the images."""

    images: Floats
    texts: Floats
    shared_images: Floats
    shared_texts: Floats
    image_of_text: NDArray[np.int64]


def draw_gallery(path: Path, gallery: Gallery) -> None:
    """Left: captions, each with its nearest images; right: images, each with its nearest captions."""
    from matplotlib.figure import Figure

    num_rows = max(len(gallery.of_texts), len(gallery.of_images))
    figure = Figure(figsize=(19, 1.05 + 1.25 * num_rows))
    figure.suptitle(gallery.title, fontsize=12, x=0.015, ha="left", y=1 - 0.12 / figure.get_figheight(), va="top")
    grid = figure.add_gridspec(1, 2, width_ratios=(11, 8))
    left, right = (figure.add_subfigure(grid[0, column]) for column in range(2))
    top = 1 - 1.05 / figure.get_figheight()
    _draw_of_texts(left, gallery, top)
    _draw_of_images(right, gallery, top)
    figure.savefig(path, dpi=100)


def _draw_of_texts(figure: "SubFigure", gallery: Gallery, top: float) -> None:
    figure.text(0.026, top + 0.008, f"a caption, and the {NEAREST} nearest images (green: its own)", fontsize=12, weight="bold")
    grid = figure.add_gridspec(
        len(gallery.of_texts),
        NEAREST + 1,
        width_ratios=(2.9, *[1] * NEAREST),
        left=0.026,
        right=0.97,
        top=top,
        bottom=0.01,
        hspace=0.3,
    )
    for row, found in enumerate(gallery.of_texts):
        caption = _blank(figure.add_subplot(grid[row, 0]))
        caption.text(0, 0.5, _wrapped(gallery.shown.captions[found.of], 38, 4), va="center", fontsize=10.5)
        for column, (image, value, is_right) in enumerate(zip(found.rows, found.values, found.is_right, strict=True), 1):
            _draw_image(_blank(figure.add_subplot(grid[row, column])), gallery.shown, image, f"{value:.2f}", is_right)


def _draw_of_images(figure: "SubFigure", gallery: Gallery, top: float) -> None:
    figure.text(0.03, top + 0.008, f"an image, and the {NEAREST} nearest captions (green: its own)", fontsize=12, weight="bold")
    grid = figure.add_gridspec(
        len(gallery.of_images), 2, width_ratios=(1, 4.2), left=0.03, right=0.98, top=top, bottom=0.01, hspace=0.25
    )
    for row, found in enumerate(gallery.of_images):
        _draw_image(_blank(figure.add_subplot(grid[row, 0])), gallery.shown, found.of, "", None)
        lines = _blank(figure.add_subplot(grid[row, 1]))
        for place, (text, value, is_right) in enumerate(zip(found.rows, found.values, found.is_right, strict=True)):
            words = f"{value:.2f}  {_wrapped(gallery.shown.captions[text], 66, 1)}"
            color, weight = (RIGHT, "bold") if is_right else ("#333333", "normal")
            lines.text(0, 0.9 - 0.2 * place, words, va="center", fontsize=10, color=color, weight=weight)


def _draw_image(axes: "Axes", shown: Shown, image: int, under: str, is_right: bool | None) -> None:
    """The picture, or the id where there is none; a frame when it is known whether it is right."""
    picture = shown.picture(image)
    if picture is None:
        axes.text(0.5, 0.5, _wrapped(shown.ids[image], 12, 3), ha="center", va="center", fontsize=9)
        axes.set_aspect("equal")
    else:
        axes.imshow(picture)
    axes.set_axis_on()
    for spine in axes.spines.values():
        spine.set(visible=is_right is not None, color=RIGHT if is_right else "#dddddd", linewidth=3 if is_right else 0.8)
    axes.set_xlabel(under, fontsize=8, labelpad=2, color=RIGHT if is_right else WRONG)


def _blank(axes: "Axes") -> "Axes":
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()
    return axes


def _wrapped(text: str, width: int, lines: int) -> str:
    """In at most so many lines, cut with three dots; a $ is a $, and opens no formula."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ...")).replace("$", r"\$")


def draw_pca(path: Path, spaces: Spaces, title: str) -> None:
    """The first two principal components of each space, with the share of the variance that they explain, and of all of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 4.9), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    before_images, before_texts, shared, shares = figure.subplots(1, 4)
    curves = [
        ("images, before", IMAGE, _scatter(before_images, [(spaces.images, IMAGE, "images")])[1]),
        ("captions, before", TEXT, _scatter(before_texts, [(spaces.texts, TEXT, "captions")])[1]),
    ]
    places, variance = _scatter(shared, [(spaces.shared_images, IMAGE, "images"), (spaces.shared_texts, TEXT, "captions")])
    curves.append(("both, shared space", "#2ca02c", variance))
    _join(shared, places, spaces)
    for axes, of in (
        (before_images, "images, before the head"),
        (before_texts, "captions, before the head"),
        (shared, "both, behind the heads"),
    ):
        axes.set_title(of, fontsize=11)
    _draw_shares(shares, curves)
    figure.savefig(path, dpi=110)


def _scatter(axes: "Axes", clouds: Sequence[tuple[Floats, str, str]]) -> tuple[Floats, Floats]:
    """The points of all clouds in the first two components of their union; and the share of the variance of each component."""
    points, variance = principal_components(np.concatenate([rows for rows, _, _ in clouds]))
    start = 0
    for rows, color, label in clouds:
        some = points[start : start + len(rows)]
        axes.scatter(some[:, 0], some[:, 1], s=7, color=color, alpha=0.5, linewidths=0, label=f"{len(rows)} {label}")
        start += len(rows)
    axes.set(xlabel=f"component 1: {variance[0]:.1%} of the variance", ylabel=f"component 2: {variance[1:2].sum():.1%}")
    axes.legend(fontsize=8, loc="best", markerscale=2)
    return points, variance


def _join(axes: "Axes", points: Floats, spaces: Spaces) -> None:
    """Lines from some images, evenly through them, to their captions."""
    from matplotlib.collections import LineCollection

    count = len(spaces.shared_images)
    joined = np.unique(np.linspace(0, count - 1, min(NUM_LINES, count)).round().astype(int))
    texts = np.flatnonzero(np.isin(spaces.image_of_text, joined))
    ends = np.stack([points[spaces.image_of_text[texts]], points[count + texts]], axis=1)
    axes.add_collection(LineCollection(list(ends), colors="#555555", linewidths=0.6, alpha=0.7))
    axes.plot([], [], color="#555555", linewidth=0.8, label=f"{len(joined)} images to their captions")
    axes.legend(fontsize=8, loc="best", markerscale=2)


def _draw_shares(axes: "Axes", curves: Sequence[tuple[str, str, Floats]]) -> None:
    for label, color, variance in curves:
        summed = variance.cumsum()
        enough = int((summed < 0.9 - 1e-6).sum()) + 1
        axes.plot(np.arange(1, len(summed) + 1), summed, color=color, label=f"{label}: 90 % in {enough} of {len(summed)}")
    axes.axhline(0.9, color="#999999", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="components", ylabel="share of the variance explained")
    axes.set_title("variance explained", fontsize=11)
    axes.legend(fontsize=8, loc="lower right")


def principal_components(rows: Floats) -> tuple[Floats, Floats]:
    """Rows [N, d] in their first two components, [N, 2] (zeros for the second where there is one only), and the share of the
    variance of each component, largest first; zeros when all rows are equal."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred)
    variance, axes = variance[::-1].clip(0), axes[:, ::-1]
    points = np.zeros((len(rows), 2))
    first = centred @ axes[:, :2]
    points[:, : first.shape[1]] = first
    return points.astype(np.float32), (variance / (variance.sum() or 1.0)).astype(np.float32)
