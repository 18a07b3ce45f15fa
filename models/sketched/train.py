"""Compress a trained network as config.txt in KSWEEP_RUN_DIR says, and measure it: python -m models.sketched.train"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ksweep.contract.atomic import write_json
from ksweep.contract.config import RunConfig
from ksweep.contract.metrics import is_reported_each_epoch
from ksweep.contract.run import Run
from ksweep.nn.calibration import Call, Moments, collect_moments
from ksweep.nn.compress import relative_error
from ksweep.nn.distillation import distill
from ksweep.nn.timing import Comparison
from ksweep.train.device import Compute, autocast_type, use_deterministic_algorithms, use_device
from ksweep.train.loop import STOPPED
from ksweep.train.main import run_program
from ksweep.train.seeding import data_generator, seed_all
from ksweep.train.task import Task, TaskBuilder
from models.sketched.dense import Dense, Stopped, check_same, dense_network, find_task_builder
from models.sketched.evaluate import Evaluation, Measured
from models.sketched.model import NONE, Group, Plan, compress, make_plan, read_groups, read_method
from models.sketched.table import layer_rows, print_layers, print_networks


def compress_run(run: Run) -> int:
    """The whole run; the exit code: 0, or 143 when it was told to stop. What is trained by then is kept and gone on from.

    All that can be refused is refused before anything is trained.
    """
    cfg = run.config
    build_task, method = find_task_builder(cfg), read_method(cfg)
    groups = read_groups(cfg) if method != NONE else []
    task, compute, symbols = _build(run, build_task)
    plan = make_plan(task.model, groups, method, cfg.source)
    try:
        dense = dense_network(run, build_task)
        print(dense.words, flush=True)
        check_same(cfg, dense, symbols)
        _count_as_read(cfg, symbols if dense.is_given else symbols | dense.result["symbols_read"])
        if dense.problem:
            run.finish(effective=dense.result["effective"], status="diverged", reason=dense.problem)
        else:
            task.model.load_state_dict(dense.weights)
            _compress(run, dense, Evaluation(task, compute, _micro_batch(task, dense)), plan, groups)
    except Stopped:
        print("told to stop", flush=True)
        return STOPPED
    return 0


def _build(run: Run, build_task: TaskBuilder) -> tuple[Task, Compute, dict[str, str]]:
    """The network and its data, as they are before training, and the symbols that make them up."""
    cfg = RunConfig.load(run.dir.config)
    device = use_device(cfg)
    compute = Compute(device=device, autocast=autocast_type(cfg, device))
    seed = run.config.int("SEED")
    seed_all(seed)
    use_deterministic_algorithms(cfg, device)
    return build_task(cfg, compute, data_generator(seed)), compute, cfg.symbols_read


def _count_as_read(cfg: RunConfig, symbols: Mapping[str, str]) -> None:
    """What the dense network was made by took effect in this run; MODEL, which is another one there, stays this run's."""
    for name, value in symbols.items():
        cfg.symbols_read.setdefault(name, value)


