"""Where a result comes from: commit, uncommitted changes, versions, machine."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "kconfiglib")


def git_state(root: Path) -> dict[str, Any]:
    """`commit`, `dirty`, and `diff`: a hash of the uncommitted changes and the names of new files. Nulls outside of git."""

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    diff = git("diff", "HEAD", "--no-ext-diff")
    new = git("ls-files", "--others", "--exclude-standard")
    if commit is None or diff is None or new is None:
        return {"commit": None, "dirty": None, "diff": None}
    changes = diff + new
    return {
        "commit": commit.decode().strip(),
        "dirty": bool(changes),
        "diff": hashlib.sha256(changes).hexdigest()[:16] if changes else None,
    }


def machine() -> dict[str, Any]:
    """Host, system, CPU cores that this process may use, Python and package versions (None: not installed)."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": versions,
    }
