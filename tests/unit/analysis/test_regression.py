"""Two sweeps compared: false alarms, what is found, what cannot be compared."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ksweep.analysis.load import RunRecord, SweepState, load_sweep, settings_of
from ksweep.analysis.regression import Change, compare_sweeps, goals_of
from ksweep.cli.main import main
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.objective import parse_objectives
from tests.simulated import SweepMaker, simulate

Score = Callable[[str, int], float]


def state(score: Score, *, settings: int = 6, seeds: int = 3) -> SweepState:
    """A finished sweep over X, in memory; `score` gives val_acc of a setting and seed."""
    record = SweepRecord(
        name="demo", range_file=None, range_text="", axes=[], objective="val_acc", direction="maximize", strategy="grid",
        created_at=0.0, git={}, kconfig_hash="", counts={},
    )  # fmt: skip
    runs: list[RunRecord] = []
    for x in map(str, range(settings)):
        for seed in range(1, seeds + 1):
            label = f"config_{len(runs) + 1:03d}"
            point = PointRecord(config=label, id=label, run_dir=label, values={"X": x, "SEED": str(seed)})
            result = Result(id=label, config=label, status=Status.PASSED, metrics={"val_acc": score(x, seed)})
            runs.append(RunRecord(point=point, dir=RunDir(Path("/none", label)), status=Status.PASSED, result=result))
    return SweepState(
        dir=SweepDir(Path("/none")),
        record=record,
        objectives=parse_objectives("val_acc", "maximize"),
        runs=runs,
        settings=settings_of(run.point for run in runs),
        runner=None,
    )


def noisy(rng: random.Random, shift: float = 0.0, of: str = "") -> Score:
    """Normal noise of 1 around each setting's own level; `shift` on all settings, or on that `of` which is said."""
    return lambda x, seed: 10 * int(x) + rng.gauss(0, 1) + (shift if of in ("", x) else 0.0)


def compared(old: SweepState, new: SweepState) -> Any:
    return compare_sweeps(old, new, goals_of(old, ""))


@pytest.mark.parametrize(("settings", "seeds"), [(5, 2), (6, 1)])
def test_two_sweeps_that_differ_by_chance_alone_are_rarely_called_worse(settings: int, seeds: int) -> None:
    rng = random.Random(7)
    alarms = 0
    for _ in range(500):
        old, new = (state(noisy(rng), settings=settings, seeds=seeds) for _ in range(2))
        alarms += compared(old, new).is_worse

    # 5 % are allowed; 500 pairs at exactly 5 % give more than 37 in 1 of 100 cases.
    assert alarms <= 37


def test_shift_of_three_standard_deviations_is_found() -> None:
    rng = random.Random(3)
    found = [compared(state(noisy(rng)), state(noisy(rng, -3.0))) for _ in range(50)]

    assert sum(each.is_worse for each in found) == 50
    assert all(each.tracked[0].overall.change is Change.WORSE for each in found)


def test_improvement_is_no_regression() -> None:
    rng = random.Random(3)
    comparison = compared(state(noisy(rng)), state(noisy(rng, 3.0)))

    assert comparison.tracked[0].overall.change is Change.BETTER
    assert not comparison.is_worse


def test_one_setting_that_became_much_worse_is_named() -> None:
    rng = random.Random(5)
    comparison = compared(state(noisy(rng), seeds=5), state(noisy(rng, -30.0, of="4"), seeds=5))
    worst = comparison.tracked[0].settings[0]

    assert worst.values == {"X": "4"}
    assert worst.change is Change.WORSE
    assert [each.change for each in comparison.tracked[0].settings[1:]] == [Change.SAME] * 5
    assert comparison.is_worse


def test_equal_sweeps_are_the_same_to_the_last_bit() -> None:
    comparison = compared(state(lambda x, seed: seed / 7), state(lambda x, seed: seed / 7))

    assert comparison.identical == (18, 18)
    assert {each.change for each in comparison.tracked[0].settings} == {Change.SAME}
    assert not comparison.is_worse


def test_same_shift_everywhere_is_found_without_any_spread() -> None:
    comparison = compared(state(lambda x, seed: 2.0), state(lambda x, seed: 1.0))

    assert comparison.tracked[0].overall.change is Change.WORSE


def test_same_shift_on_two_seeds_of_one_setting_is_no_evidence() -> None:
    comparison = compared(state(lambda x, seed: 2.0, settings=1, seeds=2), state(lambda x, seed: 1.0, settings=1, seeds=2))

    assert comparison.tracked[0].overall.change is Change.UNKNOWN


