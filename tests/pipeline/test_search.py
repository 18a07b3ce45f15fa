"""Sweeps whose points are chosen while they run, through the command line, with the fake trainer."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.pipeline.conftest import Place

SPACE = "CONFIG_X=int(1, 1000)\nCONFIG_NUM_EPOCHS=1\n"
NINE = "CONFIG_X=1:1:9\nCONFIG_NUM_EPOCHS=9\nCONFIG_SWEEP_PARALLEL_JOBS=2\n"


def epochs_of(place: Place) -> dict[int, list[int]]:
    """X -> the epochs in the order in which they were trained."""
    (sweep,) = place.sweeps
    found = {}
    for path in sweep.glob("config_*"):
        text = (path / "config.txt").read_text()
        x = int(next(line for line in text.splitlines() if line.startswith("CONFIG_X=")).split("=")[1])
        found[x] = [json.loads(line)["epoch"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    return found


def results_of(place: Place) -> list[dict[str, Any]]:
    (sweep,) = place.sweeps
    return [json.loads(path.read_text()) for path in sorted(sweep.glob("config_*/result.json"))]


def study_of(place: Place) -> list[optuna.trial.FrozenTrial]:
    """The trials that Optuna finds in the sweep's study."""
    (sweep,) = place.sweeps
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(sweep / "study.log")))
    (name,) = optuna.study.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def statuses(place: Place) -> Counter[str]:
    return Counter(result["status"] for result in results_of(place))


@pytest.mark.slow  # the short form is the killed search below
@pytest.mark.parametrize("strategy", ["tpe", "random", "cmaes"])
def test_strategy_runs_exactly_as_many_distinct_points_as_asked(place: Place, strategy: str) -> None:
    code, out = place.sweep(SPACE, "--strategy", strategy, "--trials", 8)
    again = place.sweep(None, "--strategy", strategy, "--trials", 8)

    assert code == 0, out
    assert len(epochs_of(place)) == 8
    assert statuses(place) == {"passed": 8}
    assert again[0] == 0
    assert len(place.events("run_started")) == 8


@pytest.mark.slow
def test_more_trials_continue_the_sweep(place: Place) -> None:
    place.sweep(SPACE, "--strategy", "random", "--trials", 3)
    code, out = place.sweep(None, "--strategy", "random", "--trials", 5)

    assert code == 0, out
    assert len(results_of(place)) == 5
    assert [path.name for path in sorted((place.sweeps[0] / "configs").iterdir())] == [f"config_{i:03d}" for i in range(1, 6)]


def test_space_smaller_than_asked_is_run_whole_and_said_to_be(place: Place) -> None:
    code, out = place.sweep(
        "CONFIG_X=1|2\nCONFIG_EPOCH_MS=0|1\nrequire X < 2 or EPOCH_MS < 1\n", "--strategy", "tpe", "--trials", 9
    )

    assert code == 0, out
    assert "cartesian 4 -> legal 3 -> distinct 3" in out
    assert "whole space: all 3 points" in out
    assert len(results_of(place)) == 3


def test_halving_promotes_nine_to_three_to_one_and_trains_each_epoch_once(place: Place) -> None:
    code, out = place.sweep(NINE, "--strategy", "halving")

    epochs = epochs_of(place)
    assert code == 0, out
    assert [len(epochs[x]) for x in range(1, 10)] == [1, 1, 1, 1, 1, 1, 3, 3, 9]
    assert all(trained == list(range(1, len(trained) + 1)) for trained in epochs.values())
    assert statuses(place) == {"pruned": 8, "passed": 1}
    reasons = sorted(result["reason"] for result in results_of(place) if result["status"] == "pruned")
    assert "rung 1 of 3 (1 epoch)" in reasons[0]
    assert "go on" in reasons[0]


def test_asha_spends_a_part_of_the_epochs_and_finds_the_best(place: Place) -> None:
    code, out = place.sweep("CONFIG_X=1:1:27\nCONFIG_NUM_EPOCHS=9\nCONFIG_SWEEP_PARALLEL_JOBS=2\n", "--strategy", "asha")

    epochs = epochs_of(place)
    assert code == 0, out
    assert sum(map(len, epochs.values())) <= 0.4 * 27 * 9
    assert len(epochs[27]) == 9
    assert "rung 1 of 3" in out


