"""Every bad request gets a message that names the place, exit code 2, and starts nothing."""

import os
from pathlib import Path

import pytest

from tests.pipeline.conftest import Place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("CONFIG_XX=1\n", ["ranges:1: CONFIG_XX: no such symbol", "near it: X"], id="unknown symbol"),
        pytest.param("CONFIG_X=one\n", ['ranges:1: CONFIG_X: found "one", allowed: a whole number'], id="wrong type"),
        pytest.param("CONFIG_NUM_EPOCHS=0|5\n", ["ranges:1: CONFIG_NUM_EPOCHS: found 0, allowed: 1 to 1000"], id="out of range"),
        pytest.param(
            "CONFIG_SWEEP_DIRECTION_SELECT_MAXIMIZE=y\nCONFIG_SWEEP_DIRECTION_SELECT_MINIMIZE=y\n",
            ["ranges:2", "second member"],
            id="two members",
        ),
        pytest.param("CONFIG_X=1:0:5\n", ["ranges:1: CONFIG_X", "step is 0"], id="step 0"),
        pytest.param("CONFIG_X=5:1:1\n", ["ranges:1: CONFIG_X", "wrong way", "5:-1:1"], id="wrong way"),
        pytest.param("CONFIG_X=1|\n", ["ranges:1: CONFIG_X", "a choice is empty"], id="empty choice"),
        pytest.param('CONFIG_BEHAVIOUR="pass\n', ["ranges:1: CONFIG_BEHAVIOUR", "quote is not closed"], id="unclosed quote"),
        pytest.param(
            "CONFIG_X=1\nCONFIG_X=2\n", ["ranges:2: CONFIG_X: is set twice, first at", "ranges:1"], id="duplicate symbol"
        ),
        pytest.param(
            "CONFIG_X=int(1, 5)\n", ["ranges:1: CONFIG_X", "start:step:end", "CONFIG_SWEEP_STRATEGY"], id="sampled axis in a grid"
        ),
        pytest.param("CONFIG_X=1|2\nrequire X > 5\n", ["no point is left of 2", "ranges:2: require X > 5"], id="no point left"),
        pytest.param(
            "CONFIG_NUM_EPOCHS=50|100\nCONFIG_EPOCH_MS=100000\n",
            ["no point is left of 2", "ranges:2: CONFIG_EPOCH_MS=100000: a run must end within the hour", "10000000 <= 3600000"],
            id="rule of the tree",
        ),
        pytest.param(
            'require SWEEP_DIRECTION == "max"\n',
            ['ranges:1: require: CONFIG_SWEEP_DIRECTION: found "max", allowed: maximize | minimize'],
            id="word of no member in require",
        ),
        pytest.param("CONFIG_X=0:1:2000\n", ["2,001 runs", "YES=1"], id="too many runs"),
        pytest.param("CONFIG_X=0:1:100000\nCONFIG_UNREAD=0:1:100\n", ["10,100,101 combinations"], id="far too many"),
        pytest.param("X=1\n", ['ranges:1: found "X=1"', "CONFIG_<SYMBOL>="], id="no CONFIG_"),
        pytest.param("CONFIG_SWEEP_RETRIES=1|2\n", ["ranges:1: CONFIG_SWEEP_RETRIES", "cannot be swept"], id="steering symbol"),
        pytest.param("include nothing-there\n", ["ranges:1: include nothing-there", "no such file"], id="missing include"),
        pytest.param("require __import__('os').system('true')\n", ["ranges:1: require", "not allowed"], id="code in require"),
        pytest.param("CONFIG_MODEL_PRELOAD=os\n", ["ranges:1: CONFIG_MODEL_PRELOAD", "computed"], id="computed symbol"),
        pytest.param("CONFIG_MODEL_PRELOAD=os|sys\n", ["ranges:1: CONFIG_MODEL_PRELOAD", "computed"], id="computed axis"),
    ],
)
def test_bad_range_file_is_refused_before_anything_starts(place: Place, text: str, expected: list[str]) -> None:
    code, out = place.sweep(text)

    assert code == 2, out
    assert "Traceback" not in out
    for words in expected:
        assert words in out
    assert not place.results.exists()


