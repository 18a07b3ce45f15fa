"""The report of a sweep over HTTP, for the browser on this machine: made anew while the sweep runs, with the files it links to.

Only reads, and only GET. Who may ask: what reaches 127.0.0.1 and names it, or localhost, as its host, so that no page of another
site can (a name that resolves to 127.0.0.1 is no way in). Files are given as plain text that no browser will run, and only those
that lie in the sweep directory when all links are followed.
"""

import gzip
import html
import json
import os
import stat
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import one_line
from ksweep.analysis.load import SweepReader, SweepState
from ksweep.analysis.ranking import rank
from ksweep.analysis.report import report_html
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status
from ksweep.contract.paths import SweepDir

LOOPBACK = "127.0.0.1"
_HOSTS = (LOOPBACK, "localhost")  # whatever the port: a tunnel has its own
_EVERY_S = 2.0
_SHARE = 5  # a page that takes a second to make is made every 5 s at most: the sweep needs the cores
_LONGEST_S = 15.0
_PICTURES_EVERY_S = 60.0
_PICTURES_WAIT_S = 10.0  # for the first ones: numbers come before pictures
_LISTED = 5000
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; sandbox"}


class LivePage:
    """The newest report of a sweep, in memory. `version` changes with it."""

    def __init__(self, dir: SweepDir) -> None:
        self._dir, self._reader = dir, SweepReader(dir)
        self._seen: object = None
        self._pictures = {path.name: path.read_bytes() for path in sorted(dir.plots.glob("*.png"))}
        self._pictures_seen: object = None
        self._next_page, self._next_pictures = 0.0, time.monotonic() + _PICTURES_WAIT_S
        self._begun, self._count = time.time_ns(), 0
        self.version = ""
        self.content = b""  # gzip

    def refresh(self) -> None:
        """Make the page anew where the sweep has changed. RequestError when it is no sweep."""
        state = self._reader.read()
        seen = _fingerprint(state)
        begin = time.monotonic()
        if seen != self._seen and begin >= self._next_page:
            self._make(Findings(state, rank(state)))
            if self._seen is None and self._pictures and state.runner is None:
                self._pictures_seen = seen  # those on disk are of this state
            self._seen = seen
            self._next_page = time.monotonic() + min(_LONGEST_S, _SHARE * (time.monotonic() - begin))

    def draw(self) -> None:
        """Draw the pictures of a sweep that has changed since they were drawn, where it is time to."""
        begin = time.monotonic()
        if self._pictures_seen == self._seen or begin < self._next_pictures:
            return
        from ksweep.analysis.plots import draw_plots

        seen, state = self._seen, self._reader.read()
        findings = Findings(state, rank(state))
        self._pictures = {name: image for name, image in draw_plots(findings).items() if image is not None}
        self._pictures_seen = seen
        self._next_pictures = begin + max(_PICTURES_EVERY_S, 10 * (time.monotonic() - begin))
        self._make(findings)

    def _make(self, findings: Findings) -> None:
        self._count += 1
        version = f"{self._begun}-{self._count}"
        self.content = gzip.compress(report_html(findings, self._pictures, live=version).encode(), 4)
        self.version = version


