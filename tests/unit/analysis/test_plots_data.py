"""What the pictures are made of: cells, stars, lines, fronts, rungs, spans; and on which sweeps each is there."""

import json
import random

import pytest

from ksweep.analysis.effects import Effects, Importance
from ksweep.analysis.findings import Findings
from ksweep.analysis.load import load_sweep
from ksweep.analysis.plots import draw_plots
from ksweep.analysis.plots.curves import curves_of
from ksweep.analysis.plots.devices import devices_png, traces_of
from ksweep.analysis.plots.figures import drawable, style_values
from ksweep.analysis.plots.heatmaps import Kind, Pair, cells_of, heatmap_pngs, pairs_of, starred, style_scale
from ksweep.analysis.plots.importance import importance_png
from ksweep.analysis.plots.metrics import direction, shown_metrics
from ksweep.analysis.plots.parallel_coordinates import line_of
from ksweep.analysis.plots.pareto import trade_of
from ksweep.analysis.plots.ranking import named_settings
from ksweep.analysis.plots.rungs import rung_counts, rungs_png
from ksweep.analysis.plots.scores_by_value import columns_of, scores_by_value_png
from ksweep.analysis.plots.slices import slices_png
from ksweep.analysis.plots.spans import spans
from ksweep.analysis.plots.swept import DrawnAxis, Scale, drawn_axes
from ksweep.analysis.plots.timeline import pauses_of, timeline_png
from ksweep.analysis.ranking import rank
from ksweep.contract.outcome import Status
from ksweep.space.objective import parse_objectives
from tests.simulated import CREATED_AT, simulate

GRID = {"ACT_THRESHOLD": ["0.5", "0.8", "0.9", "0.95", "0.99"], "ACT_LAMBDA": ["0.001", "0.005", "0.01", "0.05", "0.1"]}
SCORE = {"objective": "val_ppl + 10*layers_mean", "direction": "minimize"}


def findings_of(sweep):
    """Without effects, which take longer than most pictures: axes then stand in file order."""
    state = load_sweep(sweep if not hasattr(sweep, "save") else sweep.save())
    return with_effects(Findings(state, rank(state)))


def with_effects(findings, **effects):
    findings.__dict__["effects"] = Effects(**effects)
    return findings


def act(values, seed, epoch):
    threshold, rate = float(values["ACT_THRESHOLD"]), float(values["ACT_LAMBDA"])
    layers = 1 + 3 * threshold**2 - 8 * rate
    return {"val_ppl": 40 + 60 / epoch + 12 * (4 - layers) ** 2 + seed / 10, "layers_mean": layers}


def grid_of_25(path, **settings):
    return simulate(path, GRID, act, epochs=3, **SCORE | settings)


def pair_of(findings):
    return pairs_of(findings)[0][0]


def is_png(content):
    return content is not None and content.startswith(b"\x89PNG") and len(content) > 5000


# -- heatmaps ------------------------------------------------------------------------------------------------------


def test_the_grid_of_thresholds_and_lambdas_is_three_panels_of_25_cells_with_a_star_on_the_best(tmp_path):
    findings = findings_of(grid_of_25(tmp_path / "s", seeds=3))
    goals = shown_metrics(findings.state.objectives, most=4)
    pair = Pair(*sorted(drawn_axes(findings), key=lambda axis: axis.name, reverse=True))
    cells = [cells_of(pair, findings.ranking, goal) for goal in goals]

    assert [goal.text for goal in goals] == ["val_ppl", "layers_mean", "val_ppl + 10*layers_mean"]
    assert [goal.is_maximized for goal in goals] == [False, False, False]
    assert [len(panel) for panel in cells] == [25, 25, 25]
    assert {(cell.kind, cell.num_settings, cell.num_runs) for panel in cells for cell in panel.values()} == {(Kind.VALUE, 1, 3)}
    expected = act({"ACT_THRESHOLD": "0.8", "ACT_LAMBDA": "0.01"}, 2, 3)
    assert cells[0]["0.8", "0.01"].value == pytest.approx(expected["val_ppl"])
    assert cells[1]["0.8", "0.01"].value == pytest.approx(expected["layers_mean"])
    assert starred(pair, findings.ranking) == [min(cells[2], key=lambda place: cells[2][place].value)]
    assert [is_png(image) for image in heatmap_pngs(findings).values()] == [True]
    assert pair.file_name == "heatmap_ACT_THRESHOLD_ACT_LAMBDA.png"


