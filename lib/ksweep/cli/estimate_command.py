"""How long a sweep will take, or what is left of one.

Predicted from runs of the same model and data set that have finished here. Without any, one run of one epoch is made, in a
directory that is removed again. With --range: the plan of that range file; else what is left of the sweep worked on last, or of
the default range file.
"""

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ksweep.analysis.load import find_sweep
from ksweep.cli.searching import plan_search
from ksweep.cli.single import run_single
from ksweep.cli.tree import Tree, add_range_arguments, say
from ksweep.contract.errors import KsweepError, RequestError
from ksweep.contract.outcome import Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.contract.sweepfile import SweepRecord
from ksweep.kconfig.resolve import Overrides
from ksweep.space.rangefile import RangeFile
from ksweep.sweep.configs import PlannedConfig
from ksweep.sweep.durations import Durations, makespan
from ksweep.sweep.progress import duration_text
from ksweep.sweep.steering import has_rungs
from ksweep.sweep.store import find_continuable, results_of, results_root, settled_result, sweeps_newest_first
from ksweep.sweep.sweep import config_values, slots_for

# Runs that differ in these tell nothing about each other.
WORK = ("MODEL", "SKETCHED_MODEL", "DATASET", "RESNET_WIDTH", "IMAGE_SIZE", "STEPS_PER_EPOCH")
FEATURES = (*WORK, "OPTIMIZER", "BATCH_SIZE", "DEVICE", "PRECISION", "PRUNING_METHOD")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_range_arguments(parser)
    parser.add_argument("--results", metavar="R", type=Path, default=Path("test_matrix_results"), help="sweeps to learn from")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    own, texts, num_done = _left_to_run(tree, args)
    if not texts:
        say(f"nothing is left to run: all {num_done} are done")
        return 0
    values = [config_values(text) for text in texts]
    work = {_work(value) for value in values}
    # Its own runs tell most about a sweep; only without any do those of other sweeps count.
    known = _durations([own] if own else [], work) or _durations(sweeps_newest_first(results_root(args.results)), work)
    source = f"from {len(known)} finished runs"
    if not len(known):
        say("no finished run of this model and data set is known here; running one epoch of the first config")
        known.add(_features(values[0]), _probe(tree, texts[0]))
        source = "from one run of one epoch"
    walls = [(known.predict(_features(value)) or 0.0) * _epochs(value) for value in values]
    num_slots = len(slots_for(values[0], int(args.jobs) if args.jobs else None))
    done = f", {num_done} done" if num_done else ""
    say(f"{len(walls)} run{'s' * (len(walls) > 1)} to go{done}; {num_slots} at a time")
    least, most = duration_text(min(walls)), duration_text(max(walls))
    say(f"a run: about {least}" + (f" to {most}" if most != least else "") + f" ({source})")
    say(f"together: about {duration_text(makespan(walls, [], num_slots))}; {duration_text(sum(walls))} of slot time")
    return 0


def _left_to_run(tree: Tree, args: argparse.Namespace) -> tuple[SweepDir | None, list[str], int]:
    """The sweep that there is, texts of the configs that have no final result, and how many have one."""
    if not args.range:
        try:
            dir = find_sweep(args.results)
            record = SweepRecord.load(dir)
        except RequestError:
            pass  # no sweep yet: the default range file it is
        else:
            if record.base:
                raise RequestError(
                    f"{dir.path}: strategy {record.strategy} chooses its points while it runs; name the range file "
                    "(RANGE_CONFIG=...) for an estimate of the whole, or see make sweep-status"
                )
            done = results_of(dir, record)
            return dir, [(dir.configs / p.config).read_text() for p in record.active_points if p.id not in done], len(done)
    file = tree.read_range(args.range)
    overrides = tree.overrides(args)
    if tree.strategy(file, overrides) != "grid":
        return None, _searched(tree, file, overrides), 0
    points = tree.expand(file, args).points
    found = find_continuable(
        results_root(args.results), str(file.path.resolve()) if file.path else "", {point.id for point in points}
    )
    known = results_of(*found) if found else {}
    left = [point.text for point in points if point.id not in known]
    return found[0] if found else None, left, len(points) - len(left)


def _searched(tree: Tree, file: RangeFile, overrides: Overrides) -> list[str]:
    """One text for each complete run that a search comes to."""
    plan = plan_search(tree, file, overrides)
    strategy = plan.strategy(len(slots_for(plan.values, None)))
    num_points = plan.num_points(strategy)
    if num_points is None:
        raise RequestError(
            f"{file.path}: how many points strategy {plan.values['SWEEP_STRATEGY']} runs is not known; give TRIALS="
        )
    if has_rungs(plan.values):
        say(f"strategy {plan.values['SWEEP_STRATEGY']} stops most of its runs early: an upper bound, all points run in full")
    return [plan.space.base_text] * (num_points * plan.num_repeats)


def _durations(dirs: Iterable[SweepDir], work: set[tuple[str, ...]]) -> Durations:
    """Seconds an epoch, of all runs of such work that passed at once."""
    durations = Durations()
    for dir in dirs:
        for values, wall_s in _passed_runs(dir):
            if _work(values) in work:
                durations.add(_features(values), wall_s / _epochs(values))
    return durations


def _passed_runs(dir: SweepDir) -> Iterable[tuple[dict[str, str], float]]:
    for point in SweepRecord.load(dir).points:
        run = RunDir(dir.path / point.run_dir)
        result = settled_result(run)
        if result and result.status == Status.PASSED and result.attempt == 1 and run.config.exists():
            yield config_values(run.config.read_text()), result.wall_s


def _work(values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(values.get(name, "") for name in WORK)


def _features(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in FEATURES if name in values}


def _epochs(values: Mapping[str, str]) -> int:
    return int(values.get("NUM_EPOCHS", "1"))


def _probe(tree: Tree, text: str) -> float:
    """Seconds of one epoch, measured: as the trainer reports it, else the wall time of the whole run."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "probe")
        path.write_text(text)
        problems = tree.resolver.load(path)
        assert not problems, problems
        if symbol := tree.kconf.syms.get("NUM_EPOCHS"):
            symbol.set_value("1")
        for name in ("LR_WARMUP_EPOCHS", "LR_WARMUP_RATIO"):
            if symbol := tree.kconf.syms.get(name):
                symbol.set_value("0")
        # A pruning ramp has no room in one epoch, and costs next to nothing.
        if tree.resolver.broken({}, path) and (dense := tree.kconf.syms.get("PRUNING_SELECT_NONE")):
            dense.set_value("y")
        text = tree.resolver.text()
        config = PlannedConfig(config="config_000", id=tree.resolver.point_id(text), values={}, index=None, text=text)
        slot = slots_for(config_values(text), None)[0]
        _, result = run_single(tree, config, Path(scratch), kind="probe", source=path, slot=slot)
        if result is None or result.status != Status.PASSED:
            raise KsweepError(f"the run of one epoch did not pass: {result.reason if result else 'interrupted'}")
        return result.metrics.get("epoch_time_s") or result.wall_s
