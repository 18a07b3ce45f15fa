"""SKAutoTuner: give it a trained model and how its accuracy is measured; get one back that is smaller and faster, and no worse
than you allow."""

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ksweep.nn.compress import Setting
from ksweep.nn.replacement import copied, replace_layers
from ksweep.tuner import results
from ksweep.tuner.assessor import Assessor, EvalFunc
from ksweep.tuner.evaluate import NeverCalled
from ksweep.tuner.groups import Settings, make_groups, select_layers
from ksweep.tuner.layer_config import LayerConfig, TuningConfigs
from ksweep.tuner.optuna_search import OptunaSearch
from ksweep.tuner.search import Search, told
from ksweep.tuner.specs import Float, Int, Spec
from ksweep.tuner.trials import COMBINED, VERIFIED, Goal, Trial
from ksweep.tuner.verify import Verification, Verifier

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class SKAutoTuner:
    """Searches the settings of compressed layers that make `model` fastest while its accuracy stays above a floor.

    The model is never changed before `apply_best_params(in_place=True)`: all trials are copies. Dense is always a candidate, for
    each layer and for all.

    Args:
        model: a trained module.
        configs: TuningConfigs, or a list of LayerConfig: which layers, and which settings of them.
        accuracy_eval_func: model -> accuracy, higher is better, finite.
        accuracy_threshold: the lowest accuracy that is allowed. With `relative_threshold` a share of the dense model's, 0 to 1.
            None: nothing may be lost that the data show: accuracy is maximised, the smaller model wins a tie.
        optimization_eval_func: model -> speed, higher is better. None: the tuner's own, examples a second: see `assessor.py`.
            The seed's spelling `optmization_eval_func` means the same.
        search_algorithm: see OptunaSearch, the default.
        num_runs_per_param: times that each function is called for a trial, on the same weights each time, whatever it does to
            the model; the median counts, the spread is kept.
        verbose: a line for each trial.
        relative_threshold: see accuracy_threshold.
        holdout_eval_func: model -> accuracy on data that accuracy_eval_func does not use. The combined model must pass there too,
            else layers are made dense again until it does. None: it has passed on the data of the search only, and says so.
        calibration_data: batches (a tensor, a tuple of args, a dict of keywords; no targets) that show what the layers are fed,
            for activation-aware SVD. None: what accuracy_eval_func feeds them, of which no targets are seen.
        example_inputs: one such batch, for timing. None: the first of calibration_data, or what accuracy_eval_func calls the
            model with first.
        evaluation_timeout: seconds that a call of a function may take; then the trial has failed.
        num_workers: accuracies that are evaluated at a time, each in a forked process with one thread; not with CUDA.
        num_threads: threads of the tuner's own timing; None: as many as torch has now.

    ValueError, TypeError: bad arguments, before anything is evaluated.
    """

    def __init__(
        self,
        model: nn.Module,
        configs: TuningConfigs | Sequence[LayerConfig],
        accuracy_eval_func: EvalFunc,
        accuracy_threshold: float | None = None,
        optimization_eval_func: EvalFunc | None = None,
        search_algorithm: OptunaSearch | None = None,
        num_runs_per_param: int = 1,
        verbose: bool = False,
        *,
        optmization_eval_func: EvalFunc | None = None,
        relative_threshold: bool = False,
        holdout_eval_func: EvalFunc | None = None,
        calibration_data: Iterable[Any] | None = None,
        example_inputs: Any = None,
        evaluation_timeout: float | None = None,
        num_workers: int = 1,
        num_threads: int | None = 1,
    ) -> None:
        if optimization_eval_func and optmization_eval_func:
            raise TypeError("optimization_eval_func and optmization_eval_func are the same: give one")
        self.model = model
        self.configs = configs if isinstance(configs, TuningConfigs) else TuningConfigs(list(configs))
        self.accuracy_threshold, self.relative_threshold = accuracy_threshold, relative_threshold
        self.search_algorithm = search_algorithm or OptunaSearch()
        self.holdout_eval_func = holdout_eval_func
        self._say: Callable[[str], None] = (lambda text: print(text, flush=True)) if verbose else (lambda text: None)
        speed = optimization_eval_func or optmization_eval_func
        _check(model, accuracy_eval_func, accuracy_threshold, speed, holdout_eval_func, relative_threshold)
        _check_amounts(num_runs_per_param, evaluation_timeout, num_workers, num_threads)
        self._selected, self.left_dense = select_layers(model, self.configs)
        layers = {name: layer for of in self._selected for name, layer in of.layers.items()}
        if not layers:
            raise ValueError("nothing to tune: " + "; ".join(f"{name}: {why}" for name, why in self.left_dense.items()))
        for name, why in self.left_dense.items():
            warnings.warn(f"{name} stays dense: {why}", stacklevel=2)
        self._assessor = Assessor(
            model=model,
            layers=layers,
            accuracy_func=accuracy_eval_func,
            speed_func=speed,
            num_runs=num_runs_per_param,
            timeout=evaluation_timeout,
            seed=self.search_algorithm.seed,
            num_workers=num_workers,
            num_threads=num_threads,
            example_inputs=example_inputs,
            calibration=calibration_data,
        )
        self.trials: list[Trial] = []
        self.dense: Trial | None = None
        self.verification: Verification | None = None
        self._best: Settings | None = None
        self._best_layers: dict[str, nn.Module] = {}
        self._applied = False

    def tune(self) -> dict[str, dict[str, Any]]:
        """Search, combine, verify; the best setting of each layer, as `get_best_params` gives it.

        RuntimeError: the dense model itself cannot be evaluated. NeverCalled: a replaced layer did not run while the accuracy was
        measured, so the number says nothing about it. optuna.exceptions.DuplicatedStudyError: the study exists.
        """
        self._refuse_after_applying()
        assessor, record = self._assessor, self.search_algorithm.open("")
        digest = _digest(self.model)
        if record.noted("model") not in (None, digest):
            raise ValueError(f'the study "{self.search_algorithm.study_name}" is of another model: take another study_name')
        assessor.calibrate()
        self._leave_what_never_runs()
        self.search_algorithm.records.clear()
        if record.noted("seed") not in (None, seed := self.search_algorithm.seed):
            raise ValueError(
                f'the study "{self.search_algorithm.study_name}" was begun with seed={record.noted("seed")}, which its random'
                " layers are drawn from: give that one, or take another study_name"
            )
        kept = record.noted("dense")
        is_whole = kept and (kept["speed"] is not None or assessor.speed_func is None)
        self.dense = Trial.of_json(kept) if is_whole else assessor.dense()
        for name, value in (("model", digest), ("seed", seed), ("dense", self.dense.as_json())):
            record.note(name, value)
        self._say(f"dense: {told(self.dense)}, {self.dense.num_stored:,} numbers stored")
        assessor.goal = self._goal(self.dense)
        assert self.dense.accuracy is not None
        self.dense = replace(self.dense, score=assessor.goal.score(self.dense.accuracy, self.dense.speed))
        groups, left = make_groups(self._selected, assessor.moments)
        self.left_dense |= left
        search = Search(
            assessor=assessor,
            algorithm=self.search_algorithm,
            dense=self.dense,
            say=self._say,
            layers=assessor.layers,
            wide=min(40, max(len(name) for name in (COMBINED, *(group.name for group in groups)))),
        )
        self.trials = search.trials  # as they end: an interrupted search leaves what it has found
        search.combined(groups, {group.name: search.group(group) for group in groups})
        self.left_dense |= search.left
        chosen = max([self.dense, *filter(lambda trial: trial.is_eligible, self.trials)], key=self._merit)
        verifier = Verifier(
            assessor=assessor,
            dense=self.dense,
            holdout=self.holdout_eval_func,
            floor_of=self._floor,
            record=self.search_algorithm.open(VERIFIED),
            say=self._say,
        )
        self._best, self.verification, steps = verifier.verify(chosen, self._settings_of(chosen))
        self.trials += steps
        self._best_layers = {name: assessor.layer(name, self._best) for name in self._best}
        self._say(self.summary())
        return self.get_best_params()

    def _goal(self, dense: Trial) -> Goal:
        assert dense.accuracy is not None
        if self.accuracy_threshold is None:
            return Goal(floor=None)
        goal = Goal(floor=self._floor(dense.accuracy))
        if self._assessor.speed_func is None and dense.speed is None:
            raise ValueError(
                "accuracy_threshold asks for the fastest model above it, and nothing says how fast one is: accuracy_eval_func"
                " never calls the model as a whole; pass optimization_eval_func, or example_inputs for the tuner's own timing"
            )
        if not goal.is_met(dense.accuracy):
            warnings.warn(
                f"the dense model's own accuracy, {dense.accuracy:.6g}, is below accuracy_threshold={self.accuracy_threshold}:"
                " it stays dense unless a trial does better; with relative_threshold=True it is a share of the dense accuracy",
                stacklevel=3,
            )
        return goal

    def _floor(self, dense_accuracy: float) -> float:
        """The lowest accuracy that is allowed on data on which dense has this one; without a threshold that itself."""
        if self.accuracy_threshold is None:
            return dense_accuracy
        return self.accuracy_threshold * dense_accuracy if self.relative_threshold else self.accuracy_threshold

    def _merit(self, trial: Trial) -> tuple[bool, float, float, int]:
        """Sorts trials that may be chosen: not below the floor, as dense itself may be, by score, the faster, the smaller one."""
        assert trial.score is not None
        assert trial.accuracy is not None
        is_met = self._assessor.goal.is_met(trial.accuracy)
        return is_met, trial.score, -math.inf if trial.speed is None else trial.speed, -trial.num_bytes

    def _settings_of(self, trial: Trial) -> Settings:
        found = {}
        for of in self._selected:
            for name in of.layers:
                if name in trial.settings:
                    params = trial.settings[name]
                    found[name] = Setting(params=params, method=of.method, copy_weights=of.config.copy_weights)
        return found

    def _leave_what_never_runs(self) -> None:
        """Layers that accuracy_eval_func does not call stay dense: nothing could be said of them. NeverCalled: all are such."""
        calls = self._assessor.calls
        if not any(calls.values()):
            raise NeverCalled(
                f"none of the selected layers ({', '.join(calls)}) is called {self._while_calibrating}: that evaluates"
                " another model than the one that it is given, or a forward that was bound to another"
            )
        for name in [name for name, count in calls.items() if not count]:
            self.left_dense[name] = f"it is not called {self._while_calibrating}"
            warnings.warn(f"{name} stays dense: {self.left_dense[name]}", stacklevel=3)
        self._selected = [of.without(self.left_dense) for of in self._selected]

    @property
    def _while_calibrating(self) -> str:
        is_given = self._assessor.calibration is not None
        return "while the model runs on calibration_data" if is_given else "while accuracy_eval_func(model) runs"

    def apply_best_params(self, in_place: bool = False) -> nn.Module:
        """The model with the verified settings: a copy, or with `in_place` the model itself. RuntimeError before `tune`."""
        self._refuse_after_applying()
        if self._best is None:
            raise RuntimeError("nothing is tuned yet: call tune(), or load_tuning_results(path)")
        return self._with_layers(self._best_layers, in_place)

    def replace_without_tuning(self, in_place: bool = False) -> nn.Module:
        """The model with each layer replaced by the first setting of its config ("auto": the one with the least error), not
        verified. A layer that would store no less stays dense, with a warning."""
        self._refuse_after_applying()
        if any(of.method == "activation-svd" for of in self._selected) and not self._assessor.moments:
            self._assessor.calibrate()
        settings: dict[str, Setting] = {}
        for group in make_groups(self._selected, self._assessor.moments)[0]:
            is_auto = any(of.config.params == "auto" for of in self._selected if set(group.layers) <= set(of.layers))
            settings |= group.settings({name: _first_value(spec, last=is_auto) for name, spec in group.specs.items()})
        for name in self._assessor.layers:
            if name not in settings:
                warnings.warn(f"{name} stays dense: it would store no less than it does", stacklevel=2)
        return self._with_layers({name: self._assessor.layer(name, settings) for name in settings}, in_place)

    def _with_layers(self, layers: Mapping[str, nn.Module], in_place: bool) -> nn.Module:
        model = self.model if in_place else copied(self.model)
        replace_layers(model, {name: copy.deepcopy(layer) for name, layer in layers.items()})
        self._applied = self._applied or in_place
        return model

    def _refuse_after_applying(self) -> None:
        if self._applied:
            raise RuntimeError("the model was changed in place: make a new SKAutoTuner to tune what it is now")

    def get_best_params(self) -> dict[str, dict[str, Any]]:
        """Layer -> its `params` ({} for one that stays dense), `method` and `copy_weights`, in the order of configs and model."""
        best = self._best or {}
        return {
            name: {
                "params": dict(best[name].params) if name in best else {},
                "method": of.method if name in best else "dense",
                "copy_weights": of.config.copy_weights,
            }
            for of in self._selected
            for name in of.layers
        }

    def get_results_dataframe(self) -> "pd.DataFrame":
        """A row a trial, dense ones first within each layer: see `results.table`."""
        tried = {name for trial in self.trials for name in trial.settings}
        return results.table(self.dense, self.trials, [name for name in self.get_best_params() if name not in tried])

    def visualize_tuning_results(
        self,
        save_path: str | None = None,
        show_plot: bool = True,
        figsize: tuple[float, float] | None = None,
        max_cols: int = 2,
    ) -> "Figure | None":
        """Accuracy against speed (stored bytes, where there is none) of each layer's trials and of the combined ones, with the
        floor, the dense model and what was chosen. Written to `save_path`; shown where a window can be opened. None, and a line
        that says so, before there is anything to draw."""
        from ksweep.tuner.plots import draw

        if self.dense is None:
            print("nothing to draw yet: call tune(), or load_tuning_results(path)", flush=True)
            return None
        floor = self._assessor.goal.floor
        best = None if self._best is None else {name: dict(setting.params) for name, setting in self._best.items()}
        return draw(
            self.dense, self.trials, best=best, floor=floor, path=save_path, show=show_plot, size=figsize, max_cols=max_cols
        )

    def save_tuning_results(self, path: str | Path) -> None:
        """Write all results as <path>.json and the compressed layers as <path>.safetensors, whatever ending `path` has: neither
        runs code when it is read. `load_tuning_results` takes them back; `apply_saved` needs no tuner."""
        verification = self._verified()
        assert self.dense is not None
        record = {
            "model": _digest(self.model),
            "best": self.get_best_params(),
            "floor": self._assessor.goal.floor,
            "verification": asdict(verification),
            "dense": self.dense.as_json(),
            "trials": [trial.as_json() for trial in self.trials],
        }
        written = results.save(path, record, self._best_layers)
        self._say(f"wrote {written[0]} and {written[1]}")

    def load_tuning_results(self, path: str | Path) -> dict[str, dict[str, Any]]:
        """Take back what save_tuning_results wrote, as if it had just been tuned; the best settings. ValueError for files of
        another model (its weights count) or other layers."""
        record = results.load(path)
        if record["model"] != _digest(self.model):
            raise ValueError(f"{path}: these results are of another model, or of other weights")
        known = {name: of for of in self._selected for name in of.layers}
        if unknown := [name for name, of in record["best"].items() if of["params"] and name not in known]:
            raise ValueError(f"{path}: {', '.join(unknown)}: not among the layers that this tuner's configs select")
        try:
            self._take_results(path, record)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not as save_tuning_results writes it: {type(error).__name__}: {error}") from error
        return self.get_best_params()

    def _take_results(self, path: str | Path, record: Mapping[str, Any]) -> None:
        self._best_layers = results.load_layers(path, record, self.model)
        self._best = {name: Setting(**record["best"][name]) for name in self._best_layers}
        self._assessor.goal = Goal(floor=record["floor"])
        self.verification = Verification.of_json(record["verification"])
        self.dense = Trial.of_json(record["dense"])
        self.trials = [Trial.of_json(trial) for trial in record["trials"]]
        self.search_algorithm.records[:] = [
            trial.as_json() for trial in self.trials if trial.layer_name not in (COMBINED, VERIFIED)
        ]

    def _verified(self) -> Verification:
        if self.verification is None:
            raise RuntimeError("there are no results yet: call tune() and let it end, or load_tuning_results(path)")
        return self.verification

    def summary(self) -> str:
        """What was chosen and how it was verified, in a few lines."""
        return results.summary(self.get_best_params(), self.left_dense, self._verified())


