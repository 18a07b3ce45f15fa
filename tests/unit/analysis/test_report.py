import base64
import hashlib
import html
import json
import math
import re
import shlex
from pathlib import Path

import pytest

import ksweep.analysis.report
from ksweep.analysis.findings import find
from ksweep.analysis.report import MAX_BYTES, report_html
from ksweep.contract.outcome import Status
from tests.simulated import simulate

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><b>",
    "\"'><img src=x onerror=alert(1)>",
    "<!--",
    "javascript:alert(1)",
    "\u2028\x1b[31m\u202e",
]


def page_of(maker_or_dir, pictures=None):
    dir = maker_or_dir.save() if hasattr(maker_or_dir, "save") else maker_or_dir
    return report_html(find(dir), pictures or {})


def data_of(page):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def scripts_of(page):
    """The library, and the page's own."""
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


def column(table, title):
    (index,) = [i for i, column in enumerate(table["columns"]) if column["title"] == title]
    return [row[index] for row in table["rows"]]


def shown(page):
    """The text of the page, without its data, script and style."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_best_setting_comes_with_its_evidence(two_settings):
    text = shown(page_of(two_settings))

    assert "97.00% ± 2.00% (n=3, 95% interval of the mean 92.03% to 100.00%)" in text
    assert "CONFIG_LEARNING_RATE=0.1" in text
    assert "Test Accuracy (test: not used for choosing) 96.00% ± 2.00%" in text


def test_a_goal_that_is_no_accuracy_stands_beside_its_own_test_metric(make_sweep):
    maker = make_sweep(objective="val_ppl:min")
    for value, ppl in (("a", 40.0), ("b", 50.0)):
        maker.add({"X": value}, val_ppl=ppl, test_ppl=ppl + 1.5, test_loss=3.7)
    page = page_of(maker)
    data = data_of(page)

    assert "test_ppl (test: not used for choosing) 41.5" in shown(page)
    assert column(data["settings"], "test_ppl") == [[41.5, "41.5"], [51.5, "51.5"]]
    titles = [[entry["title"] for entry in data[table]["columns"]] for table in ("settings", "runs")]
    assert "test_acc" not in titles[0] + titles[1]
    assert titles[1].index("test_ppl") < titles[1].index("time") < titles[1].index("test_loss")


def test_a_goal_that_is_computed_stands_beside_what_it_is_computed_from(make_sweep):
    maker = make_sweep(objective="val_ppl + 10*layers_mean:min")
    maker.add({"X": "1"}, val_ppl=20.5, layers_mean=1.25, test_ppl=19.5)
    page = page_of(maker)
    card = page[page.index('id="best"') : page.index("</section>", page.index('id="best"'))]

    assert [text for text in ("33", "20.5", "1.25", "19.5") if f">{text}<" not in card] == []
    assert [column["title"] for column in data_of(page)["settings"]["columns"]][3:6] == ["val_ppl", "layers_mean", "test_ppl"]


def test_a_goal_on_the_test_set_is_never_said_to_be_unused(make_sweep):
    maker = make_sweep(objective="test_acc")
    for value in ("1", "2"):
        maker.add({"X": value}, test_acc=0.9, test_loss=0.1)

    assert "not used for choosing" not in page_of(maker)


def test_settings_and_runs_have_their_numbers_and_links(two_settings):
    data = data_of(page_of(two_settings))

    assert column(data["settings"], "LEARNING_RATE") == ["0.1", "0.01"]
    assert column(data["settings"], "rank") == [1, 2]
    assert column(data["runs"], "val_acc")[0] == [0.9, "90.00%"]
    assert column(data["runs"], "config")[0] == ["config_001", "./config_001_x/"]
    assert column(data["runs"], "log")[0] == ["output.log", "./config_001_x/output.log"]


def test_a_failed_run_has_no_number_and_its_log_is_shown(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5)
    maker.add({"X": "2"}, status=Status.OOM, reason="out of memory", log="".join(f"line {n}\n" for n in range(30)))

    page = page_of(maker)

    assert column(data_of(page)["runs"], "val_acc") == [[0.5, "50.00%"], None]
    assert "1 OF 2 RUNS FAILED (1 oom)" in shown(page)
    assert "out of memory" in shown(page)
    assert "line 10\nline 11" in page
    assert "line 9\n" not in page


def test_a_log_is_shown_without_what_steers_a_terminal(make_sweep):
    maker = make_sweep()
    maker.add(status=Status.FAILED, log="10%\r50%\rdone\n\x1b[31mred\x1b[0m \x1b]0;title\x07\u202eevil\n")

    page = page_of(maker)

    assert "<pre>done\nred ?evil</pre>" in page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_files_stays_text_wherever_it_comes_from(make_sweep, text):
    maker = make_sweep()
    history = ({"step": 1, "epoch": 1, "val_acc": 0.5, text: 1.0},)
    maker.add({text: text, "SEED": "1"}, status=Status.FAILED, reason=text, log=text, history=history)
    maker.add({text: "other", "SEED": "1"}, history=history, **{"val_acc": 0.5, text: 1.0})
    dir = maker.save()
    dir.plan.write_text(text)
    record = json.loads(dir.sweep.read_text()) | {"name": text, "range_file": text, "range_text": text, "git": {"commit": text}}
    record["points"][0]["run_dir"] = text + "/../x"
    dir.sweep.write_text(json.dumps(record))

    page = page_of(dir, {text + ".png": b"png"})

    assert len(re.findall("<script", page)) == len(re.findall("</script", page)) == 3
    page = page.replace(scripts_of(page)[0], "")
    assert not re.findall(r"<(img(?! loading)|b>[^<]*<script)", page)
    assert not re.findall(r"href=['\"](?!\./|#)", page)
    assert not re.findall("[\u2028\u202e\x1b]", page)
    assert data_of(page)["runs"]["rows"]


def test_the_policy_allows_the_page_its_own_script_and_no_request(two_settings):
    page = page_of(two_settings)
    scripts = scripts_of(page)

    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    assert f"script-src {hashes};" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert not re.findall(r"https?://(?!www\.w3\.org)", page.replace(scripts[0], ""))


def test_the_chart_library_is_in_the_page_once_and_is_the_one_that_its_papers_name(two_settings):
    library = Path(ksweep.analysis.report.__file__).parent / "report_assets" / "echarts.min.js"
    papers = (library.parent / "README.md").read_text()

    assert page_of(two_settings).count(library.read_text()) == 1
    assert f"sha256 `{hashlib.sha256(library.read_bytes()).hexdigest()}`" in papers
    assert f'version="{re.search("echarts` ([0-9.]+)", papers)[1]}"' in library.read_text()


def test_pictures_that_make_the_page_too_large_are_linked(two_settings):
    page = page_of(two_settings, {"small.png": b"s" * 1000, "large.png": b"l" * MAX_BYTES, "last.png": b"t" * 1000})

    assert page.count("data:image/png;base64,") == 2
    assert 'href="./plots/large.png"' in page
    assert len(page.encode()) < MAX_BYTES


def test_a_long_history_is_thinned_and_keeps_its_end(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5, history=({"step": n, "epoch": n, "val_acc": n / 1000} for n in range(1, 252)))

    curves = data_of(page_of(maker))["curves"]

    assert len(curves["runs"][0]["x"]) == 100
    assert (curves["runs"][0]["x"][0], curves["runs"][0]["x"][-1]) == (1, 251)
    assert curves["note"] == "Thinned to 100 of up to 251 reports a run."


@pytest.mark.slow
def test_a_thousand_runs_of_many_epochs_fit_into_five_megabytes(tmp_path):
    axes = {"LEARNING_RATE": [f"{n / 1000}" for n in range(1, 51)], "WEIGHT_DECAY": ["0", "0.1", "0.2", "0.3", "0.4"]}

    def metrics(values, seed, epoch):
        return {"val_acc": 1 - float(values["LEARNING_RATE"]) / epoch / 3, "val_loss": seed / epoch / 7, "train_loss": 1 / epoch}

    page = page_of(simulate(tmp_path / "sweep", axes, metrics, seeds=4, epochs=120), {"all.png": b"p" * 3_000_000})

    data = data_of(page)
    assert len(page.encode()) < 5_000_000
    assert len(data["curves"]["runs"]) == 1000
    assert max(len(run["x"]) for run in data["curves"]["runs"]) == 100
    assert {run["x"][-1] for run in data["curves"]["runs"]} == {120}
    assert data["curves"]["note"] == "Thinned to 100 of up to 120 reports a run."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "text", 10**400], ids=str)
def test_a_report_that_is_no_number_is_a_gap(make_sweep, value):
    maker = make_sweep()
    run = maker.add({"X": "1"}, val_acc=0.5, history=({"step": 1, "epoch": 1, "val_acc": 0.4}, {"step": 2, "epoch": 2}))
    run.metrics.write_text(run.metrics.read_text().replace('"epoch": 2', f'"epoch": 2, "val_acc": {json.dumps(value)}'))

    assert data_of(page_of(maker))["curves"]["runs"][0]["y"] == [[0.4, None]]


def test_a_symbol_that_some_settings_lack_lies_at_the_foot_of_its_axis(make_sweep):
    maker = make_sweep()
    for value in ({"OPTIMIZER": "adam"}, {"OPTIMIZER": "sgd", "MOMENTUM": "0.5"}, {"OPTIMIZER": "sgd", "MOMENTUM": "0.9"}):
        maker.add(value, val_acc=0.5)

    parallel = data_of(page_of(maker))["parallel"]

    (momentum,) = [axis for axis in parallel["axes"] if axis["name"] == "MOMENTUM"]
    assert (momentum["kind"], momentum["labels"]) == ("category", ["-", "0.5", "0.9"])
    assert [line["at"][1] for line in parallel["lines"]] == [0, 1, 2]


def test_a_symbol_of_many_numbers_has_its_foot_below_the_lowest(make_sweep):
    maker = make_sweep()
    maker.add({"OPTIMIZER": "adam"}, val_acc=0.5)
    for n in range(1, 22):
        maker.add({"OPTIMIZER": "sgd", "MOMENTUM": str(n)}, val_acc=0.5)

    parallel = data_of(page_of(maker))["parallel"]

    (momentum,) = [axis for axis in parallel["axes"] if axis["name"] == "MOMENTUM"]
    assert [momentum[key] for key in ("kind", "low", "high", "foot")] == ["value", 1, 21, -1]
    assert sorted(line["at"][1] for line in parallel["lines"]) == [-1, *range(1, 22)]


def test_numbers_over_decades_lie_on_a_logarithmic_axis(make_sweep):
    maker = make_sweep()
    for exponent in range(13):
        maker.add({"LR": f"1e-{exponent}"}, val_acc=0.5)

    parallel = data_of(page_of(maker))["parallel"]

    assert [parallel["axes"][0][key] for key in ("kind", "low", "high", "foot")] == ["log", 1e-12, 1, None]
    assert sorted(line["at"][0] for line in parallel["lines"]) == [float(f"1e-{n}") for n in range(12, -1, -1)]


@pytest.mark.parametrize("values", [(-1.7e308, 1.7e308), (5e-324, 1.0), (0.0, 1e-320), (0.5, 0.5)], ids=str)
def test_the_farthest_numbers_give_an_axis_of_finite_length(make_sweep, values):
    maker = make_sweep()
    for n, value in enumerate(values):
        maker.add({"X": str(n)}, val_acc=value)

    parallel = data_of(page_of(maker))["parallel"]

    axis = parallel["axes"][-1]
    assert axis["kind"] == "category" or math.isfinite(axis["high"] - axis["low"])
    assert all(math.isfinite(line["at"][-1]) for line in parallel["lines"])


def test_several_goals_give_a_front_and_no_winner(make_sweep):
    maker = make_sweep(objective="val_acc:max, size:min")
    for n in range(4):
        maker.add({"X": str(n)}, val_acc=0.5 + n / 10, size=float(n))
    maker.add({"X": "9"}, val_acc=0.1, size=9.0)

    page = page_of(maker)

    assert "Pareto front: 4 settings of 5" in shown(page)
    assert column(data_of(page)["settings"], "front") == [1, 1, 1, 1, 2]


def test_a_broken_constraint_is_shown_with_by_how_much(make_sweep):
    maker = make_sweep(constraints="size <= 2")
    maker.add({"X": "1"}, val_acc=0.5, size=1.0)
    maker.add({"X": "2"}, val_acc=0.9, size=5.0)

    settings = data_of(page_of(maker))["settings"]

    assert column(settings, "notes") == [None, "breaks size <= 2 by 3"]
    assert column(settings, "rank") == [1, None]


def test_a_sweep_of_which_nothing_is_there_yet_has_a_page(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.PLANNED)
    maker.add({"X": "2"}, status=Status.RUNNING)
    dir = maker.save()

    with living_runner(dir):
        text = shown(page_of(dir))

    assert "No ranking yet" in text
    assert "Running: 0 of 2 runs ended" in text


def test_run_directories_that_were_deleted_and_damaged_files_are_no_traceback(make_sweep):
    import shutil

    maker = make_sweep()
    shutil.rmtree(maker.add({"X": "1"}, val_acc=0.5).path)
    run = maker.add({"X": "2"}, val_acc=0.6)
    run.provenance.write_text("[1")
    run.metrics.write_bytes(b"\xff\xfe{\n")
    maker.add({"X": "3"}, status=Status.CRASHED).log.mkdir()

    assert column(data_of(page_of(maker))["runs"], "val_acc") == [None, [0.6, "60.00%"], None]


def test_no_points_and_no_objective_are_no_traceback(make_sweep):
    empty, aimless = make_sweep("sweep_1"), make_sweep("sweep_2", objective="")
    aimless.add({"X": "1"}, val_acc=0.5)

    assert data_of(page_of(empty))["runs"]["rows"] == []
    assert "No ranking: the sweep has no objective" in shown(page_of(aimless))


def test_a_sweep_at_rest_gives_the_same_bytes(two_settings):
    assert page_of(two_settings) == page_of(two_settings)


def test_the_commands_of_the_page_are_quoted_for_the_shell(make_sweep):
    maker = make_sweep("sweep_it's; touch x")
    maker.add({"X": "1"}, val_acc=0.5)

    page = page_of(maker)

    (command,) = {html.unescape(text) for text in re.findall(r"<code>(make best .*?)</code>", page)}
    assert shlex.split(command) == ["make", "best", f"RESULTS={maker.dir.path}"]


def test_plan_and_environment_are_told(make_sweep, tmp_path):
    maker = make_sweep()
    run = maker.add({"X": "1"}, val_acc=0.5)
    run.provenance.write_text(
        json.dumps({"host": "node7", "python": "3.11.7", "packages": {"torch": "2.9"}, "argv": ["python", "x y"]})
    )
    dir = maker.save()
    Path(dir.plan).write_text("cartesian 3 -> legal 2 -> distinct 1\n  dropped: MOMENTUM needs sgd & <more>\n")

    text = page_of(dir)

    assert "dropped: MOMENTUM needs sgd &amp; &lt;more&gt;" in text
    assert "node7" in text
    assert "python 3.11.7, torch 2.9" in text
    assert "python &#x27;x y&#x27;" in text
    assert "make sweep RANGE_CONFIG=defconfigs/demo" in text


def test_effects_are_told_with_what_chance_gives_and_which_settings_a_share_is_of(make_sweep):
    from ksweep.analysis.effects import Effects, Importance, Interaction
    from ksweep.analysis.ranking import spread

    maker = make_sweep()
    maker.add({"A": "1", "B": "1"}, val_acc=0.5)
    findings = find(maker.save())
    pairs = [
        Interaction(symbols=("A", second), cells={("1", "1"): spread([0.5])}, num_combinations=6, share=share, chance=0.125)
        for second, share in (("B", 0.1), ("C", 0.9))
    ]
    importance = Importance(
        method="fANOVA", shares={"A": 0.7, "B": 0.2}, num_settings=9, partial={"B": 4}, fit=0.75, noise=0.0625
    )
    findings.__dict__["effects"] = Effects(interactions=tuple(pairs), importance=importance, warnings=("first", "second"))

    page = report_html(findings, {"heatmap_A_B.png": b"png", "history.png": b"png"})

    text = shown(page)
    assert "first second" in text
    assert "A 70.0% all settings" in text
    assert "B 20.0% 4 settings that have it" in text
    assert "R2 0.75; noise over seeds alone would give 6.2%" in text
    assert (
        "A and B: 10.0% of what the two explain is not the sum of both (by chance about 12.5%); 1 of 6 combinations were run"
        in text
    )
    assert text.index("A and B: 10.0%") < text.index("A and C: 90.0%")
    assert "Two axes; the star is the best setting." in text
    assert "The best so far, by runs and by epochs." in text