def test_one_seed_says_nothing_of_a_setting_and_something_of_the_whole() -> None:
    rng = random.Random(2)
    comparison = compared(state(noisy(rng), seeds=1, settings=9), state(noisy(rng, -4.0), seeds=1, settings=9))

    assert {each.change for each in comparison.tracked[0].settings} == {Change.UNKNOWN}
    assert comparison.tracked[0].overall.change is Change.WORSE


def test_worst_setting_comes_first_whatever_the_direction(tmp_path: Path) -> None:
    losses = {"1": 0.1, "2": 0.5, "3": 0.3}
    old = simulate(tmp_path / "a", {"X": ["1", "2", "3"]}, lambda v, s, e: {"val_loss": 0.0}, objective="val_loss:min")
    new = simulate(tmp_path / "b", {"X": ["1", "2", "3"]}, lambda v, s, e: {"val_loss": losses[v["X"]]}, objective="val_loss:min")
    comparison = compared(load_sweep(old), load_sweep(new))

    assert [each.values["X"] for each in comparison.tracked[0].settings] == ["2", "3", "1"]


# -- matching, through the command line ----------------------------------------------------------------------------


def sweep(path: Path, values: list[str], *, seeds: int = 2, name: str = "X", lost: str = "", bad: str = "") -> SweepDir:
    """A small sweep whose metrics depend on value and seed only; `lost` has no val_acc, `bad` failed."""

    def metrics(point: dict[str, str], seed: int, epoch: int) -> dict[str, float | None]:
        acc = 0.5 + 0.1 * float(point[name]) + 0.01 * seed
        return {"val_acc": None if point[name] == lost else acc, "step_time_s": 0.1 + seed / 100, "depth": 3.0}

    return simulate(
        path, {name: values}, metrics, seeds=seeds, status=lambda v, s: Status.CRASHED if v[name] == bad else Status.PASSED
    )


def compare(*arguments: object) -> int:
    return main(["compare", *map(str, arguments)])


def test_identical_sweeps_say_so_and_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.10", "2e-1"])  # other spellings of the same numbers

    assert compare(tmp_path / "a", tmp_path / "b") == 0
    assert "same to the last bit: the final metrics of 4 pairs of runs" in capsys.readouterr().out


def test_what_is_in_one_sweep_only_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.2", "0.3"])

    assert compare(tmp_path / "a", tmp_path / "b") == 0
    out = capsys.readouterr().out
    assert "in common: 1 setting, 2 runs of the same seed" in out
    assert "only in A (2 runs):\n  config_001  X=0.1 SEED=1  passed" in out
    assert "only in B (2 runs):\n  config_003  X=0.3 SEED=1  passed" in out


def test_run_that_passed_and_now_fails_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.1", "0.2"], bad="0.2")

    assert compare(tmp_path / "a", tmp_path / "b") == 1
    out = capsys.readouterr().out
    assert "PASSED IN A, FAILED IN B (2 runs):\n  config_003  X=0.2 SEED=1  crashed: on purpose" in out
    assert out.splitlines()[-1] == "B IS WORSE THAN A: 2 runs that passed and now fail"
    assert compare(tmp_path / "b", tmp_path / "a") == 0
    assert "failed in A, passed in B (2 runs):\n  config_003" in capsys.readouterr().out


def test_all_runs_failing_is_worse_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1"])
    sweep(tmp_path / "b", ["0.1"], bad="0.1")

    assert compare(tmp_path / "a", tmp_path / "b") == 1
    assert "B IS WORSE THAN A" in capsys.readouterr().out


def test_metric_that_is_no_more_there_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.1", "0.2"], lost="0.2")

    assert compare(tmp_path / "a", tmp_path / "b") == 1
    assert "PASSED IN BOTH, WITHOUT val_acc IN B (2 runs)" in capsys.readouterr().out


def test_metrics_are_chosen_and_their_direction_is_told_or_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.1", "0.2"])

    assert compare(tmp_path / "a", tmp_path / "b", "--metrics", "val_acc, step_time_s depth:max") == 0
    out = capsys.readouterr().out
    assert "val_acc (larger is better)" in out
    assert "step_time_s (smaller is better)" in out
    assert "depth (larger is better)" in out


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("depth", "METRICS: depth: whether more is better is not known; write depth:max or depth:min"),
        ("bleu_acc", "bleu_acc: no run that passed in both sweeps has it in both; they have: val_acc, step_time_s, depth"),
        ("val_acc:up", "METRICS: val_acc:up"),
        ("(:max", "METRICS: (:max"),
    ],
)
def test_metric_that_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metrics: str, message: str
) -> None:
    sweep(tmp_path / "a", ["0.1"])
    sweep(tmp_path / "b", ["0.1"])

    assert compare(tmp_path / "a", tmp_path / "b", "--metrics", metrics) == 2
    assert message in capsys.readouterr().err


