"""WikiText-103: 103 million words of good articles of Wikipedia (Merity et al. 2016; CC BY-SA)."""

from ksweep.contract.config import RunConfig
from ksweep.data import wikitext
from ksweep.data.text_source import Text

NAME = "wikitext-103"


def read(cfg: RunConfig) -> Text:
    """The official parts, from the published files in DATA_DIR."""
    return wikitext.read(cfg, NAME)
