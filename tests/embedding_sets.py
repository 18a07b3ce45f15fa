"""Sets of embeddings in files, as an encoder's run leaves them."""

import json
from pathlib import Path
from typing import Any

import torch

from ksweep.data.embedding_files import open_set, paths_of
from ksweep.data.pairs import Part


def save(folder: Path, name: str, images: Any, texts: Any, metadata: Any) -> None:
    """As the seed does: torch.save and json.dump."""
    paths = paths_of(folder, name)
    torch.save(images, paths.images)
    torch.save(texts, paths.texts)
    paths.metadata.write_text(json.dumps(metadata))


def read_part(folder: Path, name: str) -> Part:
    """What a run has of it."""
    return open_set(folder, name).part()