def _micro_batch(task: Task, dense: Dense) -> int:
    """The most examples that went through the network at once in training."""
    return -(-task.train_batches.order.batch_size // dense.result["effective"]["num_micro_batches"])


def _compress(run: Run, dense: Dense, evaluation: Evaluation, plan: Plan, groups: Sequence[Group]) -> None:
    """Compress the task's network, measure both, write the result."""
    cfg, network, replaced = run.config, evaluation.task.model, tuple(plan.settings)
    batches = evaluation.calibration(cfg.int("SKETCHED_CALIBRATION_BATCHES"), cfg.int("SEED")) if replaced else []
    moments = collect_moments(network, replaced, lambda: evaluation.show(network, batches))
    _go_on(run)
    seed = cfg.int("SKETCHED_SEED") if cfg.str("SKETCHED_METHOD") == "sketch" else None
    new = compress(network, plan, moments, seed=seed or 0, source=cfg.source)
    distillation = _distill(cfg, new, network, replaced, batches)
    _go_on(run)
    before, _ = evaluation.measure(network)
    after, calls = evaluation.measure(new, replaced)
    _go_on(run)
    comparison, num_timed = evaluation.compare(new, network, cfg.int("SKETCHED_TIMED_BATCH"))
    rows = layer_rows(network, new, plan, _errors(network, new, replaced, moments), calls)
    write_json(run.dir.path / "layers.json", rows)
    num_units = num_timed * evaluation.task.units_per_example
    own, theirs = (_metrics(*each, num_units) for each in zip((after, before), comparison.seconds, strict=True))
    _print(rows, plan, own, theirs, comparison)
    metrics: dict[str, Any] = own | _against(before, after, comparison)
    metrics["error_per_layer"] = sum(row["error"] for row in rows) / max(1, len(rows))
    run.report(step=1, epoch=1, **{name: value for name, value in metrics.items() if is_reported_each_epoch(name)})
    effective = {
        "dense": dense.provenance(),
        "dense_measured": theirs,
        "groups": [_effective_group(group, rows) for group in groups],
        "in_no_group": list(plan.others),
        "own_forward": list(plan.own_forward),
        "sketch_seed": seed,
        "calibration": {"part": "train", "num_examples": sum(len(arguments[0]) for arguments in batches)},
        "distillation": distillation,
        "timing": asdict(comparison) | {"unit": evaluation.task.unit, "batch": num_timed},
    }
    run.finish(effective={**dense.result["effective"], **_present(network), "sketched": effective}, **metrics)


def _print(
    rows: Sequence[dict[str, Any]], plan: Plan, own: Mapping[str, float], dense: Mapping[str, float], comparison: Comparison
) -> None:
    print_layers(rows, plan)
    print_networks(own, dense)
    print(f"speedup {comparison.speedup:.3f}, 95 % interval {comparison.low:.3f} to {comparison.high:.3f}", flush=True)


def _go_on(run: Run) -> None:
    """Stopped when the run was told to."""
    if run.why_stop(step=0, epoch=0):
        raise Stopped


def _distill(
    cfg: RunConfig, new: nn.Module, dense: nn.Module, replaced: Sequence[str], batches: Sequence[tuple[Tensor, ...]]
) -> dict[str, Any] | None:
    if not replaced or not (num_steps := cfg.int("SKETCHED_DISTILL_STEPS")):
        return None
    learning_rate = cfg.float("SKETCHED_DISTILL_LEARNING_RATE")
    calls: list[Call] = [(arguments, {}) for arguments in batches]
    done = distill(new, dense, replaced, calls, num_steps=num_steps, learning_rate=learning_rate)
    print(f"distilled for {num_steps} steps: error of the outputs (share of their square) {done.before:.4g} -> {done.after:.4g}")
    return {"num_steps": num_steps, "learning_rate": learning_rate, **asdict(done)}


def _errors(dense: nn.Module, new: nn.Module, replaced: Sequence[str], moments: Mapping[str, Moments]) -> dict[str, float]:
    """Of each layer by itself, against the dense one on the inputs that the dense network gives it. After distillation it is no
    measure of what the network lost and may be above 1: layers learn to give the network's outputs, from what compressed layers
    before them give, and another scale or basis between two layers is as good to that end. `distillation` has the network's own
    error before and after."""
    return {name: relative_error(dense.get_submodule(name), new.get_submodule(name), moments[name]) for name in replaced}


def _metrics(measured: Measured, seconds: float, num_units: int) -> dict[str, float]:
    """Of either network. `seconds`: of an evaluation of so many images or tokens."""
    sizes, speed = measured.sizes, num_units / seconds
    sized = {"params_stored": sizes.num_stored, "bytes": sizes.num_bytes, "flops": measured.flops}
    return {**measured.scores, **sized, "samples_per_s": speed}


def _against(before: Measured, after: Measured, comparison: Comparison) -> dict[str, float]:
    """The compressed network against the dense one."""
    return {
        **{f"dense_{name}": value for name, value in before.scores.items() if not name.endswith("_loss")},
        "speedup": comparison.speedup,
        "speedup_low": comparison.low,
        "speedup_high": comparison.high,
        "share_stored": after.sizes.num_stored / before.sizes.num_stored,
    }


def _effective_group(group: Group, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["group"] == group.number]
    return {
        "group": group.number,
        "pattern": group.pattern,
        "replaced": {row["name"]: row["params"] | {"rank": row["rank"]} for row in mine if row["is_replaced"]},
        "dense": {row["name"]: row["why_dense"] or "as asked" for row in mine if not row["is_replaced"]},
    }


def _present(network: nn.Module) -> dict[str, Any]:
    """What this process has, and the one that trained may have had otherwise."""
    device = next(network.parameters()).device
    return {"device": str(device), "num_threads": torch.get_num_threads(), "torch": torch.__version__}


def main() -> int:
    """Compress; the exit code."""
    return run_program("sketched", compress_run)


if __name__ == "__main__":
    sys.exit(main())
