"""`ksweep watch` on a terminal: what it draws, and what it leaves behind."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.pipeline.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sweep(place):
    """A sweep of four slow runs, two at a time, at work."""
    place.write_range("CONFIG_X=1|2|3|4\nCONFIG_NUM_EPOCHS=900\nCONFIG_EPOCH_MS=50\n")
    process = place.start(*place.sweep_arguments(), "--jobs", "2")
    while "slot" not in "".join(path.read_text() for path in place.results.glob("*/config_*/provenance.json")):
        assert process.poll() is None
    yield process
    process.terminate()
    process.communicate(timeout=20)


@pytest.mark.usefixtures("sweep")
def test_watch_shows_the_slots_and_leaves_the_terminal_as_it_was(place):
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), "watch", "--results", str(place.results)]
    with Terminal(command, cwd=place.path, env=os.environ, lines=24, columns=80) as terminal:
        terminal.wait_for("2 running")
        terminal.wait_for(" of 900")
        terminal.wait_for("about ")
        terminal.wait_for("slot  run ")
        terminal.wait_for("Ctrl-C stops watching, not the sweep")
        os.killpg(terminal.process.pid, signal.SIGINT)
        code = terminal.wait_for_end()
        raw, tail = terminal.raw, terminal.drawn[-200:]

    assert code == 0
    assert raw.count(b"\x1b[?1049h") == raw.count(b"\x1b[?1049l") == 1  # the other screen is left
    assert raw.rfind(b"\x1b[?25h") > raw.rfind(b"\x1b[?25l")  # and the cursor is there again
    assert "no longer watched; the sweep goes on" in tail
