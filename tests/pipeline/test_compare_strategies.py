"""Strategies compared at an equal budget, through the command line, with the fake trainer."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ksweep.analysis import strategies
from ksweep.contract.atomic import read_lines
from tests.pipeline.conftest import Place

SPACE = "CONFIG_X=int(1, 900)\nCONFIG_NUM_EPOCHS=3\nCONFIG_SWEEP_PARALLEL_JOBS=2\n"


def arguments(place: Place, *more: object) -> list[object]:
    return ["compare-strategies", "--range", place.path / "ranges", "--results", place.results, *more]


def compare(place: Place, text: str, *more: object) -> tuple[int, str]:
    place.write_range(text)
    return place.run(*arguments(place, *more))


def comparisons(place: Place) -> list[Path]:
    return sorted(place.results.glob("compare_*"))


def record_of(comparison: Path) -> dict[str, Any]:
    """strategies.json, the list of strategies by name."""
    record = json.loads((comparison / "strategies.json").read_text(), parse_constant=pytest.fail)
    return record | {"strategies": {entry["strategy"]: entry for entry in record["strategies"]}}


def events(comparison: Path) -> list[dict[str, Any]]:
    """Of all its sweeps."""
    return [event for path in sorted(comparison.glob("sweep_*/journal.jsonl")) for event in read_lines(path)]


def epochs_trained(sweep: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in sweep.glob("config_*/metrics.jsonl"))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, int, str]:
    """A comparison that has ended: its place, exit code and output."""
    place = Place(tmp_path_factory.mktemp("complete"))
    return place, *compare(place, SPACE, "--strategies", "random,asha", "--seeds", 2, "--budget", 12)


@pytest.mark.slow
def test_every_strategy_and_seed_spends_the_budget(complete: tuple[Place, int, str]) -> None:
    place, code, out = complete
    (comparison,) = comparisons(place)
    sweeps = [json.loads((path / "sweep.json").read_text()) for path in comparison.glob("sweep_*")]

    assert code == 0, out
    assert Counter((s["strategy"], s["overrides"]["SEED"], s["overrides"]["SWEEP_SEED"]) for s in sweeps) == {
        (name, seed, seed): 1 for name in ("random", "asha") for seed in ("1", "2")
    }
    assert all(epochs_trained(path) >= 12 for path in comparison.glob("sweep_*"))


@pytest.mark.slow
def test_same_command_again_starts_nothing(complete: tuple[Place, int, str]) -> None:
    place, _, first = complete
    before = events(comparisons(place)[0])
    code, out = place.run(*arguments(place, "--strategies", "asha, random", "--seeds", 2, "--budget", 12))

    assert code == 0, out
    assert "0 sweeps to go, 4 done" in out
    assert out.splitlines()[-10:] == first.splitlines()[-10:]
    assert events(comparisons(place)[0]) == before


@pytest.mark.slow
def test_result_is_the_best_that_the_sweeps_found(complete: tuple[Place, int, str]) -> None:
    (comparison,) = comparisons(complete[0])
    record = record_of(comparison)["strategies"]
    found = {sweep["dir"]: sweep["best"][-1][1] for entry in record.values() for sweep in entry["sweeps"]}

    assert len(found) == 4
    for name, best in found.items():
        reported = [line["val_acc"] for path in (comparison / name).glob("*/metrics.jsonl") for line in read_lines(path)]
        assert best in reported
        assert best <= max(reported)  # which may have come after the budget was spent
    assert record["asha"]["best"]["100%"]["mean"] == pytest.approx(
        sum(found[sweep["dir"]] for sweep in record["asha"]["sweeps"]) / 2
    )
    assert (comparison / "strategies.png").stat().st_size > 10_000
    assert "epochs to random's mean at 12" in (comparison / "strategies.txt").read_text()


@pytest.mark.slow
def test_journal_says_where_a_run_has_stopped_for_now_as_the_comparison_reads_it(complete: tuple[Place, int, str]) -> None:
    reasons = [event["reason"] for event in events(comparisons(complete[0])[0]) if event.get("status") == "pruned"]

    assert reasons
    assert {found and found[1] for found in map(strategies._PAUSED.search, reasons)} == {"1"}


@pytest.mark.slow
def test_killed_comparison_goes_on_with_the_sweep_that_it_was_in(place: Place) -> None:
    more = ["--strategies", "random,tpe", "--seeds", 1, "--budget", 15]
    place.write_range(SPACE + "CONFIG_EPOCH_MS=50\n")
    with place.start(*arguments(place, *more)) as process:
        wait_until(lambda: len(list(place.results.glob("compare_*/sweep_*/*/result.json"))) >= 7)
        process.send_signal(signal.SIGKILL)
    code, out = place.run(*arguments(place, *more))
    (comparison,) = comparisons(place)

    assert code == 0, out
    assert "1 sweeps to go, 1 done" in out
    assert len(list(comparison.glob("sweep_*"))) == 2
    assert set(record_of(comparison)["strategies"]) == {"random", "tpe"}


@pytest.mark.slow
def test_ctrl_c_ends_the_comparison_and_not_only_the_sweep(place: Place) -> None:
    more = ["--strategies", "random,tpe", "--seeds", 1, "--budget", 15]
    place.write_range(SPACE + "CONFIG_EPOCH_MS=50\n")
    with place.start(*arguments(place, *more)) as process:
        wait_until(lambda: list(place.results.glob("compare_*/sweep_*/*/result.json")))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    (comparison,) = comparisons(place)

    assert process.returncode == 1, out
    assert "interrupted; the same command continues" in out
    assert len(list(comparison.glob("sweep_*"))) == 1
    assert not (comparison / "strategies.txt").exists()


@pytest.mark.slow
def test_runs_that_fail_leave_their_epochs_to_others(place: Place) -> None:
    text = SPACE + "CONFIG_BEHAVIOUR=pass|fail\nCONFIG_SWEEP_RETRIES=0\n"
    code, out = compare(place, text, "--strategies", "random", "--seeds", 1, "--budget", 12)
    (comparison,) = comparisons(place)
    (sweep,) = record_of(comparison)["strategies"]["random"]["sweeps"]

    assert code == 1, out
    assert sweep["runs"]["failed"] >= 1
    assert sweep["runs"]["passed"] >= 4
    assert sweep["spent"] >= 12


@pytest.mark.slow
def test_space_that_is_smaller_than_the_budget_ends_early_and_says_so_and_fresh_starts_anew(place: Place) -> None:
    more = ["--strategies", "random", "--seeds", 1]
    code, out = compare(place, "CONFIG_X=1|2|3\nCONFIG_NUM_EPOCHS=3\n", *more)
    place.run(*arguments(place, *more, "--fresh"))

    assert code == 0, out
    assert len(comparisons(place)) == 2
    for comparison in comparisons(place):
        assert "random, seed 1: spent 9 of 60 epochs (the whole space" in (comparison / "strategies.txt").read_text()


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (SPACE, ["--strategies", "random,simplex"], ["SWEEP_STRATEGY", "simplex", "tpe"]),
        (SPACE, ["--strategies", "tpe,tpe"], ["tpe,tpe", "different"]),
        (SPACE, ["--strategies", ","], ["--strategies"]),
        (SPACE, ["--seeds", "0"], ["--seeds", "found 0", "1 or more"]),
        (SPACE, ["--budget", "2"], ["--budget", "found 2", "3 or more", "one complete run"]),
        (SPACE, ["--budget", "4", "--strategies", "halving"], ["--budget", "found 4", "5 or more", "halving"]),
        (SPACE, ["--budget", "5", "--strategies", "pbt"], ["--budget", "found 5", "6 or more", "pbt"]),
        (SPACE, ["--strategies", "grid"], ["no", "list of values", "random"]),
        (SPACE + 'CONFIG_SWEEP_OBJECTIVE=""\n', ["--strategies", "random"], ["SWEEP_OBJECTIVE"]),
        (SPACE + "CONFIG_SWEEP_MAX_RESOURCE=9\n", ["--strategies", "random,asha"], ["SWEEP_MAX_RESOURCE", "NUM_EPOCHS"]),
    ],
    ids=[
        "unknown",
        "twice",
        "none",
        "no-seeds",
        "below-one-run",
        "below-a-bracket",
        "below-a-population",
        "grid",
        "no-objective",
        "runs-differ",
    ],
)
def test_wrong_request_is_refused_before_anything_starts(place: Place, text: str, more: list[str], told: list[str]) -> None:
    code, out = compare(place, text, *more)

    assert code == 2, out
    assert all(word in out for word in told), out
    assert "Traceback" not in out
    assert not comparisons(place)


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
