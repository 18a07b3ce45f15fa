"""The import rules of the design, held by an AST walk and a fresh interpreter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "lib" / "ksweep"
# Orchestrator layers import lower numbers only, and not their neighbours.
LAYERS = {"contract": 0, "space": 1, "kconfig": 2, "search": 2, "execute": 2, "sweep": 3, "analysis": 3, "track": 4, "cli": 5}
TRAINER = {"train", "data", "optim", "prune", "nn"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("ksweep.")}


@pytest.mark.parametrize("layer", LAYERS)
def test_orchestrator_layer_imports_lower_layers_only(layer: str) -> None:
    for path in (LIB / layer).rglob("*.py"):
        if path.name.startswith("data_"):  # doors to the trainer side's data sets; they orchestrate nothing
            continue
        for other in packages(path) - {layer}:
            assert other in LAYERS, f"{path}: the orchestrator must not import ksweep.{other}"
            assert LAYERS[other] < LAYERS[layer], f"{path}: {layer} must not import {other}"
        heavy = {name.split(".")[0] for name in imports(path)} & {"torch", "torchvision", "models"}
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("layer", sorted(TRAINER))
def test_trainer_code_imports_contract_and_trainer_code_only(layer: str) -> None:
    for path in (LIB / layer).rglob("*.py"):
        assert packages(path) <= TRAINER | {"contract"}, path


def test_tuner_joins_the_layers_of_networks_and_the_engine_of_the_search() -> None:
    for path in (LIB / "tuner").rglob("*.py"):
        assert packages(path) <= {"tuner", "contract", "space", "search", "nn"}, path


def test_models_do_not_import_each_other_or_the_orchestrator() -> None:
    for path in (ROOT / "models").rglob("*.py"):
        own = path.relative_to(ROOT / "models").parts[0]
        assert packages(path) <= TRAINER | {"contract"}, path
        assert {name.split(".")[1] for name in imports(path) if name.startswith("models.")} <= {own}, path


def test_only_the_kconfig_layer_imports_kconfiglib_itself() -> None:
    for path in LIB.rglob("*.py"):
        if path.parent.name == "kconfig" or path == LIB / "cli" / "tree.py":  # cli/tree.py names the type in an annotation
            continue
        assert not {name.split(".")[0] for name in imports(path)} & {"kconfiglib", "menuconfig", "guiconfig"}, path


def test_contract_needs_nothing_but_the_standard_library() -> None:
    for path in (LIB / "contract").glob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"ksweep"}
        assert not outside, f"{path} imports {outside}"


@pytest.mark.parametrize("command", ["status", "watch", "leaderboard", "summary", "continue", "sweep"])
def test_command_starts_without_heavy_imports(command: str) -> None:
    script = (
        f"import sys, argparse, ksweep.cli.main, importlib; m = importlib.import_module('ksweep.cli.{command}_command');"
        "m.add_arguments(argparse.ArgumentParser());"
        "print([n for n in ('torch', 'numpy', 'pandas', 'matplotlib', 'optuna', 'rich', 'sklearn') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}", "PATH": ""}
    )

    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_scripts_are_doors() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        code = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith(("#", '"""'))]
        assert len(code) <= 15, path


def test_every_subcommand_has_a_module_and_every_module_is_a_subcommand() -> None:
    from ksweep.cli.main import COMMANDS

    modules = {path.name.removesuffix("_command.py").replace("_", "-") for path in (LIB / "cli").glob("*_command.py")}
    assert modules == set(COMMANDS)


def test_only_the_search_imports_optuna() -> None:
    users = {path.relative_to(LIB) for path in LIB.rglob("*.py") if {name.split(".")[0] for name in imports(path)} & {"optuna"}}

    names_types = {Path("tuner/optuna_search.py")}  # in annotations
    assert users - names_types == {Path("search/optuna_samplers.py"), Path("search/optuna_study.py")}
