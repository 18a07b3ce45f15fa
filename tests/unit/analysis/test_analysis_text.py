import json
import time

import pytest

from ksweep.analysis.findings import Findings
from ksweep.analysis.formats import duration, mean_and_spread, number, table
from ksweep.analysis.load import load_sweep
from ksweep.analysis.ranking import rank, spread
from ksweep.analysis.text import analysis_text, ranking_text
from ksweep.contract.outcome import Status


def text_of(maker):
    state = load_sweep(maker.save())
    return analysis_text(Findings(state, rank(state)))


def test_analysis_has_the_shape_of_the_guide(make_sweep):
    maker = make_sweep()
    worse = {"ADAMWPRUNE_BETA1": "0.85", "TARGET_SPARSITY": "0.7"}
    better = {"ADAMWPRUNE_BETA1": "0.87", "TARGET_SPARSITY": "0.7"}
    maker.add(worse, val_acc=0.88, test_acc=0.8843, final_sparsity=0.7, wall_s=1838.7)
    maker.add(better, val_acc=0.89, test_acc=0.8851, final_sparsity=0.7, wall_s=1842.3)

    lines = text_of(maker).splitlines()

    assert lines[:4] == ["Hyperparameter Sweep Analysis", "=" * 60, "", "Total configurations tested: 2"]
    start = lines.index("BEST CONFIGURATION:")
    assert lines[start : start + 10] == [
        "BEST CONFIGURATION:",
        "-" * 40,
        "Config file: config_002",
        "Validation Accuracy: 89.00%",
        "Test Accuracy: 88.51%",
        "Final Sparsity: 70.0%",
        "Training Time: 1842.3s",
        "",
        "Hyperparameters:",
        "  CONFIG_ADAMWPRUNE_BETA1=0.87",
    ]
    start = lines.index("TOP 10 CONFIGURATIONS:")
    assert lines[start : start + 5] == [
        "TOP 10 CONFIGURATIONS:",
        "-" * 40,
        "",
        "1. config_002",
        "   Val Acc: 89.00% | Test Acc: 88.51% | Sparsity: 70.0% | Time: 1842.3s",
    ]
    assert "2. config_001" in lines


def test_repeats_are_shown_with_mean_spread_and_n(two_settings):
    text = text_of(two_settings)

    assert "Config files: config_004, config_005, config_006\n" in text
    assert "Validation Accuracy: 97.00% ± 2.00% (n=3, 95% interval of the mean 92.03% to 100.00%)\n" in text
    assert "Distinct settings: 2 " in text
    assert "behind the best by more than noise" in text


def test_failures_come_first_with_status_reason_and_log(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9)
    run = maker.add({"X": "2"}, status=Status.OOM, reason="CUDA out of memory")
    maker.add({"X": "3"}, status=Status.TIMEOUT, reason="silent for 1800 s")

    text, table_text = text_of(maker), ranking_text(maker.dir)

    for found in (text, table_text):
        assert found.splitlines()[0].startswith("2 OF 3 RUNS FAILED (1 oom, 1 timeout)")
        assert f"config_002: oom: CUDA out of memory\n   X=2\n   log: {run.log}\n" in found
    assert "Status: 1 passed, 1 oom, 1 timeout\n" in text


def test_when_all_failed_there_is_no_best(make_sweep):
    maker = make_sweep()
    for x in "12":
        maker.add({"X": x}, status=Status.FAILED, reason="exit code 1")

    text, table_text = text_of(maker), ranking_text(maker.dir)

    for found in (text, table_text):
        assert found.splitlines()[0].startswith("ALL 2 RUNS FAILED (2 failed)")
        assert "BEST" not in found
        assert "no best configuration" in found


def test_nothing_finished_yet(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.PLANNED)

    assert "Total configurations tested: 0 of 1; the rest is not finished" in text_of(maker)
    assert "No ranking yet" in ranking_text(maker.dir)


def test_without_an_objective_only_outcomes_are_told(make_sweep):
    maker = make_sweep(objective="")
    maker.add({"X": "1"})
    maker.add({"X": "2"}, status=Status.FAILED, reason="exit code 3")

    text = text_of(maker)

    assert "No ranking: the sweep has no objective" in text
    assert "Status: 1 passed, 1 failed" in text


def test_a_missing_number_is_shown_as_missing(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9)

    assert "Val Acc: 90.00% | Test Acc: - | Sparsity: - | Time: 10.0s" in text_of(maker)