def test_cells_without_a_number_say_why(tmp_path):
    ends = {("0", "a"): Status.FAILED, ("0", "b"): Status.PRUNED, ("1", "a"): Status.PLANNED}
    findings = findings_of(
        simulate(
            tmp_path / "s",
            {"X": ["0", "1", "2"], "Y": ["a", "b"]},
            lambda values, seed, epoch: {"val_acc": 0.9 if values["X"] == "1" else 0.5, "size": float(values["X"])},
            status=lambda values, seed: ends.get((values["X"], values["Y"]), Status.PASSED),
            constraints="size <= 1",
        )
    )
    goal = findings.state.objectives.goals[0]

    cells = cells_of(Pair(DrawnAxis(("X",), ("0", "1", "2")), DrawnAxis(("Y",), ("a", "b"))), findings.ranking, goal)

    assert {"".join(place): cell.kind for place, cell in cells.items()} == {
        "0a": Kind.FAILED, "0b": Kind.STOPPED, "1a": Kind.MISSING, "1b": Kind.VALUE, "2a": Kind.BROKEN, "2b": Kind.BROKEN,
    }  # fmt: skip
    assert [cells[place].value for place in [("0", "a"), ("0", "b"), ("1", "a")]] == [None, None, None]
    assert list(map(is_png, heatmap_pngs(findings).values())) == [True]


def test_a_cell_is_the_mean_over_the_settings_there(tmp_path):
    findings = findings_of(
        simulate(
            tmp_path / "s",
            {"X": ["1", "2"], "Y": ["1", "2"], "Z": ["1", "2", "6"]},
            lambda values, seed, epoch: {"val_acc": float(values["X"]) * float(values["Z"]) / 100},
        )
    )
    goal = findings.state.objectives.goals[0]

    cells = cells_of(Pair(DrawnAxis(("X",), ("1", "2")), DrawnAxis(("Y",), ("1", "2"))), findings.ranking, goal)

    assert cells["2", "1"].value == pytest.approx(0.06)
    assert cells["2", "1"].num_settings == 3
    assert len(heatmap_pngs(findings)) == 3


def test_the_most_important_pairs_come_first_and_at_most_six_are_drawn(tmp_path):
    axes = {name: ["1", "2"] for name in "ABCDE"}
    findings = findings_of(simulate(tmp_path / "s", axes, lambda values, seed, epoch: {"val_acc": 0.5}, epochs=1))
    with_effects(findings, importance=Importance(method="m", shares={"D": 0.6, "B": 0.3, "A": 0.1}, num_settings=32))

    pairs, num_pairs = pairs_of(findings)

    assert [pair.down.name + pair.across.name for pair in pairs] == ["DB", "DA", "DC", "DE", "BA", "BC"]
    assert num_pairs == 10


def test_paired_symbols_are_one_axis(make_sweep):
    entries = [
        {"symbols": ["O", "R"], "values": [["sgd", "0.1"], ["adam", "0.01"]]},
        {"symbols": ["W"], "values": [["1"], ["2"]]},
    ]
    maker = make_sweep(axes=entries)
    for row in (("sgd", "0.1"), ("adam", "0.01")):
        for weight in ("1", "2"):
            maker.add({"O": row[0], "R": row[1], "W": weight}, val_acc=0.5)

    findings = findings_of(maker)

    assert [axis.levels for axis in drawn_axes(findings)] == [("sgd, 0.1", "adam, 0.01"), ("1", "2")]
    assert list(heatmap_pngs(findings)) == ["heatmap_O-R_W.png"]


@pytest.mark.parametrize(
    ("levels", "sampled", "scale"),
    [
        (("0.5", "0.8", "0.9", "0.95", "0.99"), "", Scale.LINEAR),
        (("0.001", "0.005", "0.01", "0.05", "0.1"), "", Scale.LOG),
        (("16", "32", "64", "128"), "", Scale.LOG),
        (("0", "0.0001", "0.01", "1"), "", Scale.LEVELS),
        (("sgd", "adam"), "", Scale.LEVELS),
        (("1", "1.0"), "", Scale.LEVELS),
        (("0.1", "0.2", "0.7"), "loguniform(0.1, 1)", Scale.LOG),
        (("0.1", "0.2", "0.7"), "uniform(0, 1)", Scale.LINEAR),
    ],
    ids=lambda value: str(value)[:20],
)
def test_scale_of_an_axis(levels, sampled, scale):
    assert DrawnAxis(("A",), levels, sampled).scale is scale


