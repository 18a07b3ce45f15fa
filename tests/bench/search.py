"""What a search costs and what it gives, without training: the samplers over a space in plain Python.

  overhead   drawing a point and telling its outcome, with 1,000 finished ones (gp: 100): median (range) of 20, against the
             limits; in CPU time, which other work on the machine does not change
  engine     the same through the whole engine on lenet5-tpe: Kconfig, the config file, sweep.json, curves; no run is started
  toy        regret after 50 points on a log-scaled, an integer and a categorical axis, mean of SEEDS seeds: ours, Optuna's own
             TPE through its own interface, and random

make bench-search [SEEDS=100]
"""

import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

import optuna  # noqa: E402

from ksweep.cli.searching import plan_search, save_search  # noqa: E402
from ksweep.cli.tree import Tree  # noqa: E402
from ksweep.contract.outcome import Result, Status  # noqa: E402
from ksweep.contract.paths import SweepDir  # noqa: E402
from ksweep.search.base import Known, Outcome, SearchSettings  # noqa: E402
from ksweep.search.samplers import SAMPLERS, make_sampler  # noqa: E402
from ksweep.sweep.search import Search  # noqa: E402
from ksweep.sweep.store import GrowingPlan  # noqa: E402
from tests.contracts.spaces import PlainSpace, space, toy_regret, toy_space  # noqa: E402

NUM_FINISHED, NUM_TIMED, NUM_POINTS = 1_000, 20, 50
NUM_FINISHED_OF = {"gp": 100}  # its cost grows with the cube
LIMITS_MS = {"tpe": 40.0, "random": 5.0, "grid": 5.0}
NEAR_OPTUNA, BELOW_RANDOM = 1.1, 1 / 3


def overhead_space(name: str) -> PlainSpace:
    """Eight axes; a grid has no sampled ones."""
    lr = "log(1e-5, 1e-1, 50)" if name == "grid" else "loguniform(1e-5, 1e-1)"
    rest = {f"X{i}": "0:0.1:1" if name == "grid" else "uniform(0, 1)" for i in range(4)}
    return space(LR=lr, BATCH="4:4:64", KIND="a|b|c", OPTIMIZER="sgd|adamw", **rest)


def overhead_s(name: str) -> list[float]:
    """CPU seconds to draw and tell each of NUM_TIMED points after the finished ones."""
    num_finished = NUM_FINISHED_OF.get(name, NUM_FINISHED)
    made = overhead_space(name)
    settings = SearchSettings(maximize=(False,), num_points=num_finished)
    history = []
    by_chance = make_sampler("grid" if name == "grid" else "random", made, settings)
    for number in range(num_finished):
        drawn = by_chance.draw(number)
        assert drawn is not None
        draft = drawn[0]
        outcome = _passed(toy_regret(draft.values))
        history.append(Known(number=number, id=draft.id, rows=draft.rows, outcome=outcome))
    sampler = make_sampler(name, made, settings)
    sampler.restore(history)
    seconds = []
    for number in range(num_finished, num_finished + NUM_TIMED):
        start = time.process_time()
        drawn = sampler.draw(number)
        assert drawn is not None
        sampler.tell(number, _passed(toy_regret(drawn[0].values)))
        seconds.append(time.process_time() - start)
    return seconds


def engine_s(strategy: str) -> list[float]:
    """CPU seconds to choose a point, write it down, and take in its result, of the last NUM_TIMED after the finished ones."""
    tree = Tree()
    asked = {"SWEEP_STRATEGY": strategy, "SWEEP_TRIALS": str(2 * NUM_FINISHED)}
    plan = plan_search(tree, tree.read_range("lenet5-tpe"), {name: (value, "the benchmark") for name, value in asked.items()})
    rng, seconds = random.Random(1), []
    with tempfile.TemporaryDirectory() as scratch:
        driven = plan.strategy(1)
        record = save_search(tree, SweepDir(Path(scratch)), plan, driven, None)
        growing = GrowingPlan(SweepDir(Path(scratch)), record)
        kept = {"num_repeats": 1, "aggregate": "mean", "resource": "epoch"}
        search = Search(driven, growing, plan.objectives, axes=plan.space.axes, repeat=plan.space.with_seed, **kept)
        search.restore({}, [], [])
        for _ in range(NUM_FINISHED + NUM_TIMED):
            start = time.process_time()
            point = search.next()[0].point
            chosen = time.process_time()
            dir = growing.run_dir(point)
            dir.path.mkdir()
            dir.metrics.write_text("".join(f'{{"epoch": {e}, "val_acc": {rng.random()}}}\n' for e in range(1, 10)))
            reported = time.process_time()
            result = Result(id=point.id, config=point.config, status=Status.PASSED, metrics={"val_acc": rng.random()})
            search.ended(point.id, result)
            seconds.append(chosen - start + time.process_time() - reported)
    return seconds[-NUM_TIMED:]


