"""report.html and report-serve in a real browser."""

import signal
import time
from contextlib import contextmanager

import pytest

from ksweep.analysis.findings import find
from ksweep.analysis.report import report_html
from ksweep.contract.outcome import Status
from tests.browser.chromium import Chromium
from tests.pipeline.conftest import Place
from tests.simulated import SweepMaker, simulate

pytestmark = pytest.mark.browser

HACK = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script></script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def write_report(dir):
    """Its address."""
    dir.report.write_text(report_html(find(dir), {}))
    return dir.report.as_uri()


def metrics(values, seed, epoch):
    score = 0.9 - abs(float(values["LEARNING_RATE"]) - 0.02) - 0.001 * seed - 0.3 / epoch
    return {"val_acc": score, "val_loss": 1 - score, "test_acc": score - 0.01}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of 5 x 3 settings with 2 seeds each."""
    axes = {"LEARNING_RATE": ["0.01", "0.02", "0.03", "0.1", "0.2"], "WEIGHT_DECAY": ["0", "0.1", "0.5"]}
    return write_report(simulate(tmp_path_factory.mktemp("sweeps") / "sweep", axes, metrics, seeds=2, epochs=5))


@pytest.fixture(scope="module")
def large_report(tmp_path_factory):
    """Of 1,000 runs."""
    axes = {"LEARNING_RATE": [str(n / 1000) for n in range(1, 251)], "WEIGHT_DECAY": ["0", "0.1", "0.5", "0.7"]}
    return write_report(simulate(tmp_path_factory.mktemp("large") / "sweep", axes, metrics, epochs=3))


@contextmanager
def serving(tmp_path):
    """The address at which report-serve gives the sweep below `tmp_path`, and the process."""
    server = Place(tmp_path).start("report-serve", "--results", tmp_path, "--port", 0)
    try:
        yield server.stdout.readline().split(" is at ")[1].split()[0], server
    finally:
        server.kill()
        server.communicate()


def column_of(page, table, title):
    """The shown texts of one column."""
    return page.run(f"""(() => {{
        const table = document.querySelector('[data-table={table}] table');
        const titles = [...table.tHead.rows[0].cells].map((th) => th.querySelector('button').firstChild.textContent);
        const index = titles.map((title) => title.replaceAll('\\u200b', '')).indexOf('{title}');
        return [...table.tBodies[0].rows].map((row) => row.cells[index].textContent);
    }})()""")


def header(table, title):
    titles = f"[...document.querySelectorAll('[data-table={table}] th button')]"
    return f"{titles}.find((button) => button.firstChild.textContent.replaceAll('\\u200b', '') === '{title}')"


def filter_by(page, table, text):
    page.run(f"(() => {{ const box = document.getElementById('{table}-filter'); box.value = {text!r};"
             " box.dispatchEvent(new Event('input')); })()")  # fmt: skip


def status_of(page, table):
    return page.run(f"document.querySelector('[data-table={table}] [role=status]').textContent")


def has_drawn(page, canvas):
    """How many different colours a canvas shows."""
    return page.run(f"""(() => {{
        const canvas = document.querySelector('{canvas} canvas');
        const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        return new Set(pixels).size;
    }})()""")


def test_the_page_opens_from_a_file_without_an_error_or_a_request(browser, report):
    page = browser.open(report)

    assert page.errors == []
    assert page.requests == [report]
    assert page.run("document.querySelector('h1').textContent") == "demo"


def test_a_request_that_the_page_would_make_is_refused_by_its_own_policy(browser, report):
    page = browser.open(report)

    page.run(
        "new Promise((done) => { const image = new Image(); image.onerror = done; image.src = 'http://127.0.0.1:9/x.png'; })"
    )

    assert any("Content Security Policy" in text for text in page.errors)


def test_a_click_on_a_header_sorts_and_says_so(browser, report):
    page = browser.open(report)
    values = column_of(page, "runs", "LEARNING_RATE")

    page.run(header("runs", "LEARNING_RATE") + ".click()")
    ascending = column_of(page, "runs", "LEARNING_RATE")
    sort = page.run(header("runs", "LEARNING_RATE") + ".parentElement.getAttribute('aria-sort')")
    page.run(header("runs", "LEARNING_RATE") + ".click()")

    assert ascending == sorted(values, key=float)
    assert sort == "ascending"
    assert column_of(page, "runs", "LEARNING_RATE") == sorted(values, key=float, reverse=True)


def test_the_keyboard_sorts(browser, report):
    page = browser.open(report)

    page.run(header("settings", "WEIGHT_DECAY") + ".focus()")
    page.press("Enter", 13)

    assert column_of(page, "settings", "WEIGHT_DECAY") == ["0"] * 5 + ["0.1"] * 5 + ["0.5"] * 5


def test_missing_values_come_last_whichever_way_is_sorted(browser, tmp_path):
    maker = SweepMaker(tmp_path / "sweep")
    for n, status in enumerate((Status.FAILED, Status.PASSED, Status.PASSED)):
        maker.add({"X": str(n)}, status=status, **({"val_acc": n / 10} if status is Status.PASSED else {}))
    page = browser.open(write_report(maker.save()))

    page.run(header("runs", "val_acc") + ".click()")
    ascending = column_of(page, "runs", "val_acc")
    page.run(header("runs", "val_acc") + ".click()")

    assert ascending == ["10.00%", "20.00%", "-"]
    assert column_of(page, "runs", "val_acc") == ["20.00%", "10.00%", "-"]


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("LEARNING_RATE<0.02", {"0.01"}),
        ("config_learning_rate >= 0.1 WEIGHT_DECAY=0", {"0.1", "0.2"}),
        ("val_acc>82%", {"0.01", "0.02", "0.03"}),
        ("LEARNING_RATE!=0.2 LEARNING_RATE!=0.1 LEARNING_RATE>0.02", {"0.03"}),
        ("status=passed config_007", {"0.02"}),
        ("no such word", set()),
    ],
)
def test_a_filter_keeps_what_it_says(browser, report, text, rates):
    page = browser.open(report)

    filter_by(page, "runs", text)

    assert set(column_of(page, "runs", "LEARNING_RATE")) == rates


def test_a_filter_that_is_not_understood_says_so(browser, report):
    page = browser.open(report)

    filter_by(page, "runs", "LEARNIN_RATE<1 LEARNING_RATE<x")

    assert status_of(page, "runs") == "30 rows; no column LEARNIN_RATE; LEARNING_RATE<x: not a number"


def test_curves_and_parallel_coordinates_are_drawn(browser, report):
    page = browser.open(report)
    page.wait("document.querySelector('#parallel-chart canvas').width > 300")

    assert has_drawn(page, "#curves-chart") > 20
    assert has_drawn(page, "#parallel-chart") > 20


def test_pointing_at_a_curve_names_its_run(browser, report):
    page = browser.open(report)
    page.run("document.getElementById('curves').scrollIntoView()")
    box = page.run("(() => { const b = document.querySelector('#curves-chart canvas').getBoundingClientRect();"
                   " return [b.left, b.top, b.width, b.height]; })()")  # fmt: skip

    for height in range(5, 95, 3):
        page.mouse("mouseMoved", box[0] + 0.9 * box[2], box[1] + height / 100 * box[3])
        tip = page.run("document.querySelector('#curves-chart .tip').innerText")
        if tip and not page.run("document.querySelector('#curves-chart .tip').hidden"):
            break

    assert tip.startswith("config_0")
    assert "LEARNING_RATE=" in tip
    assert "val_acc" in tip


def test_a_range_dragged_on_an_axis_narrows_the_settings_table(browser, report):
    page = browser.open(report, height=1600)
    page.run("document.getElementById('parallel').scrollIntoView()")
    left, top, height = page.run("(() => { const b = document.querySelector('#parallel-chart canvas').getBoundingClientRect();"
                                 " return [b.left, b.top, b.height]; })()")  # fmt: skip

    page.mouse("mouseMoved", left + 60, top + height - 10)
    page.mouse("mousePressed", left + 60, top + height - 10)
    page.mouse("mouseMoved", left + 60, top + height - 120)
    page.mouse("mouseReleased", left + 60, top + height - 120)

    assert set(column_of(page, "settings", "LEARNING_RATE")) == {"0.01", "0.02"}
    page.run("document.getElementById('parallel-clear').click()")
    assert len(set(column_of(page, "settings", "LEARNING_RATE"))) == 5


def test_hostile_text_never_runs(browser, tmp_path):
    maker = SweepMaker(tmp_path / "sweep")
    for n, status in enumerate((Status.PASSED, Status.PASSED, Status.FAILED)):
        scores = {"val_acc": 0.5 + n / 10, HACK: 1.0} if status is Status.PASSED else {}
        history = ({"step": 1, "epoch": 1, "val_acc": 0.5, HACK: 1.0},)
        maker.add({HACK: f"{HACK}{n}", "__proto__": "1"}, status=status, reason=HACK, log=HACK, history=history, **scores)
    dir = maker.save()
    dir.plan.write_text(HACK)
    dir.sweep.write_text(dir.sweep.read_text().replace('"demo"', '"</script><script>window.hacked=1</script>"'))
    page = browser.open(write_report(dir))

    page.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.run("document.querySelectorAll('th button').forEach((button) => button.click())")

    assert page.run("window.hacked") is None
    assert page.errors == []
    assert HACK + "0" in " ".join(column_of(page, "settings", HACK.replace("'", "\\'")))


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_scrolls_tables_and_not_the_page(browser, report, width):
    page = browser.open(report, width=width, height=844)

    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.errors == []


@pytest.mark.slow
def test_a_thousand_runs_open_and_more_rows_come_by_scrolling(browser, large_report):
    page = browser.open(large_report)
    before = len(column_of(page, "runs", "config"))

    page.run("document.querySelector('[data-table=runs] .box').scrollTop = 1e9")
    page.wait("document.querySelectorAll('[data-table=runs] tbody tr').length > 200")

    assert before == 200
    assert status_of(page, "runs").startswith("1000 rows")
    assert page.errors == []


@pytest.mark.parametrize(
    "statuses", [(), (Status.PLANNED,), (Status.RUNNING, Status.PLANNED), (Status.CRASHED, Status.OOM), (Status.PASSED,)], ids=str
)
def test_a_sweep_with_little_in_it_opens(browser, tmp_path, statuses):
    maker = SweepMaker(tmp_path / "sweep")
    for n, status in enumerate(statuses):
        maker.add({"X": str(n)}, status=status, **({"val_acc": 0.5} if status is Status.PASSED else {}))
    page = browser.open(write_report(maker.save()))

    assert page.errors == []
    assert len(column_of(page, "runs", "config")) == len(statuses)


def test_the_served_page_follows_the_sweep_and_keeps_its_place(browser, tmp_path):
    maker = SweepMaker(tmp_path / "sweep_1")
    for n in range(30):
        maker.add({"X": str(n)}, val_acc=n / 100)
    maker.save()
    with serving(tmp_path) as (address, server):
        page = browser.open(address)
        filter_by(page, "runs", "X>=20")
        page.run(header("runs", "X") + ".click()")
        page.run(header("runs", "X") + ".click()")
        page.run("scrollTo(0, 300)")
        time.sleep(1.6)  # nobody is using it
        maker.add({"X": "30"}, val_acc=0.99)
        maker.save()

        page.wait("document.readyState === 'complete' && document.body.textContent.includes('99.00%')")

        assert column_of(page, "runs", "X") == [str(n) for n in range(30, 19, -1)]
        assert page.run("scrollY") == 300
        assert page.errors == []
        assert {url.removeprefix(address) for url in page.requests} == {"", "version"}
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert "ended" in out


def test_a_link_of_the_served_page_shows_the_log(browser, tmp_path):
    maker = SweepMaker(tmp_path / "sweep_1")
    maker.add({"X": "1"}, val_acc=0.5, log="epoch 1 <b>bold</b>\n")
    maker.save()
    with serving(tmp_path) as (address, server):
        page = browser.open(address)

        page.go(
            page.run("[...document.querySelectorAll('[data-table=runs] a')].find((a) => a.textContent === 'output.log').href")
        )

        assert page.run("document.body.innerText").strip() == "epoch 1 <b>bold</b>"
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