# -- directions, fronts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "known"),
    [
        ("a + 10*b:min", {"a": False, "b": False}),
        ("a - b/2:max", {"a": True, "b": False}),
        ("-a + log(b):min", {"a": True, "b": False}),
        ("a*b", {"a": None, "b": None}),
        ("1/a", {"a": None}),
        ("a - abs(b)", {"a": True, "b": None}),
        ("a - a + b", {"a": None, "b": True}),
        ("a:max, a + b:min", {"a": True, "b": False}),
        ("max(a, 2*b):min", {"a": False, "b": False}),
        ("c:max, c - a:max, a:min", {"a": False, "c": True}),
    ],
)
def test_direction_of_a_metric_by_the_sign_with_which_it_stands(objective, known):
    objectives = parse_objectives(objective, "maximize")

    assert {name: direction(name, objectives) for name in known} == known


def test_goals_are_shown_before_parts_and_parts_before_constraints():
    objectives = parse_objectives("a + b + c:min, d:max", "maximize", "e <= 1")

    assert [goal.text for goal in shown_metrics(objectives, most=4)] == ["a", "b", "a + b + c", "d"]
    assert [goal.text for goal in shown_metrics(objectives, most=6)] == ["a", "b", "c", "a + b + c", "d", "e"]


def test_the_front_of_an_expression_is_that_of_its_metrics(make_sweep):
    maker = make_sweep(**SCORE)
    for name, ppl, layers in (("fine", 20.0, 4.0), ("beaten", 31.0, 4.0), ("small", 30.0, 1.0), ("both", 24.0, 2.0)):
        maker.add({"X": name}, val_ppl=ppl, layers_mean=layers)

    trade = trade_of(findings_of(maker).ranking)

    assert {group.values["X"] for group in trade.front} == {"fine", "small", "both"}
    assert [group.values["X"] for group in trade.beaten] == ["beaten"]
    assert sorted(trade.points.values())[0] == (20.0, 4.0)


def test_no_trade_where_there_is_one_metric_or_its_direction_is_not_known(make_sweep):
    for number, objective in enumerate(("a", "a*b", "2*a")):
        maker = make_sweep(f"sweep_{number}", objective=objective)
        maker.add({"X": "1"}, a=1.0, b=2.0)

        assert trade_of(findings_of(maker).ranking) is None


# -- axes and settings ---------------------------------------------------------------------------------------------


def test_scores_by_value_hold_each_setting_once_and_the_mean_of_those_that_keep_to_the_constraints(make_sweep):
    maker = make_sweep(constraints="size <= 1")
    for name, score, size in (("a", 0.5, 1.0), ("a", 0.7, 1.0), ("a", 0.9, 2.0), ("b", 0.6, 1.0)):
        maker.add({"O": name, "N": str(len(maker.points))}, val_acc=score, size=size)
    maker.add({"N": "9"}, val_acc=0.1, size=1.0)
    maker.add({"O": "c"}, status=Status.FAILED)
    findings = findings_of(maker)

    columns = columns_of(DrawnAxis(("O",), ("a", "b", "c")), findings.ranking)

    assert [(column.level, len(column.groups)) for column in columns] == [("a", 3), ("b", 1), ("(not active)", 1)]
    assert columns[0].mean.center == pytest.approx(0.6)
    assert is_png(scores_by_value_png(findings))


def test_a_line_passes_below_an_axis_that_its_setting_does_not_have(make_sweep):
    maker = make_sweep()
    maker.add({"OPT": "sgd", "MOMENTUM": "0.9"}, val_acc=0.9)
    maker.add({"OPT": "adam"}, val_acc=0.8)
    axes = [DrawnAxis(("OPT",), ("sgd", "adam")), DrawnAxis(("MOMENTUM",), ("0.5", "0.9"))]

    first, second = findings_of(maker).ranking.ranked

    assert line_of(axes, first) == [(0.0, 0.0), (1.0, 1.0)]
    assert line_of(axes, second)[0] == (0.0, 1.0)
    assert line_of(axes, second)[1][1] < 0


def test_of_forty_symbols_as_many_are_named_as_fit(make_sweep):
    maker = make_sweep()
    for value in ("1", "2"):
        maker.add({f"SYMBOL_{number:02d}": value for number in range(40)}, val_acc=0.5)
    findings = findings_of(maker)

    names, rows = named_settings(findings, findings.ranking.ranked, 62)

    assert 1 < len(names) < 10
    assert {len(row) for row in rows} == {len(names) + 1}


def test_importance_is_drawn_where_it_is_known(tmp_path):
    findings = findings_of(grid_of_25(tmp_path / "s"))
    shares = {f"A_{number}": 1 / (number + 2) for number in range(30)}

    assert importance_png(findings) is None
    known = Importance(method="a method", shares=shares, num_settings=25, partial={"A_1": 3}, fit=0.5)
    assert is_png(importance_png(with_effects(findings, importance=known, warnings=("$ of a search",))))


