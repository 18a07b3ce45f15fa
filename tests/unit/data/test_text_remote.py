"""Texts in a data directory: fetched, found, checked."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.remote_text import RemoteText
from ksweep.data.texts import bible, moby_dick

ROOT = Path(__file__).resolve().parents[3]
CONTENT = b"In the beginning was the text.\n"


def tiny(**changes: object) -> RemoteText:
    settings = {"name": "tiny", "sha256": hashlib.sha256(CONTENT).hexdigest(), "fetch": lambda scratch: CONTENT}
    return RemoteText(**{**settings, **changes})  # type: ignore[arg-type]


def test_fetched_text_is_found_by_the_next_load(tmp_path: Path) -> None:
    assert not tiny().is_stored(tmp_path / "data")
    path = tiny().store(tmp_path / "data")

    assert tiny().load(tmp_path / "data") == CONTENT
    assert tiny().is_stored(tmp_path / "data")
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".lock", "tiny.txt"], "nothing is left of the fetch"


def test_text_with_a_wrong_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KsweepError, match=r"data set tiny: found sha256 \w{64}, expected 00"):
        tiny(sha256="00").store(tmp_path)

    assert not (tmp_path / "tiny.txt").exists()


def test_changed_or_missing_text_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.txt: not there: run `make data-tiny`"):
        tiny().load(tmp_path)
    (tmp_path / "tiny.txt").write_bytes(CONTENT[:-5])

    assert not tiny().is_stored(tmp_path)
    with pytest.raises(ConfigError, match=r"tiny\.txt: not the published text: .*: delete it and run `make data-tiny`"):
        tiny().load(tmp_path)


@pytest.mark.parametrize("source", [bible, moby_dick], ids=lambda module: module.NAME)
def test_command_fails_with_a_message_when_its_client_is_not_there(tmp_path: Path, source) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "ksweep.py"), "data", source.NAME, "--data-dir", str(tmp_path / "data")],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1
    assert "not found on this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_verses_come_without_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages' clients are stood in for by scripts that print what they print, on a machine that has neither package."""
    client = """#!/bin/sh
if [ "$1" = download ]; then : > "$2.deb"; exit; fi
mkdir -p root/usr/bin && printf '#!/bin/sh\\necho "Ge1:1 In the beginning"\\necho "Ge1:2 And"\\n' > root/usr/bin/bible
chmod +x root/usr/bin/bible
"""
    for name in ("apt-get", "dpkg-deb"):
        (tmp_path / name).write_text(client)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    Path("scratch").mkdir()

    assert bible.fetch_bible(Path("scratch")) == b"In the beginning\nAnd\n", "below a relative data directory, as DATA_DIR is"


def test_lines_of_a_paragraph_are_joined() -> None:
    assert (
        moby_dick.WRAP.sub(b" ", b"CHAPTER 1.\n\nCall me\nIshmael.\nSome\n\n\nyears\n")
        == b"CHAPTER 1.\n\nCall me Ishmael. Some\n\n\nyears\n"
    )