def test_seeds_that_did_not_pass_are_told(make_sweep):
    maker = make_sweep()
    maker.add({"SEED": "1"}, val_acc=0.9)
    maker.add({"SEED": "2"}, status=Status.DIVERGED)
    maker.add({"SEED": "3"}, status=Status.PLANNED)

    assert "1 of 3 seeds count (1 planned, 1 diverged)" in text_of(maker)
    assert " 1 of 3 " in ranking_text(maker.dir)


def test_selection_on_the_test_set_is_called_optimistic(make_sweep):
    maker = make_sweep(objective="test_acc")
    maker.add({"X": "1"}, test_acc=0.9)

    assert "selected on the test set" not in text_of(maker), "one setting: nothing was selected"
    maker.add({"X": "2"}, test_acc=0.8)
    assert "selected on the test set, so the best value is optimistic" in text_of(maker)


def test_foreign_text_stays_on_its_line_and_can_be_written(make_sweep):
    maker = make_sweep()
    maker.add({"X": "ü\x1b[31m漢"}, val_acc=0.9)
    maker.add({"X": "b"}, status=Status.FAILED, reason="line one\nline two \x07\ud800 end")

    for found in (text_of(maker), ranking_text(maker.dir)):
        found.encode("utf-8")
        assert "config_002: failed: line one line two ?? end\n" in found
        assert "ü?[31m漢" in found


def test_top_limits_the_table(make_sweep):
    maker = make_sweep()
    for x in range(5):
        maker.add({"X": f"value{x}"}, val_acc=0.1 * x)

    text = ranking_text(maker.save(), top=2)

    assert "value4" in text
    assert "value2" not in text
    assert "... and 3 more" in text


def test_a_thousand_points_rank_in_a_moment(make_sweep):
    maker = make_sweep()
    for n in range(1000):
        maker.add({"X": str(n // 5), "SEED": str(n % 5)}, val_acc=0.9 + n % 7 / 100)
    dir = maker.save()
    start = time.perf_counter()

    text = ranking_text(dir)

    assert time.perf_counter() - start < 2
    assert "1000 passed" in text


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("val_acc", 0.97941, "97.94%"),
        ("final_sparsity", 0.7, "70.0%"),
        ("val_loss", 0.123456, "0.12346"),
        ("val_loss", None, "-"),
        ("val_acc", 0.0, "0.00%"),
        ("images_per_s", 123456.7, "123457"),
        ("images_per_s", 1234.56, "1234.6"),
        ("step_time_s", 0.0123456, "0.012346"),
        ("peak_memory_mib", 1484.25, "1484.2"),
    ],
)
def test_numbers_are_shown_in_their_unit(metric, value, shown):
    assert number(metric, value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (4.24, "4.2 s"),
        (42.4, "42 s"),
        (59.9, "1 min 00 s"),
        (303, "5 min 03 s"),
        (7800, "2 h 10 min"),
        (273600, "3 d 04 h"),
        (None, "-"),
    ],
)
def test_durations_read_as_people_say_them(seconds, shown):
    assert duration(seconds) == shown


def test_one_value_is_shown_without_a_spread():
    assert mean_and_spread("val_acc", spread([0.5])) == "50.00%"
    assert mean_and_spread("val_acc", spread([0.5, 0.6])) == "55.00% ± 7.07%"


def test_a_header_wider_than_its_column_is_broken():
    assert table(["#", "LEARNING_RATE"], [["1", "0.1"], ["10", "0.01"]], left=["LEARNING_RATE"]) == [
        "    LEARNING_",
        " #  RATE",
        " 1  0.1",
        "10  0.01",
    ]


@pytest.mark.parametrize("width", [80, 40, None])
def test_a_leaderboard_folds_its_values_where_the_terminal_is_narrow(make_sweep, width):
    maker = make_sweep()
    names = ["ADAMWPRUNE_WEIGHT_DECAY", "PRUNING_RAMP_END_EPOCH", "GRAD_ACCUMULATION", "LABEL_SMOOTHING", "A", "LR_WARMUP_EPOCHS"]
    for n in range(3):
        maker.add({name: f"{n}.{i}" for i, name in enumerate(names)}, val_acc=0.5 + n / 10, test_acc=0.5)
    lines = ranking_text(maker.save(), top=2, width=width).splitlines()

    first = next(i for i, line in enumerate(lines) if line.startswith("1 "))
    if width is None:
        assert lines[first].split()[4:] == ["s", *(f"2.{i}" for i in range(6)), "config_003"]
        return
    assert max(map(len, lines)) <= width
    assert lines[first].endswith("config_003")
    text = " ".join(line.strip() for line in lines[first + 1 : lines.index("... and 1 more")])
    assert text.startswith(" ".join(f"{name}=2.{i}" for i, name in enumerate(names)) + " 2 ")


