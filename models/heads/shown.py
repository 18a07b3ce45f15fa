"""What of a set of embeddings can be shown: captions in words, images as pictures, both by the metadata beside its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import paired
from ksweep.data.embedding_files import distinct, read_metadata
from ksweep.train.registry import selected

SIZE = 160  # pixels, the longer side of a picture


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Of a part: the id of each image, each caption, and where the picture of each image may lie, None where nothing says so."""

    ids: Sequence[str]
    captions: Sequence[str]
    paths: Sequence[Path | None]

    def picture(self, image: int) -> NDArray[np.uint8] | None:
        """Pixels [height, width, 3] on white; None when there is no picture to be read."""
        path = self.paths[image]
        if path is None:
            return None
        try:
            with Image.open(path) as opened:
                opened.thumbnail((SIZE, SIZE))
                picture = opened.convert("RGBA")
        except (OSError, ValueError, Image.DecompressionBombError):  # an image elsewhere that is not there, or none
            return None
        white = Image.new("RGBA", picture.size, "white")
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def what_is_shown(cfg: RunConfig) -> Shown | None:
    """Of the test part of the data set of `cfg`; None where it has no metadata, or no captions there.

    "captions" and "image_paths" have an entry for each pair; paths that are not absolute start in DATA_DIR. ConfigError when
    they do not fit the embeddings.
    """
    name_of_test = getattr(selected(cfg, "DATASET", paired), "name_of_test", None)
    if name_of_test is None:
        return None
    folder, name = Path(cfg.str("DATA_DIR")), name_of_test(cfg)
    metadata = read_metadata(folder, name)
    if "captions" not in metadata:
        return None
    ids, image_of_text = distinct(metadata["image_ids"])
    captions, paths = (_of_pairs(folder, name, metadata, key, len(image_of_text)) for key in ("captions", "image_paths"))
    first = np.unique(image_of_text, return_index=True)[1]
    return Shown(ids=ids, captions=captions, paths=[folder / paths[row] if paths else None for row in first])


def _of_pairs(folder: Path, name: str, metadata: dict[str, Any], key: str, count: int) -> list[str]:
    found = metadata.get(key, [])
    if not isinstance(found, list) or (found and len(found) != count) or not all(isinstance(each, str) for each in found):
        raise ConfigError(
            f'{folder / name}_metadata.json: found "{key}" that is no list of {count} texts, allowed: one for each pair'
        )
    return found