def test_promoted_runs_of_a_killed_sweep_go_on_from_where_they_stand(place: Place) -> None:
    place.write_range(NINE + "CONFIG_EPOCH_MS=40\n")
    arguments = [*place.sweep_arguments(), "--strategy", "halving"]
    with place.start(*arguments) as process:
        wait_until(lambda: place.sweeps and len(list(place.sweeps[0].glob("*/result.json"))) >= 7)
        process.kill()
    code, out = place.run(*arguments)

    epochs = epochs_of(place)
    assert code == 0, out
    assert [max(epochs[x]) for x in range(1, 10)] == [1, 1, 1, 1, 1, 1, 3, 3, 9]


@pytest.mark.slow
def test_killed_search_tells_every_value_once_and_repeats_no_suggestion(place: Place) -> None:
    place.write_range(SPACE + "CONFIG_EPOCH_MS=60\nCONFIG_SWEEP_PARALLEL_JOBS=2\n")
    arguments = [*place.sweep_arguments(), "--strategy", "tpe", "--trials", 16]
    with place.start(*arguments) as process:
        wait_until(lambda: place.sweeps and len(list(place.sweeps[0].glob("*/result.json"))) >= 12)
        process.send_signal(signal.SIGKILL)
    code, out = place.run(*arguments)

    results, trials = results_of(place), study_of(place)
    assert code == 0, out
    assert len(results) == len({result["id"] for result in results}) == 16
    assert sorted(trial.params["X"] for trial in trials) == sorted(epochs_of(place))
    assert sorted(trial.value for trial in trials) == sorted(result["metrics"]["val_acc"] for result in results)

    (place.sweeps[0] / "study.log").unlink()
    place.run(*arguments)
    rebuilt = study_of(place)

    assert [(trial.params, trial.value) for trial in rebuilt] == [(trial.params, trial.value) for trial in trials]


@pytest.mark.slow
def test_runs_that_go_wrong_do_not_stop_a_search_and_are_never_best(place: Place) -> None:
    text = "CONFIG_X=1:1:8\nCONFIG_NUM_EPOCHS=1\nCONFIG_SWEEP_RETRIES=0\nCONFIG_BEHAVIOUR=pass|fail|oom|nan\n"
    code, out = place.sweep(text, "--strategy", "tpe", "--trials", 20)

    found = statuses(place)
    assert code == 1, out
    assert found.total() == 20
    assert {"passed", "failed", "oom", "diverged"} <= set(found)
    best = max((r for r in results_of(place) if r["status"] == "passed"), key=lambda r: r["metrics"]["val_acc"])
    assert f"best val_acc {best['metrics']['val_acc']:.4f}" in out or best["config"] in out.split("config\n")[-1].splitlines()[0]


@pytest.mark.slow
def test_live_pruning_stops_poor_runs_and_says_what_they_lost_to(place: Place) -> None:
    text = (
        "CONFIG_X=900:-100:100\nCONFIG_NUM_EPOCHS=30\nCONFIG_EPOCH_MS=60\nCONFIG_SWEEP_PARALLEL_JOBS=2\n"
        "CONFIG_SWEEP_PRUNER=median\nCONFIG_SWEEP_PRUNER_MIN_TRIALS=2\nCONFIG_SWEEP_PRUNER_WARMUP=2\n"
    )
    code, out = place.sweep(text)

    pruned = [result for result in results_of(place) if result["status"] == "pruned"]
    epochs = epochs_of(place)
    assert code == 0, out
    assert len(pruned) >= 3
    assert all("median" in result["reason"] and "others" in result["reason"] for result in pruned)
    assert 2 <= min(map(len, epochs.values())) < 30
    assert len(epochs[900]) == 30


def test_stop_rules_start_no_more_runs(place: Place) -> None:
    code, out = place.sweep("CONFIG_X=1:1:9\nCONFIG_NUM_EPOCHS=1\nCONFIG_SWEEP_PARALLEL_JOBS=1\nCONFIG_SWEEP_TARGET=0.013\n")
    started = len(place.events("run_started"))
    again = place.sweep()

    assert code == 0, out
    assert "SWEEP_TARGET" in out
    assert started < 9
    assert max(result["metrics"]["val_acc"] for result in results_of(place)) >= 0.013
    assert again[0] == 0
    assert len(place.events("run_started")) == started


def test_epochs_of_short_runs_count_for_a_stop_rule(place: Place) -> None:
    code, out = place.sweep(NINE + "CONFIG_SWEEP_MAX_TOTAL_RESOURCE=18\n", "--strategy", "random")

    assert code == 0, out
    assert "of 18 (SWEEP_MAX_TOTAL_RESOURCE)" in out
    assert 18 <= sum(map(len, epochs_of(place).values())) <= 27, "one run may have been under way"