def _digest(model: nn.Module) -> str:
    """Of all weights and buffers by their names."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check(
    model: nn.Module,
    accuracy_eval_func: EvalFunc,
    accuracy_threshold: float | None,
    speed: EvalFunc | None,
    holdout: EvalFunc | None,
    relative: bool,
) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: found {type(model).__name__}, allowed: a torch.nn.Module")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        raise TypeError(f"model: found {type(model).__name__}, a wrapper; give the module inside, and wrap what comes out")
    for name, function in (
        ("accuracy_eval_func", accuracy_eval_func),
        ("optimization_eval_func", speed),
        ("holdout_eval_func", holdout),
    ):
        if (function is not None and not callable(function)) or (function is None and function is accuracy_eval_func):
            raise TypeError(f"{name}: found {function!r}, allowed: a function of the model that gives a number")
    if accuracy_threshold is None:
        if relative:
            raise ValueError("relative_threshold: accuracy_threshold is missing, the share of the dense accuracy to be kept")
        return
    if (
        isinstance(accuracy_threshold, bool)
        or not isinstance(accuracy_threshold, int | float)
        or not math.isfinite(accuracy_threshold)
    ):
        raise ValueError(f"accuracy_threshold: found {accuracy_threshold!r}, allowed: a finite number")
    if relative and not 0 < accuracy_threshold <= 1:
        raise ValueError(f"accuracy_threshold: found {accuracy_threshold}, allowed with relative_threshold: above 0, up to 1")


def _check_amounts(num_runs: int, timeout: float | None, num_workers: int, num_threads: int | None) -> None:
    for name, amount in (("num_runs_per_param", num_runs), ("num_workers", num_workers), ("num_threads", num_threads)):
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int) or amount < 1):
            raise ValueError(f"{name}: found {amount!r}, allowed: a whole number from 1")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError(f"evaluation_timeout: found {timeout!r}, allowed: seconds above 0, or None")


def _first_value(spec: Spec, *, last: bool) -> int | float | str:
    """The first value of a parameter; `last`: the last one."""
    values = spec.values()
    if values is None:
        assert isinstance(spec, Int | Float)
        return spec.low
    return values[-1 if last else 0]