# -- rungs, slots, devices -----------------------------------------------------------------------------------------


def halving_sweep(make_sweep, strategy="halving", notes=None):
    maker = make_sweep(strategy=strategy, axes=[{"symbols": ["LR"], "values": [], "sampled": "loguniform(0.001, 1)"}])
    for number in range(9):
        end = 9 if number == 0 else 3 if number < 3 else 1
        history = [{"step": 10 * e, "epoch": e, "val_acc": (10 - number) * e / 100} for e in range(1, end + 1)]
        maker.add(
            {"LR": str((number + 1) / 100)},
            status=Status.PASSED if end == 9 else Status.PRUNED,
            until=None if end == 9 else end,
            history=history,
            search={"number": number, "repeat": 0, "notes": notes or {}},
            val_acc=history[-1]["val_acc"],
        )
    return maker


def test_rungs_count_who_got_there_and_who_stopped(make_sweep):
    findings = findings_of(halving_sweep(make_sweep))
    _, curves = curves_of(findings.histories, findings.state.objectives.goals[0])

    counts = [(count.resource, count.reached, count.stopped) for count in rung_counts(findings.state.runs, curves)]

    assert counts == [(1, 9, 6), (3, 3, 2)]
    assert is_png(rungs_png(findings))
    assert is_png(slices_png(findings))


def test_rungs_are_drawn_for_strategies_that_have_some(make_sweep):
    assert rungs_png(findings_of(halving_sweep(make_sweep, strategy="tpe"))) is None


@pytest.mark.parametrize("notes", [{"bracket": 1}, {"bracket": "x"}, {"other": 3}], ids=str)
def test_brackets_of_any_notes_are_drawn(make_sweep, notes):
    assert is_png(rungs_png(findings_of(halving_sweep(make_sweep, strategy="hyperband", notes=notes))))


def test_spans_come_from_the_journal_with_all_attempts_and_else_from_the_results(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5, wall_s=7.0, ended_at=CREATED_AT + 500, slot=0)
    maker.add({"X": "2"}, val_acc=0.5, wall_s=5.0, ended_at=CREATED_AT + 20, slot=1)
    events = [
        {"time": CREATED_AT, "event": "run_started", "config": "config_001", "slot": 0, "attempt": 1},
        {"time": CREATED_AT + 3, "event": "run_retried", "config": "config_001", "attempt": 1},
        {"time": CREATED_AT + 4, "event": "run_started", "config": "config_001", "slot": 1, "attempt": 2},
        {"time": CREATED_AT + 6, "event": "other"},
        {"time": CREATED_AT + 90, "event": "sweep_started"},
        {"time": CREATED_AT + 91, "event": "run_started", "config": "config_001", "slot": 0, "attempt": 2},
        {"time": CREATED_AT + 99, "event": "run_ended", "config": "config_001", "attempt": 2, "status": "passed"},
    ]
    maker.dir.journal.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"torn')

    found = spans(findings_of(maker).state)

    assert [(s.config[-1], s.slot, s.start - CREATED_AT, s.end - CREATED_AT, s.status, s.attempt) for s in found] == [
        ("1", 0, 0.0, 3.0, Status.FAILED, 1),
        ("1", 1, 4.0, 6.0, Status.RUNNING, 2),  # killed: seen until the last event before the sweep was started anew
        ("2", 1, 15.0, 20.0, Status.PASSED, 1),
        ("1", 0, 91.0, 99.0, Status.PASSED, 2),
    ]
    assert [(pause.start - CREATED_AT, pause.length_s) for pause in pauses_of(found)] == [(6.0, 9.0), (20.0, 71.0)]
    assert is_png(timeline_png(findings_of(maker)))


def test_samples_of_a_device_are_joined_over_runs_and_damaged_files_left_out(make_sweep):
    maker = make_sweep()
    texts = (
        '{"name": "GPU", "device": "0", "memory_total_mib": 100, "samples": [{"time": 5, "memory_used_mib": 50}]}',
        '{"name": "GPU", "device": "0", "samples": [{"time": 2, "utilization_percent": 9}, {"time": null}, 3]}',
        '{"samples": 3}', "[]", '{"to',
    )  # fmt: skip
    for number, text in enumerate(texts):
        maker.add({"X": str(number)}, val_acc=0.5).gpu_stats.write_text(text)
    findings = findings_of(maker)

    (trace,) = traces_of(findings.state.runs)

    assert trace.device == "GPU 0"
    assert trace.samples == [(2.0, None, 9.0), (5.0, 50.0, None)]
    assert is_png(devices_png(findings))


