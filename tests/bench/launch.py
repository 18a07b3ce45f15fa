"""What the runner costs: 100 runs of a command that exits at once, through the whole runner with its durable records, against
`make -j2` over the same commands. Paired and interleaved; the analysis, which comes after, is left out.

    make bench-launch
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ["KSWEEP_KCONFIG"] = "tests/fake/Kconfig"

from ksweep.cli.tree import Tree  # noqa: E402
from ksweep.sweep.configs import owned_configs, read_configs, write_configs  # noqa: E402
from ksweep.sweep.progress import LineProgress  # noqa: E402
from ksweep.sweep.store import SweepLock, new_sweep_dir, save_plan  # noqa: E402
from ksweep.sweep.sweep import config_values, run_sweep  # noqa: E402

NUM_RUNS, NUM_SLOTS, NUM_PAIRS = 100, 2, 7


def with_ksweep(scratch: Path, command: str) -> float:
    """Seconds from the plan to the last record, launcher start and end included."""
    tree = Tree()
    range_file = scratch / "ranges"
    range_file.write_text(f'CONFIG_MODEL_COMMAND="{command}"\nCONFIG_X=1:1:{NUM_RUNS}\nCONFIG_SWEEP_OBJECTIVE=""\n')
    file = tree.read_range(str(range_file))
    with owned_configs(scratch / "configs"):
        write_configs(tree.resolver.expand(file), file, scratch / "configs", {})
    plan = read_configs(scratch / "configs", tree.resolver)
    git, selectors = tree.git, tree.selectors
    start = time.perf_counter()
    dir = new_sweep_dir(scratch)
    lock = SweepLock(dir)
    record = save_plan(dir, plan, None, config_values(plan.configs[0].text), git, tree.kconfig_hash)
    with open(os.devnull, "w") as null:
        outcome = run_sweep(
            ROOT, dir, record, lock, jobs=NUM_SLOTS, selectors=selectors, progress_of=lambda board: LineProgress(board, null)
        )
    lock.release()
    wall = time.perf_counter() - start
    assert len(outcome.results) == NUM_RUNS
    assert {result.status for result in outcome.results.values()} == {"passed"}
    return wall


def with_make(scratch: Path, command: str) -> float:
    """Seconds of `make -j2`."""
    words = command.replace("python", sys.executable)
    targets = " ".join(f"t{i}" for i in range(NUM_RUNS))
    (scratch / "Makefile").write_text(f"all: {targets}\n.PHONY: all {targets}\n{targets}:\n\t@{words}\n")
    start = time.perf_counter()
    subprocess.run(["make", "-s", f"-j{NUM_SLOTS}"], cwd=scratch, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the pairs and their median ratio."""
    for command in sys.argv[1:] or ["python -c pass"]:
        pairs = []
        # Nothing is deleted between the pairs: for a while after a deletion ext4 makes files many times more slowly.
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ROOT / "test_matrix_results")) as scratch:
            for number in range(NUM_PAIRS):
                place = Path(scratch, str(number))
                place.mkdir()
                pairs.append((with_ksweep(place, command), with_make(place, command)))
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        print(f"{NUM_RUNS} x `{command}`, {NUM_SLOTS} at a time, {NUM_PAIRS} pairs")
        for name, column in (("ksweep", 0), ("make -j2", 1)):
            walls = [pair[column] for pair in pairs]
            print(f"  {name:9} median {statistics.median(walls):.2f} s  (min {min(walls):.2f}, max {max(walls):.2f})")
        print(f"  ratio     median {statistics.median(ratios):.2f}  (min {ratios[0]:.2f}, max {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
