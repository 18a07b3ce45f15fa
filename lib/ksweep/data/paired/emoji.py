"""emoji: pictures of emoji, and what Unicode calls them; `make data-emoji` builds it."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.embedding_files import paths_of, read_pairs
from ksweep.data.pairs import Pairs

NAME = "emoji"
PARTS = ("emoji_train", "emoji_val", "emoji_test")


def read(cfg: RunConfig) -> Pairs:
    """Its three parts, of DATA_DIR. ConfigError where they are not there, or not whole."""
    folder = Path(cfg.str("DATA_DIR"))
    if not any(paths_of(folder, part).metadata.exists() for part in PARTS):
        raise ConfigError(f"{paths_of(folder, PARTS[0]).metadata}: not there: run `make data-emoji`")
    return read_pairs(NAME, folder, PARTS)


def name_of_test(cfg: RunConfig) -> str:
    """The files of its test part."""
    return PARTS[2]
