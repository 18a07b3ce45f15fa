"""A headless chromium for tests: started on a pipe, told what to do in the DevTools protocol, asked what it saw.

Two file descriptors, 3 to the browser and 4 from it, carry JSON messages with a NUL after each (--remote-debugging-pipe), so
there is no port, and nothing to install.
"""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT_S = 60
# The browser finds its pipe at 3 and 4 whatever numbers our ends have: a small program in between moves them there.
_MOVE = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"


def find_chromium() -> str | None:
    """The program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with an own, empty profile; leave the `with` block to end it."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Chromium":
        program = find_chromium()
        assert program, f"no browser found: one of {', '.join(NAMES)}"
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]
        flags = ["--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--mute-audio"]
        flags += ["--disable-gpu", f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _MOVE, *map(str, high), program, *flags, "about:blank"],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _TIMEOUT_S
        while number not in self._answers:
            self.listen(deadline - time.monotonic())
            assert time.monotonic() < deadline, f"no answer to {method}"
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def listen(self, timeout_s: float) -> None:
        """Take in what the browser says, waiting for it at most so long."""
        if not select.select([self._from], [], [], max(0.0, timeout_s))[0]:
            return
        data = os.read(self._from, 1 << 20)
        assert data, "the browser has ended"
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)

    def open(self, url: str, *, width: int = 1100, height: int = 900, dark: bool = False) -> "Page":
        """A new page of this size in CSS pixels, loaded. Narrow ones behave as a phone."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        if dark:
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        page.go(url)
        return page


class Page:
    """One page. What it said and asked for is in `errors` and `requests`."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def go(self, url: str) -> None:
        """Load a page, and wait until it has."""
        before = len(self._events("Page.loadEventFired"))
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + _TIMEOUT_S
        while len(self._events("Page.loadEventFired")) == before:
            self._browser.listen(deadline - time.monotonic())
            assert time.monotonic() < deadline, f"{url} does not load"

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for. AssertionError when it throws."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, timeout_s: float = 30) -> None:
        """Until a JavaScript expression is true, also of a page that comes in place of this one."""
        deadline = time.monotonic() + timeout_s
        while not self._holds(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            self._browser.listen(0.05)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.run(condition))
        except AssertionError as error:
            if "navigated" in str(error) or "context" in str(error):  # asked while the page went away
                return False
            raise

    def press(self, key: str, code: int) -> None:
        """A key, as from the keyboard: `("Enter", 13)`."""
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """mousePressed, mouseMoved or mouseReleased, at CSS pixels of the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    @property
    def errors(self) -> list[str]:
        """Uncaught exceptions, and errors and warnings of the console, refused loads and the like."""
        self.run("1")  # what was said before is in by now
        thrown = [
            event["exceptionDetails"]["exception"].get("description", "?") for event in self._events("Runtime.exceptionThrown")
        ]
        said = [str(event["args"]) for event in self._events("Runtime.consoleAPICalled") if event["type"] in ("error", "warning")]
        logged = [
            event["entry"]["text"] for event in self._events("Log.entryAdded") if event["entry"]["level"] in ("error", "warning")
        ]
        return thrown + said + logged

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, without those inside of the page (data:, blob:)."""
        self.run("1")
        urls = [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def _events(self, method: str) -> list[dict[str, Any]]:
        found = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [event["params"] for event in found if event["method"] == method]
