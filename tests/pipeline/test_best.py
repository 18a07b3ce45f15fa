"""`ksweep best`: both files give the best point again, whatever the sweep was made of; nothing is lost of what lay there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ksweep.analysis.evidence import best_of, evidence, from_here
from ksweep.analysis.findings import find
from ksweep.analysis.refine import best_region
from ksweep.cli.main import main
from ksweep.cli.tree import Tree
from ksweep.contract.config import parse_config
from ksweep.sweep.sweep import config_values
from tests.pipeline.conftest import Place
from tests.pipeline.planned import Planned
from tests.simulated import simulate

RANGES = {
    "a choice, and an axis that only one member has": """
        CONFIG_OPTIMIZER=sgd|adamw
        CONFIG_SGD_MOMENTUM=0.8|0.95
        CONFIG_SWEEP_OBJECTIVE="val_acc:max"
    """,
    "pruning, whose ramp follows the epochs": """
        CONFIG_OPTIMIZER=adamwprune
        CONFIG_NUM_EPOCHS=6|20
        CONFIG_TARGET_SPARSITY=0.5|0.9
        CONFIG_PRUNING_VARIANT=bitter0|bitter7
    """,
    "another model, paired values, a bool": """
        CONFIG_MODEL=lenet5|resnet18
        CONFIG_BATCH_SIZE,CONFIG_LEARNING_RATE=(32, 0.01)|(128, 0.04)
        CONFIG_RANDOM_FLIP=y|n
    """,
    "symbols that steer the sweep": """
        CONFIG_WEIGHT_DECAY=0.01|0.05
        CONFIG_SWEEP_REPEATS=2
        CONFIG_SWEEP_OBJECTIVE="val_acc:max, test_loss:min"
        CONFIG_SWEEP_CONSTRAINTS="val_acc >= 0.1"
        CONFIG_SWEEP_PARALLEL_JOBS=2
        CONFIG_SWEEP_MAX_WALL_TIME=3600
        CONFIG_EARLY_STOPPING_PATIENCE=3
        CONFIG_EARLY_STOPPING_MIN_DELTA=0.01
    """,
}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.mark.parametrize("text", RANGES.values(), ids=RANGES.keys())
def test_both_files_give_the_best_point_whichever_it_is(tree: Tree, tmp_path: Path, text: str, capsys) -> None:
    swept = Planned(tree, tmp_path, text)
    assert len(swept.points) > 1
    for number, point in enumerate(swept.points):
        if point.values.get("SEED", "1") != "1":
            continue  # a repeat: the best setting's first run is taken
        swept.make_best(point)
        out = tmp_path / f"out{number}"

        assert main(["best", "--results", str(tmp_path), "--out", str(out)]) == 0, capsys.readouterr()
        assert swept.ids_of(out / "best_config") == [point.id]
        assert swept.ids_of(out / "best_defconfig") == [point.id]
        planned, written = (
            {name: value for name, (value, _) in parse_config(text).items() if not name.startswith("SWEEP_")}
            for text in (point.text, (out / "best_config").read_text())
        )
        assert written == planned, "complete, symbol by symbol"
        assert (out / "best_defconfig").read_text().count("\nCONFIG_") < 12, "minimal"
        assert main(["train", "--config", str(out / "best_config"), "--dry-run"]) == 0
        assert main(["sweep", "--range", str(out / "best_defconfig"), "--out", str(out), "--dry-run"]) == 0


def test_objective_is_kept_and_what_steers_many_runs_is_not(tree: Tree, tmp_path: Path) -> None:
    swept = Planned(tree, tmp_path, RANGES["symbols that steer the sweep"])
    swept.make_best(swept.points[0])
    assert main(["best", "--results", str(swept.dir.path)]) == 0
    values = config_values(swept.dir.best_config.read_text())

    assert values["SWEEP_OBJECTIVE"] == "val_acc:max, test_loss:min"
    assert (values["SWEEP_CONSTRAINTS"], values["SWEEP_PARALLEL_JOBS"]) == ("val_acc >= 0.1", "2")
    assert (values["SWEEP_REPEATS"], values["SWEEP_MAX_WALL_TIME"]) == ("1", "0")


def test_config_of_a_sweep_with_repeats_trains_alone(tree: Tree, tmp_path: Path) -> None:
    swept = Planned(tree, tmp_path, RANGES["symbols that steer the sweep"])

    assert "CONFIG_SWEEP_REPEATS=2\n" in (swept.dir.configs / "config_001").read_text()
    assert main(["train", "--config", str(swept.dir.configs / "config_001"), "--dry-run"]) == 0


@pytest.mark.slow
def test_point_of_a_search_can_be_swept_again_alone(place: Place) -> None:
    search = "CONFIG_SWEEP_STRATEGY=random\nCONFIG_SWEEP_TRIALS=6\nCONFIG_SWEEP_PRUNER=median\n"
    code, out = place.sweep(f"CONFIG_X=int(1, 90)\nCONFIG_NUM_EPOCHS=9\n{search}")
    assert code == 0, out
    (sweep,) = place.sweeps
    code, out = place.run("best", "--results", sweep)
    assert code == 0, out

    code, out = place.run("sweep", "--range", sweep / "best_defconfig", "--results", place.path / "again", "--out", place.configs)
    assert (code, "1 run: 1 passed" in out) == (0, True), out
    results = [json.loads(path.read_text()) for path in sweep.glob("config_*/result.json")]
    best = max((result for result in results if result["status"] == "passed"), key=lambda result: result["metrics"]["val_acc"])
    assert f"CONFIG_X={best['symbols_read']['X']}\n" in (sweep / "best_config").read_text()


# -- the head, and what lies there already -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep directory of three settings with two seeds each, of the fake trainer."""
    place = Place(tmp_path_factory.mktemp("swept"))
    code, out = place.sweep("CONFIG_X=1:1:3\nCONFIG_SWEEP_REPEATS=2\n")
    assert code == 0, out
    return place.sweeps[0]


