"""The King James Bible: 31,102 verses, 4.1 million characters (1611, text of 1769; public domain)."""

from pathlib import Path

from ksweep.contract.config import RunConfig
from ksweep.data import fetch
from ksweep.data.remote_text import RemoteText
from ksweep.data.text_source import Text

NAME = "bible"


def fetch_bible(scratch: Path) -> bytes:
    """From the Debian packages bible-kjv-text, where it lies compressed, and bible-kjv, whose program prints a verse a line."""
    program, text = (fetch.debian_package(name, scratch / name) for name in ("bible-kjv", "bible-kjv-text"))
    command = [str(program / "usr/bin/bible"), "-f", "-p", str(text / "usr/lib"), "gen1:1-rev22:21"]
    printed = fetch.run_client(command, scratch, hint="it needs libreadline8: apt-get install libreadline8")
    return "".join(line.partition(" ")[2] + "\n" for line in printed.splitlines()).encode()  # without `Ge1:1`


REMOTE = RemoteText(name=NAME, sha256="b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d", fetch=fetch_bible)


def read(cfg: RunConfig) -> Text:
    """All verses, one a line."""
    return Text(parts=(REMOTE.load(Path(cfg.str("DATA_DIR"))),))
