import http.client
import json
import os
import threading
from contextlib import ExitStack, contextmanager

import pytest

from ksweep.analysis.report_server import ReportServer
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status


@pytest.fixture
def sweep(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5, log="<b>epoch 1</b>\n")
    maker.save()
    return maker


@contextmanager
def serving(dir):
    """`ask(path, host=..., method=...)` -> status, headers, body."""
    server = ReportServer(dir, 0)
    server.prepare()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def ask(path, *, method="GET", host=None):
        connection = http.client.HTTPConnection(*server.server_address, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_address[1]}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    try:
        ask.server = server
        yield ask
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_report_and_the_files_that_it_links_to_are_given(sweep):
    with serving(sweep.dir) as ask:
        status, headers, page = ask("/")
        log_status, log_headers, log = ask("/config_001_x/output.log")
        listing = ask("/config_001_x/")[2]

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"50.00%" in page
    assert (log_status, log) == (200, b"<b>epoch 1</b>\n")
    assert log_headers["Content-Type"] == "text/plain; charset=utf-8"
    assert log_headers["X-Content-Type-Options"] == "nosniff"
    assert b'href="./output.log"' in listing


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/config_001_x/../../secret",
        "/%2e%2e/secret",
        "/config_001_x/%2e%2e%2f%2e%2e%2fsecret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/link",
        "/linked/secret",
        "/config_001_x/output.log%00",
        "/no/such/file",
        "/pipe",
        "/..",
    ],
)
def test_nothing_outside_of_the_sweep_is_given(sweep, path):
    secret = sweep.dir.path.parent / "secret"
    secret.write_text("secret")
    (sweep.dir.path / "link").symlink_to(secret)
    (sweep.dir.path / "linked").symlink_to(sweep.dir.path.parent)
    os.mkfifo(sweep.dir.path / "pipe")

    with serving(sweep.dir) as ask:
        status, _, body = ask(path)

    assert (status, body) == (404, b"not found in this sweep\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "localhost.evil"])
def test_a_foreign_host_is_refused(sweep, host):
    with serving(sweep.dir) as ask:
        assert ask("/", host=host)[0] == 403
        assert ask("/config_001_x/output.log", host=host)[0] == 403


def test_a_tunnel_with_a_port_of_its_own_is_let_in(sweep):
    with serving(sweep.dir) as ask:
        assert ask("/", host="localhost:9999")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_reading_is_possible(sweep, method):
    with serving(sweep.dir) as ask:
        assert ask("/config_001_x/output.log", method=method)[0] == 501


def test_a_binary_file_is_for_saving(sweep):
    (sweep.dir.path / "config_001_x" / "best.pt").write_bytes(b"PK\0\1")

    with serving(sweep.dir) as ask:
        _, headers, body = ask("/config_001_x/best.pt")

    assert (headers["Content-Disposition"], body) == ("attachment", b"PK\0\1")


def test_the_page_is_made_anew_when_the_sweep_has_changed_and_only_then(sweep):
    with serving(sweep.dir) as ask:
        page = ask.server.page
        before = json.loads(ask("/version")[2])
        page.refresh()
        unchanged = json.loads(ask("/version")[2])
        sweep.add({"X": "2"}, val_acc=0.75)
        sweep.save()
        page._next_page = 0.0
        page.refresh()
        after = json.loads(ask("/version")[2])

        assert before == unchanged != after
        assert b"75.00%" in ask("/")[2]


def test_reports_of_a_running_run_change_the_page(make_sweep, living_runner):
    maker = make_sweep()
    run = maker.add({"X": "1"}, status=Status.RUNNING, history=({"step": 1, "epoch": 1, "val_acc": 0.1},))
    maker.save()
    with living_runner(maker.dir):
        server = ReportServer(maker.dir, 0)
        server.prepare()
        before = server.page.version
        with open(run.metrics, "a") as file:
            file.write('{"step": 2, "epoch": 2, "val_acc": 0.2}\n')
        server.page._next_page = 0.0
        server.page.refresh()
        server.server_close()

    assert server.page.version != before


def test_pictures_are_drawn_once_for_a_state(sweep):
    server = ReportServer(sweep.dir, 0)
    server.prepare()
    server.page._next_pictures = 0.0
    server.page.draw()
    drawn = server.page.version
    server.page._next_pictures = 0.0
    server.page.draw()
    server.server_close()

    assert server.page._pictures.keys() >= {"ranking.png"}
    assert server.page.version == drawn
    assert not sweep.dir.plots.exists()
    assert not sweep.dir.report.exists()


def test_a_port_that_is_taken_is_said(sweep):
    first = ReportServer(sweep.dir, 0)
    try:
        with pytest.raises(RequestError, match=r"port \d+ of 127.0.0.1 cannot be had \(Address already in use\); .* PORT=0"):
            ReportServer(sweep.dir, first.server_address[1])
    finally:
        first.server_close()


def test_an_error_that_nobody_expected_ends_the_server_rather_than_the_updates(sweep, monkeypatch):
    from ksweep.analysis import report_server

    monkeypatch.setattr(report_server, "_EVERY_S", 0.01)
    server = ReportServer(sweep.dir, 0)
    server.prepare()
    server.page.refresh = lambda: 1 / 0

    with pytest.raises(ZeroDivisionError):
        server.run()


def test_the_end_of_the_runner_is_seen_on_the_page(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5)
    maker.save()
    with ExitStack() as runner:
        runner.enter_context(living_runner(maker.dir))
        with serving(maker.dir) as ask:
            during = ask("/")[2]
            runner.close()
            ask.server.page._next_page = 0.0
            ask.server.page.refresh()
            after = ask("/")[2]

    assert b"Running: 1 of 1 run ended" in during
    assert b"Finished: 1 run" in after
