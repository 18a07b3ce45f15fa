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
BEST = "#0072B2"  # the colour of the curves of the best setting


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def write_report(dir):
    """Its address."""
    dir.report.write_text(report_html(find(dir), {}))
    return dir.report.as_uri()


def metrics(values, seed, epoch):
    distance = abs(float(values["LEARNING_RATE"]) - 0.02) + 0.02 * float(values["WEIGHT_DECAY"])
    score = 0.9 - distance - 0.001 * seed - 0.3 / epoch
    return {"val_acc": score, "val_loss": 1 - score, "test_acc": score - 0.01}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of 5 x 3 settings with 2 seeds each."""
    axes = {"LEARNING_RATE": ["0.01", "0.02", "0.03", "0.1", "0.2"], "WEIGHT_DECAY": ["0", "0.1", "0.5"]}
    return write_report(simulate(tmp_path_factory.mktemp("sweeps") / "sweep", axes, metrics, seeds=2, epochs=5))


@pytest.fixture(scope="module")
def opened(browser, report):
    return browser.open(report, height=1600)


@pytest.fixture
def page(opened):
    """The report of `report`, nothing filtered."""
    opened.call("Page.bringToFront")  # another one draws nothing
    for table in ("settings", "runs"):
        filter_by(opened, table, "")
    return opened


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


def pixels_of(page, chart, colour):
    """How many pixels of a chart have about this colour, `#0072B2`."""
    red, green, blue = bytes.fromhex(colour[1:])
    return page.run(f"""(async () => {{
        for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
        let count = 0;
        for (const canvas of document.querySelectorAll('#{chart} canvas')) {{
            const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            for (let i = 0; i < data.length; i += 4) {{
                const off = Math.abs(data[i] - {red}) + Math.abs(data[i + 1] - {green}) + Math.abs(data[i + 2] - {blue});
                if (off < 12 && data[i + 3] > 60) count += 1;
            }}
        }}
        return count;
    }})()""")


def box_of(page, chart):
    """Left, top, width and height of a chart, which is brought into the window."""
    return page.run(f"""(() => {{
        document.getElementById('{chart}').scrollIntoView();
        const box = document.querySelector('#{chart} canvas').getBoundingClientRect();
        return [box.left, box.top, box.width, box.height];
    }})()""")


def drag(page, start, end):
    page.mouse("mouseMoved", *start)
    page.mouse("mousePressed", *start)
    for share in (0.3, 0.7, 1):
        page.mouse("mouseMoved", *(a + share * (b - a) for a, b in zip(start, end, strict=True)))
    page.mouse("mouseReleased", *end)


def tip_in(page, chart):
    """What the chart says of the place that was pointed at; empty where it says nothing."""
    return page.run(f"""(() => {{
        const tip = document.querySelector('#{chart} .tip');
        return tip && tip.style.visibility !== 'hidden' && tip.style.display !== 'none' ? tip.innerText : '';
    }})()""")


def point_along(page, chart, x, shares):
    """Point at places from the top down, `x` of the width, until the chart says something; that."""
    left, top, width, height = box_of(page, chart)
    for share in shares:
        page.mouse("mouseMoved", left + x * width, top + share * height)
        if tip := tip_in(page, chart):
            return tip
    return ""


def test_the_page_opens_from_a_file_without_an_error_or_a_request(browser, report):
    page = browser.open(report, height=1600)

    assert page.errors == []
    assert page.requests == [report]
    assert page.run("document.querySelector('h1').textContent") == "demo"


def test_a_request_that_the_page_would_make_is_refused_by_its_own_policy(browser, report):
    page = browser.open(report)

    page.run(
        "new Promise((done) => { const image = new Image(); image.onerror = done; image.src = 'http://127.0.0.1:9/x.png'; })"
    )

    assert any("Content Security Policy" in text for text in page.errors)


def test_a_click_on_a_header_sorts_and_says_so(page):
    values = column_of(page, "runs", "LEARNING_RATE")

    page.run(header("runs", "LEARNING_RATE") + ".click()")
    ascending = column_of(page, "runs", "LEARNING_RATE")
    sort = page.run(header("runs", "LEARNING_RATE") + ".parentElement.getAttribute('aria-sort')")
    page.run(header("runs", "LEARNING_RATE") + ".click()")

    assert ascending == sorted(values, key=float)
    assert sort == "ascending"
    assert column_of(page, "runs", "LEARNING_RATE") == sorted(values, key=float, reverse=True)


def test_the_keyboard_sorts(page):
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
def test_a_filter_keeps_what_it_says(page, text, rates):
    filter_by(page, "runs", text)

    assert set(column_of(page, "runs", "LEARNING_RATE")) == rates


def test_a_filter_that_is_not_understood_says_so(page):
    filter_by(page, "runs", "LEARNIN_RATE<1 LEARNING_RATE<x")

    assert status_of(page, "runs") == "30 rows; no column LEARNIN_RATE; LEARNING_RATE<x: not a number"


@pytest.mark.parametrize(
    ("chart", "colours"), [("curves-chart", [BEST, "#D55E00", "#5B6472"]), ("parallel-chart", ["#440154", "#BED732"])]
)
def test_both_charts_are_drawn_in_the_colours_of_their_settings(page, chart, colours):
    assert min(pixels_of(page, chart, colour) for colour in colours) > 50


def test_a_setting_is_hidden_and_shown_by_its_name_below_the_curves(page):
    button = "document.querySelector('#curves-legend button')"
    before = pixels_of(page, "curves-chart", BEST)

    page.run(button + ".click()")
    hidden, pressed = pixels_of(page, "curves-chart", BEST), page.run(button + ".getAttribute('aria-pressed')")
    page.run(button + ".click()")

    assert (hidden, pressed) == (0, "false")
    assert pixels_of(page, "curves-chart", BEST) == before > 0


def test_pointing_at_a_curve_names_its_run(page):
    tip = point_along(page, "curves-chart", 0.9, [n / 100 for n in range(5, 95, 2)])

    config, setting, value = tip.split("\n")
    assert config == "config_007 (passed)"
    assert setting == "rank 1: LEARNING_RATE=0.02 WEIGHT_DECAY=0"
    assert value == "val_acc 83.90% at epoch 5"


def test_dragging_over_the_curves_zooms_and_the_button_shows_all_again(page):
    left, top, width, height = box_of(page, "curves-chart")
    page.mouse("mouseMoved", left, top)  # away from all curves
    before, button = pixels_of(page, "curves-chart", BEST), "document.getElementById('whole')"

    drag(page, (left + 0.2 * width, top + 0.6 * height), (left + 0.3 * width, top + 0.8 * height))
    page.wait(f"!{button}.hidden")
    zoomed = pixels_of(page, "curves-chart", BEST)
    page.mouse("mouseMoved", left, top)
    page.run(button + ".click()")

    assert zoomed != before
    assert page.run(button + ".hidden")
    assert pixels_of(page, "curves-chart", BEST) == before


def test_a_range_dragged_on_an_axis_narrows_the_settings_table_also_after_a_reload(browser, report):
    page = browser.open(report, height=1600)
    left, top, _, height = box_of(page, "parallel-chart")

    drag(page, (left + 64, top + height - 20), (left + 64, top + height - 120))
    page.wait("document.getElementById('parallel-count').textContent.startsWith('6 of 15 settings are inside')")
    narrowed = column_of(page, "settings", "LEARNING_RATE")
    page.go(report)
    again = column_of(page, "settings", "LEARNING_RATE")
    page.run("document.getElementById('parallel-clear').click()")

    assert set(narrowed) == {"0.01", "0.02"}
    assert again == narrowed
    assert len(set(column_of(page, "settings", "LEARNING_RATE"))) == 5


def test_hostile_text_never_runs(browser, tmp_path):
    maker = SweepMaker(tmp_path / "sweep")
    for n, status in enumerate((Status.PASSED, Status.PASSED, Status.FAILED)):
        scores = {"val_acc": 0.5 + n / 10, HACK: 1.0} if status is Status.PASSED else {}
        history = [{"step": epoch, "epoch": epoch, "val_acc": 0.5, HACK: 1.0} for epoch in (1, 2)]
        maker.add({HACK: f"{HACK}{n}", "__proto__": "1"}, status=status, reason=HACK, log=HACK, history=history, **scores)
    dir = maker.save()
    dir.plan.write_text(HACK)
    dir.sweep.write_text(dir.sweep.read_text().replace('"demo"', '"</script><script>window.hacked=1</script>"'))
    page = browser.open(write_report(dir))

    page.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.run("document.querySelectorAll('th button').forEach((button) => button.click())")
    shares = [n / 100 for n in range(3, 98)]
    tips = [point_along(page, "curves-chart", 0.53, shares), point_along(page, "parallel-chart", 0.3, shares)]

    assert all(HACK in tip for tip in tips), tips
    assert page.run("window.hacked") is None
    assert page.errors == []
    assert HACK + "0" in " ".join(column_of(page, "settings", HACK.replace("'", "\\'")))


def test_a_phone_scrolls_tables_and_not_the_page(browser, report):
    page = browser.open(report, width=390, height=844)
    widths = [page.run("document.documentElement.scrollWidth")]
    page.call("Emulation.setDeviceMetricsOverride", width=320, height=844, deviceScaleFactor=1, mobile=True)
    page.wait("innerWidth === 320 && document.querySelector('#curves-chart canvas').getBoundingClientRect().width < 320")
    widths.append(page.run("document.documentElement.scrollWidth"))

    assert widths == [390, 320]
    assert page.errors == []


@pytest.mark.slow
def test_a_finger_keeps_a_range_where_it_starts_on_an_axis_and_scrolls_beside_it(browser, report):
    page = browser.open(report, width=390, height=844)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    page.go(report)

    def swipe(x):
        """Up by 150 pixels; by how much the page was scrolled by it."""
        left, top, _, height = box_of(page, "parallel-chart")
        before, start = page.run("scrollY"), top + height - 25
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": left + x, "y": start}])
        for way in range(15, 151, 15):
            page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": left + x, "y": start - way}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return page.run("new Promise((done) => setTimeout(() => done(scrollY), 300))") - before

    count = "document.getElementById('parallel-count').textContent"
    assert swipe(64 + 50) > 50
    assert page.run(count).startswith("15 settings")
    swipe(64)
    page.wait(count + ".includes('settings are inside')")


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


@pytest.mark.slow
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
