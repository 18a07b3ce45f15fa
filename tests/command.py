"""The real command line, for tests of whole sweeps."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def ksweep(*arguments: object) -> str:
    """Output of a command that must end well."""
    command = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sweep(place: Path, range_file: object, *more: object) -> tuple[Path, str]:
    """The directory of a sweep over this range file below `place`, and what it printed."""
    out = ksweep("sweep", "--range", range_file, "--results", place / "results", "--out", place / "configs", *more)
    (dir,) = place.glob("results/sweep_*")
    return dir, out
