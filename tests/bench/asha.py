"""What ASHA spends and finds on LeNet-5, against every point trained to its end with three seeds.

  grid   all points, SEED 1, 2, 3: their mean ranks them
  asha   the same points three times, with SEED and SWEEP_SEED 1, 2, 3: epochs spent, against those of one seed of the grid; and
         the point that it picks (the best of those that were trained to their end), by its mean in the grid

The limits: so many epochs at most for each, and the mean over the three searches of what their picks reach in the grid is within
one standard deviation (over seeds, of the best point) of the grid's best.

make bench-asha [RANGES="lenet5-asha"] [PARALLEL=2] [RESULTS=dir, kept, where it goes on after an interruption]
"""

import os
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from ksweep.cli.main import main as ksweep  # noqa: E402
from ksweep.cli.searching import plan_search, run_search  # noqa: E402
from ksweep.cli.tree import Tree  # noqa: E402
from ksweep.contract.outcome import Status  # noqa: E402
from ksweep.contract.paths import RunDir, SweepDir  # noqa: E402
from ksweep.contract.sweepfile import SweepRecord  # noqa: E402
from ksweep.sweep.reports import furthest  # noqa: E402
from ksweep.sweep.store import results_of  # noqa: E402

LIMITS = {"lenet5-asha": 0.40, "lenet5-asha-long": 0.16}  # of the epochs of the grid
SEEDS = (1, 2, 3)
METRIC = "val_acc"

Setting = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Swept:
    """What a sweep came to. `scores`: setting -> the metric of each run that was trained to its end."""

    scores: dict[Setting, list[float]]
    epochs: int


def swept(results: Path) -> Swept:
    """The only sweep in a results directory."""
    (path,) = results.glob("sweep_*")
    dir = SweepDir(path)
    record = SweepRecord.load(dir)
    found = results_of(dir, record)
    scores = defaultdict(list)
    for point in record.active_points:
        result = found[point.id]
        if result.status == Status.PASSED:
            score = result.metrics[METRIC]
            assert score is not None
            scores[setting_of(point.values)].append(score)
    epochs = sum(furthest(RunDir(path / point.run_dir).metrics, "epoch") for point in record.active_points)
    return Swept(dict(scores), epochs)


def setting_of(values: dict[str, str]) -> Setting:
    """The swept values without the seed."""
    return tuple(sorted((name, value) for name, value in values.items() if name != "SEED"))


def run_grid(name: str, results: Path, jobs: int) -> int:
    """All points with all seeds, by the command; its exit code."""
    text = f"include {ROOT / 'defconfigs' / name}\nCONFIG_SWEEP_STRATEGY=grid\nCONFIG_SWEEP_REPEATS={len(SEEDS)}\n"
    (results / "range").write_text(text)
    arguments = ["sweep", "--range", str(results / "range"), "--results", str(results), "--out", str(results / "configs")]
    return ksweep([*arguments, "--jobs", str(jobs)])


def run_asha(name: str, seed: int, results: Path, jobs: int) -> int:
    """One search, by what `make sweep` calls; its exit code."""
    tree = Tree()
    overrides = {symbol: (str(seed), "the benchmark") for symbol in ("SEED", "SWEEP_SEED")}
    plan = plan_search(tree, tree.read_range(name), overrides)
    return run_search(tree, plan, results, is_fresh=False, is_confirmed=False, is_dry=False, jobs=jobs)


def measure(name: str, place: Path, jobs: int) -> tuple[Swept, list[Swept]]:
    """The grid, and a search for each seed; what they print goes to files beside their results."""
    for kind in ("grid", *(f"asha-{seed}" for seed in SEEDS)):
        results = place / name / kind
        results.mkdir(parents=True, exist_ok=True)
        print(f"{name}: {kind} ...", file=sys.stderr, flush=True)
        with open(results / "output.txt", "a") as output, redirect_stdout(output):
            code = run_grid(name, results, jobs) if kind == "grid" else run_asha(name, int(kind[-1]), results, jobs)
        if code != 0:
            sys.exit(f"{results}: exit code {code} (see output.txt); RESULTS={place} goes on from here")
    return swept(place / name / "grid"), [swept(place / name / f"asha-{seed}") for seed in SEEDS]


def report(name: str, grid: Swept, searches: list[Swept]) -> bool:
    """Print what came of one range file; whether its limits hold."""
    complete = {setting: scores for setting, scores in grid.scores.items() if len(scores) == len(SEEDS)}
    means = {setting: statistics.fmean(scores) for setting, scores in complete.items()}
    best = max(means, key=lambda setting: means[setting])
    sd, full = statistics.stdev(complete[best]), grid.epochs / len(SEEDS)
    print(f"{name}: grid: {len(means)} points, {full:g} epochs a seed")
    print(f"  grid's best        {100 * means[best]:6.2f} % +- {100 * sd:.2f}  {shown(best)}")
    picks, shares = [], []
    for seed, search in zip(SEEDS, searches, strict=True):
        pick = max(search.scores, key=lambda setting: search.scores[setting][0])
        picks.append(means[pick])
        shares.append(search.epochs / full)
        rank = 1 + sum(mean > means[pick] for mean in means.values())
        print(
            f"  asha, seed {seed}: picks {100 * means[pick]:6.2f} % in the grid, rank {rank}  {shown(pick)}; "
            f"{search.epochs} epochs, {shares[-1]:.1%}"
        )
    is_near = means[best] - statistics.fmean(picks) <= sd
    is_cheap = max(shares) <= LIMITS[name]
    print(f"  epochs: {max(shares):.1%} at most (limit {LIMITS[name]:.0%}): {verdict(is_cheap)}")
    print(
        f"  picks: {100 * statistics.fmean(picks):.2f} %, {100 * (means[best] - statistics.fmean(picks)):.2f} below grid's best "
        f"(limit {100 * sd:.2f}, one standard deviation): {verdict(is_near)}",
        flush=True,
    )
    return is_cheap and is_near


def shown(setting: Setting) -> str:
    """For people."""
    return " ".join(f"{name}={value}" for name, value in setting)


def verdict(holds: bool) -> str:
    """For people."""
    return "holds" if holds else "DOES NOT HOLD"


def main() -> None:
    """Measure and print each range file; exit code 1 when a limit does not hold."""
    jobs = int(os.environ.get("PARALLEL") or 2)
    names = (os.environ.get("RANGES") or " ".join(LIMITS)).split()
    kept = os.environ.get("RESULTS")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ROOT / "test_matrix_results")) as scratch:
        held = [report(name, *measure(name, Path(kept or scratch).resolve(), jobs)) for name in names]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
