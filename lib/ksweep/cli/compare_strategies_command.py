"""Compare strategies at an equal budget of epochs: real sweeps over one range file, several seeds each.

  test_matrix_results/compare_YYYYMMDD_HHMMSS/
    compare.json                                   what was asked for, and which sweeps have ended
    sweep_.../ ...                                 an ordinary sweep for each strategy and seed
    strategies.txt  strategies.png  strategies.json  the best so far against epochs spent, over the seeds

The same command continues the newest comparison with the same arguments, and starts nothing when it is complete.
Exit code: 0 all good, 1 some runs failed or it was interrupted, 2 the request was wrong.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksweep.analysis.strategies import Swept, compare_strategies, write_comparison
from ksweep.cli.results_argument import add_jobs_argument, positive_int
from ksweep.cli.searching import SearchPlan, plan_search, run_search
from ksweep.cli.tree import Tree, say
from ksweep.contract.atomic import exclusive, read_json, read_lines, write_json
from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import SCHEMA
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import SweepRecord
from ksweep.search.base import SearchSettings
from ksweep.search.rungs import cost, halving_bracket
from ksweep.space.rangefile import RangeFile
from ksweep.sweep.progress import duration_text
from ksweep.sweep.reports import trained
from ksweep.sweep.steering import max_resource, resource_key, search_settings
from ksweep.sweep.store import check_results_root, find_search, new_sweep_dir, results_root

DEFAULT_RANGE = "lenet5-compare"
DEFAULT_STRATEGIES = "random,tpe,halving,asha,hyperband"
DEFAULT_SEEDS = 3
DEFAULT_RUNS = 20  # complete ones, which the default budget is worth
ONE_BRACKET = ("halving", "pbt")  # their number of points decides what they spend, so it is not raised afterwards
LOCK = ".lock"  # in the results directory: held while a comparison is found or made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    parser.add_argument("--range", metavar="R", default=DEFAULT_RANGE, help="range file (default: %(default)s)")
    parser.add_argument(
        "--strategies", metavar="S,S", default=DEFAULT_STRATEGIES, help="strategies, with commas between (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", metavar="N", type=positive_int, default=DEFAULT_SEEDS, help="sweeps of each strategy (default: %(default)s)"
    )
    parser.add_argument(
        "--budget", metavar="E", type=positive_int, help=f"epochs of each sweep (default: {DEFAULT_RUNS} complete runs)"
    )
    parser.add_argument("--results", metavar="D", type=Path, default=Path("test_matrix_results"), help="results directory")
    add_jobs_argument(parser)
    parser.add_argument("--fresh", action="store_true", help="start anew in a new directory")


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """What is compared. `points`: strategy -> points that its sweeps ask for at first; `identity`: of all that is fixed."""

    file: RangeFile
    points: dict[str, int]
    num_seeds: int
    budget: int
    unit: str
    identity: str

    @property
    def arguments(self) -> dict[str, Any]:
        """By which it is found again."""
        return {
            "range_file": str(self.file.path.resolve()) if self.file.path else "",
            "range_text": self.file.text,
            "strategies": sorted(self.points),
            "seeds": self.num_seeds,
            "budget": self.budget,
            "identity": self.identity,
        }

    @property
    def sweeps(self) -> Iterator[tuple[str, int]]:
        """Strategy and seed of each, a seed of all strategies before the next: what stands early on can be compared."""
        return ((name, seed) for seed in range(1, self.num_seeds + 1) for name in self.points)


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    contest = _contest(tree, tree.read_range(args.range), args)
    results = results_root(args.results)
    check_results_root(results, 1)
    with exclusive(results / LOCK):
        place = (None if args.fresh else _find(results, contest)) or _new(results, contest)
    ended = _ended(place)
    todo = [sweep for sweep in contest.sweeps if sweep not in ended]
    say(f"{place}: {', '.join(contest.points)}: {contest.budget} {contest.unit}s each, {contest.num_seeds} seeds; "
        f"{len(todo)} sweeps to go, {len(ended)} done")  # fmt: skip
    total, started = len(ended) + len(todo), time.monotonic()
    for number, (name, seed) in enumerate(todo):
        left = (time.monotonic() - started) / number * (len(todo) - number) if number else None
        about = "" if left is None else f", about {duration_text(left)} left"
        say(f"\n=== sweep {len(ended) + 1} of {total}: {name}, seed {seed}{about} ===")
        swept = _sweep(tree, contest, place, name, seed, args.jobs)
        if swept is None:
            say(f"{place}: interrupted; the same command continues")
            return 1
        ended[name, seed] = swept
        _save(place, contest, ended)
    return _report(contest, place, [ended[sweep] for sweep in contest.sweeps])


# -- the request -----------------------------------------------------------------------------------------------------------


def _contest(tree: Tree, file: RangeFile, args: argparse.Namespace) -> _Contest:
    """Check all that can be wrong before anything starts."""
    names = [name.strip() for name in args.strategies.split(",") if name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise RequestError(f'--strategies: found "{args.strategies}", allowed: different strategies, such as random,tpe')
    plans = {name: plan_search(tree, file, _overrides(name, seed=1)) for name in names}
    first = plans[names[0]]
    if not first.objectives.goals:
        raise RequestError(f"{file.path}: CONFIG_SWEEP_OBJECTIVE: is empty, so there is nothing to compare by; name a metric")
    if different := next((name for name, plan in plans.items() if plan.base != first.base), None):
        raise RequestError(
            f"{file.path}: a complete run of strategy {different} is another than one of {names[0]} (CONFIG_SWEEP_MAX_RESOURCE "
            f"counts for strategies with rungs only); set CONFIG_{first.values['SWEEP_RESOURCE']} instead"
        )
    complete = max_resource(first.values)
    budget = args.budget or DEFAULT_RUNS * complete
    unit = resource_key(first.values)
    if budget < complete:
        raise _too_small(budget, complete, f"the {unit}s of one complete run")
    points = {name: _first_points(name, plan, budget, complete) for name, plan in plans.items()}
    for name in names:  # what a strategy refuses, it refuses now
        overrides = _overrides(name, seed=1, budget=budget, num_points=points[name])
        plan_search(tree, file, overrides).strategy(1)
    return _Contest(file=file, points=points, num_seeds=args.seeds, budget=budget, unit=unit, identity=first.base)


def _overrides(name: str, *, seed: int, budget: int = 0, num_points: int = 0) -> dict[str, tuple[str, str]]:
    """What a sweep of the comparison has instead of the range file's lines. One seed a point: the seeds are the comparison's."""
    values = {
        "SWEEP_STRATEGY": (name, "--strategies"),
        "SEED": (str(seed), "--seeds"),
        "SWEEP_SEED": (str(seed), "--seeds"),
        "SWEEP_REPEATS": ("1", "--seeds"),
        "SWEEP_MAX_TOTAL_RESOURCE": (str(budget), "--budget"),
    }
    return values | ({} if name == "grid" else {"SWEEP_TRIALS": (str(num_points), "--budget")})


def _first_points(name: str, plan: SearchPlan, budget: int, complete: int) -> int:
    """Points that use up the budget, as far as that can be said; where they do not, more are asked for later."""
    settings = search_settings(plan.values, plan.objectives, is_finite=True, num_parallel=1)
    if name == "halving":
        return _halving_points(settings, plan.num_distinct or budget, budget)
    if name == "pbt":
        if budget < 2 * complete:
            raise _too_small(budget, 2 * complete, "what the smallest population of pbt spends; or leave pbt out")
        return budget // complete
    if name in ("asha", "hyperband"):
        return budget // settings.min_resource
    return -(-budget // complete)


def _halving_points(settings: SearchSettings, most: int, budget: int) -> int:
    """The largest bracket that the budget pays for."""
    costs = {
        n: cost(halving_bracket(n, settings.min_resource, settings.max_resource, settings.eta))
        for n in range(settings.eta, max(settings.eta, min(most, budget)) + 1)
    }
    fitting = [n for n, spent in costs.items() if spent <= budget]
    if not fitting:
        raise _too_small(
            budget, min(costs.values()), "what the smallest bracket of strategy halving spends; or leave halving out"
        )
    return max(fitting)


def _too_small(budget: int, least: int, why: str) -> RequestError:
    return RequestError(f"--budget: found {budget}, allowed: {least} or more, {why}")


# -- the directory ---------------------------------------------------------------------------------------------------------


def _find(results: Path, contest: _Contest) -> Path | None:
    """The newest comparison with these arguments."""
    for path in sorted(results.glob("compare_*"), reverse=True):
        record = read_json(path / "compare.json")
        if isinstance(record, dict) and record.get("arguments") == contest.arguments:
            return path
    return None


def _new(results: Path, contest: _Contest) -> Path:
    place = new_sweep_dir(results, "compare").path
    _save(place, contest, {})
    return place


def _save(place: Path, contest: _Contest, ended: dict[tuple[str, int], Swept]) -> None:
    sweeps = [{"strategy": s.strategy, "seed": s.seed, "dir": s.dir.path.name, "over": s.over} for s in ended.values()]
    write_json(place / "compare.json", {"schema": SCHEMA, "arguments": contest.arguments, "ended": sweeps})


def _ended(place: Path) -> dict[tuple[str, int], Swept]:
    """The sweeps that have ended; one whose directory was removed since runs again."""
    swept = [
        Swept(strategy=s["strategy"], seed=s["seed"], dir=SweepDir(place / s["dir"]), over=s["over"])
        for s in read_json(place / "compare.json")["ended"]
    ]
    return {(s.strategy, s.seed): s for s in swept if s.dir.sweep.exists()}


# -- one sweep -------------------------------------------------------------------------------------------------------------


def _sweep(tree: Tree, contest: _Contest, place: Path, name: str, seed: int, jobs: int | None) -> Swept | None:
    """Run a sweep until its budget is spent or it cannot spend any more; None: it was interrupted.

    Runs that end early, as those that fail do, leave a rest: then it is continued with more points.
    """
    num_points, spent = contest.points[name], -1
    while True:
        plan = plan_search(tree, contest.file, _overrides(name, seed=seed, budget=contest.budget, num_points=num_points))
        before = _events(place, plan)
        run_search(tree, plan, place, is_fresh=False, is_confirmed=True, is_dry=False, jobs=jobs)
        events = _events(place, plan)
        if len(events) > len(before) and _is_interrupted(events[-1]):
            return None
        found = find_search(place, plan.source, name, plan.base)
        assert found is not None
        dir, record = found
        spent, spent_before = _spent(dir, record, contest.unit), spent
        if spent >= contest.budget or spent == spent_before or name in ONE_BRACKET:
            return Swept(strategy=name, seed=seed, dir=dir, over=_over(events))
        num_points += -(-(contest.budget - spent) // max_resource(plan.values))


def _events(place: Path, plan: SearchPlan) -> list[dict[str, Any]]:
    """The journal of the sweep of a plan; none before it has one."""
    found = find_search(place, plan.source, plan.values["SWEEP_STRATEGY"], plan.base)
    return read_lines(found[0].journal) if found else []


def _is_interrupted(event: dict[str, Any]) -> bool:
    """Whether a sweep whose newest event this is waits to be continued."""
    return event["event"] != "sweep_ended" or bool(event["stopped"])


def _over(events: list[dict[str, Any]]) -> str:
    """Why it ended, where that is known."""
    return str(events[-1].get("over", "")) if events else ""


def _spent(dir: SweepDir, record: SweepRecord, unit: str) -> int:
    runs = ((RunDir(dir.path / point.run_dir), "parent" in point.search) for point in record.points)
    return sum(trained(run.metrics, unit, is_child=is_child) for run, is_child in runs)


# -- the result ------------------------------------------------------------------------------------------------------------


def _report(contest: _Contest, place: Path, sweeps: list[Swept]) -> int:
    """Write and print the comparison; 1 when a run went wrong in any of its sweeps."""
    comparison = compare_strategies(sweeps, name=contest.file.name, unit=contest.unit, budget=contest.budget)
    say("\n" + write_comparison(comparison, place))
    say(f"more in {place}: strategies.txt, strategies.png, strategies.json")
    return 1 if any(trace.num_bad for entrant in comparison.entrants for trace in entrant.traces) else 0
