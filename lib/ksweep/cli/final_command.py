"""Train the best setting of a sweep once more, on train and validation together, with new seeds, and test it.

The runs are a sweep of their own, final_YYYYMMDD_HHMMSS beside the sweep, with seeds above all that the sweep has used. Nothing
is selected: the weights of the last epoch are tested. final_report.txt there has each seed, mean, standard deviation and 95 %
interval, beside what the setting had in the sweep. A trainer that does not know TRAIN_ON_VALIDATION trains as in the sweep.

The same command goes on after any interruption, adds seeds where more are asked for, and starts nothing when all is done.
Exit code: 0 all good, 1 some runs failed, 2 the request was wrong.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from ksweep.analysis.evidence import so_far
from ksweep.analysis.final import ON_VALIDATION, FinalTest, counterpart, final_text
from ksweep.analysis.load import load_sweep
from ksweep.cli.best_command import Choice, choose
from ksweep.cli.data_files import check_data_files
from ksweep.cli.results_argument import add_jobs_argument, add_results_argument, positive_int, sweep_of
from ksweep.cli.running import is_drawn
from ksweep.cli.tree import Tree, say, warn
from ksweep.contract.atomic import exclusive, write_json, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.paths import SweepDir
from ksweep.contract.sweepfile import SweepRecord
from ksweep.kconfig.resolve import Expansion
from ksweep.space.rangefile import RangeFile, parse_range_text
from ksweep.sweep.configs import ConfigSet, PlannedConfig, assign_labels, plan_text
from ksweep.sweep.progress import make_progress
from ksweep.sweep.store import SweepLock, check_results_root, new_sweep_dir, results_of, results_root, save_plan
from ksweep.sweep.sweep import command_of, config_values, run_sweep, slots_for

DEFAULT_SEEDS = 5
LOCK = ".lock"  # in the results directory: held while a sweep directory is found or made
PATIENCE = "EARLY_STOPPING_PATIENCE"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be trained: the setting as a range file over SEED. `metric`: as SWEEP_OBJECTIVE has it; `notes`: what people
    must be told."""

    choice: Choice
    metric: str
    file: RangeFile
    expansion: Expansion
    notes: list[str]

    @property
    def ids(self) -> set[str]:
        return {point.id for point in self.expansion.points}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    parser.add_argument("--seeds", metavar="N", type=positive_int, default=DEFAULT_SEEDS, help="runs (default: %(default)s)")
    parser.add_argument("--epochs", metavar="N", help="NUM_EPOCHS, whatever the best configuration says")
    add_jobs_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and stop")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    tree = Tree()
    dir = sweep_of(args)
    if dir.final.exists():
        raise RequestError(f"{dir.path}: is itself a final test; name the sweep whose best setting is to be tested")
    plan = _plan(tree, choose(tree, dir), args.seeds, args.epochs)
    results = results_root(dir.path)
    values = config_values(plan.expansion.points[0].text)
    found = _find(results, plan)
    num_todo = len(plan.ids) - len(_done(found, plan))
    for note in plan.notes:
        say(f"note: {note}")
    if args.dry_run:
        return _dry_run(plan, found, num_todo, len(slots_for(values, args.jobs)))
    if not found or num_todo:
        found = _run(tree, plan, results, num_todo, args.jobs)
        if len(_done(found, plan)) < len(plan.ids):
            return 1
    return _report(plan, found[0])


# -- the request -----------------------------------------------------------------------------------------------------------


def _plan(tree: Tree, choice: Choice, num_seeds: int, epochs: str | None) -> _Plan:
    metric, state = counterpart(choice.findings, choice.group), choice.findings.state
    text, notes = _range_text(tree, choice, metric, num_seeds)
    if so_far(state):
        notes.append(f"{state.num_finished} of {len(state.runs)} runs of the sweep have ended: this is its best setting so far")
    file = parse_range_text(text, Path(f"final test of {choice.run.config}"), tree.find_preset)
    expansion = tree.resolver.expand(file, {"NUM_EPOCHS": (epochs, "EPOCHS")} if epochs is not None else {})
    return _Plan(choice=choice, metric=metric, file=file, expansion=expansion, notes=[*choice.notes, *notes])


def _range_text(tree: Tree, choice: Choice, metric: str, num_seeds: int) -> tuple[str, list[str]]:
    """The lines of the minimal defconfig, so that what depends on a symbol changed here follows it; and notes on the changes."""
    syms, notes = tree.kconf.syms, []
    if "SEED" not in syms:
        raise RequestError("this tree has no SEED: a setting cannot be trained again with other seeds")
    tree.resolver.take(parse_range_text(choice.defconfig, Path("best_defconfig"), tree.find_preset))
    if ON_VALIDATION in syms and syms[ON_VALIDATION].visibility:
        if PATIENCE in syms and syms[PATIENCE].str_value != "0":
            notes.append(f"early stopping needs a validation part and is off ({PATIENCE} was {syms[PATIENCE].str_value})")
            syms[PATIENCE].set_value("0")
        syms[ON_VALIDATION].set_value("y")
    else:
        notes.append(f"this trainer has no {ON_VALIDATION}: it trains as in the sweep, the validation part apart")
    syms["SWEEP_OBJECTIVE"].set_value(metric)
    syms["SWEEP_CONSTRAINTS"].set_value("")
    syms["SEED"].unset_value()
    first = _largest_seed(choice) + 1
    seeds = "|".join(str(first + i) for i in range(num_seeds))
    return f"{tree.kconf._min_config_contents(None)}CONFIG_SEED={seeds}\n", notes


