"""pydoc: what Python's help() says of the language, 80 topics and half a million characters, in every CPython (PSF licence)."""

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data.text_source import Text

NAME = "pydoc"


def read(cfg: RunConfig) -> Text:
    """The topics in order of their names. They differ between versions of Python: `digest` tells. ConfigError without them."""
    try:
        from pydoc_data.topics import topics
    except ImportError:  # an installation that was stripped
        raise ConfigError(
            f"{cfg.source}: CONFIG_DATASET={NAME}: this Python comes without its help topics: take another"
        ) from None
    return Text(parts=("\n".join(topics[name] for name in sorted(topics)).encode(),))
