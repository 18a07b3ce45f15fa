"""The loop that every model plugs into: train, validate, report, save; select on validation; test once.

A run that was killed, or told to stop after an epoch, goes on from checkpoints/last.pt and ends with the same numbers, to the
last bit on a CPU. A new one goes on from another run where checkpoints/parent/ holds that run's checkpoints.
"""

import math
import statistics
from dataclasses import asdict
from typing import Any

from ksweep.contract.errors import ConfigError
from ksweep.contract.metrics import read_history
from ksweep.contract.run import Run
from ksweep.train.checkpoint import Checkpoints
from ksweep.train.device import is_out_of_memory, peak_memory_mib, release_memory
from ksweep.train.task import TaskBuilder
from ksweep.train.training import Training

STOPPED = 143  # exit code of a program that a SIGTERM ended


def train(run: Run, build_task: TaskBuilder) -> int:
    """Train one configuration to its end and write its result; the exit code: 0, or 143 when it was told to stop.

    The selected weights are those of the best epoch by the task's own metric (val_acc of images; at a tie, the lower loss; then
    the earlier one). With pruning only epochs from the end of the ramp on are eligible, else it would be the dense net.
    With TRAIN_ON_VALIDATION nothing is selected: they are those of the last epoch. They are tested once, at the very end. A loss
    that is not finite ends the run as diverged. With EARLY_STOPPING_PATIENCE it may end, as any that passed, before its last
    epoch.

    Out of memory: with OOM_ACCUMULATE the run goes on from its last checkpoint with twice as many micro-batches a step, as often
    as it takes; else the error ends it.
    """
    cfg = run.config
    num_micro_batches, batch_size, may_split = cfg.int("GRAD_ACCUMULATION"), cfg.int("BATCH_SIZE"), cfg.bool("OOM_ACCUMULATE")
    if num_micro_batches < 1:
        raise ConfigError(f"{cfg.source}: CONFIG_GRAD_ACCUMULATION: found {num_micro_batches}, allowed: 1 or more")
    while True:
        try:
            return _train(run, build_task, num_micro_batches)
        except (RuntimeError, MemoryError) as error:
            if not may_split or not is_out_of_memory(error) or num_micro_batches >= batch_size:
                raise
            problem = str(error).splitlines()[0]
        # Only here, out of the except block, nothing refers to the failed attempt's tensors any more.
        release_memory()
        num_micro_batches = min(2 * num_micro_batches, batch_size)
        print(f"out of memory ({problem}): going on with {num_micro_batches} micro-batches a step", flush=True)


def _train(run: Run, build_task: TaskBuilder, num_micro_batches: int) -> int:
    training = Training(run.config, build_task, num_micro_batches)
    checkpoints = Checkpoints(run.dir)
    _resume(training, checkpoints)
    steps_per_epoch = len(training.train_batches)
    epoch = training.progress.epoch
    why_stop = run.why_stop(step=epoch * steps_per_epoch, epoch=epoch)
    while not training.is_over and not why_stop:
        epoch += 1
        measured, how = training.run_epoch()
        run.report(step=epoch * steps_per_epoch, epoch=epoch, **measured, **how)
        why_stop = run.why_stop(step=epoch * steps_per_epoch, epoch=epoch)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in (measured | how).items())
        print(f"epoch {epoch}/{training.num_epochs}  {shown}", flush=True)
        if not all(map(math.isfinite, measured.values())):
            return _finish_diverged(run, training, epoch, measured)
        _advance(training, checkpoints, measured, how["epoch_time_s"], must_save=bool(why_stop))
    if not training.is_over:
        print(f"{why_stop}: saved after epoch {epoch}" if epoch else f"{why_stop}: nothing trained yet", flush=True)
        return STOPPED
    if training.stopped_early:
        print(f"early stopping after epoch {training.progress.epoch}: {training.stopped_early}", flush=True)
    return _finish(run, training, checkpoints)


