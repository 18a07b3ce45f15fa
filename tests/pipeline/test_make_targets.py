"""The Makefile, by real `make` runs: what people type, what reaches the scripts, what lies on disk afterwards."""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
AS_IT_IS = ["VENV=", f"PYTHON={sys.executable}"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("KCONFIG_", "MAKE"))}


def make(*words: str, cwd: Path = ROOT, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=cwd, env=ENVIRON | (env or {}), input=stdin, capture_output=True, text=True, timeout=60
    )


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_lists_every_public_target_and_variable_once_and_at_once() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    variables = set(" ".join(re.findall(r"USER_VARIABLES := (.*?[^\\])\n", makefile, re.DOTALL)).replace("\\", "").split())
    started = time.monotonic()
    result = make("help", "PYTHON=/nonexistent", "VENV=/nonexistent")
    took_s = time.monotonic() - started
    listed = [name for names in re.findall(r"^  (\S.*?)(?:  .*)?$", result.stdout, re.MULTILINE) for name in names.split()]

    assert took_s < 1
    assert sorted(set(" ".join(phony).split()) - set(listed)) == []
    assert {"defconfig-<name>", "<name>_defconfig"} <= set(listed)
    assert [name for name in variables if result.stdout.count(f"{name}=") == 0] == []
    targets = [name for name in listed if not name.endswith("=")]
    assert sorted(name for name in set(targets) if targets.count(name) > 1) == []


def test_make_without_a_target_is_help() -> None:
    assert make().stdout == make("help").stdout


# -- what reaches the command line ------------------------------------------------------------------------------------


@pytest.fixture
def echo(tmp_path: Path) -> list[str]:
    """Make variables for an interpreter that prints its arguments instead of running them."""
    echo = script(tmp_path / "echo", f'case $1 in -c) exec {sys.executable} "$@";; esac; printf "%s\\n" "$@"')
    return ["VENV=", f"PYTHON={echo}"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sweep", "sweep --out sweep_configs --results test_matrix_results"),
        (
            "sweep RANGE_CONFIG=r PARALLEL=2 EPOCHS=3 YES=1 DRY_RUN=1 FRESH=1 O=o",
            "sweep --range r --out o/sweep_configs --results o/test_matrix_results --epochs 3 --jobs 2 --yes --dry-run --fresh",
        ),
        ("sweep-parallel PARALLEL=4", "sweep --out sweep_configs --results test_matrix_results --jobs 4"),
        ("sweep-generate RESULTS=x", "generate --out sweep_configs --results x"),
        ("sweep-run PARALLEL=2 FRESH=1", "run --config-dir sweep_configs --output-dir test_matrix_results --jobs 2 --fresh"),
        ("estimate RANGE_CONFIG=r", "estimate --results test_matrix_results --range r"),
        ("sweep-status RESULTS=x", "status --results x"),
        ("sweep-monitor", "watch --results test_matrix_results"),
        ("sweep-leaderboard", "leaderboard --results test_matrix_results"),
        ("sweep-analyze", "analyze --results test_matrix_results"),
        ("summary", "summary --results test_matrix_results"),
        ("rerun-failed", "rerun-failed --results test_matrix_results"),
        ("continue", "continue --results test_matrix_results"),
        ("rerun CONFIG=c", "rerun c --results test_matrix_results"),
        ("train EPOCHS=2 O=o", "train --config o/.config --results o/test_matrix_results --epochs 2"),
        ("check RANGE_CONFIG=r", "check --range r --dot-config .config"),
        ("why SYMBOL=X", "why .config --symbol X --results test_matrix_results"),
        ("diff A=a B=b RESULTS=x", "diff a b --results x"),
        ("train CONFIG=c", "train --config c --results test_matrix_results"),
        ("best RESULTS=x OUT=o", "best --results x --out o"),
        ("final SEEDS=3 EPOCHS=2", "final --results test_matrix_results --seeds 3 --epochs 2"),
        ("sweep-refine OUT=o", "refine --results test_matrix_results --out o"),
        ("sweep-transfer TO=p SYMBOLS=A", "transfer --results test_matrix_results --to p --symbols A"),
        (
            "tune-act THRESHOLDS=0.5 LAMBDAS=0.01 SCORE=layers DATA=graded LAYERS=2 LR=0.01 SEEDS=3 EPOCHS=2 PARALLEL=2 O=o",
            "tune-act --output-dir o/test_matrix_results/act_tuning --thresholds 0.5 --lambdas 0.01 --score-metric layers "
            "--dataset graded --n-layers 2 --lr 0.01 --seeds 3 --epochs 2 --jobs 2",
        ),
        ("sweep-compare A=a B=b METRICS=m", "compare a b --metrics m"),
        ("sweep-track TRACKER=mlflow", "track --results test_matrix_results --tracker mlflow"),
        ("report-serve PORT=0", "report-serve --results test_matrix_results --port 0"),
        ("data-fashion-mnist", "data fashion-mnist --data-dir data"),
        ("xconfig", "kconf --config .config guiconfig"),
        ("nconfig KCONFIG_CONFIG=k", "kconf --config k menuconfig"),
        ("defconfig-a+b", "kconf --config .config defconfig --defconfig a+b"),
        ("a_defconfig", "kconf --config .config defconfig --defconfig a"),
        ("defconfig DEFCONFIG=d", "kconf --config .config defconfig --defconfig d"),
        ("savedefconfig O=o", "kconf --config o/.config savedefconfig o/defconfig"),
    ],
    ids=lambda value: value.split()[0],
)
def test_a_target_calls_its_subcommand(echo: list[str], words: str, expected: str) -> None:
    result = make(*words.split(), *echo)
    subcommand, *arguments = expected.split()
    module = importlib.import_module(f"ksweep.cli.{subcommand.replace('-', '_')}_command")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)

    assert result.stdout.split() == ["scripts/ksweep.py", subcommand, *arguments]
    parser.parse_args(arguments)  # exits where the subcommand does not know one of them