def _fingerprint(state: SweepState) -> object:
    """Differs when the report would."""
    progress: list[tuple[object, ...]] = []
    for run in state.runs:
        if run.result:
            progress.append((run.config, run.status, run.result.attempt, run.result.started_at, run.result.wall_s))
        else:
            progress.append((run.config, run.status, _size(run.dir.metrics) if run.status is Status.RUNNING else 0))
    return state.record.objective, state.record.constraints, state.runner is not None, progress


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class ReportServer(ThreadingHTTPServer):
    """Serves one sweep on 127.0.0.1. RequestError when the port cannot be had; port 0 picks a free one."""

    daemon_threads = True

    def __init__(self, dir: SweepDir, port: int) -> None:
        self.root = Path(os.path.realpath(dir.path))
        self.page = LivePage(dir)
        self._failure: Exception | None = None
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise RequestError(
                f"port {port} of {LOOPBACK} cannot be had ({error.strerror}); name another one with PORT=, or PORT=0 to pick one"
            ) from error

    @property
    def address(self) -> str:
        """For the browser."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def prepare(self) -> None:
        """Make the first page. RequestError when it is no sweep."""
        self.page.refresh()

    def run(self) -> None:
        """Serve until a KeyboardInterrupt, or an unexpected error: a page that stands still may not pass for a live one."""
        stop = threading.Event()
        follower = threading.Thread(target=self._follow, args=(stop,), daemon=True)
        try:
            follower.start()
            self.serve_forever(poll_interval=0.2)
        finally:
            stop.set()
            self.server_close()
        if self._failure:
            raise self._failure

    def _follow(self, stop: threading.Event) -> None:
        while not stop.wait(_EVERY_S):
            try:
                self.page.refresh()
                self.page.draw()
            except (RequestError, OSError):
                pass  # the sweep is being replaced, or gone: the last page stands
            except Exception as error:
                self._failure = error
                self.shutdown()
                return


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    server_version = "ksweep"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal stays quiet."""

    def _answer(self) -> None:
        if self.headers.get("Host", "").rsplit(":", 1)[0].lower() not in _HOSTS:
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        path = unquote(urlsplit(self.path).path, errors="surrogateescape")
        if path == "/":
            self._give_page()
        elif path == "/version":
            self._give(json.dumps({"version": self.server.page.version}).encode(), "application/json", _NO_SCRIPTS)
        else:
            self._give_file(path)

    def _give_page(self) -> None:
        content = self.server.page.content
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self._give(content, "text/html; charset=utf-8", {"Content-Encoding": "gzip"})
        else:
            self._give(gzip.decompress(content), "text/html; charset=utf-8", {})

    def _give_file(self, path: str) -> None:
        """What lies at `path` in the sweep directory. Nothing outside of it, by whatever way it is named."""
        try:
            real = Path(os.path.realpath(self.server.root / path.lstrip("/")))
            if not real.is_relative_to(self.server.root) or ".." in path.split("/"):
                raise FileNotFoundError
            if real.is_dir():
                self._give_listing(path, real)
                return
            with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
                self._send_file(real, file)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            self._refuse(HTTPStatus.NOT_FOUND)

    def _send_file(self, path: Path, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError
        is_binary = b"\0" in file.read(4096)
        file.seek(0)
        kind, more = "text/plain; charset=utf-8", _NO_SCRIPTS
        if path.suffix == ".png":
            kind = "image/png"
        elif is_binary:
            kind, more = "application/octet-stream", {**_NO_SCRIPTS, "Content-Disposition": "attachment"}
        self._head(kind, status.st_size, more)
        left = status.st_size  # a log that grows meanwhile: what was promised, no more
        while self.command == "GET" and left > 0 and (part := file.read(min(left, 1 << 16))):
            self.wfile.write(part)
            left -= len(part)

    def _give_listing(self, path: str, dir: Path) -> None:
        if not path.endswith("/"):
            self.send_response(HTTPStatus.MOVED_PERMANENTLY)
            self.send_header("Location", quote("/" + path.strip("/"), errors="surrogateescape") + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(dir))[:_LISTED]
        title = html.escape(one_line(path.strip("/")))
        links = "".join(
            f'<li><a href="./{html.escape(quote(name, errors="surrogateescape"))}">{html.escape(one_line(name))}</a></li>'
            for name in names
        )
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<meta name="color-scheme" content="light dark"><title>{title}</title><h1>{title}</h1>'
            f'<p><a href="/">report</a></p><ul>{links}</ul>'
        )
        self._give(page.encode("utf-8", "replace"), "text/html; charset=utf-8", {"Content-Security-Policy": "default-src 'none'"})

    def _refuse(self, status: HTTPStatus) -> None:
        text = {HTTPStatus.NOT_FOUND: "not found in this sweep\n"}.get(status, f"only for {' and '.join(_HOSTS)}\n")
        self._give(text.encode(), "text/plain; charset=utf-8", _NO_SCRIPTS, status)

    def _give(self, content: bytes, kind: str, more: dict[str, str], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(kind, len(content), more, status)
        if self.command == "GET":
            self.wfile.write(content)

    def _head(self, kind: str, length: int, more: dict[str, str], status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()
