"""Files of embedded images and captions: read in place, checked once, and written whole.

Of a set NAME three lie in one folder: NAME_image_embeddings.pt and NAME_text_embeddings.pt, one tensor each as torch.save writes
it, a row for each pair of an image and a caption; and NAME_metadata.json, in which "image_ids" says of each pair which image it
is of. Rows of images may instead be those of the distinct images, in the order in which their ids first occur.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksweep.contract.atomic import exclusive
from ksweep.contract.errors import ConfigError
from ksweep.data.pairs import Pairs, Part

FORMAT = 1  # of the record of a check; another number leaves those of before unread
PIECE = 2**24  # bytes that are looked at, or copied, at a time
Rows = NDArray[np.int64]


class Paths(NamedTuple):
    """The three files of a set."""

    images: Path
    texts: Path
    metadata: Path


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a pass over the files of a set has found. `ids`: of the distinct images, in order of their first pair; `image_of_text`
    int64 [pairs], an index of `ids`; `digest`: the sha256 of both embeddings, each image once, and of that index."""

    ids: list[str]
    image_of_text: Rows
    digest: str


@dataclass(frozen=True, kw_only=True)
class Opened:
    """`images` and `texts` as they lie in their files, of any real type."""

    images: Tensor
    texts: Tensor
    checked: Checked

    @property
    def rows_of_images(self) -> Tensor:
        """A row of `images` for each distinct image, int64."""
        return _rows_of_images(len(self.images), self.checked.image_of_text, len(self.checked.ids))

    def part(self) -> Part:
        """As it is needed, float32 and each image once. What lies so in its file stays mapped, and is not read."""
        is_once = len(self.images) == len(self.checked.ids)
        images = self.images if is_once else self.images[self.rows_of_images]
        index = torch.from_numpy(self.checked.image_of_text)
        return Part(images=images.float(), texts=self.texts.float(), image_of_text=index)


def paths_of(folder: Path, name: str) -> Paths:
    """Where the files of the set `name` lie. ConfigError when that is no name of a file."""
    if not name or "/" in name or "\0" in name:
        raise ConfigError(f'a name of embeddings: found "{name}", allowed: the first part of a file name, without /')
    return Paths(*(folder / f"{name}_{what}" for what in ("image_embeddings.pt", "text_embeddings.pt", "metadata.json")))


def read_pairs(name: str, folder: Path, names: Sequence[str]) -> Pairs:
    """The set `name` out of three sets of files in `folder`: for training, validation and test.

    ConfigError as `open_set`, and where widths differ between them, or an image is in two.
    """
    opened = [open_set(folder, of) for of in names]
    _check_widths(folder, names, opened)
    _check_disjoint(folder, names, [each.checked.ids for each in opened])
    digest = hashlib.sha256("".join(each.checked.digest for each in opened).encode()).hexdigest()
    train, val, test = (each.part() for each in opened)
    return Pairs(name=name, train=train, val=val, test=test, digest=digest)


def read_metadata(folder: Path, name: str) -> dict[str, Any]:
    """What NAME_metadata.json holds: "image_ids", a list, and whatever else. ConfigError when it does not."""
    path = paths_of(folder, name).metadata
    try:
        metadata = json.loads(path.read_bytes())
    except OSError as error:
        raise _unread(path, error) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: found no JSON ({error}), allowed: what json.dump writes") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("image_ids"), list):
        raise ConfigError(f'{path}: found no list "image_ids", allowed: an object that has it, with one id for each pair')
    return metadata