NASTY = """a b'c"d$(touch HIT)`touch HIT`$$HOME;touch HIT #x, *"""


@pytest.mark.parametrize("how", ["command line", "environment"])
def test_a_value_reaches_the_script_as_it_was_typed_and_runs_nothing(echo: list[str], how: str) -> None:
    values = {"RANGE_CONFIG": NASTY, "RESULTS": "$(shell touch HIT)", "O": "dir with blank"}
    given = [f"{name}={value}" for name, value in values.items()]
    result = make("sweep", *echo, *given) if how == "command line" else make("sweep", *echo, env=values)

    expected = ["sweep", "--range", NASTY, "--out", "dir with blank/sweep_configs", "--results", "$(shell touch HIT)"]

    assert result.stdout.splitlines() == ["scripts/ksweep.py", *expected]
    assert not (ROOT / "HIT").exists()


def test_the_name_of_a_preset_and_a_line_break_run_nothing(echo: list[str]) -> None:
    preset = make("defconfig-`touch HIT`'\"$(touch HIT)", *echo).stdout.splitlines()[-1]
    broken = make("rerun", "CONFIG=a'\n touch HIT #", *echo).stdout.splitlines()

    assert preset == "`touch HIT`'\"$(touch HIT)"
    assert broken[1:3] == ["rerun", "a'  touch HIT #"]
    assert not (ROOT / "HIT").exists()


def test_V_1_shows_the_command_and_silence_is_the_default(echo: list[str]) -> None:
    assert "scripts/ksweep.py status" in make("sweep-status", "V=1", *echo).stdout
    assert "scripts/ksweep.py status" not in make("sweep-status", *echo).stdout


@pytest.mark.parametrize(("target", "variable"), [("rerun", "CONFIG"), ("mergeconfig", "MERGE")])
def test_a_target_that_needs_a_variable_says_which(echo: list[str], target: str, variable: str) -> None:
    result = make(target, *echo)

    assert result.returncode == 2
    assert f"{variable}=" in result.stderr


