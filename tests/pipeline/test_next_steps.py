"""What comes after a sweep: refine, transfer, compare, over the real tree; results are a function of the values."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ksweep.cli.main import main
from ksweep.cli.range_output import check_range
from ksweep.cli.searching import plan_search
from ksweep.cli.tree import Tree
from ksweep.contract.atomic import write_json
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import PointRecord, SweepRecord
from ksweep.space.axes import Axis, Draft, Row, rounded
from ksweep.sweep.sweep import config_values
from tests.pipeline.conftest import Place

Score = Callable[[dict[str, str]], float]
LENET = "CONFIG_MODEL_SELECT_LENET5=y\nCONFIG_DATASET_SELECT_DIGITS=y\n"


def finished(path: Path, text: str, score: Score, *, num_drawn: int = 0, file: Path | None = None, **given: str) -> SweepDir:
    """A sweep over this range file whose runs have all passed, with `score` of their values as val_acc. `num_drawn`: points of a
    search; `given`: what the command line said."""
    tree = Tree()
    file = file or path.parent / "ranges"
    file.write_text(text)
    parsed = tree.parse_range(text, file)
    overrides = {name: (value, "EPOCHS") for name, value in given.items()}
    if num_drawn:
        space = plan_search(tree, parsed, overrides).space
        rng = random.Random(1)
        drafts = [space.draw(lambda axis: at_random(axis, rng)) for _ in range(num_drawn)]
        axes = space.axes
    else:
        expansion = tree.resolver.expand(parsed, overrides)
        drafts = [Draft(rows={}, values=point.values, id=point.id, text=point.text) for point in expansion.points]
        axes = expansion.axes
    dir = SweepDir(path)
    dir.configs.mkdir(parents=True)
    points = []
    for i, draft in enumerate(drafts, 1):
        label = f"config_{i:03d}"
        (dir.configs / label).write_text(draft.text)
        points.append(PointRecord(config=label, id=draft.id, run_dir=label, values=draft.values))
        run = RunDir(dir.path / label)
        run.path.mkdir()
        result = Result(id=draft.id, config=label, status=Status.PASSED, metrics={"val_acc": score(draft.values)})
        write_json(run.result, result.to_dict(), sync=False)
    values = config_values(drafts[0].text)
    SweepRecord(
        name=file.name,
        range_file=str(file),
        range_text=text,
        axes=[
            {"symbols": list(axis.symbols), "values": [list(row) for row in axis.values]}
            | ({"sampled": str(axis.sampled)} if axis.sampled else {})
            for axis in axes
        ],
        objective="val_acc",
        direction="maximize",
        strategy=values["SWEEP_STRATEGY"],
        created_at=time.time(),
        git={},
        kconfig_hash="",
        counts={},
        points=points,
        overrides=given,
    ).save(dir)
    return dir


def at_random(axis: Axis, rng: random.Random) -> Row:
    """One row of an axis; numbers of a distribution evenly in the logarithm, but for a 0."""
    if axis.sampled is None:
        return rng.choice(axis.values)
    low, high = float(axis.sampled.low), float(axis.sampled.high)
    return (rounded(axis, low * (high / low) ** rng.random() if low else rng.uniform(low, high)),)


def near(**wanted: float) -> Score:
    """Better the nearer the values are to these."""
    return lambda values: 1 - sum(abs(float(values[name]) - best) for name, best in wanted.items() if name in values) / 100


def refine(dir: SweepDir, *more: object) -> tuple[int, list[str]]:
    """Exit code, and the lines of the refined file that are no comments."""
    code = main(["refine", "--results", str(dir.path), *map(str, more)])
    path = dir.path / "refined"
    lines = path.read_text().splitlines() if path.exists() else []
    return code, [line for line in lines if line and not line.startswith("#")]


# -- refine --------------------------------------------------------------------------------------------------------


def test_user_s_own_lines_stay_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"# mine\n{LENET}CONFIG_NUM_EPOCHS=3   # short\nrequire BATCH_SIZE >= 4\nCONFIG_LEARNING_RATE=0.1|0.2|0.3\n# last\n"
    dir = finished(tmp_path / "s", text, near(LEARNING_RATE=0.2))
    code, _ = refine(dir)
    lines = (dir.path / "refined").read_text().splitlines()

    assert code == 0
    assert lines[0].startswith("# Refined from s (ranges), ")
    assert lines[0].endswith(": 3 points")
    own = [line for line in lines if not line.startswith(("# refine: ", "# Refined from "))]
    assert own == text.replace("0.1|0.2|0.3", "0.15|0.2|0.25").splitlines()
    assert "# refine: was CONFIG_LEARNING_RATE=0.1|0.2|0.3" in lines
    assert f"make sweep RANGE_CONFIG={dir.path}/refined" in capsys.readouterr().out


def test_refined_file_passes_make_check_and_is_refined_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, score = f"{LENET}CONFIG_LEARNING_RATE=0.001|0.01|0.1\n", near(LEARNING_RATE=0.03)
    dir = finished(tmp_path / "s", text, score)
    assert refine(dir)[1][-1] == "CONFIG_LEARNING_RATE=0.005|0.01|0.02"
    assert main(["check", "--range", str(dir.path / "refined")]) == 0
    assert "cartesian 3 -> legal 3 -> distinct 3" in capsys.readouterr().out.splitlines()[-1]
    again = finished(tmp_path / "t", (dir.path / "refined").read_text(), score, file=tmp_path / "refined")

    assert refine(again)[1][-1] == "CONFIG_LEARNING_RATE=0.0141|0.02|0.0283"
    assert (again.path / "refined").read_text().count("# refine: was") == 1  # nothing of the first round is left
    assert (again.path / "refined").read_text().count("# Refined from") == 1


def test_axis_of_an_included_file_is_overridden_and_the_include_stays(tmp_path: Path) -> None:
    dir = finished(tmp_path / "s", "include lenet5-adamwprune-range-smoke\nCONFIG_NUM_EPOCHS=3\n", near(TARGET_SPARSITY=0.5))
    code, lines = refine(dir)

    assert code == 0
    assert lines[:2] == ["include lenet5-adamwprune-range-smoke", "CONFIG_NUM_EPOCHS=3"]
    assert "CONFIG_TARGET_SPARSITY=0.4|0.5|0.6" in lines


def test_include_beside_the_range_file_is_found_from_the_new_place(tmp_path: Path) -> None:
    (tmp_path / "base").write_text(LENET + "CONFIG_NUM_EPOCHS=2\n")
    dir = finished(tmp_path / "s", "include base\nCONFIG_LEARNING_RATE=0.1|0.2|0.3\n", near(LEARNING_RATE=0.2))
    code, lines = refine(dir)

    assert code == 0
    assert lines == [f'include "{tmp_path}/base"', "CONFIG_LEARNING_RATE=0.15|0.2|0.25"]


def test_axis_that_the_best_region_does_not_have_is_left_out_of_an_include_too(tmp_path: Path) -> None:
    (tmp_path / "base").write_text(f"{LENET}CONFIG_OPTIMIZER=sgd|adamw\nCONFIG_SGD_MOMENTUM=0|0.5|0.9\nCONFIG_SGD_NESTEROV=n\n")
    text = "include base\nCONFIG_LEARNING_RATE=0.1|0.2|0.3\n"
    dir = finished(tmp_path / "s", text, lambda values: float(values["OPTIMIZER"] == "adamw") + float(values["LEARNING_RATE"]))
    code, lines = refine(dir)
    refined = (dir.path / "refined").read_text()

    assert code == 0
    assert "# refine: left out: CONFIG_SGD_MOMENTUM=0|0.5|0.9: no setting of the best region has it" in refined
    assert "CONFIG_OPTIMIZER=adamw" in lines
    assert not [line for line in lines if "SGD_MOMENTUM" in line or line.startswith("include")]


def test_fixed_line_that_no_point_is_left_for_is_left_out_with_the_reason(tmp_path: Path) -> None:
    text = f"{LENET}CONFIG_SGD_MOMENTUM=0.5\nCONFIG_OPTIMIZER=sgd|adamw\nCONFIG_LEARNING_RATE=0.1|0.2|0.3\n"
    dir = finished(tmp_path / "s", text, lambda values: float(values["OPTIMIZER"] == "adamw") + float(values["LEARNING_RATE"]))
    code, lines = refine(dir)

    assert code == 0
    assert not [line for line in lines if "SGD_MOMENTUM" in line]
    assert (
        "left out: CONFIG_SGD_MOMENTUM=0.5: CONFIG_SGD_MOMENTUM=0.5: needs OPTIMIZER_SELECT_SGD"
        in (dir.path / "refined").read_text()
    )


def test_values_that_a_rule_of_the_tree_forbids_are_left_out_with_the_rule(tmp_path: Path) -> None:
    text = f"{LENET}CONFIG_BATCH_SIZE=359|719|1079\nCONFIG_WEIGHT_DECAY=0|0.1\n"  # digits has 1,079 examples to train on
    dir = finished(tmp_path / "s", text, lambda values: float(values["BATCH_SIZE"]) + float(values["WEIGHT_DECAY"]))
    code, lines = refine(dir)

    assert code == 0
    assert "CONFIG_BATCH_SIZE=899|1079" in lines
    assert (
        "1259 left out: CONFIG_BATCH_SIZE=1259: a batch must not be larger than the training part"
        in (dir.path / "refined").read_text()
    )


def test_epochs_of_the_command_line_become_a_line(tmp_path: Path) -> None:
    text = f"{LENET}CONFIG_NUM_EPOCHS=9\nCONFIG_LEARNING_RATE=0.1|0.2|0.3\n"
    dir = finished(tmp_path / "s", text, near(LEARNING_RATE=0.2), NUM_EPOCHS="2")
    code, lines = refine(dir)

    assert code == 0
    assert "CONFIG_NUM_EPOCHS=2" in lines
    assert "CONFIG_NUM_EPOCHS=9" not in lines


def test_seeds_are_kept_and_others_are_named(tmp_path: Path) -> None:
    text = f"{LENET}CONFIG_LEARNING_RATE=0.1|0.2|0.3\nCONFIG_SWEEP_REPEATS=3\n"
    dir = finished(tmp_path / "s", text, near(LEARNING_RATE=0.2))
    code, lines = refine(dir)

    assert code == 0
    assert "CONFIG_SWEEP_REPEATS=3" in lines
    assert "others: CONFIG_SEED=4|5|6" in (dir.path / "refined").read_text()
    assert (dir.path / "refined").read_text().splitlines()[0].endswith("9 points")


def test_paired_axis_keeps_its_form(tmp_path: Path) -> None:
    text = f"{LENET}CONFIG_OPTIMIZER,CONFIG_LEARNING_RATE=(sgd, 0.05)|(adamw, 0.003)\nCONFIG_WEIGHT_DECAY=0.001|0.01\n"
    dir = finished(tmp_path / "s", text, lambda values: float(values["OPTIMIZER"] == "sgd") - float(values["WEIGHT_DECAY"]))
    code, lines = refine(dir)

    assert code == 0
    assert "CONFIG_OPTIMIZER,CONFIG_LEARNING_RATE=(sgd, 0.05)" in lines


def test_search_keeps_its_strategy_and_its_distributions(tmp_path: Path) -> None:
    def score(values: dict[str, str]) -> float:
        return float(values["OPTIMIZER"] == "sgd") - abs(float(values["LEARNING_RATE"]) - 0.1)

    dir = finished(tmp_path / "s", "include lenet5-random\n", score, num_drawn=30, SWEEP_TRIALS="7", NUM_EPOCHS="2")
    code, lines = refine(dir)
    text = (dir.path / "refined").read_text()
    checked = check_range(Tree(), text, dir.path / "refined")

    assert code == 0
    assert checked.num_points == 7
    assert config_values(checked.text)["SWEEP_STRATEGY"] == "random"
    assert config_values(checked.text)["NUM_EPOCHS"] == "2"
    assert "CONFIG_OPTIMIZER=sgd" in lines
    assert [line for line in lines if line.startswith("CONFIG_SGD_MOMENTUM=uniform(")]
    assert [line for line in lines if line.startswith("CONFIG_LEARNING_RATE=loguniform(")]
    assert f'CONFIG_SWEEP_IMPORT="{dir.path}"' in text


def test_space_in_yaml_becomes_a_range_file(tmp_path: Path) -> None:
    text = (
        "n_trials: 5\nmax_epochs: 2\nsearch_space:\n  lr: {type: float, low: 1e-4, high: 1e-1, log: true}\n"
        "  optimizer: {type: categorical, choices: [sgd, adamw]}\n"
    )
    dir = finished(
        tmp_path / "s", text, lambda values: float(values["OPTIMIZER"] == "adamw"), num_drawn=12, file=tmp_path / "space.yaml"
    )
    code, lines = refine(dir)

    assert code == 0
    assert [line for line in lines if line.startswith("CONFIG_LEARNING_RATE=loguniform(")]
    assert "CONFIG_OPTIMIZER=adamw" in lines
    assert main(["check", "--range", str(dir.path / "refined")]) == 0


def test_include_that_has_changed_since_does_not_change_the_axes(tmp_path: Path) -> None:
    (tmp_path / "base").write_text(LENET + "CONFIG_LEARNING_RATE=0.1|0.2|0.3\n")
    dir = finished(tmp_path / "s", "include base\nCONFIG_NUM_EPOCHS=2\n", near(LEARNING_RATE=0.2))
    (tmp_path / "base").write_text(LENET)
    code, lines = refine(dir)

    assert code == 0
    assert lines[-1] == "CONFIG_LEARNING_RATE=0.15|0.2|0.25"


def test_another_file_is_put_aside_and_the_same_one_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dir = finished(tmp_path / "s", f"{LENET}CONFIG_LEARNING_RATE=0.1|0.2|0.3\n", near(LEARNING_RATE=0.2))
    out = tmp_path / "mine"
    out.write_text("precious\n")

    assert main(["refine", "--results", str(dir.path), "--out", str(out)]) == 0
    assert (tmp_path / "mine.1").read_text() == "precious\n"
    assert "what was there is kept as mine.1" in capsys.readouterr().out
    assert main(["refine", "--results", str(dir.path), "--out", str(out)]) == 0
    assert f"unchanged: {out}" in capsys.readouterr().out
    assert not (tmp_path / "mine.2").exists()


def test_nothing_to_refine_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dir = finished(tmp_path / "s", f"{LENET}CONFIG_OPTIMIZER=sgd|adamw\n", lambda values: float(values["OPTIMIZER"] == "sgd"))
    assert refine(dir)[0] == 2
    assert "nothing is left to refine: every axis is down to one value; the best is config_001" in capsys.readouterr().err
    seeds = finished(tmp_path / "t", f"{LENET}CONFIG_SEED=1|2\n", lambda values: 0.5)
    assert refine(seeds)[0] == 2
    assert "nothing was swept but the seed" in capsys.readouterr().err
    for run in seeds.path.glob("config_*/result.json"):
        run.unlink()
    assert refine(seeds)[0] == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["refine", "--results", str(tmp_path / "nowhere")]) == 2
    assert main(["refine", "--results", str(dir.path), "--out", str(tmp_path / "x.yaml")]) == 2


def test_refined_sweep_runs(place: Place) -> None:
    code, out = place.sweep("CONFIG_X=10|20|30\nCONFIG_NUM_EPOCHS=1\nCONFIG_SWEEP_PARALLEL_JOBS=2\n")
    assert code == 0, out
    (sweep,) = place.sweeps
    code, out = place.run("refine", "--results", place.results)
    assert code == 0, out
    code, out = place.run("sweep", "--range", sweep / "refined", "--results", place.results, "--out", place.configs)
    (refined,) = set(place.sweeps) - {sweep}

    assert code == 0, out
    assert [point.values["X"] for point in SweepRecord.load(SweepDir(refined)).points] == ["25", "30", "35"]


# -- transfer ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    """A sweep of LeNet-5 whose best is SGD with a momentum of 0.5."""
    text = (
        f"{LENET}CONFIG_OPTIMIZER=sgd|adamw\nCONFIG_SGD_MOMENTUM=0.5|0.9\nCONFIG_LEARNING_RATE=0.02|0.04\nCONFIG_NUM_EPOCHS=2|3\n"
    )
    return finished(
        tmp_path_factory.mktemp("small") / "s",
        text,
        lambda values: float(values.get("SGD_MOMENTUM") == "0.5") + float(values["LEARNING_RATE"]),
    )


def transfer(dir: SweepDir, *arguments: object) -> int:
    return main(["transfer", "--results", str(dir.path), *map(str, arguments)])


def test_best_values_go_into_another_preset(small: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(small, "--to", "resnet18-adamw", "--out", tmp_path / "new") == 0
    out = capsys.readouterr().out
    values = config_values(check_range(Tree(), (tmp_path / "new").read_text(), tmp_path / "new").text)

    assert (values["OPTIMIZER"], values["SGD_MOMENTUM"], values["LEARNING_RATE"]) == ("sgd", "0.5", "0.04")
    assert (values["MODEL"], values["DATASET"], values["NUM_EPOCHS"]) == ("resnet18", "cifar10", "100")
    assert "LEARNING_RATE: 0.001 -> 0.04" in out
    assert main(["check", "--config", str(tmp_path / "new")]) == 2  # it includes another file: it is a preset
    assert main(["train", "--config", str(tmp_path / "new"), "--results", str(tmp_path), "--dry-run"]) == 0
    assert main(["check", "--range", str(tmp_path / "new")]) == 0


def test_what_kconfig_does_not_take_is_left_out_with_the_reason(
    small: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transfer(small, "--to", "resnet18-adamw", "--symbols", "SGD_MOMENTUM LEARNING_RATE", "--out", tmp_path / "new") == 0
    text = (tmp_path / "new").read_text()

    assert "# left out: CONFIG_SGD_MOMENTUM=0.5: needs OPTIMIZER_SELECT_SGD" in text
    assert "\nCONFIG_LEARNING_RATE=0.04\n" in text
    assert "note: these are the best beside SGD_MOMENTUM=0.5, which is left out" in capsys.readouterr().out


def test_nothing_taken_over_is_an_error(small: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(small, "--to", "resnet18-adamw", "--symbols", "SGD_MOMENTUM", "--out", tmp_path / "new") == 2
    assert "it takes none of SGD_MOMENTUM; nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_symbols_may_name_what_was_not_swept_and_what_is_left_otherwise(small: SweepDir, tmp_path: Path) -> None:
    assert transfer(small, "--to", "resnet18-adamw", "--symbols", "BATCH_SIZE,CONFIG_NUM_EPOCHS", "--out", tmp_path / "new") == 0
    values = config_values(check_range(Tree(), (tmp_path / "new").read_text(), tmp_path / "new").text)

    assert (values["BATCH_SIZE"], values["NUM_EPOCHS"]) == ("64", "2")
    assert "which did not sweep it" in (tmp_path / "new").read_text()


def test_pair_is_taken_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{LENET}CONFIG_OPTIMIZER,CONFIG_LEARNING_RATE=(sgd, 0.05)|(adamw, 0.003)\nCONFIG_BATCH_SIZE=32|64\n"
    dir = finished(tmp_path / "s", text, lambda values: float(values["OPTIMIZER"] == "sgd") + float(values["BATCH_SIZE"]))
    assert transfer(dir, "--to", "resnet18-adamwprune-smoke", "--out", tmp_path / "new") == 0
    text = (tmp_path / "new").read_text()

    assert "# left out: CONFIG_LEARNING_RATE=0.05: was swept together with OPTIMIZER" in text
    assert "\nCONFIG_BATCH_SIZE=64\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "resnet18-adamv"], "no such file, and no such name in defconfigs"),
        (["--to", "resnet18-adamw", "--symbols", "DEPTH"], "SYMBOLS: DEPTH: not in the best configuration"),
    ],
)
def test_request_that_makes_no_sense_is_refused(
    small: SweepDir, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert transfer(small, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(small.path.glob("transfer-*"))


# -- compare -------------------------------------------------------------------------------------------------------


def test_sweep_that_is_run_again_is_the_same_to_the_last_bit(place: Place) -> None:
    code, out = place.sweep("CONFIG_X=10|20|30\nCONFIG_SEED=1|2\nCONFIG_NUM_EPOCHS=1\nCONFIG_SWEEP_PARALLEL_JOBS=2\n")
    assert code == 0, out
    code, out = place.sweep(None, "--fresh")
    assert code == 0, out
    code, out = place.run("compare", *place.sweeps)

    assert code == 0, out
    assert out.splitlines()[-1] == "same to the last bit: the final metrics of 6 pairs of runs, times and memory aside"
