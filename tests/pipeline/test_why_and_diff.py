"""`ksweep why` and `ksweep diff` through the real command line: who set a value, and what differs."""

import json
import re

import pytest

from ksweep.cli.main import main


@pytest.fixture
def ask(monkeypatch, capsys):
    """`ask(place, "why", ...)` -> exit code, output: a ksweep command in this process, in the place's directory."""

    def run(place, *arguments):
        monkeypatch.chdir(place.path)
        monkeypatch.setenv("KSWEEP_KCONFIG", "tests/fake/Kconfig")
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def rows_of(out: str) -> dict[str, tuple[str, str]]:
    """Symbol -> the heading that it stands under, its line."""
    found, heading = {}, ""
    for line in out.splitlines():
        if line.startswith("  "):
            found[line.split()[0]] = heading, " ".join(line.split()[1:])
        elif line:
            heading = line
    return found


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A finished sweep with a preset, an axis, repeats and a value of the command line: (place, label -> file:line)."""
    from tests.pipeline.conftest import Place

    place = Place(tmp_path_factory.mktemp("grid"))
    (place.path / "preset").write_text("CONFIG_EPOCH_MS=1\nCONFIG_UNREAD=0\n")
    text = "include ./preset\nCONFIG_X=1|3\nCONFIG_NUM_EPOCHS=2\nCONFIG_SWEEP_REPEATS=2\nCONFIG_SWEEP_PARALLEL_JOBS=2\n"
    code, out = place.sweep(text, "--epochs", "3")
    assert code == 0, out
    return place


def test_why_tells_axis_command_line_range_file_preset_and_default(grid, ask):
    code, out = ask(grid, "why", grid.configs / "config_002")
    rows = rows_of(out)

    assert code == 0
    assert rows["X"] == ("Swept", "1 ranges:2 1 | 3")
    assert rows["SEED"] == ("Swept", "2 ranges:4 repeat 2 of 2")
    assert rows["NUM_EPOCHS"] == ("Command line", "3 EPOCHS=3 ranges:3 says 2")
    assert rows["SWEEP_PARALLEL_JOBS"] == ("Range file", "2 ranges:5 default: 0")
    assert rows["EPOCH_MS"] == ("Preset", "1 preset:1 included at ranges:1; default: 0")
    assert rows["UNREAD"] == ("Preset", "0 preset:2 included at ranges:1")
    assert rows["BEHAVIOUR"] == ("Default", "pass tests/fake/Kconfig:17")
    assert rows["MODEL"] == ("Computed", "fake tests/fake/Kconfig:5")
    assert rows["SWEEP_RETRIES"][0] == "Steering of the sweep, at its default"


def test_why_says_the_same_of_every_name_of_a_configuration(grid, ask):
    (sweep,) = grid.sweeps
    (run,) = sweep.glob("config_003_*")
    best = sweep / "my_best"
    best.write_text((sweep / "configs" / "config_003").read_text())

    outs = [ask(grid, "why", name, "--results", grid.results) for name in ("config_003", run, run / "config.txt", best)]

    assert [code for code, _ in outs] == [0] * 4
    assert len({out.partition("\n")[2] for _, out in outs}) == 1
    assert "config_003 of ranges" in outs[0][1].splitlines()[0]
    best.unlink()


def test_why_names_the_better_neighbour_of_a_point_of_a_sweep(grid, ask):
    _, out = ask(grid, "why", "config_001", "--results", grid.results)

    assert "Better by one axis: config_003, X 1 -> 3: val_acc 3.30% ± 0.00% against 3.10% ± 0.00%, rank 1 against 2" in out
    assert "No setting of its sweep ranks higher." in ask(grid, "why", "config_003", "--results", grid.results)[1]


def test_why_tells_a_value_that_was_edited_after_it_was_planned(grid, ask):
    edited = grid.path / "edited"
    edited.mkdir()
    for path in grid.configs.iterdir():
        if path.is_file():
            (edited / path.name).write_text(path.read_text().replace("CONFIG_EPOCH_MS=1", "CONFIG_EPOCH_MS=7"))
    code, out = ask(grid, "why", edited / "config_001")

    assert code == 0
    heading, line = rows_of(out)["EPOCH_MS"]
    assert heading == "This file"
    assert "default: 0; not as it was planned" in line


def test_why_tells_what_a_search_chose(place, ask):
    code, out = place.sweep(
        "CONFIG_X=int(1, 9)\nCONFIG_SWEEP_STRATEGY=random\nCONFIG_SWEEP_REPEATS=2\nCONFIG_SWEEP_PARALLEL_JOBS=2\n",
        "--trials",
        "2",
    )
    assert code == 0, out
    code, out = ask(place, "why", "config_004", "--results", place.results)
    rows = rows_of(out)

    assert code == 0
    assert rows["X"][0] == "Swept"
    assert rows["X"][1].endswith("ranges:1 chosen by random as point 2, from int(1, 9)")
    assert rows["SEED"] == ("Swept", "2 ranges:3 repeat 2 of 2")
    assert rows["SWEEP_TRIALS"] == ("Command line", "2 TRIALS=2")


def test_why_shows_a_choice_once_by_its_word_and_the_recipe_of_the_model(tmp_path, capsys):
    path = tmp_path / "range"
    path.write_text("CONFIG_DATASET_SELECT_MNIST=y\nCONFIG_OPTIMIZER=sgd|adamw\n")
    assert main(["generate", "--range", str(path), "--out", str(tmp_path / "configs")]) == 0
    capsys.readouterr()

    assert main(["why", str(tmp_path / "configs" / "config_001")]) == 0
    rows = rows_of(capsys.readouterr().out)

    assert rows["OPTIMIZER"] == ("Swept", f"sgd {path}:2 sgd | adamw")
    assert rows["DATASET"] == ("Range file", f"mnist {path}:1 default: digits")
    assert "OPTIMIZER_SELECT_SGD" not in rows
    heading, line = rows["BATCH_SIZE"]
    assert heading == "Recipe of the model"
    assert line.startswith("128 models/lenet5/Kconfig:")
    assert line.endswith("if LENET5_LARGE_DATA")
    assert rows["LENET5_LARGE_DATA"][0] == "Computed"


@pytest.mark.parametrize("name", ["config_099", "not_there", "results", ".", "/dev/null", "preset_of_bytes"])
@pytest.mark.parametrize("command", ["why", "diff"])
def test_what_is_no_configuration_is_one_message(grid, ask, command, name):
    (grid.path / "preset_of_bytes").write_bytes(b"\xff\xfe\x00")
    code, out = ask(grid, command, name, *(["config_001"] if command == "diff" else []), "--results", grid.results)

    assert code == 2
    assert len(out.splitlines()) == 1
    assert "Traceback" not in out


def test_diff_of_two_runs_tells_values_metrics_and_the_first_numbers_that_differ(grid, ask):
    code, out = ask(grid, "diff", "config_001", "config_003", "--results", grid.results)
    lines = [" ".join(line.split()) for line in out.splitlines()]

    assert code == 0
    assert re.fullmatch(r"Configurations: 1 symbol of \d+ differs", lines[3])
    assert lines[4:7] == ["", "chosen A B", "X 1 3"]
    assert "val_acc 0.031 0.033 +0.002" in lines
    assert "status passed passed" in lines
    assert "Sources and machine: the same (commit, versions, host, device)" in lines
    assert "Numbers: 5 of 11 differ (3 and 3 reports; times, rates and memory left out); the first:" in lines
    assert any(line.startswith("step 1: val_acc 0.013") and line.endswith(" in B, 0.011 in A") for line in lines)


def test_diff_of_a_run_with_itself_finds_nothing(grid, ask):
    (sweep,) = grid.sweeps
    (run,) = sweep.glob("config_002_*")
    code, out = ask(grid, "diff", run, sweep / "configs" / "config_002")

    assert code == 0
    assert "Configurations: equal in all" in out
    assert "agree to the last bit" in out


def test_diff_tells_other_sources_and_steering_apart(grid, ask):
    (sweep,) = grid.sweeps
    (run,) = sweep.glob("config_001_*")
    other = grid.path / "other_run"
    other.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["packages"]["numpy"] = "0.0.1"
    (other / "provenance.json").write_text(json.dumps(provenance))
    (other / "config.txt").write_text((run / "config.txt").read_text().replace("SWEEP_RETRIES=1", "SWEEP_RETRIES=4"))
    code, out = ask(grid, "diff", run, other)
    lines = [" ".join(line.split()) for line in out.splitlines()]

    assert code == 0
    assert lines[lines.index("steering of the sweep A B") + 1] == "SWEEP_RETRIES 1 4"
    assert "chosen A B" not in lines
    assert any(line.startswith("packages numpy ") and line.endswith(" 0.0.1") for line in lines)
    assert "agree to the last bit" in out


def test_diff_of_a_run_and_a_config_compares_what_both_have(grid, ask):
    code, out = ask(grid, "diff", "config_001", grid.configs / "config_003", "--results", grid.results)

    assert code == 0
    assert "B has no run directory: only the configurations are compared" in out
    assert "final metric" not in out