def distinct(image_ids: Sequence[Any]) -> tuple[list[str], Rows]:
    """The ids, each once, in order of their first pair; and of each pair the place of its id among them.

    139 and "139" are one id. ValueError for what is no id, with its place.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(_id(value, place), len(places)) for place, value in enumerate(image_ids)]
    return list(places), np.array(index, np.int64)


def _id(value: Any, place: int) -> str:
    if type(value) is int or (isinstance(value, str) and value):
        return str(value)
    raise ValueError(f"image_ids[{place}] = {json.dumps(value)[:40]}, allowed: a whole number, or text that is not empty")


def open_set(folder: Path, name: str) -> Opened:
    """The files of the set `name` in `folder`, mapped.

    A pass over all of them checks each row; its outcome is kept in .cache beside the files, where that can be written, until one
    of them changes. ConfigError, naming the file, for one that is missing or of another kind, for counts that do not fit
    together, for rows that are not finite, and for an image whose rows differ.
    """
    paths = paths_of(folder, name)
    stamp = _stamp(paths)
    images, texts = _map(paths.images), _map(paths.texts)
    kept = folder / ".cache" / f"embeddings-{name}.npz"
    checked = _checked(kept, stamp, lambda: _check(paths, images, texts, read_metadata(folder, name)["image_ids"]))
    return Opened(images=images, texts=texts, checked=checked)


def _first(image_of_text: Rows) -> Rows:
    """The first pair of each image."""
    return np.unique(image_of_text, return_index=True)[1]


def _rows_of_images(num_rows: int, image_of_text: Rows, num_ids: int) -> Tensor:
    return torch.arange(num_ids) if num_rows == num_ids else torch.from_numpy(_first(image_of_text))


def _stamp(paths: Paths) -> str:
    """What changes with the files, ctime as well: content may change under an old date."""
    try:
        found = [os.stat(path) for path in paths]
    except OSError as error:
        raise _unread(Path(error.filename), error) from None
    return json.dumps([FORMAT, *((status.st_size, status.st_mtime_ns, status.st_ctime_ns) for status in found)])


def _unread(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be read ({error.strerror or error}); put it there, or name another set or DATA_DIR")


def _map(path: Path) -> Tensor:
    """The tensor in a file of torch.save, mapped into memory."""
    allowed = "one tensor of real numbers [rows, dimensions], as torch.save writes it"
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except OSError as error:
        raise _unread(path, error) from None
    # What a file that is something else makes of the reader's parts is not to be foreseen: each of them has its own errors.
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        why = str(error).strip().partition("\n")[0][:120]
        raise ConfigError(f"{path}: found what torch.load cannot map ({why}), allowed: {allowed}") from None
    if not isinstance(content, Tensor):
        raise ConfigError(f"{path}: found a {type(content).__name__}, allowed: {allowed}")
    if content.layout != torch.strided or content.dim() != 2 or not content.is_floating_point() or not content.numel():
        raise ConfigError(f"{path}: found {content.dtype} {list(content.shape)}, allowed: {allowed}, at least one of each")
    return content.detach()


def _checked(path: Path, stamp: str, check: Callable[[], Checked]) -> Checked:
    """What is kept of a check of these very files, or else of one made now. Runs that start at once wait for the first's."""
    if found := _kept(path, stamp):
        return found
    try:
        path.parent.mkdir(exist_ok=True)
        with exclusive(path.parent / ".lock"):
            return _kept(path, stamp) or _keep(path, stamp, check())
    except OSError:  # nobody may write there: then each run checks
        return check()


def _kept(path: Path, stamp: str) -> Checked | None:
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            of, ids, digest = json.loads(file["record"].tobytes())
            return Checked(ids=ids, image_of_text=file["image_of_text"], digest=digest) if of == stamp else None
    except (BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError):
        return None


def _keep(path: Path, stamp: str, checked: Checked) -> Checked:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    record = np.frombuffer(json.dumps([stamp, checked.ids, checked.digest]).encode(), np.uint8)
    try:
        with open(beside, "wb") as file:
            np.savez(file, allow_pickle=False, record=record, image_of_text=checked.image_of_text)
        os.replace(beside, path)
    except OSError:  # the disk is full: the next run checks again
        beside.unlink(missing_ok=True)
    return checked