def test_all_problems_of_a_file_are_reported_at_once(place: Place) -> None:
    code, out = place.sweep("CONFIG_XX=1\nCONFIG_X=one\nCONFIG_SEED=1:0:2\nnonsense\nrequire NOTHING > 1\n")

    assert code == 2
    assert [line.split(":")[1] for line in out.splitlines()] == ["1", "2", "3", "4", "5"]


def test_missing_range_file_is_refused(place: Place) -> None:
    code, out = place.run("sweep", "--range", "nowhere/at-all", "--results", place.results, "--out", place.configs)

    assert code == 2
    assert '"nowhere/at-all": no such file' in out


def test_results_directory_that_cannot_be_written_is_refused(place: Place) -> None:
    place.results.write_text("a file is in the way")

    code, out = place.sweep("CONFIG_X=1\n")

    assert code == 2
    assert "the results directory cannot be written" in out
    assert place.results.read_text() == "a file is in the way"


def test_missing_config_directory_is_refused(place: Place) -> None:
    code, out = place.run("run", "--config-dir", "nothing", "--output-dir", place.results)

    assert code == 2
    assert "no such directory" in out


def test_one_wrong_config_file_keeps_all_from_starting(place: Place) -> None:
    place.configs.mkdir()
    (place.configs / "config_001").write_text("CONFIG_X=1\n")
    (place.configs / "config_002").write_text("CONFIG_X=1|2\n")

    code, out = place.run("run", "--config-dir", place.configs, "--output-dir", place.results)

    assert code == 2
    assert "config_002:1: CONFIG_X: found 1|2, allowed: one value" in out
    assert not place.results.exists()


@pytest.mark.parametrize("command", ["check --config", "train --config", "rerun", "run --config-dir"])
def test_configuration_that_breaks_a_rule_is_refused_by_every_command(place: Place, command: str) -> None:
    place.configs.mkdir()
    config = place.configs / "config_001"
    config.write_text("CONFIG_X=1\nCONFIG_EPOCH_MS=100000\nCONFIG_NUM_EPOCHS=100\n")

    code, out = place.run(*command.split(), place.configs if command.startswith("run") else config)

    assert code == 2
    assert "config_001:2: CONFIG_EPOCH_MS=100000: a run must end within the hour" in out
    assert "10000000 <= 3600000 does not hold (NUM_EPOCHS=100); tests/fake/Kconfig:" in out
    assert not (place.path / "test_matrix_results").exists()


def test_points_that_break_a_rule_are_dropped_with_both_numbers(place: Place) -> None:
    place.write_range("CONFIG_EPOCH_MS=10|100000\nCONFIG_NUM_EPOCHS=1|100\n")

    code, out = place.run("generate", "--range", place.path / "ranges", "--out", place.configs)

    assert code == 0, out
    assert "cartesian 4 -> legal 3 -> distinct 3" in out
    assert "note: dropped: " in out
    assert "10000000 <= 3600000 does not hold" in out
    assert "10000000 <= 3600000 does not hold" in (place.configs / "combinations_summary.txt").read_text()


def test_too_little_disk_space_is_refused(place: Place, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = os.system(f"mount -t tmpfs -o size=1m none {small} 2>/dev/null") == 0
    # Where this process may not mount, a plan larger than any disk asks the same question.
    results, text = (
        (small / "results", "CONFIG_X=1\n")
        if mounted
        else (place.results, "CONFIG_X=0:1:999999\nCONFIG_SWEEP_MAX_RUNS=1000000\n")
    )
    try:
        place.write_range(text)
        code, out = place.run("sweep", "--range", place.path / "ranges", "--results", results, "--out", place.configs)
    finally:
        if mounted:
            os.system(f"umount {small}")

    assert code == 2
    assert "MiB free" in out
