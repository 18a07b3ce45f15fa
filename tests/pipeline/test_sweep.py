"""A sweep from range file to ranking, through the real command line, over a trainer that does as it is told."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import Place

SLOW = "CONFIG_X=1:1:6\nCONFIG_NUM_EPOCHS=10\nCONFIG_EPOCH_MS=60\n"


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def processes_of(path: Path) -> list[str]:
    """Command lines of living processes that belong to runs below `path`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and f"KSWEEP_RUN_DIR={path}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except (OSError, UnicodeDecodeError):
            continue
    return found


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def finished(place: Place) -> int:
    return len(list(place.results.glob("sweep_*/config_*/result.json")))


@pytest.mark.parametrize(
    ("behaviour", "status", "attempt", "reason"),
    [
        ("pass", "passed", 1, ""),
        ("fail", "failed", 2, "the fake failed on purpose"),
        ("fail-once", "passed", 2, ""),
        ("silent", "failed", 2, "the objective val_acc was not reported"),
        ("nan", "diverged", 1, "not a finite number"),
        ("killed-once", "passed", 2, ""),
        ("oom", "oom", 2, "MemoryError"),
        ("refuse", "invalid", 1, "refused on purpose"),
    ],
)
def test_each_end_of_a_run_has_its_status(place: Place, behaviour: str, status: str, attempt: int, reason: str) -> None:
    code, out = place.sweep(f"CONFIG_BEHAVIOUR={behaviour}\n")

    row = place.summary()["config_001"]
    assert (row["status"], row["attempt"]) == (status, attempt), out
    assert reason in row["reason"]
    assert code == (0 if status == "passed" else 1)


def test_failing_run_does_not_end_the_sweep_and_is_said_first(place: Place) -> None:
    code, out = place.sweep("CONFIG_BEHAVIOUR=fail|pass\nCONFIG_SWEEP_RETRIES=0\n")

    assert code == 1
    report = (place.sweeps[0] / "sweep_analysis.txt").read_text()
    assert "1 OF 2 RUNS FAILED" in report.splitlines()[0]
    assert [row["status"] for row in place.summary().values()] == ["failed", "passed"], out


@pytest.mark.slow
def test_hanging_run_is_ended_with_all_its_children(place: Place) -> None:
    code, out = place.sweep("CONFIG_BEHAVIOUR=hang\nCONFIG_SWEEP_SILENCE_TIMEOUT=1\nCONFIG_SWEEP_RETRIES=0\n")

    row = place.summary()["config_001"]
    assert code == 1, out
    assert row["status"] == "timeout"
    assert "SWEEP_SILENCE_TIMEOUT" in row["reason"]
    assert processes_of(place.results) == []


def test_time_limit_ends_a_run_that_still_reports(place: Place) -> None:
    place.sweep("CONFIG_NUM_EPOCHS=1000\nCONFIG_EPOCH_MS=50\nCONFIG_SWEEP_RUN_TIMEOUT=1\nCONFIG_SWEEP_RETRIES=0\n")

    row = place.summary()["config_001"]
    assert row["status"] == "timeout"
    assert "SWEEP_RUN_TIMEOUT" in row["reason"]


def test_children_that_leave_the_process_group_do_not_outlive_their_run(place: Place) -> None:
    code, _ = place.sweep("CONFIG_BEHAVIOUR=orphan\n")

    assert code == 0
    assert processes_of(place.results) == []


def test_second_sweep_starts_nothing_and_prints_the_ranking(place: Place) -> None:
    place.sweep("CONFIG_X=1|2|3\n")
    before = len(place.events("run_started"))

    code, out = place.sweep()

    assert code == 0
    assert len(place.events("run_started")) == before
    assert "config_003" in out
    assert len(place.sweeps) == 1


