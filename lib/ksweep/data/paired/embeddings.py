"""embeddings: embedded images and captions in files of one's own, as many an encoder's run leaves them; see embedding_files."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.embedding_files import read_pairs
from ksweep.data.pairs import Pairs

NAME = "embeddings"
SYMBOLS = ("EMBEDDINGS_TRAIN", "EMBEDDINGS_VAL", "EMBEDDINGS_TEST")


def read(cfg: RunConfig) -> Pairs:
    """The parts that EMBEDDINGS_TRAIN, EMBEDDINGS_VAL and EMBEDDINGS_TEST name, of DATA_DIR."""
    folder, names = Path(cfg.str("DATA_DIR")), [cfg.str(symbol) for symbol in SYMBOLS]
    try:
        return read_pairs(NAME, folder, names)
    except ConfigError as error:
        asked = " ".join(f"CONFIG_{symbol}={name}" for symbol, name in zip(SYMBOLS, names, strict=True))
        raise ConfigError(f"{error}; {cfg.source}: {asked}") from None


def name_of_test(cfg: RunConfig) -> str:
    """The files of the test part."""
    return cfg.str(SYMBOLS[2])
