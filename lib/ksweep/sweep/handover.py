"""Checkpoints between runs: what a new one gets that goes on from another, and what a finished one needs no longer."""

import os
import shutil

from ksweep.contract.paths import RunDir


def hand_over(parent: RunDir, child: RunDir) -> None:
    """Put all that is in the parent's checkpoints/ into the child's checkpoints/parent/, whole or not at all.

    To be called when the child is decided on, while no process works on the parent: it is then exactly where it was to stop.
    What a child has already stays as it is, so that a second call changes nothing. A copy, as a trainer in any language may
    write into a file in place.
    """
    if child.parent.exists():
        return
    child.checkpoints.mkdir(parents=True, exist_ok=True)
    beside = child.checkpoints / ".parent.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    parent.checkpoints.mkdir(exist_ok=True)
    shutil.copytree(parent.checkpoints, beside, ignore=shutil.ignore_patterns(parent.parent.name, ".*"))
    (beside / child.parent_name.name).write_text(f"{parent.path.name}\n", encoding="utf-8")
    os.replace(beside, child.parent)


def drop_checkpoints(run: RunDir) -> None:
    """Remove all that only a run that goes on needs; the best weights stay."""
    (run.checkpoints / "last.pt").unlink(missing_ok=True)
    shutil.rmtree(run.parent, ignore_errors=True)