def test_fresh_starts_a_new_directory(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")

    place.sweep(None, "--fresh")

    assert len(place.sweeps) == 2
    assert [len(list(sweep.glob("config_*/result.json"))) for sweep in place.sweeps] == [2, 2]


def test_added_values_run_only_the_new_points_and_keep_all_labels(place: Place) -> None:
    place.sweep("CONFIG_X=2|4\n")

    code, out = place.sweep("CONFIG_X=1|2|3|4\n")

    assert code == 0, out
    assert len(place.events("run_ended")) == 4
    assert {name: row["CONFIG_X"] for name, row in place.summary().items()} == {
        "config_001": 2, "config_002": 4, "config_003": 1, "config_004": 3,
    }  # fmt: skip


def test_kill_9_of_the_runner_loses_nothing_and_leaves_nothing(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: finished(place) >= 2)
        runner.kill()
    wait_until(lambda: processes_of(place.results) == [], timeout_s=5)
    done_before = {path.parent.name: path.read_text() for path in place.results.glob("sweep_*/config_*/result.json")}

    code, out = place.sweep()

    assert code == 0, out
    (sweep,) = place.sweeps
    assert len(place.summary()) == 6
    for name, text in done_before.items():
        assert (sweep / name / "result.json").read_text() == text
    ended = [event["config"] for event in place.events("run_ended")]
    assert len(ended) == len(set(ended)) == 6
    for row in place.summary().values():
        assert row["val_acc"] == pytest.approx(row["CONFIG_X"] / 1000 + 0.1)


def test_kill_9_of_the_launcher_is_survived(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: finished(place) >= 1)
        (launcher,) = children_of(runner.pid)
        os.kill(launcher, signal.SIGKILL)
        out, _ = runner.communicate(timeout=60)

    assert runner.returncode == 0, out
    assert all(row["status"] == "passed" for row in place.summary().values())
    assert "its launcher ended" in out


def test_ctrl_c_drains_and_the_same_command_continues(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: finished(place) >= 1)
        runner.send_signal(signal.SIGINT)
        out, _ = runner.communicate(timeout=30)

    assert runner.returncode == 1
    assert "the same command continues" in out
    assert 1 < finished(place) < 6
    assert place.sweep()[0] == 0
    assert all(row["attempt"] == 1 for row in place.summary().values())


@pytest.mark.slow
def test_second_ctrl_c_ends_the_running_ones_and_the_same_command_continues(place: Place) -> None:
    place.write_range("CONFIG_X=1|2\nCONFIG_NUM_EPOCHS=40\nCONFIG_EPOCH_MS=50\n")
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: len(list(place.results.glob("sweep_*/config_*/checkpoint.txt"))) == 2)
        runner.send_signal(signal.SIGINT)
        time.sleep(0.5)
        runner.send_signal(signal.SIGINT)
        runner.communicate(timeout=30)

    assert {row["status"] for row in place.summary().values()} == {"cancelled"}
    assert place.sweep()[0] == 0
    rows = place.summary().values()
    assert {(row["status"], row["attempt"]) for row in rows} == {("passed", 2)}
    log = next(place.results.glob("sweep_*/config_001*/output.log")).read_text()
    assert "from epoch 1\n" in log
    assert "=== attempt 2 ===" in log
    assert log.count("from epoch 1\n") == 1  # it went on from its checkpoint


def test_second_runner_on_one_sweep_is_refused_with_the_owner(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: finished(place) >= 1)
        code, out = place.sweep()
        runner.communicate(timeout=60)

    assert code == 2
    assert f"pid {runner.pid}" in out
    assert runner.returncode == 0