def our_regret(name: str, seed: int) -> float:
    """The best of NUM_POINTS points on the toy."""
    sampler = make_sampler(name, toy_space(), SearchSettings(seed=seed, num_points=NUM_POINTS, maximize=(False,)))
    sampler.restore([])
    regrets = []
    for number in range(NUM_POINTS):
        drawn = sampler.draw(number)
        assert drawn is not None
        regrets.append(toy_regret(drawn[0].values))
        sampler.tell(number, _passed(regrets[-1]))
    return min(regrets)


def optuna_regret(seed: int) -> float:
    """The same by Optuna alone."""

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("LR", 1e-5, 1e-1, log=True)
        batch = trial.suggest_int("BATCH", 4, 32, step=4)
        kind = trial.suggest_categorical("KIND", ["a", "b", "c"])
        return toy_regret({"LR": repr(lr), "BATCH": str(batch), "KIND": kind})

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    study.optimize(objective, n_trials=NUM_POINTS)
    return study.best_value


def _passed(regret: float) -> Outcome:
    return Outcome(status=Status.PASSED, values=(regret,), curve={1: regret})


def overhead_lines() -> Iterator[tuple[str, bool]]:
    """A line for each sampler, and whether its limit holds."""
    for name in SAMPLERS:
        yield _overhead_line(name, "", overhead_s(name))
    for name in ("random", "tpe"):
        yield _overhead_line(name, "engine", engine_s(name))


def _overhead_line(name: str, where: str, seconds: list[float]) -> tuple[str, bool]:
    low, *_, high = ms = sorted(1e3 * second for second in seconds)
    limit = math.inf if where else LIMITS_MS.get(name, math.inf)  # of asking and telling; the engine's time is for the files too
    median = statistics.median(ms)
    holds = median < limit
    against = f"  limit {limit:g}: {_verdict(holds)}" if limit < math.inf else ""
    num_finished = NUM_FINISHED if where else NUM_FINISHED_OF.get(name, NUM_FINISHED)
    return f"  {name:8} {where:6} {num_finished:6,} {median:8.2f} ({low:.2f}-{high:.2f}) ms{against}", holds


def toy_lines(num_seeds: int) -> Iterator[tuple[str, bool]]:
    """A line for each way to search the toy; that of ours says how it compares."""
    seeds = range(num_seeds)
    bare, by_chance = [optuna_regret(seed) for seed in seeds], [our_regret("random", seed) for seed in seeds]
    ours = [our_regret("tpe", seed) for seed in seeds]
    near, below = (statistics.mean(ours) / statistics.mean(other) for other in (bare, by_chance))
    holds = near <= NEAR_OPTUNA and below <= BELOW_RANDOM
    for label, regrets in (("Optuna's TPE", bare), ("random", by_chance)):
        yield f"  {label:12} {_mean(regrets)}", True
    verdict = "holds" if holds else "DOES NOT HOLD"
    yield (
        f"  {'tpe':12} {_mean(ours)}: {near:.2f} of Optuna's (<= {NEAR_OPTUNA}), {below:.2f} of random's (<= 0.33): {verdict}",
        holds,
    )


def _verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.6f} +- {error:.6f}"


def main() -> None:
    """Print both tables; exit code 1 when a limit does not hold."""
    num_seeds, all_hold = int(os.environ.get("SEEDS") or 100), True
    print(f"overhead, by finished points: median (range) of {NUM_TIMED}, CPU time")
    for line, holds in overhead_lines():
        print(line, flush=True)
        all_hold &= holds
    print(f"toy: regret after {NUM_POINTS} points, mean +- its standard error, {num_seeds} seeds")
    for line, holds in toy_lines(num_seeds):
        print(line, flush=True)
        all_hold &= holds
    sys.exit(0 if all_hold else 1)


if __name__ == "__main__":
    main()
