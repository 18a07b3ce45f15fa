"""Sets of embedded images and captions, written in the form that is read in place; and one set split into several, by image."""

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor
from torch.serialization import set_default_mmap_options, skip_data

from ksweep.contract.atomic import exclusive, sync_directory, write_json
from ksweep.contract.errors import KsweepError, RequestError
from ksweep.data.embedding_files import Opened, Rows, distinct, open_set, paths_of, pieces, read_metadata


@dataclass(frozen=True, kw_only=True)
class NewSet:
    """What a set is to hold: those rows of `images`, each image once, in the order in which their ids first occur in
    "image_ids" of `metadata`; and those of `texts`, one for each of "image_ids"."""

    images: Tensor
    image_rows: Tensor
    texts: Tensor
    text_rows: Tensor
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A set that was written."""

    name: str
    num_images: int
    num_pairs: int


def write_sets(folder: Path, sets: Mapping[str, NewSet]) -> None:
    """Write sets of these names, as float32: all or none. Files appear when all are written, metadata last, without which no set
    can be read.

    RequestError, naming them, where files of these names exist; KsweepError where they cannot be written.
    """
    try:
        (folder / ".cache").mkdir(parents=True, exist_ok=True)
        with exclusive(folder / ".cache" / ".lock"):
            _write_sets(folder, sets)
    except (OSError, RuntimeError) as error:  # torch has no other for a file that it cannot write
        raise KsweepError(f"{folder}: the embeddings cannot be written ({error})") from None


def split_by_image(image_ids: Sequence[Any], *, shares: Mapping[str, float], seed: int) -> dict[str, Rows]:
    """Pairs of each part: "train", and those that `shares` names, a share of the images each, to the nearest image. All captions
    of an image are in one part, int64 and in their order; which images these are depends on `seed`, 0 to 2^32 - 1.

    RequestError for a share that is not 0 to below 1, where nothing is left for train, and where one above 0 gets no image.
    """
    ids, image_of_text = distinct(image_ids)
    _check_shares(shares)
    counts = {part: round(share * len(ids)) for part, share in shares.items()}
    counts["train"] = len(ids) - sum(counts.values())
    if empty := [part for part, count in counts.items() if count < 1 and shares.get(part) != 0]:
        raise RequestError(f"{len(ids)} images: no image is left for {' and '.join(empty)}; take other shares, or more images")
    # Its stream is frozen for good (NEP 19).
    order = RandomState(seed).permutation(len(ids))
    number = np.empty(len(ids), np.int64)
    number[order] = np.repeat(np.arange(len(counts)), list(counts.values()))
    of_pairs = number[image_of_text]
    return {part: np.flatnonzero(of_pairs == place) for place, part in enumerate(counts)}


def split_set(folder: Path, name: str, *, val: float, test: float, tuning: float, seed: int) -> list[Written]:
    """Split the set `name` by image into NAME_train, NAME_val and NAME_test, and NAME_tuning: that share of the images of
    NAME_train. A part whose share is 0 is not written.

    ConfigError where the set cannot be read, RequestError as `split_by_image`, KsweepError as `write_sets`.
    """
    opened, metadata = open_set(folder, name), read_metadata(folder, name)
    rows = split_by_image(metadata["image_ids"], shares={"val": val, "test": test}, seed=seed)
    ids_of_train = [metadata["image_ids"][row] for row in rows["train"]]
    within = split_by_image(ids_of_train, shares={"tuning": tuning}, seed=seed)["tuning"]
    parts = {part: rows[part] for part in ("train", "val", "test")} | {"tuning": rows["train"][within]}
    _assert_apart(opened, parts)
    sets = {
        f"{name}_{part}": _taken(
            opened, metadata, chosen, {"dataset_name": f"{name}_{part}", "split_of": name, "split_seed": seed}
        )
        for part, chosen in parts.items()
        if len(chosen)
    }
    write_sets(folder, sets)
    return [Written(name=of, num_images=len(new.image_rows), num_pairs=len(new.text_rows)) for of, new in sets.items()]


def _check_shares(shares: Mapping[str, float]) -> None:
    for part, share in shares.items():
        if not 0 <= share < 1:
            raise RequestError(f"share of {part}: found {share:g}, allowed: 0 to below 1")
    if sum(shares.values()) >= 1:
        found = " + ".join(f"{part} {share:g}" for part, share in shares.items())
        raise RequestError(f"shares: found {found}, allowed: a sum below 1, the rest is for train")


def _assert_apart(opened: Opened, parts: Mapping[str, Rows]) -> None:
    """What a split is for, seen on what it gave."""
    train, val, test, tuning = (
        set(opened.checked.image_of_text[parts[part]].tolist()) for part in ("train", "val", "test", "tuning")
    )
    assert len(train) + len(val) + len(test) == len(train | val | test), "an image is in two parts"
    assert train | val | test == set(range(len(opened.checked.ids))), "an image is in no part"
    assert tuning <= train, "an image to tune on is not one to train on"


def _taken(opened: Opened, metadata: Mapping[str, Any], chosen: Rows, more: Mapping[str, Any]) -> NewSet:
    """Those pairs, and their images. Of the metadata lists with an entry for each pair, and texts: counts would be those of the
    whole."""
    of_pairs = opened.checked.image_of_text[chosen]
    images = of_pairs[np.sort(np.unique(of_pairs, return_index=True)[1])]
    kept: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(value, list) and len(value) == len(opened.checked.image_of_text):
            kept[key] = [value[row] for row in chosen]
        elif isinstance(value, str):
            kept[key] = value
    return NewSet(
        images=opened.images,
        image_rows=opened.rows_of_images[torch.from_numpy(images)],
        texts=opened.texts,
        text_rows=torch.from_numpy(chosen),
        metadata={**kept, **more, "total_pairs": len(chosen), "unique_images": len(images)},
    )


def _write_sets(folder: Path, sets: Mapping[str, NewSet]) -> None:
    there = [str(path) for name in sets for path in paths_of(folder, name) if path.exists()]
    if there:
        raise RequestError(f"already there, and nothing is replaced: {' '.join(there)}; move them away first")
    written: dict[Path, Path] = {}  # where a file lies until all are written, and where then
    try:
        for name, new in sets.items():
            paths = paths_of(folder, name)
            for path, source, rows in ((paths.images, new.images, new.image_rows), (paths.texts, new.texts, new.text_rows)):
                _write_tensor(_beside(path, written), source, rows)
        for name, new in sets.items():
            write_json(_beside(paths_of(folder, name).metadata, written), new.metadata)
        for beside, path in written.items():
            os.rename(beside, path)
        sync_directory(folder)
    finally:
        for beside in written:
            beside.unlink(missing_ok=True)


def _beside(path: Path, written: dict[Path, Path]) -> Path:
    beside = path.with_name(f".{path.name}.tmp")
    written[beside] = path
    return beside


def _write_tensor(path: Path, source: Tensor, rows: Tensor) -> None:
    """A file as torch.save writes it, but a piece at a time: its space is made first, mapped, and filled."""
    with skip_data():
        torch.save(torch.empty(len(rows), source.shape[1]), path)
    with open(path, "rb+") as file:
        # What is mapped must have its blocks: a full disk would be a signal, not an error.
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        with set_default_mmap_options(mmap.MAP_SHARED):
            target: Tensor = torch.load(path, mmap=True, weights_only=True)
        for start, piece in pieces(source, rows):
            target[start : start + len(piece)] = piece
        os.fsync(file.fileno())