@pytest.fixture
def sweep(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, below results/ of the present directory."""
    monkeypatch.setenv("KSWEEP_KCONFIG", "tests/fake/Kconfig")
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(swept, tmp_path / "results" / swept.name))


@pytest.fixture
def best(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`best(path, ...)`: its exit code, and all that it says."""

    def run(results: Path, *arguments: object) -> tuple[int, str]:
        code = main(["best", "--results", str(results), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def head(path: Path) -> str:
    return "".join(line.removeprefix("#") for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))


def change(sweep: Path, **changes: object) -> None:
    record = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(record | changes))


def change_results(sweep: Path, **changes: object) -> None:
    for path in sweep.glob("config_*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_head_tells_the_evidence_and_how_to_use_it(sweep: Path, best) -> None:
    code, out = best(Path("results"))
    text = " ".join(head(sweep / "best_config").split())

    assert code == 0, out
    assert (sweep / "best_defconfig").read_text().startswith((sweep / "best_config").read_text().partition("\n\n")[0])
    for part in (
        f"sweep {sweep.name}, ",
        "runs 6 runs: 6 passed; 3 settings compared",
        "ranked by val_acc, mean over seeds, larger is better",
        "val_acc 2.30% ± 0.00% (n=2, 95% interval of the mean 2.30% to 2.30%)",
        "test_acc 1.30% ± 0.00% (n=2, 95% interval of the mean 1.30% to 1.30%), not used to choose it",
        "values X=3",
        "val_acc is the best of 3, and such a one tends to be optimistic",
        f"make train CONFIG=results/{sweep.name}/best_config",
        f"make final RESULTS=results/{sweep.name}",
    ):
        assert part in text, text


def test_front_without_a_knee_gives_the_best_in_the_first_goal_and_names_the_others(sweep: Path, best) -> None:
    change(sweep, objective="val_acc:max, test_acc:min")
    code, out = best(sweep)

    assert code == 0
    assert "The best in val_acc of a front of 3, none of them better than another; the others:" in out
    assert "CONFIG_X=3\n" in (sweep / "best_config").read_text()
    assert "not used to choose it" not in out


def test_knee_of_the_front_is_chosen(tmp_path: Path) -> None:
    costs = {"1": (0.9, 9.0), "2": (0.88, 2.0), "3": (0.5, 1.0)}
    dir = simulate(
        tmp_path / "s",
        {"X": list(costs)},
        lambda v, s, e: {"val_acc": costs[v["X"]][0], "step_time_s": costs[v["X"]][1]},
        objective="val_acc:max, step_time_s:min",
    )
    findings = find(dir)
    best = best_of(findings)

    assert best.values == {"X": "2"}
    assert "The knee of a front of 3, none of them better than another; the others:" in evidence(findings, best)
    assert best_region(findings.ranking)[0] is best


def test_sweep_that_is_not_finished_says_so(sweep: Path, best) -> None:
    for path in sweep.glob("config_*_x3*"):
        shutil.rmtree(path)
    code, out = best(sweep)

    assert (code, "its best setting so far" in out, "CONFIG_X=2\n" in (sweep / "best_config").read_text()) == (0, True, True)


def test_command_to_be_typed_is_quoted_where_a_shell_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert from_here(tmp_path / "my results" / "best_config") == "'my results/best_config'"
    assert from_here(tmp_path / "results" / "best_config") == "results/best_config"


def test_another_file_of_that_name_is_kept_and_the_same_one_is_not_written(sweep: Path, best) -> None:
    best(sweep)
    written = (sweep / "best_config").stat()
    code, out = best(sweep)
    assert (code, out.count("unchanged: ")) == (0, 2)
    assert (sweep / "best_config").stat().st_mtime_ns == written.st_mtime_ns

    ours = (sweep / "best_config").read_text()
    for number in (1, 2):
        (sweep / "best_config").write_text(f"mine {number}")
        code, out = best(sweep)
        assert f"best_config; what was there is kept as best_config.{number}" in out
    assert [(sweep / f"best_config.{number}").read_text() for number in (1, 2)] == ["mine 1", "mine 2"]
    assert (sweep / "best_config").read_text() == ours


def test_without_a_ranking_it_says_why_and_writes_nothing(sweep: Path, best) -> None:
    change(sweep, objective="")
    code, out = best(sweep)
    assert (code, "No ranking: the sweep has no objective" in out) == (2, True)

    change(sweep, objective="val_acc", constraints="val_acc > 1")
    code, out = best(sweep)
    assert (code, "no setting keeps to val_acc > 1" in out) == (2, True)

    change_results(sweep, status="failed", reason="on purpose", metrics={})
    code, out = best(sweep)
    assert (code, "ALL 6 RUNS FAILED (6 failed). No ranking and no best configuration" in out) == (1, True)

    for path in sweep.glob("config_*_x*"):
        shutil.rmtree(path)
    code, out = best(sweep)
    assert (code, "No ranking yet: no run has passed" in out) == (2, True)
    code, out = best(sweep / "nothing")
    assert (code, "no such directory" in out) == (2, True)
    assert not list(sweep.glob("best_*"))


def test_edited_or_missing_config_is_refused(sweep: Path, best) -> None:
    (sweep / "configs" / "config_005").write_text("CONFIG_X=7\n")
    assert best(sweep)[0] == 0, "config.txt of the run has it as well"
    (run,) = sweep.glob("config_005_*")
    (run / "config.txt").unlink()
    code, out = best(sweep)

    assert code == 2
    assert "config_005: missing, or changed since the sweep" in out


def test_configuration_that_the_tree_no_longer_has_is_refused_with_the_reasons(sweep: Path, best, monkeypatch) -> None:
    monkeypatch.setenv("KSWEEP_KCONFIG", "Kconfig")
    code, out = best(sweep)

    assert code == 2
    assert 'CONFIG_MODEL: found "fake", ' in out
    assert "no configuration of this tree any more, which has changed since the sweep" in out


def test_place_that_cannot_be_written_is_one_message(sweep: Path, best) -> None:
    Path("file").write_text("")
    code, out = best(sweep, "--out", "file")

    assert code == 2
    assert "cannot be written" in out