def test_sweeps_without_a_common_setting_or_seed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1"])
    sweep(tmp_path / "b", ["0.7"])
    maker = SweepMaker(tmp_path / "c")
    maker.add({"X": "0.1", "SEED": "9"}, val_acc=0.5)
    maker.save()
    SweepMaker(tmp_path / "empty").save()

    assert compare(tmp_path / "a", tmp_path / "b") == 2
    assert "no setting in common, so there is nothing to compare; the first of each: X=0.1; X=0.7" in capsys.readouterr().err
    assert compare(tmp_path / "a", tmp_path / "c") == 2
    assert "settings in common, but no seed (1, 2; 9)" in capsys.readouterr().err
    assert compare(tmp_path / "a", tmp_path / "empty") == 2
    assert "the sweep has no runs" in capsys.readouterr().err
    assert compare(tmp_path / "a", tmp_path / "nowhere") == 2
    assert compare(tmp_path / "a", tmp_path / "a") == 2
    assert "name two sweeps" in capsys.readouterr().err


def test_symbol_that_only_one_sweep_swept_is_matched_by_the_other_ones_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = SweepMaker(tmp_path / "a"), SweepMaker(tmp_path / "b")
    for x in ("1", "2"):
        run = old.add({"X": x}, val_acc=0.5)
        run.config.write_text(f"CONFIG_X={x}\nCONFIG_Y=7\nCONFIG_SEED=3\nCONFIG_DEPTH=1\n")
        for y in ("7", "8"):
            run = new.add({"X": x, "Y": y, "SEED": "3"}, val_acc=0.5)
            run.config.write_text(f"CONFIG_X={x}\nCONFIG_Y={y}\nCONFIG_SEED=3\nCONFIG_DEPTH=2\n")
    old.save()
    new.save()

    assert compare(tmp_path / "a", tmp_path / "b") == 0
    out = capsys.readouterr().out
    assert "in common: 2 settings, 2 runs of the same seed" in out
    assert "not swept, and yet different: DEPTH 1 -> 2" in out
    assert "only in B (2 runs):\n  config_002  X=1 Y=8 SEED=3" in out


def test_unfinished_runs_are_neither_good_nor_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    maker = SweepMaker(tmp_path / "b")
    maker.add({"X": "0.1", "SEED": "1"}, val_acc=0.52)
    maker.add({"X": "0.1", "SEED": "2"}, status=Status.PLANNED)
    maker.add({"X": "0.2", "SEED": "1"}, status=Status.PRUNED)
    maker.save()

    assert compare(tmp_path / "a", tmp_path / "b") == 0
    out = capsys.readouterr().out
    assert "not compared, as it has not finished in both (2 runs):" in out
    assert "  config_002  X=0.1 SEED=2  planned\n  config_003  X=0.2 SEED=1  pruned" in out


def test_hostile_text_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        maker = SweepMaker(tmp_path / name)
        maker.add({"X": "\x1b[2J", "SEED": "1"}, val_acc=0.5)
        maker.add({"X": "1", "SEED": "1"}, val_acc=0.5, status=Status.CRASHED if name == "b" else Status.PASSED, reason="\x1b[0m")
        maker.save()

    assert compare(tmp_path / "a", tmp_path / "b") == 1
    assert "\x1b" not in capsys.readouterr().out


def test_long_tables_are_cut_and_say_what_is_hidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        sweep(tmp_path / name, [str(x / 10) for x in range(30)])

    assert compare(tmp_path / "a", tmp_path / "b", "--top", "4") == 0
    assert "and 26 more settings: 26 same" in capsys.readouterr().out


def test_run_directories_deleted_by_hand_are_survived(tmp_path: Path) -> None:
    sweep(tmp_path / "a", ["0.1", "0.2"])
    sweep(tmp_path / "b", ["0.1", "0.2"])
    shutil.rmtree(tmp_path / "b" / "config_001_x")
    (tmp_path / "b" / "config_002_x" / "result.json").write_text('{"id": ')

    assert compare(tmp_path / "a", tmp_path / "b") == 0