@pytest.mark.slow
def test_repeats_of_a_searched_point_are_one_setting(place: Place) -> None:
    code, out = place.sweep(SPACE + "CONFIG_SWEEP_REPEATS=3\n", "--strategy", "tpe", "--trials", 4)

    seeds = Counter(row["CONFIG_X"] for row in place.summary().values())
    assert code == 0, out
    assert list(seeds.values()) == [3, 3, 3, 3]
    assert {row["CONFIG_SEED"] for row in place.summary().values()} == {1, 2, 3}
    assert len(study_of(place)) == 4


@pytest.mark.slow  # tests/contracts has it of each sampler and strategy
def test_same_seed_gives_the_same_points(place: Place, tmp_path: Path) -> None:
    text = SPACE + "CONFIG_SWEEP_PARALLEL_JOBS=1\nCONFIG_SWEEP_SEED=7\n"
    place.sweep(text, "--strategy", "tpe", "--trials", 13)
    first = [row["CONFIG_X"] for row in place.summary().values()]
    other = Place(tmp_path / "other")
    other.path.mkdir()
    other.sweep(text, "--strategy", "tpe", "--trials", 13)

    assert [row["CONFIG_X"] for row in other.summary().values()] == first


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        (SPACE, ["--strategy", "simplex"], ["SWEEP_STRATEGY", "simplex", "tpe"]),
        (SPACE, ["--strategy", "tpe", "--trials", "-1"], ["SWEEP_TRIALS", "-1"]),
        (SPACE, ["--trials", "5"], ["has no list of values", "STRATEGY"]),
        ("CONFIG_X=1|2\n", ["--trials", "5"], ["SWEEP_TRIALS"]),
        ("CONFIG_X=uniform(1, 2)\n", ["--strategy", "random"], ["draws real numbers", "int("]),
        ("CONFIG_X=int(1, 9999999)\n", ["--strategy", "random"], ["9999999", "allowed"]),
        ("CONFIG_X=1:1:9\nCONFIG_NUM_EPOCHS=3|9\n", ["--strategy", "asha"], ["NUM_EPOCHS", "asha"]),
        ("CONFIG_X=1:1:9\nCONFIG_NUM_EPOCHS=1\n", ["--strategy", "asha"], ["asha", "CONFIG_SWEEP_MIN_RESOURCE"]),
        (NINE + "CONFIG_SWEEP_PRUNER=asha\nCONFIG_SWEEP_MIN_RESOURCE=9\n", [], ["SWEEP_PRUNER", "9"]),
        (NINE + 'CONFIG_SWEEP_OBJECTIVE=""\n', ["--strategy", "tpe"], ["SWEEP_OBJECTIVE"]),
        (NINE + 'CONFIG_SWEEP_OBJECTIVE="val_acc +"\n', ["--strategy", "tpe"], ["val_acc +"]),
        (NINE + 'CONFIG_SWEEP_RESOURCE="SEED"\n', ["--strategy", "asha"], ["SWEEP_RESOURCE", "EPOCHS"]),
        ("CONFIG_NUM_EPOCHS=9\n", ["--strategy", "random"], ["nothing is swept"]),
        ("CONFIG_X=int(1, 9)\nrequire X > 9\n", ["--strategy", "random"], ["none is legal", "X > 9"]),
        (NINE + 'CONFIG_SWEEP_TARGET="high"\n', [], ["SWEEP_TARGET", "high"]),
        (NINE + 'CONFIG_SWEEP_CALLBACK="no-such-program"\n', [], ["SWEEP_CALLBACK", "no-such-program"]),
        (NINE + "CONFIG_SWEEP_PRUNER=median\nCONFIG_SWEEP_PRUNER_MIN_TRIALS=9\n", ["--dry-run"], ["MIN_TRIALS", "below 9"]),
        (NINE + "CONFIG_SWEEP_PRUNER=median\nCONFIG_SWEEP_PRUNER_MIN_TRIALS=9\n", ["--strategy", "tpe"], ["below 9"]),
        ("CONFIG_X=1|2\nCONFIG_NUM_EPOCHS=3|9\nCONFIG_SWEEP_PRUNER=threshold\n", [], ["NUM_EPOCHS", "threshold"]),
        (NINE + "CONFIG_SWEEP_IMPORT=/etc/passwd\n", ["--strategy", "tpe", "--dry-run"], ["/etc/passwd", "not a sweep"]),
        (NINE + "CONFIG_SWEEP_ENQUEUE=nonsense\n", ["--strategy", "tpe", "--dry-run"], ["nonsense", "no such file"]),
    ],
    ids=lambda value: None if isinstance(value, list) else " ".join(value.split())[-40:],
)
def test_wrong_request_is_refused_before_anything_starts(place: Place, text: str, arguments: list[str], told: list[str]) -> None:
    code, out = place.sweep(text, *arguments)

    assert code == 2, out
    assert all(word in out for word in told), out
    assert "Traceback" not in out
    assert not place.sweeps
    assert not place.configs.exists()