def test_our_own_files_are_compiled_whatever_the_environment_says(tmp_path: Path) -> None:
    show = script(tmp_path / "python", f'case $1 in -c) exec {sys.executable} "$@";; esac; env | grep DONTWRITE || echo none')

    assert make("summary", "VENV=", f"PYTHON={show}", env={"PYTHONDONTWRITEBYTECODE": "1"}).stdout == "none\n"


# -- configurations ---------------------------------------------------------------------------------------------------


def test_a_preset_becomes_a_configuration_in_O(tmp_path: Path) -> None:
    preset = tmp_path / "p"
    preset.write_text("CONFIG_OPTIMIZER=sgd\nCONFIG_SGD_MOMENTUM=0.5\n")
    result = make("defconfig", f"DEFCONFIG={preset}", f"O={tmp_path / 'o'}", *AS_IT_IS)

    assert result.returncode == 0, result.stderr
    assert 'CONFIG_SGD_MOMENTUM="0.5"' in (tmp_path / "o" / ".config").read_text()


def test_an_unknown_preset_is_a_message_without_a_traceback(tmp_path: Path) -> None:
    result = make("defconfig-lenet5-nosuch", f"O={tmp_path}", *AS_IT_IS)

    assert result.returncode == 2
    assert '"lenet5-nosuch": no such file' in result.stderr
    assert "Traceback" not in result.stderr


def test_every_preset_of_the_tree_is_listed_with_what_it_is_for() -> None:
    listed = make("list-defconfigs", *AS_IT_IS).stdout.splitlines()
    files = sorted(path.name for path in (ROOT / "defconfigs").iterdir() if path.suffix != ".md")

    assert [line.split()[0] for line in listed] == files
    assert [line for line in listed if " broken " in line or len(line.split()) < 3] == []


def test_randconfig_takes_its_seed_from_make(tmp_path: Path) -> None:
    result = make("randconfig", "KCONFIG_SEED=7", f"O={tmp_path}", *AS_IT_IS)

    assert "KCONFIG_SEED=0x7" in result.stdout