def _largest_seed(choice: Choice) -> int:
    """Of all that the sweep has used, also for points that it no longer plans."""
    swept = [point.values["SEED"] for point in choice.findings.state.record.points if "SEED" in point.values]
    return max(int(seed) for seed in [*swept, choice.seed or "0"])


def _config_set(plan: _Plan, before: SweepRecord | None) -> ConfigSet:
    record, expansion = plan.choice.findings.state.record, plan.expansion
    labels = assign_labels([p.id for p in expansion.points], {p.id: p.config for p in before.points} if before else {})
    return ConfigSet(
        name=f"final test of {record.name}",
        source=str(plan.choice.findings.state.dir.path.resolve()),
        range_text=plan.file.text,
        axes=[{"symbols": list(axis.symbols), "values": [list(row) for row in axis.values]} for axis in expansion.axes],
        counts=expansion.counts,
        configs=[
            PlannedConfig(config=labels[p.id], id=p.id, values=p.values, index=p.index, text=p.text) for p in expansion.points
        ],
        plan_text=plan_text(expansion, plan.file, labels),
    )


# -- the directory ---------------------------------------------------------------------------------------------------------


def _find(results: Path, plan: _Plan) -> tuple[SweepDir, SweepRecord] | None:
    """The newest final test with a run of this plan."""
    for path in sorted(results.glob("final_*"), reverse=True):
        try:
            record = SweepRecord.load(SweepDir(path))
        except (RequestError, KeyError, TypeError):
            continue
        if record.objective == plan.metric and any(point.id in plan.ids for point in record.points):
            return SweepDir(path), record
    return None


def _done(found: tuple[SweepDir, SweepRecord] | None, plan: _Plan) -> set[str]:
    return results_of(*found).keys() & plan.ids if found else set()


def _dry_run(plan: _Plan, found: tuple[SweepDir, SweepRecord] | None, num_todo: int, num_slots: int) -> int:
    seeds = ", ".join(point.values.get("SEED", "") or config_values(point.text)["SEED"] for point in plan.expansion.points)
    chosen = " ".join(f"{name}={value}" for name, value in plan.choice.group.values.items())
    say(f"{plan.choice.run.config} {chosen}\nseeds: {seeds}")
    where = f"in {found[0].path}" if found else "in a new directory"
    say(f"dry run: {num_todo} of {len(plan.ids)} would run {where}, {num_slots} at a time; nothing was started")
    return 0


# -- the runs --------------------------------------------------------------------------------------------------------------


def _run(tree: Tree, plan: _Plan, results: Path, num_todo: int, jobs: int | None) -> tuple[SweepDir, SweepRecord]:
    values = config_values(plan.expansion.points[0].text)
    command_of(values)  # one that cannot be started is refused here
    check_data_files(tree, (point.text for point in plan.expansion.points))
    check_results_root(results, num_todo)
    with exclusive(results / LOCK):  # of two that start at once the second finds the directory of the first
        found = _find(results, plan)
        dir = found[0] if found else new_sweep_dir(results, "final")
        lock = SweepLock(dir)
        before = found[1] if found else None
        record = save_plan(dir, _config_set(plan, before), before, values, tree.git, tree.kconfig_hash)
        write_json(dir.final, {"sweep": plan.choice.findings.state.dir.path.name})  # the mark of a final test
    try:
        say(f"{dir.path}: {num_todo} to run, {len(plan.ids) - num_todo} done, {len(slots_for(values, jobs))} at a time")
        outcome = run_sweep(tree.root, dir, record, lock, jobs=jobs, selectors=tree.selectors, progress_of=make_progress)
    finally:
        lock.release()
    if outcome.is_request_wrong:
        raise RequestError(outcome.stopped)
    if outcome.stopped:
        warn(f"{outcome.stopped}; the same command goes on")
    return dir, record


def _report(plan: _Plan, dir: SweepDir) -> int:
    """Write and print what came of it; 1 when runs failed."""
    from ksweep.analysis.write import analyze

    state = load_sweep(dir)
    test = FinalTest(plan.choice.findings.state, plan.choice.group, state)
    text = final_text(test)
    if not dir.final_report.exists() or dir.final_report.read_text(encoding="utf-8") != text:
        analyze(dir, draws=is_drawn(dir))
        write_json(dir.final, test.record())
        write_text(dir.final_report, text)
    say(f"\n{text}\nin {dir.path}: {dir.final_report.name}, {dir.final.name}, and the analysis of a sweep")
    return 1 if state.bad_runs else 0