def _check(paths: Paths, images: Tensor, texts: Tensor, image_ids: Sequence[Any]) -> Checked:
    try:
        ids, image_of_text = distinct(image_ids)
    except ValueError as error:
        raise ConfigError(f"{paths.metadata}: found {error}") from None
    _check_counts(paths, len(images), len(texts), len(image_ids), len(ids))
    for path, rows in ((paths.images, images), (paths.texts, texts)):
        _check_finite(path, rows)
    if len(images) != len(ids):
        _check_same(paths.images, images, image_of_text, ids)
    digest = hashlib.sha256(json.dumps([len(ids), images.shape[1], *texts.shape]).encode() + image_of_text.tobytes())
    for rows, wanted in ((images, _rows_of_images(len(images), image_of_text, len(ids))), (texts, torch.arange(len(texts)))):
        for _, piece in pieces(rows, wanted):
            digest.update(piece.contiguous().numpy().data)
    return Checked(ids=ids, image_of_text=image_of_text, digest=digest.hexdigest())


def _check_counts(paths: Paths, num_images: int, num_texts: int, num_pairs: int, num_ids: int) -> None:
    pairs = f"{num_pairs}, one for each of image_ids in {paths.metadata}"
    if num_texts != num_pairs:
        raise ConfigError(f"{paths.texts}: found {num_texts} rows, allowed: {pairs}")
    if num_images not in (num_pairs, num_ids):
        raise ConfigError(f"{paths.images}: found {num_images} rows, allowed: {pairs}, or {num_ids}, one for each distinct id")


def pieces(rows: Tensor, wanted: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Those rows, as float32, some MiB at a time; and the place of the first of them in `wanted`."""
    step = max(PIECE // (4 * rows.shape[1]), 1)
    for start in range(0, len(wanted), step):
        yield start, rows[wanted[start : start + step]].float()


def _check_finite(path: Path, rows: Tensor) -> None:
    count, first = 0, 0
    for start, piece in pieces(rows, torch.arange(len(rows))):
        unfit = (~piece.isfinite()).any(dim=1)
        if found := int(unfit.sum()):
            first = first if count else start + int(unfit.nonzero()[0])
            count += found
    if count:
        raise ConfigError(f"{path}: found {count} rows that are not finite, first {first}, allowed: finite numbers")


def _check_same(path: Path, images: Tensor, image_of_text: Rows, ids: Sequence[str]) -> None:
    """That rows of one image are one embedding."""
    first = torch.from_numpy(_first(image_of_text)[image_of_text])
    for start, piece in pieces(images, torch.arange(len(images))):
        differs = (piece != images[first[start : start + len(piece)]].float()).any(dim=1).nonzero()
        if len(differs):
            row = start + int(differs[0])
            found = f'row {row} other than row {int(first[row])}, both of image id "{ids[image_of_text[row]]}"'
            raise ConfigError(f"{path}: found {found}, allowed: equal rows")


def _check_widths(folder: Path, names: Sequence[str], parts: Sequence[Opened]) -> None:
    for what in ("images", "texts"):
        for name, part in zip(names[1:], parts[1:], strict=True):
            found, wanted = (getattr(of, what).shape[1] for of in (part, parts[0]))
            if found != wanted:
                path, other = (getattr(paths_of(folder, of), what) for of in (name, names[0]))
                raise ConfigError(f"{path}: found {found} dimensions, allowed: {wanted}, as in {other}")


def _check_disjoint(folder: Path, names: Sequence[str], ids: Sequence[Sequence[str]]) -> None:
    for number, name in enumerate(names):
        for other, of_other in zip(names[:number], ids, strict=False):
            known = set(of_other)
            shared = [image for image in ids[number] if image in known]
            if shared:
                path, before = (paths_of(folder, of).metadata for of in (name, other))
                what = f'{len(shared)} of {len(ids[number])} images that are in {before} as well, first "{shared[0]}"'
                raise ConfigError(f"{path}: found {what}, allowed: each image in one part (make data-split parts them)")