def test_an_expression_is_broken_between_its_terms():
    assert table(["val_ppl + 10*layers_mean"], [["96.322"]]) == ["     val_ppl +", "10*layers_mean", "        96.322"]


def test_epochs_that_failed_runs_lack_are_not_called_saved(make_sweep):
    maker = make_sweep(strategy="asha", sampler="random")
    maker.add({"X": "a"}, val_acc=0.9, history=[{"epoch": epoch, "val_acc": 0.9} for epoch in range(1, 11)])
    maker.add({"X": "b"}, status=Status.PRUNED, history=[{"epoch": epoch, "val_acc": 0.1} for epoch in range(1, 4)])
    maker.add({"X": "c"}, status=Status.OOM, history=[])
    maker.add({"X": "d"}, status=Status.PLANNED)

    text = text_of(maker)

    assert "Epochs: 13 trained of 40, 7 saved by pruning\n" in text  # 7 of the one that was pruned
    assert "Cost: 0.00833 slot-hours (on CPU cores); pruning saved about 0.00449 of them\n" in text  # 30 s / 13 epochs * 7


def test_a_run_that_went_on_is_not_longer_from_start_to_end_than_its_sweep(make_sweep):
    maker = make_sweep()
    run = maker.add({"X": "a"}, val_acc=0.9, wall_s=20.0, ended_at=1_700_000_150.0)  # its second attempt: from 140 to 150
    events = [("run_started", 100, 1), ("run_retried", 110, 1), ("run_started", 140, 2), ("run_ended", 150, 2)]
    maker.save()
    maker.dir.journal.write_text(
        "".join(
            json.dumps({"event": event, "time": 1_700_000_000 + at, "config": "config_001", "slot": 0, "attempt": attempt}) + "\n"
            for event, at, attempt in events
        )
    )

    assert run.result.exists()
    assert "Duration: 20 s of runs, 20 s a run that passed; 50 s from the first start to the last end\n" in text_of(maker)


def test_a_damaged_result_counts_as_a_run_that_ended_badly(make_sweep):
    maker = make_sweep()
    maker.add({"X": "a"}, val_acc=0.9)
    maker.add({"X": "b"}, val_acc=0.8).result.write_text("{}")

    assert "Success rate: 1 of 2 (50.0 %)" in text_of(maker)


def test_settings_that_are_as_good_to_the_last_digit_are_told(make_sweep):
    maker = make_sweep()
    for value, score in (("a", 0.9), ("b", 0.9), ("c", 0.8)):
        maker.add({"X": value}, val_acc=score)

    assert "As good to the last digit: 1 setting (rank 1 as well); this one was planned first." in text_of(maker)


def test_medians_are_not_mistaken_for_means(make_sweep):
    maker = make_sweep(aggregate="median")
    for value, scores in (("a", (0.90, 0.92, 0.97)), ("b", (0.89, 0.90, 0.93))):
        for seed, score in enumerate(scores):
            maker.add({"X": value, "SEED": str(seed)}, val_acc=score)

    text = text_of(maker)

    assert "differs in the mean by -2.33 points" in text
    assert "Medians make the order; the test is of the mean difference" in text
    assert "(the median over their seeds)" in text


def test_a_goal_that_is_no_accuracy_is_shown_with_its_own_test_metric(make_sweep):
    maker = make_sweep(objective="val_ppl + 10*layers_mean:min")
    for value, ppl in (("a", 40.0), ("b", 50.0)):
        maker.add({"X": value}, val_ppl=ppl, layers_mean=2.0, test_ppl=ppl + 1.5)

    best = text_of(maker).split("TOP 10")[0]

    assert "\ntest_ppl: 41.5\n" in best
    assert "test numbers were not used to choose it" in best
    assert "test_ppl  time" in ranking_text(maker.dir)
    assert "51.5" in ranking_text(maker.dir)
