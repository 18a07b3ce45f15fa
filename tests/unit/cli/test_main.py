"""The dispatcher."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOOR = ["scripts/run_test_matrix.py", "--config-dir", "nothing-there"]


def copy_of_the_tree(tmp_path: Path) -> Path:
    """Without an environment."""
    for folder in ("lib", "models", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Kconfig", tmp_path)
    return tmp_path


def bare_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """An interpreter that sees no installed package."""
    return subprocess.run([sys.executable, "-S", *arguments], cwd=cwd, capture_output=True, text=True)


def test_interpreter_without_our_packages_says_what_to_do(tmp_path: Path) -> None:
    done = bare_python(*DOOR, cwd=copy_of_the_tree(tmp_path))

    assert done.returncode == 2
    assert re.search(r" has no \w+: run `make venv` once", done.stderr)


def test_interpreter_without_our_packages_goes_on_with_the_environment(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    python = tree / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    done = bare_python(*DOOR, cwd=tree)

    assert done.returncode == 2
    assert "nothing-there: no such directory; make one with `make sweep-generate" in done.stderr


def test_unknown_subcommand_lists_what_there_is() -> None:
    done = subprocess.run([sys.executable, "scripts/ksweep.py", "swep"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert "usage: ksweep <subcommand>" in done.stderr
    assert "rerun-failed" in done.stderr