def test_sampled_range_cannot_be_generated_ahead(place: Place) -> None:
    place.write_range(SPACE)
    code, out = place.run("generate", "--range", place.path / "ranges", "--out", place.configs, "--strategy", "tpe")

    assert code == 2
    assert "while the sweep runs" in out


@pytest.mark.slow
def test_continue_goes_on_with_a_search(place: Place) -> None:
    place.write_range(SPACE + "CONFIG_EPOCH_MS=60\nCONFIG_SWEEP_PARALLEL_JOBS=2\n")
    with place.start(*place.sweep_arguments(), "--strategy", "random", "--trials", 10) as process:
        wait_until(lambda: place.sweeps and len(list(place.sweeps[0].glob("*/result.json"))) >= 4)
        process.kill()
    code, out = place.run("continue", "--results", place.results)

    assert code == 0, out
    assert statuses(place) == {"passed": 10}


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.slow
def test_enqueued_points_are_run_first(place: Place) -> None:
    (place.path / "known").write_text("CONFIG_X=77\nCONFIG_NUM_EPOCHS=1\n")
    text = SPACE + f'CONFIG_SWEEP_PARALLEL_JOBS=1\nCONFIG_SWEEP_ENQUEUE="{place.path / "known"}"\n'
    _, dry = place.sweep(text, "--strategy", "tpe", "--trials", 3, "--dry-run")
    code, out = place.sweep(None, "--strategy", "tpe", "--trials", 3)
    place.sweep(None, "--strategy", "tpe", "--trials", 4)

    values = [row["CONFIG_X"] for row in place.summary().values()]
    assert code == 0, out
    assert values[0] == 77
    assert "first: X=77" in dry
    assert len(set(values)) == 4


def test_enqueued_point_outside_of_the_space_is_refused(place: Place) -> None:
    (place.path / "known").write_text("CONFIG_X=5000\n")
    code, out = place.sweep(SPACE + f'CONFIG_SWEEP_ENQUEUE="{place.path / "known"}"\n', "--strategy", "random", "--trials", 3)

    assert code == 2
    assert "5000" in out
    assert "int(1, 1000)" in out


@pytest.mark.slow
def test_imported_sweep_is_learned_from_and_not_run_again(place: Place, tmp_path: Path) -> None:
    grid = Place(tmp_path / "grid")
    grid.path.mkdir()
    grid.sweep("CONFIG_X=1|2|3|2000\nCONFIG_NUM_EPOCHS=1\n")
    text = f'CONFIG_X=1:1:5\nCONFIG_NUM_EPOCHS=1\nCONFIG_SWEEP_IMPORT="{grid.sweeps[0]}"\n'
    code, out = place.sweep(text, "--strategy", "tpe", "--trials", 9)

    assert code == 0, out
    assert "3 of 4 results are of this space" in out
    assert sorted(row["CONFIG_X"] for row in place.summary().values()) == [4, 5]


def test_callback_command_is_told_what_happens(place: Place) -> None:
    log = place.path / "told"
    text = f"CONFIG_X=1:1:3\nCONFIG_SWEEP_PARALLEL_JOBS=1\nCONFIG_SWEEP_CALLBACK=\"sh -c 'cat >> {log}'\"\n"
    code, out = place.sweep(text)

    events = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = Counter(event["event"] for event in events)
    assert code == 0, out
    assert events[0]["event"] == "sweep_started"
    assert events[-1]["event"] == "sweep_ended"
    assert kinds["run_started"] == kinds["run_ended"] == 3
    best = [event for event in events if event["event"] == "new_best"]
    assert best[-1]["value"] == pytest.approx(0.023)
    assert all(later["margin"] > 0 for later in best[1:])


