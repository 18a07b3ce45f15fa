"""Metric lines: one JSON object a report, `{"step": 10, "epoch": 1, "val_acc": 0.93}`.

METRICS is the one schema for all models: a trainer reports those that it has, and further ones are welcome. test_matrix_results/
README.md has the same as a table; which of them a model reports at the end of a run, its Kconfig says (SWEEP_METRICS).
"""

from pathlib import Path
from typing import Any

from ksweep.contract.atomic import read_lines

_WAYS = {"i2t": "images that find a caption of theirs", "t2i": "captions that find their image"}
_RETRIEVAL = (
    *(f"{way}_r{k}" for way in _WAYS for k in (1, 5, 10)),
    *("r_mean", "r1_mean", "median_rank_i2t", "median_rank_t2i"),
)
METRICS = {  # name -> unit and meaning
    "train_loss": "what is minimised: as val_loss, with label smoothing, mixed labels, cost of depth and balance of experts",
    "val_loss": "mean cross-entropy an answer (an image, a token, a sequence), natural logarithm",
    "test_loss": "mean cross-entropy an answer (an image, a token, a sequence), natural logarithm",
    "val_ppl": "perplexity a token: e to the mean loss",
    "test_ppl": "perplexity a token: e to the mean loss",
    "train_acc": "share of right answers, 0 to 1",
    "val_acc": "share of right answers, 0 to 1",
    "test_acc": "share of right answers, 0 to 1",
    "epoch_time_s": "seconds",
    "train_time_s": "seconds",
    "step_time_s": "mean seconds of a training step, evaluation left out",
    "images_per_s": "trained on a second, evaluation left out",
    "tokens_per_s": "trained on a second, evaluation left out",
    "pairs_per_s": "trained on a second, evaluation left out",
    "peak_memory_mib": "most device memory allocated at a time; on a CPU the process's largest resident set",
    "lr": "learning rate after the last step of the epoch",
    "best_epoch": "epoch whose weights were selected on validation, from 1",
    "sparsity": "share of zeros among the weights that may be pruned, 0 to 1, after an epoch of a pruned run",
    "final_sparsity": "the same of the selected weights",
    "pruning_mib": "memory of masks and of what the pruning method remembers",
    "convergence_speed": "val_ppl of the first epoch less that of the last",
    "layers_mean": "whole layers that a token enters, on validation",
    "layers_p50": "the fewest layers that half of the tokens are through with",
    "layers_p90": "the fewest layers that nine tenths of the tokens are through with",
    **{f"layers_hops{hops}": "layers_mean of the tokens that need so many look-ups (data set graded)" for hops in range(4)},
    "halted_fraction": "share of tokens that leave before the last layer, 0 to 1",
    "ponder": "the cost of depth in the loss, before its weight; with pondernet at the end only",
    "speedup_layers": "layers there are / layers_mean",
    "speedup_measured": "time of an evaluation with halting off / with it",
    "flops_per_token": "floating-point operations of the matrix products of an evaluation",
    "ms_per_token": "milliseconds of an evaluation",
    **{f"{way}_r{k}": f"share of {what} among the {k} nearest, 0 to 1" for way, what in _WAYS.items() for k in (1, 5, 10)},
    "r_mean": "mean of these six",
    "r1_mean": "mean of i2t_r1 and t2i_r1",
    "median_rank_i2t": "median rank of an image's best caption, from 1",
    "median_rank_t2i": "median rank of a caption's image, from 1",
    **{f"test_{name}": f"{name} on the test part" for name in _RETRIEVAL},
    "num_parameters": "of both heads",
    "ms_per_1k_embeddings": "milliseconds to project 1,000 embeddings, mean of both heads",
    **{f"dense_{name}": f"{name} of the network before compression" for name in ("val_acc", "test_acc", "val_ppl", "test_ppl")},
    "samples_per_s": "images or tokens that the compressed network evaluates a second, in batches of SKETCHED_TIMED_BATCH",
    "speedup": "time of such a batch with the dense network / with the compressed one, median of pairs timed in turns",
    "speedup_low": "lower end of its 95 % interval",
    "speedup_high": "upper end of its 95 % interval",
    "params_stored": "numbers that the compressed network stores, parameters and buffers, tied ones once",
    "bytes": "the same in bytes",
    "flops": "floating-point operations of one example, 2 a multiply-add",
    "share_stored": "params_stored / that of the dense network",
    "error_per_layer": "relative error of a layer's outputs (root mean square), mean over the groups' layers; 0 where dense",
}
# Of the selected weights, or of the run as a whole: no report of an epoch has them, so no run can be stopped early by them.
FINAL_ONLY = frozenset(
    {
        *("test_loss", "test_ppl", "test_acc", "train_time_s", "peak_memory_mib", "best_epoch", "final_sparsity", "pruning_mib"),
        *("convergence_speed", "speedup_measured", "ms_per_token", "num_parameters", "ms_per_1k_embeddings"),
        *(f"test_{name}" for name in _RETRIEVAL),
        *(f"dense_{name}" for name in ("val_acc", "test_acc", "val_ppl", "test_ppl")),
        *("samples_per_s", "speedup", "speedup_low", "speedup_high"),
        *("params_stored", "bytes", "flops", "share_stored", "error_per_layer"),
    }
)
# Ends of the names of times, rates and memory.
MEASURED = (
    "_s",
    "_memory_mib",
    "ms_per_token",
    "ms_per_1k_embeddings",
    "speedup_measured",
    "speedup",
    "speedup_low",
    "speedup_high",
)


def is_reported_each_epoch(name: str) -> bool:
    """False for a metric that is known at the end of a run only. A foreign program's own metrics may come at any time."""
    return name not in FINAL_ONLY


def is_measured(name: str) -> bool:
    """True for a metric that tells of the machine: no two runs of one configuration agree in it to the last bit."""
    return name.endswith(MEASURED)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The reports of a run in order of `step`, over all its attempts.

    An attempt that continues from a checkpoint repeats what came after it: a step that does not rise replaces all
    from there on. Lines without a step that is a number (foreign programs) count as the next one.
    """
    history: list[dict[str, Any]] = []
    for record in read_lines(path):
        if not isinstance(record.get("step"), int | float):
            record["step"] = history[-1]["step"] + 1 if history else 1
        step = record["step"]
        while history and history[-1]["step"] >= step:
            history.pop()
        history.append(record)
    return history
