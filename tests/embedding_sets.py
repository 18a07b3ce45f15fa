"""Sets of embeddings in files, as an encoder's run leaves them."""

import json
from pathlib import Path
from typing import Any

import torch

from ksweep.data.embedding_files import paths_of


def save(folder: Path, name: str, images: Any, texts: Any, metadata: Any) -> None:
    """As the seed does: torch.save and json.dump."""
    paths = paths_of(folder, name)
    torch.save(images, paths.images)
    torch.save(texts, paths.texts)
    paths.metadata.write_text(json.dumps(metadata))
