"""A place to sweep in, over the tree of the fake trainer, through the real command line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Place:
    """An output directory, and the command line that works on it. `range` holds the text of the range file."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def configs(self) -> Path:
        return self.path / "configs"

    @property
    def sweeps(self) -> list[Path]:
        return sorted(self.results.glob("sweep_*"))

    def write_range(self, text: str) -> Path:
        path = self.path / "ranges"
        path.write_text(text)
        return path

    def start(self, *arguments: object, **kwargs: Any) -> subprocess.Popen[str]:
        """A ksweep command, running."""
        env = os.environ | {"KSWEEP_KCONFIG": "tests/fake/Kconfig"}
        command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs
        )

    def run(self, *arguments: object) -> tuple[int, str]:
        """A ksweep command: exit code, output."""
        with self.start(*arguments) as process:
            out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def sweep_arguments(self) -> list[object]:
        return ["sweep", "--range", self.path / "ranges", "--results", self.results, "--out", self.configs]

    def sweep(self, text: str | None = None, *more: object) -> tuple[int, str]:
        """`ksweep sweep` over a range file of this text."""
        if text is not None:
            self.write_range(text)
        return self.run(*self.sweep_arguments(), *more)

    def summary(self) -> dict[str, dict[str, Any]]:
        """config -> row of sweep_summary.json of the only sweep."""
        (sweep,) = self.sweeps
        return {row["config_file"]: row for row in json.loads((sweep / "sweep_summary.json").read_text())}

    def events(self, name: str) -> list[dict[str, Any]]:
        """The journal's events of one kind, of the only sweep."""
        (sweep,) = self.sweeps
        lines = (sweep / "journal.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == name]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