def test_two_that_start_at_once_do_not_run_anything_twice(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as one, place.start(*place.sweep_arguments()) as two:
        outs = [process.communicate(timeout=60)[0] for process in (one, two)]

    assert sorted(process.returncode for process in (one, two)) == [0, 2], outs
    assert len(place.events("run_ended")) == 6


def test_each_run_gets_the_device_of_its_slot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    place.sweep("CONFIG_X=1:1:4\nCONFIG_EPOCH_MS=100\n")

    seen = [json.loads(path.read_text())["effective"]["devices"] for path in place.results.glob("sweep_*/*/result.json")]
    assert sorted(seen) == ["5", "5", "7", "7"]


def test_sweep_goes_on_when_nobody_reads_its_output_any_more(place: Place) -> None:
    place.write_range(SLOW)
    with place.start(*place.sweep_arguments()) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        runner.stdout.close()
        runner.wait(timeout=60)

    assert runner.returncode == 0
    assert {row["status"] for row in place.summary().values()} == {"passed"}


def test_dead_axis_stops_the_sweep(place: Place) -> None:
    code, out = place.sweep("CONFIG_UNREAD=1:1:20\nCONFIG_EPOCH_MS=50\n")

    assert code == 2
    assert "dead axis: CONFIG_UNREAD" in out
    assert finished(place) < 5


def test_rerun_repeats_its_run_and_says_so(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")

    code, out = place.run("rerun", place.configs / "config_002", "--results", place.results)

    assert code == 0
    assert "to the last bit" in out


def test_rerun_failed_runs_only_the_failed_ones(place: Place) -> None:
    place.sweep("CONFIG_BEHAVIOUR=fail-once|pass\nCONFIG_SWEEP_RETRIES=0\n")

    code, out = place.run("rerun-failed", "--results", place.results)

    assert code == 0, out
    assert len(place.events("run_ended")) == 3
    assert {row["status"] for row in place.summary().values()} == {"passed"}


def test_config_directory_runs_as_the_guide_shows(place: Place) -> None:
    place.write_range("CONFIG_X=1|2\n")
    place.run("generate", "--range", place.path / "ranges", "--out", "sweep_configs")

    code, out = place.run("run", "--config-dir", "sweep_configs", "--output-dir", "my_results", "--jobs", 1)

    assert code == 0, out
    assert len(list((place.path / "my_results").glob("sweep_*/config_*/result.json"))) == 2


def test_hand_written_configs_run_and_their_differences_are_the_axes(place: Place) -> None:
    place.configs.mkdir()
    for number in (1, 2):
        (place.configs / f"config_{number}").write_text(f"CONFIG_X={number}\n")

    code, _ = place.run("run", "--config-dir", place.configs, "--output-dir", place.results)

    assert code == 0
    assert [row["CONFIG_X"] for row in place.summary().values()] == [1, 2]


def test_damaged_result_is_run_again(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")
    result = next(place.results.glob("sweep_*/config_001*/result.json"))
    result.write_text(result.read_text()[:40])

    code, out = place.sweep()

    assert code == 0, out
    assert json.loads(result.read_text())["status"] == "passed"
    assert len(place.events("run_ended")) == 3


def test_torn_journal_is_mended(place: Place) -> None:
    place.sweep("CONFIG_X=1\n")
    journal = place.sweeps[0] / "journal.jsonl"
    with open(journal, "a") as file:
        file.write('{"time": 1, "event": "run_st')

    place.sweep("CONFIG_X=1|2\n")

    assert len(place.events("run_ended")) == 2  # every line parses


@pytest.mark.slow
def test_warm_and_cold_launch_give_the_same_metrics(place: Place) -> None:
    lines = {}
    for launch in ("warm", "cold"):
        place.sweep(f"CONFIG_X=1|2\nCONFIG_SWEEP_LAUNCH={launch}\n", "--fresh")
        runs = sorted(place.sweeps[-1].glob("config_*/metrics.jsonl"))
        lines[launch] = [[json.loads(line)["val_acc"] for line in run.read_text().splitlines()] for run in runs]
        shutil.rmtree(place.sweeps[-1])

    assert lines["warm"] == lines["cold"]
    assert lines["warm"]


def test_dry_run_starts_nothing(place: Place) -> None:
    code, out = place.sweep("CONFIG_X=1|2|3\n", "--dry-run")

    assert code == 0
    assert "cartesian 3 -> legal 3 -> distinct 3" in out
    assert not place.results.exists()
    assert not place.configs.exists()


@pytest.mark.slow
def test_runs_that_outlived_a_killed_runner_and_launcher_are_ended_before_the_sweep_continues(place: Place) -> None:
    place.write_range("CONFIG_X=1|2\nCONFIG_NUM_EPOCHS=100\nCONFIG_EPOCH_MS=50\nCONFIG_SWEEP_LAUNCH=cold\n")
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: len(list(place.results.glob("sweep_*/config_*/checkpoint.txt"))) == 2)
        for pid in (runner.pid, *children_of(runner.pid)):
            os.kill(pid, signal.SIGKILL)
    before = len(processes_of(place.results))

    code, out = place.sweep()

    assert before == 2
    assert code == 0, out
    assert processes_of(place.results) == []
    assert [len(path.read_text().splitlines()) for path in place.results.glob("sweep_*/config_*/metrics.jsonl")] == [100, 100]


def test_dead_axis_stays_an_error_and_is_never_ranked(place: Place) -> None:
    place.sweep("CONFIG_UNREAD=1:1:8\n")
    before = len(place.events("run_started"))

    for command in (place.sweep_arguments(), ["continue", "--results", place.results]):
        code, out = place.run(*command)

        assert code == 2
        assert "dead axis: CONFIG_UNREAD" in out
        assert "Ranked by" not in out
    assert len(place.events("run_started")) == before < 8


def test_another_direction_is_a_new_ranking_without_a_run(place: Place) -> None:
    place.sweep("CONFIG_X=1|2|3\n")

    code, out = place.sweep("CONFIG_X=1|2|3\nCONFIG_SWEEP_DIRECTION=minimize\n")

    assert code == 0
    assert "smaller is better" in out
    assert len(place.events("run_ended")) == 3


def test_analysis_that_a_kill_left_old_is_written_again(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")
    analysis = place.sweeps[0] / "sweep_analysis.txt"
    analysis.write_text("old\n")
    os.utime(analysis, ns=(0, 0))

    place.sweep()

    assert "BEST CONFIGURATION" in analysis.read_text()


FOREIGN = """\
cd "$KSWEEP_RUN_DIR"
trap 'exit 0' TERM
echo '{"step": 1, "val_acc": 0.1}' >> metrics.jsonl
[ "$KSWEEP_ATTEMPT" = 1 ] && { sleep 30 & wait; }
echo '{"step": 2, "val_acc": 0.9}' >> metrics.jsonl
"""


def test_foreign_trainer_that_exits_0_when_told_to_stop_has_not_finished(place: Place) -> None:
    (place.path / "train.sh").write_text(FOREIGN)
    place.write_range(f'CONFIG_MODEL_COMMAND="sh {place.path}/train.sh"\n')
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: any(path.read_text() for path in place.results.glob("sweep_*/config_*/metrics.jsonl")))
        runner.send_signal(signal.SIGTERM)
        runner.communicate(timeout=30)

    assert place.summary()["config_001"]["status"] == "cancelled"
    code, out = place.sweep()
    assert code == 0, out
    assert place.summary()["config_001"]["val_acc"] == 0.9


def test_odd_file_of_a_foreign_trainer_fails_its_run_only(place: Place) -> None:
    (place.path / "train.sh").write_text(
        'echo \'{"attempt": 1, "metrics": null, "opened_at": "now"}\' > "$KSWEEP_RUN_DIR/training_metrics.json"\n'
    )
    code, out = place.sweep(f'CONFIG_MODEL_COMMAND="sh {place.path}/train.sh"\nCONFIG_SEED=1|2\nCONFIG_SWEEP_RETRIES=0\n')

    assert code == 1
    assert "Traceback" not in out
    assert {row["status"] for row in place.summary().values()} == {"failed"}


def test_interruption_does_not_use_up_a_retry(place: Place) -> None:
    script = '[ "$KSWEEP_ATTEMPT" = 1 ] && sleep 30\n[ "$KSWEEP_ATTEMPT" = 2 ] && exit 1\n'
    (place.path / "train.sh").write_text(script + 'echo \'{"val_acc": 0.5}\' >> "$KSWEEP_RUN_DIR/metrics.jsonl"\n')
    place.write_range(f'CONFIG_MODEL_COMMAND="sh {place.path}/train.sh"\nCONFIG_SWEEP_RETRIES=1\n')
    with place.start(*place.sweep_arguments()) as runner:
        wait_until(lambda: any(place.results.glob("sweep_*/config_*/provenance.json")))
        runner.kill()

    place.sweep()

    row = place.summary()["config_001"]
    assert (row["status"], row["attempt"]) == ("passed", 3)


def test_one_damaged_sweep_does_not_keep_others_from_running(place: Place) -> None:
    place.sweep("CONFIG_X=1\n")
    damaged = place.results / "sweep_20990101_000000"
    damaged.mkdir()
    (damaged / "sweep.json").write_text("{")

    code, out = place.sweep("CONFIG_X=1|2\n")

    assert code == 0, out


def test_continue_dir_alone_continues_that_sweep(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")
    (sweep,) = place.sweeps
    for result in sweep.glob("config_002*/result.json"):
        result.unlink()

    code, out = place.run("run", "--continue-dir", sweep)

    assert code == 0, out
    assert len(place.events("run_ended")) == 3


def test_results_may_name_the_sweep_itself(place: Place) -> None:
    place.sweep("CONFIG_X=1|2\n")
    (sweep,) = place.sweeps

    code, _ = place.run("sweep", "--range", place.path / "ranges", "--results", sweep, "--out", place.configs)

    assert code == 0
    assert list(sweep.glob("sweep_2*")) == []


@pytest.mark.slow
def test_status_is_about_the_sweep_that_was_worked_on_last(place: Place) -> None:
    place.sweep("CONFIG_X=1\n")
    other = place.path / "other"
    other.write_text("CONFIG_X=5\n")
    place.run("sweep", "--range", other, "--results", place.results, "--out", place.configs)
    place.sweep("CONFIG_X=1|2\n")

    _, out = place.run("status", "--results", place.results)

    assert "2 passed" in out


def test_end_of_a_run_that_the_journal_missed_is_told_by_the_next_start(place: Place) -> None:
    """A kill -9 between result.json and the journal's line."""
    assert place.sweep("CONFIG_X=1|2\n")[0] == 0
    (sweep,) = place.sweeps
    journal = sweep / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if "run_ended" not in line))

    assert place.sweep("CONFIG_X=1|2|3\n")[0] == 0
    assert sorted(event["config"] for event in place.events("run_ended")) == ["config_001", "config_002", "config_003"]