def test_menuconfig_without_a_terminal_is_a_message(tmp_path: Path) -> None:
    result = make("menuconfig", f"O={tmp_path}", *AS_IT_IS)

    assert "menuconfig needs a terminal" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def menu(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """`make menuconfig` on tmp_path/.config, standing in the top menu."""
    environ = ENVIRON | getattr(request, "param", {})
    with Terminal(["make", "menuconfig", f"O={tmp_path}", *AS_IT_IS], cwd=ROOT, env=environ) as terminal:
        terminal.wait_for("Jump to symbol")
        yield terminal


def jump_to(menu: Terminal, symbol: str, prompt: str) -> None:
    menu.press("/")
    menu.wait_for("regexes")
    menu.press(f"^{symbol}$\n")
    menu.wait_for(f") {prompt}")


def test_menuconfig_saves_a_changed_value(tmp_path: Path, menu: Terminal) -> None:
    jump_to(menu, "BATCH_SIZE", "Batch size")
    menu.press("\n")
    menu.wait_for("Range: 1-65536")
    menu.press("\x15128\n")
    menu.wait_for("Batch size")
    menu.press("q")
    menu.wait_for("Save configuration?")
    menu.press("y")

    assert menu.wait_for_end() == 0
    assert "CONFIG_BATCH_SIZE=128" in (tmp_path / ".config").read_text()


def test_menuconfig_refuses_a_real_number_out_of_its_bounds(tmp_path: Path, menu: Terminal) -> None:
    jump_to(menu, "LEARNING_RATE", "Learning rate")
    menu.press("\n")
    menu.wait_for("Allowed: > 0 and <= 10")
    for wrong in ("50", "fast"):
        menu.press(f"\x15{wrong}\n")
        menu.wait_for(f'found "{wrong}", allowed: a number')
        menu.press("\n")
        menu.wait_for("Learning rate (string)")
    menu.press("\x150.02\n")
    menu.wait_for("Learning rate")
    menu.press("s")
    menu.wait_for("Filename to save")
    menu.press("\n")
    menu.wait_for("Configuration saved")

    assert 'CONFIG_LEARNING_RATE="0.02"' in (tmp_path / ".config").read_text()


def test_menuconfig_asks_to_save_only_what_has_changed(tmp_path: Path) -> None:
    make("alldefconfig", f"O={tmp_path}", *AS_IT_IS)
    with Terminal(["make", "menuconfig", f"O={tmp_path}", *AS_IT_IS], cwd=ROOT, env=ENVIRON) as menu:
        menu.wait_for("Jump to symbol")
        menu.press("q")
        menu.wait_for("No changes to save")

        assert menu.wait_for_end() == 0


def test_menuconfig_tells_what_of_a_configuration_did_not_survive(tmp_path: Path) -> None:
    text = "CONFIG_BATCH_SIZE=64|128\nCONFIG_SEED=3\n"
    (tmp_path / ".config").write_text(text)
    with Terminal(["make", "menuconfig", f"O={tmp_path}", *AS_IT_IS], cwd=ROOT, env=ENVIRON) as menu:
        menu.wait_for("Jump to symbol")
        menu.press("q")
        menu.wait_for("Save configuration?")
        menu.press("n")
        menu.wait_for(".config:1: CONFIG_BATCH_SIZE: found 64|128")

        assert menu.wait_for_end() == 0
        assert (tmp_path / ".config").read_text() == text


def test_menuconfig_loads_another_file_strictly() -> None:
    short = tempfile.TemporaryDirectory(prefix="m")  # the dialogue cuts a long path off, and the message with it
    tmp_path = Path(short.name)
    (tmp_path / "other").write_text("CONFIG_SEED=77\nCONFIG_NUM_EPOCHS=0\n")
    with Terminal(["make", "menuconfig", f"O={tmp_path}", *AS_IT_IS], cwd=ROOT, env=ENVIRON) as menu:
        menu.wait_for("Jump to symbol")
        menu.press("o")
        menu.wait_for("configuration anyway?")
        menu.press("o")
        menu.wait_for("File to load")
        menu.press(f"\x15{tmp_path}/nosuch\n")
        menu.wait_for("cannot be read")
        menu.press("\n")
        menu.wait_for("File to load")
        menu.press(f"\x15{tmp_path}/other\n")
        menu.wait_for("other:2: CONFIG_NUM_EPOCHS")  # the rest may stand on the next line
        menu.press("\n")
        menu.wait_for("Loaded")
        menu.press("\n")
        menu.press("q")
        menu.wait_for("Save configuration?")
        menu.press("y")

        assert menu.wait_for_end() == 0
        assert {"CONFIG_SEED=77", "CONFIG_NUM_EPOCHS=10"} <= set((tmp_path / "other").read_text().splitlines())
    short.cleanup()


@pytest.mark.parametrize("menu", [{"LC_ALL": "xx_YY.UTF-8"}], indirect=True, ids=["unknown locale"])
def test_menuconfig_opens_where_the_locale_is_not_installed(menu: Terminal) -> None:
    menu.press("q")
    menu.wait_for("Save configuration?")
    menu.press("n")

    assert menu.wait_for_end() == 0


def test_menuconfig_ends_when_its_terminal_is_closed(menu: Terminal) -> None:
    menu.close()

    assert menu.process.wait(20) != 0


# -- set-up and clean-up ----------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the Makefile and its scripts, whose requirements are none: pip has nothing to fetch."""
    root = tmp_path / "tree"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", root)
    (root / "requirements.txt").write_text("# nothing\n")
    for folder in ("lib", "models", "tests"):
        (root / folder).mkdir()
    return root


@pytest.mark.slow
def test_the_environment_is_made_once_and_again_when_it_is_incomplete(tree: Path) -> None:
    # Stands in for `python -m venv`, which takes 4 s: an environment whose python is this one.
    real = script(tree / "real", f'exec {sys.executable} "$@"')
    venv = f'sleep 0.5; mkdir -p "$3/bin"; ln -s {real} "$3/bin/python"'
    fake = script(tree / "python", f'case $1$2 in -mvenv) {venv};; *) exec {real} "$@";; esac')
    python = f"PYTHON={fake}"
    both = [subprocess.Popen(["make", "venv", python], cwd=tree, env=ENVIRON, stderr=subprocess.PIPE, text=True) for _ in "12"]
    told = sorted(run.communicate(timeout=60)[1].partition(":")[0].partition(" of ")[0] for run in both)
    second = make("venv", python, cwd=tree)

    assert [run.returncode for run in both] == [0, 0]
    assert told == ["another set-up", "setting up .venv"]
    assert (second.returncode, second.stderr) == (0, "")

    (tree / "requirements.txt").write_text("# nothing else\n")
    (tree / ".venv" / "keep").touch()
    changed = make("venv", python, cwd=tree)

    assert "requirements.txt has changed" in changed.stderr
    assert (tree / ".venv" / "keep").exists()

    (tree / "requirements.txt").write_text("./no-such-package\n")
    failed = make("venv", python, cwd=tree)

    assert failed.returncode == 2
    assert "no-such-package" in failed.stderr
    assert "set-up of .venv failed (pip install); the whole log: .venv/setup.log" in failed.stderr

    (tree / "requirements.txt").write_text("# nothing\n")
    repaired = make("venv", python, cwd=tree)

    assert "setting up .venv" in repaired.stderr
    assert not (tree / ".venv" / "keep").exists()
    assert make("mrproper", cwd=tree).returncode == 0
    assert not (tree / ".venv").exists()


def test_an_environment_of_the_users_own_is_left_alone(tree: Path) -> None:
    (tree / "mine").mkdir()
    (tree / "mine" / "pyvenv.cfg").touch()
    setup = make("venv", "VENV=mine", f"PYTHON={sys.executable}", cwd=tree)
    make("mrproper", "VENV=mine", cwd=tree)

    assert setup.returncode == 2
    assert "was not made by this Makefile" in setup.stderr
    assert os.listdir(tree / "mine") == ["pyvenv.cfg"]


def test_a_python_that_is_too_old_is_refused_by_its_version(tree: Path) -> None:
    old = script(tree / "python3.9", 'case $1 in --version) echo "Python 3.9.18";; *) exit 1;; esac')

    assert "is Python 3.9.18; allowed: 3.11 or newer" in make("venv", f"PYTHON={old}", cwd=tree).stderr
    assert "is Python 3.9.18; allowed: 3.11 or newer" in make("venv", f"PYTHON={old}", "VENV=", cwd=tree).stderr
    assert "was not found" in make("venv", "PYTHON=no-such-python", cwd=tree).stderr


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["sweep-clean"], {".config", ".config.old", "results", "data", "lib/__pycache__"}),
        (["clean"], {".config", ".config.old", "results", "data"}),
        (["mrproper"], {"results", "data"}),
        (["mrproper", "SURE=1"], {"data"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_cleaning_takes_only_what_it_says(tree: Path, words: list[str], left: set[str]) -> None:
    made = {
        "sweep_configs": tree / "sweep_configs/config_001",
        ".config": tree / ".config",
        ".config.old": tree / ".config.old",
        "results": tree / "test_matrix_results/sweep_20260101_000000/sweep.json",
        "data": tree / "data/mnist",
        "lib/__pycache__": tree / "lib/__pycache__/x.pyc",
    }
    readme = tree / "test_matrix_results/README.md"
    for path in [*made.values(), readme]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    result = make(*words, cwd=tree)

    assert result.returncode == 0, result.stderr
    assert {name for name, path in made.items() if path.exists()} == left
    assert readme.exists()
