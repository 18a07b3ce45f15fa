import io
import os

import pytest

from ksweep.analysis.findings import Findings
from ksweep.analysis.load import load_sweep
from ksweep.analysis.plots.learning_curves import learning_curves_png
from ksweep.analysis.plots.ranking import ranking_png, score_limits
from ksweep.analysis.ranking import rank
from ksweep.analysis.write import analyze
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status


def drawn(maker):
    state = load_sweep(maker.save())
    findings = Findings(state, rank(state))
    return [draw(findings) for draw in (ranking_png, learning_curves_png)]


def size_of(png):
    from PIL import Image

    return Image.open(io.BytesIO(png)).size


def curve(*values):
    return tuple({"step": n, "epoch": n, "val_acc": value} for n, value in enumerate(values, 1))


def test_both_plots_are_drawn_at_print_size(two_settings):
    ranking, curves = drawn(two_settings)

    assert size_of(ranking)[0] == size_of(curves)[0] == 1500
    assert len(set(ranking)) > 50
    assert ranking != curves


def test_the_ranking_grows_with_its_rows_up_to_twenty(make_sweep):
    heights = []
    for count in (2, 20, 40):
        maker = make_sweep(f"sweep_{count}")
        for n in range(count):
            maker.add({"X": str(n)}, val_acc=0.9 + n / 1000)
        heights.append(size_of(drawn(maker)[0])[1])

    assert heights[0] < heights[1]
    assert heights[1] == heights[2]


def test_a_failed_run_leaves_the_axis_alone(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.97)
    maker.add({"X": "2"}, val_acc=0.98)
    maker.add({"X": "3"}, status=Status.FAILED)
    ranking = rank(load_sweep(maker.save()))

    low, high = score_limits(ranking.ranked)

    assert 0.96 < low < 0.97
    assert 0.98 < high < 0.99


def test_one_hopeless_setting_does_not_squeeze_the_others(make_sweep):
    maker = make_sweep()
    for n, score in enumerate((0.97, 0.98, 0.975, 0.972, 0.1)):
        maker.add({"X": str(n)}, val_acc=score)
    ranking = rank(load_sweep(maker.save()))

    low, _ = score_limits(ranking.ranked)

    assert low > 0.9


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("scores", [(0.5,), (0.0, 0.0), (-3.0, 1e6, 0.2), (1e300, 2.0)], ids=str)
def test_any_finite_scores_can_be_drawn(make_sweep, direction, scores):
    maker = make_sweep(objective="val_loss", direction=direction)
    for n, score in enumerate(scores):
        maker.add({"X": str(n), "SEED": "1"}, val_loss=score, history=({"step": 1, "epoch": 1, "val_loss": score},))

    ranking, curves = drawn(maker)

    assert size_of(ranking)[0] == size_of(curves)[0] == 1500


def test_curves_are_drawn_while_the_first_runs_train(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.RUNNING, history=curve(0.1, 0.5))
    maker.add({"X": "2"}, status=Status.PLANNED)

    ranking, curves = drawn(maker)

    assert ranking is None
    assert size_of(curves)[0] == 1500


def test_seeds_of_unequal_length_and_torn_lines_are_drawn(make_sweep):
    maker = make_sweep()
    maker.add({"SEED": "1"}, val_acc=0.9, history=curve(0.5, 0.8, 0.9))
    run = maker.add({"SEED": "2"}, status=Status.CRASHED, history=curve(0.5))
    with open(run.metrics, "a") as file:
        file.write('{"step": 2, "val_acc": 0.')

    assert size_of(drawn(maker)[1])[0] == 1500


def test_values_in_any_script_can_be_drawn(make_sweep):
    maker = make_sweep()
    for value in ("$x_{1}", "_hidden", "漢字", "a\\frac$", "tab\there"):
        maker.add({"X": value, "A_VERY_LONG_SYMBOL_NAME": "y"}, val_acc=0.9, history=curve(0.5, 0.9))

    assert [size_of(png)[0] for png in drawn(maker)] == [1500, 1500]


def test_analyze_names_the_files_that_it_wrote(two_settings):
    dir = two_settings.save()

    analysis = analyze(dir)

    assert analysis.files[:5] == [dir.analysis, dir.summary, dir.summary_csv, dir.summary_parquet, dir.report]
    assert {path.name for path in analysis.files[5:]} == {path.name for path in dir.plots.iterdir()}
    assert all(path.stat().st_size for path in analysis.files)
    assert dir.analysis.read_text() == analysis.text
    assert not [path for path in os.listdir(dir.path) if path.endswith(".tmp")]


def test_analyze_twice_gives_the_same_bytes(two_settings):
    dir = two_settings.save()

    first = [path.read_bytes() for path in analyze(dir).files]

    assert [path.read_bytes() for path in analyze(dir).files] == first


def test_analyze_before_anything_finished_leaves_no_stale_plot(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.PLANNED)
    maker.dir.plots.mkdir()
    (maker.dir.plots / "ranking.png").write_bytes(b"of an earlier state")

    analysis = analyze(maker.save())

    assert [path.name for path in analysis.files] == [
        "sweep_analysis.txt", "sweep_summary.json", "sweep_summary.csv", "sweep_summary.parquet", "report.html",
    ]  # fmt: skip
    assert not (maker.dir.plots / "ranking.png").exists()


@pytest.mark.slow
def test_analyze_of_a_thousand_points(make_sweep):
    maker = make_sweep()
    for n in range(1000):
        maker.add({"X": str(n)}, val_acc=0.9 + n / 20000, history=curve(0.5, 0.7, 0.9 + n / 20000))

    analysis = analyze(maker.save())

    assert analysis.findings.ranking.best.values == {"X": "999"}


def test_a_place_that_cannot_be_written_is_one_message(two_settings):
    dir = two_settings.save()
    dir.summary.mkdir()

    with pytest.raises(RequestError, match="cannot be written"):
        analyze(dir)