@pytest.mark.slow
def test_copy_that_comes_first_after_a_stop_starts_from_its_parent(place: Place) -> None:
    text = "CONFIG_X=int(1, 1000)\nCONFIG_NUM_EPOCHS=2\nCONFIG_SWEEP_PARALLEL_JOBS=1\n"
    text += "CONFIG_SWEEP_PBT_INTERVAL=1\nCONFIG_SWEEP_KEEP_CHECKPOINTS=y\n"
    place.sweep(text + "CONFIG_SWEEP_MAX_TOTAL_RESOURCE=4\n", "--strategy", "pbt", "--trials", 4)
    stopped = statuses(place)
    code, out = place.sweep(text, "--strategy", "pbt", "--trials", 4)

    (copy,) = place.sweeps[0].glob("config_005_*")
    assert stopped == {"pruned": 4}
    assert code == 0, out
    assert (copy / "checkpoints" / "parent" / "name.txt").exists()
    assert [e["config"] for e in place.events("run_started")][4] == "config_005"


@pytest.mark.slow
def test_stop_rule_leaves_no_point_behind_and_lifting_it_goes_on(place: Place) -> None:
    text = "CONFIG_X=1:1:9\nCONFIG_NUM_EPOCHS=9\nCONFIG_SWEEP_PARALLEL_JOBS=1\n"
    place.sweep(text + "CONFIG_SWEEP_MAX_TOTAL_RESOURCE=3\n", "--strategy", "asha")
    place.sweep(None, "--strategy", "asha")
    stopped = len(list((place.sweeps[0] / "configs").iterdir())), len(results_of(place))
    code, out = place.sweep(text, "--strategy", "asha")

    assert stopped == (3, 3)
    assert code == 0, out
    assert statuses(place) == {"pruned": 8, "passed": 1}


def test_run_that_is_not_finite_at_its_rung_has_diverged(place: Place) -> None:
    place.sweep(NINE + "CONFIG_BEHAVIOUR=nan\n", "--strategy", "asha")

    assert statuses(place) == {"diverged": 9}


@pytest.mark.parametrize("at_rung", ["exit 143", "true"], ids=["stops", "takes no notice"])
def test_program_that_reports_rarely_is_promoted_all_the_same(place: Place, at_rung: str) -> None:
    trainer = place.path / "trainer.sh"
    trainer.write_text(
        'x=$(sed -n "s/^CONFIG_X=//p" "$KSWEEP_RUN_DIR/config.txt"); b=$(cat "$KSWEEP_RUN_DIR/at" || echo 0)\n'
        "for e in 2 4 6 9; do\n  [ $b -ge ${KSWEEP_UNTIL:-99} ] && " + at_rung + "\n  [ $e -le $b ] && continue\n"
        '  b=$e; echo $b > "$KSWEEP_RUN_DIR/at"\n'
        '  echo "{\\"step\\": $e, \\"epoch\\": $e, \\"val_acc\\": 0.$x$e}" >> "$KSWEEP_RUN_DIR/metrics.jsonl"\ndone\n'
    )
    code, out = place.sweep(NINE + f'CONFIG_MODEL_COMMAND="sh {trainer}"\n', "--strategy", "asha")

    assert code == 0, out
    assert statuses(place) == ({"pruned": 8, "passed": 1} if at_rung == "exit 143" else {"passed": 9})
    assert epochs_of(place)[9] == [2, 4, 6, 9]


@pytest.mark.slow
def test_space_that_lost_a_point_is_another_sweep_and_one_that_grew_is_not(place: Place) -> None:
    place.sweep(SPACE, "--strategy", "random", "--trials", 3)
    place.sweep(SPACE.replace("1000", "2000"), "--strategy", "random", "--trials", 4)
    grown = len(place.sweeps)
    place.sweep(SPACE.replace("1000", "5"), "--strategy", "random", "--trials", 3)

    assert grown == 1
    assert len(place.sweeps) == 2
    assert len(list(place.sweeps[1].glob("config_*/result.json"))) == 3


@pytest.mark.slow
def test_more_repeats_complete_the_points(place: Place) -> None:
    place.sweep(SPACE, "--strategy", "tpe", "--trials", 3)
    (place.sweeps[0] / "study.log").write_text("torn")
    code, out = place.sweep(SPACE + "CONFIG_SWEEP_REPEATS=2\n", "--strategy", "tpe", "--trials", 3)

    seeds = Counter((row["CONFIG_X"], row["CONFIG_SEED"]) for row in place.summary().values())
    assert code == 0, out
    assert len(seeds) == 6
    assert {seed for _, seed in seeds} == {1, 2}
    assert len(study_of(place)) == 3
