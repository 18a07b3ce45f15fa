"""Two runs of one configuration."""

import json
from pathlib import Path

from ksweep.analysis.compare import compare_runs
from ksweep.contract.paths import RunDir


def run_dir(path: Path, **metrics: float) -> RunDir:
    path.mkdir()
    dir = RunDir(path)
    dir.metrics.write_text(json.dumps({"step": 1, "epoch": 1, **metrics}) + "\n")
    return dir


def test_what_the_machine_decides_is_no_difference_and_all_else_is(tmp_path: Path) -> None:
    same = {"val_acc": 0.9, "pruning_mib": 12.5}
    now = {"step_time_s": 0.1, "images_per_s": 640.0, "peak_memory_mib": 700.0, "epoch_time_s": 9.0}
    then = {"step_time_s": 0.2, "images_per_s": 320.0, "peak_memory_mib": 701.5, "epoch_time_s": 8.0}

    assert compare_runs(run_dir(tmp_path / "a", **same, **now), run_dir(tmp_path / "b", **same, **then)) == (4, [])
    assert compare_runs(RunDir(tmp_path / "a"), run_dir(tmp_path / "c", **now, val_acc=0.8, pruning_mib=12.0))[1] == [
        "step 1: pruning_mib 12.5 now, 12.0 then",
        "step 1: val_acc 0.9 now, 0.8 then",
    ]