def _resume(training: Training, checkpoints: Checkpoints) -> None:
    state, reason = checkpoints.load_last()
    if reason:
        print(f"starting afresh: {reason}", flush=True)
    if state is not None:
        training.load_state_dict(state)
        if training.progress.best_epoch and checkpoints.load_best()["epoch"] != training.progress.best_epoch:
            # Killed between the two files: best.pt is of an epoch that comes once more, and beats what was the best until then.
            training.progress = training.progress.without_best()
        print(f"going on after epoch {training.progress.epoch}", flush=True)
    elif parent := checkpoints.load_parent():
        _inherit(training, checkpoints, *parent)


def _inherit(training: Training, checkpoints: Checkpoints, state: dict[str, Any], best: dict[str, Any] | None, name: str) -> None:
    try:
        training.inherit(state, name)
    except ValueError as error:
        raise ConfigError(f"cannot start from {name}, whose state does not fit: {error}") from None
    if best:
        checkpoints.keep_best(best["model"], best["epoch"])
    print(f"starting from {name} after its epoch {training.progress.epoch}", flush=True)


def _advance(training: Training, checkpoints: Checkpoints, measured: dict[str, float], time_s: float, *, must_save: bool) -> None:
    """Count the epoch, keep its weights if they are the best, save when it is time."""
    epoch = training.progress.epoch + 1
    training.progress = training.progress.after(
        measured,
        training.task.selection,
        time_s=time_s,
        peak_memory_mib=peak_memory_mib(training.device),
        is_eligible=training.is_eligible(epoch),
        min_delta=training.early_stopping.min_delta if training.early_stopping else 0.0,
    )
    if training.progress.best_epoch == epoch:
        checkpoints.keep_best(training.model.state_dict(), epoch)
    if must_save or training.is_over or checkpoints.is_due():
        checkpoints.save(training.state_dict(), needs_best=training.progress.best_epoch > 0)


def _finish(run: Run, training: Training, checkpoints: Checkpoints) -> int:
    progress = training.progress
    training.model.load_state_dict(checkpoints.load_best()["model"])
    tested: dict[str, Any] = training.measure("test")
    run.finish(
        effective=_effective(training),
        **_selected(training),
        **tested,
        final_sparsity=training.sparsity(),
        train_time_s=progress.train_time_s,
        epoch_time_s=progress.train_time_s / progress.epoch,
        peak_memory_mib=max(progress.peak_memory_mib, peak_memory_mib(training.device)),
        pruning_mib=training.pruner.memory_bytes() / 2**20 if training.pruner else 0.0,
        **_of_reports(run, training),
    )
    return 0


def _selected(training: Training) -> dict[str, Any]:
    """By what the weights were selected, and what else is measured of them."""
    task, progress = training.task, training.progress
    if not task.is_validated:
        return progress.best
    return progress.best | {"best_epoch": progress.best_epoch} | task.measure_selected(training.micro_batch)


def _of_reports(run: Run, training: Training) -> dict[str, Any]:
    """Of the whole run. Speed is that of the median epoch: the first one of each process also compiles, tries algorithms, touches
    memory for the first time.

    Empty when the reports of a continued run are not there any more.
    """
    reports = read_history(run.dir.metrics)
    step_times_s = [record["step_time_s"] for record in reports if "step_time_s" in record]
    if not step_times_s:
        return {}
    step_time_s, batches, task = statistics.median_low(step_times_s), training.train_batches, training.task
    speed = batches.num_examples * task.units_per_example / (step_time_s * len(batches))
    return {"step_time_s": step_time_s, f"{task.unit}_per_s": speed, **task.of_reports(reports)}


def _finish_diverged(run: Run, training: Training, epoch: int, measured: dict[str, Any]) -> int:
    bad = ", ".join(f"{name} is {value}" for name, value in measured.items() if not math.isfinite(value))
    reason = f"epoch {epoch}: {bad}"
    print(f"diverged: {reason}", flush=True)
    run.finish(effective=_effective(training), status="diverged", reason=reason, **measured)
    return 0


def _effective(training: Training) -> dict[str, Any]:
    progress, stopping = training.progress, training.early_stopping
    stopped = {"stopped_epoch": progress.epoch if training.stopped_early else None, "reason": training.stopped_early}
    return training.effective | {
        "num_micro_batches": training.num_micro_batches,
        "early_stopping": asdict(stopping) | stopped if stopping else None,
        "parent": {"run": progress.parent, "epoch": progress.parent_epoch} if progress.parent else None,
    }