def test_without_samples_the_memory_that_runs_report_is_drawn(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5, peak_memory_mib=300.0)
    maker.add({"X": "2"}, status=Status.OOM)

    assert is_png(devices_png(findings_of(maker)))


# -- all of them ---------------------------------------------------------------------------------------------------


def drawn(findings):
    return {name for name, image in draw_plots(findings).items() if image is not None}


def test_before_anything_has_finished_there_is_no_picture(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1", "Y": "2"}, status=Status.PLANNED)

    assert drawn(findings_of(maker)) == set()


def test_when_all_runs_failed_only_the_pictures_that_need_no_score_are_there(make_sweep):
    maker = make_sweep()
    for value in ("1", "2"):
        maker.add({"X": value, "Y": value}, status=Status.FAILED, reason="it broke")

    assert drawn(findings_of(maker)) == {"timeline.png"}


@pytest.mark.slow
def test_names_and_values_in_any_script_and_with_dollars_are_drawn(tmp_path):
    axes = {"A$x_{1}" + "LONG" * 30: ["$x^{", "漢字" * 20, "tab\there", "x" * 300], "B": ["<b>", "\u202e", "nan", "1e999"]}
    findings = findings_of(
        simulate(
            tmp_path / "s",
            axes,
            lambda values, seed, epoch: {"val $m^2$": 0.5 + len(values["B"]) / 9, "b": 1.0},
            epochs=2,
            objective='"val $m^2$" - b',
        )
    )

    assert {"ranking.png", "pareto.png", "scores_by_value.png", "parallel_coordinates.png"} < drawn(findings)


@pytest.mark.parametrize("value", [float("nan"), pytest.param(1e308, marks=pytest.mark.slow)], ids=str)
def test_numbers_that_cannot_be_drawn_draw_nothing_wrong(tmp_path, value):
    findings = findings_of(
        simulate(
            tmp_path / "s",
            {"A": ["1", "2", "4"], "B": ["x", "y"]},
            lambda values, seed, epoch: {"val_loss": value if values["A"] == "1" else 3.0 if values["A"] == "2" else -1e308},
            epochs=2,
            objective="val_loss",
            direction="minimize",
        )
    )

    assert {"ranking.png", "history.png", "heatmap_A_B.png", "parallel_coordinates.png"} < drawn(findings)


@pytest.mark.slow
def test_sampled_axes_with_conditions_are_drawn(make_sweep):
    draw = random.Random(1)
    entries = [
        {"symbols": ["OPT"], "values": [["sgd"], ["adam"]]},
        {"symbols": ["LR"], "values": [], "sampled": "loguniform(0.0001, 1)"},
        {"symbols": ["MOMENTUM"], "values": [], "sampled": "uniform(0, 1)"},
    ]
    maker = make_sweep(strategy="tpe", axes=entries)
    for number in range(12):
        values = {"OPT": draw.choice(["sgd", "adam"]), "LR": f"{10 ** draw.uniform(-4, 0):.6g}"}
        if values["OPT"] == "sgd":
            values["MOMENTUM"] = f"{draw.random():.6g}"
        status = Status.FAILED if number == 3 else Status.PASSED
        maker.add(values, status=status, search={"number": number}, **({"val_acc": draw.random()} if number != 3 else {}))

    names = drawn(findings_of(maker))

    assert {"slices.png", "parallel_coordinates.png", "scores_by_value.png"} < names
    assert sum(name.startswith("heatmap_") for name in names) == 3


def test_ticks_of_a_list_of_numbers_stand_at_its_values():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()

    style_scale(axes, DrawnAxis(("HEADS",), ("1", "2", "4", "8")), "x")

    assert [axes.xaxis.get_major_formatter()(place) for place in axes.get_xticks()] == ["1", "2", "4", "8"]


@pytest.mark.parametrize(("low", "high"), [(1e308, 1.2e308), (-1e308, 1e308), (-1.7e308, -1e308), (0.5, 0.5), (0.0, 5e-324)])
def test_limits_can_be_computed_with(low, high):
    low, high = drawable(low, high)

    assert low < high
    assert 100 * (abs(low) + abs(high)) < float("inf")


def test_an_accuracy_that_is_none_has_ticks_that_leave_room_for_the_picture():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_ylim(0, 1e300)

    style_values(axes, "val_acc", "y")

    assert all(len(text) < 10 for text in axes.yaxis.get_major_formatter().format_ticks([0.0, 1e299, 1e300]))
