"""A program in a terminal of its own: keys in, what it draws out."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78])")


class Terminal:
    """Of 40 lines and 100 columns unless said otherwise. Leave the `with` and the program and its children are ended."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], lines: int = 40, columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command, cwd=cwd, env=dict(env, TERM="xterm"), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.drawn = ""
        self.raw = b""  # everything since the start, escapes included

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # make would leave the program that it runs
        except ProcessLookupError:
            pass
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Take the terminal away from the program; safe to call twice."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def press(self, keys: str) -> None:
        """Send keys, forgetting what was drawn before."""
        self.drawn = ""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, timeout_s: float = 20) -> None:
        """Until `text` has been drawn since the last key press."""
        deadline = time.monotonic() + timeout_s
        while text not in self.drawn:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not drawn; what was:\n{self.drawn}")

    def wait_for_end(self, timeout_s: float = 20) -> int:
        """Exit code of the program."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        return self.process.wait(timeout_s)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: EIO when the program has closed its end
            return False
        self.raw += data
        self.drawn += _ESCAPES.sub(b" ", data).decode(errors="replace")
        return bool(data)
