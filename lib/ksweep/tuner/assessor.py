"""Measures one point: builds the model that it means, evaluates it, times it. The user's model is never changed.

Speed is what the user's function says, the median of its repeats; without one it is the tuner's own: examples a second, predicted
from the time of the whole dense model and of each layer before and after. A layer's gain is a few percent of a model's time, less
than the noise of timing whole models; the chosen model is timed whole, paired with the dense one (verify.py).
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ksweep.nn.calibration import Moments, capture_inputs, collect_moments
from ksweep.nn.compress import compress_layer, layer_seed, relative_error
from ksweep.nn.replacement import copied, count_calls, replace_layers
from ksweep.nn.sizes import Sizes, sizes
from ksweep.nn.timing import CostModel, seconds_of
from ksweep.tuner.evaluate import Evaluation, evaluate, evaluate_each
from ksweep.tuner.groups import Settings
from ksweep.tuner.trials import DENSE, Goal, Params, Trial, TrialStatus

EvalFunc = Callable[[nn.Module], float]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # of one call of the model


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is to be measured: `layer_name` and `params` as in Trial, and the layers that are replaced."""

    layer_name: str
    params: Params
    settings: Settings


_NO_SPEED = Evaluation()
_MAX_KEPT_BYTES = 512 * 2**20  # of layers that were made and may be wanted again


@dataclass(kw_only=True)
class Assessor:
    """`example_inputs`: of the model, for timing, as `as_call` takes them; None: those of its first call by `accuracy_func`.
    `calibration`: such batches that the model is run on to learn what its layers are fed; None: what `accuracy_func` feeds it.
    `timeout`: seconds an evaluation may take. `num_workers`: evaluations at a time, each a process of its own."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    accuracy_func: EvalFunc
    speed_func: EvalFunc | None
    num_runs: int = 1
    timeout: float | None = None
    seed: int = 0
    num_workers: int = 1
    num_threads: int | None = 1
    measures_speed: bool = True
    example_inputs: Any = None
    calibration: Iterable[Any] | None = None
    goal: Goal = field(default_factory=Goal)
    moments: dict[str, Moments] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # of each layer, while calibrating
    _inputs: Inputs | None = None
    _built: dict[str, tuple[nn.Module, Sizes]] = field(default_factory=dict)  # in the order of their last use
    _errors: dict[str, float] = field(default_factory=dict)
    _dense_sizes: dict[str, Sizes] = field(default_factory=dict)  # of the layers; "": of the model
    _times: "Times | None" = None

    def calibrate(self) -> None:
        """Learn what the layers are fed, and with what the model is called. RuntimeError, with the reason, when that fails."""
        batches: list[Inputs] = []
        model = copied(self.model)

        def run() -> None:
            if self.calibration is None:
                found = evaluate(self.accuracy_func, model, replaced=(), repeats=1, timeout=self.timeout)
                if found.value is None:
                    raise RuntimeError(f"the accuracy of the dense model could not be measured: {found.reason}")
                return
            model.eval()
            number = -1
            with torch.no_grad():
                for number, batch in enumerate(self.calibration):
                    args, kwargs = as_call(batch)
                    try:
                        model(*args, **kwargs)
                    except Exception as error:
                        raise RuntimeError(
                            f"calibration_data: batch {number}: the model cannot be called with it (a tensor, a tuple of all"
                            f" args, or a dict of keywords; without targets): {type(error).__name__}: {error}"
                        ) from error
            if number < 0:
                raise ValueError("calibration_data: found no batches, allowed: one or more; an iterator can be gone through once")

        names = [name for name, layer in self.layers.items() if isinstance(layer, nn.Linear | nn.Conv2d)]
        with count_calls(model, list(self.layers)) as calls:
            self.moments = collect_moments(model, names, lambda: batches.extend(capture_inputs(model, run)))
        self.calls = dict(calls)
        if self.example_inputs is not None:
            self._inputs = as_call(self.example_inputs)
            _check_call(model.eval(), self._inputs)
        elif batches:
            self._inputs = batches[0]

    @property
    def inputs(self) -> Inputs | None:
        """With what the model is timed; None: it was never called as a whole."""
        return self._inputs

    def build(self, settings: Settings) -> nn.Module:
        """A copy of the model with its layers replaced. The same settings give the same weights each time."""
        model = copied(self.model)
        replace_layers(model, {name: copy.deepcopy(self.layer(name, settings)) for name in settings})
        return model

    def layer(self, name: str, settings: Settings) -> nn.Module:
        """The layer that `settings` puts in the place of `name`, not to be changed; kept for the next time."""
        return self._made(name, settings)[0]

    def _made(self, name: str, settings: Settings) -> tuple[nn.Module, Sizes]:
        key = _key(name, settings)
        made = self._built.pop(key, None)
        if made is None:
            moments = self.moments.get(name)
            layer = compress_layer(self.layers[name], settings[name], moments=moments, seed=layer_seed(self.seed, name))
            made = layer, sizes(layer)
            kept = made[1].num_bytes + sum(size.num_bytes for _, size in self._built.values())
            while self._built and kept > _MAX_KEPT_BYTES:
                kept -= self._built.pop(next(iter(self._built)))[1].num_bytes
        self._built[key] = made
        return made

    def error(self, settings: Settings) -> float | None:
        """The largest relative error of the outputs of a replaced layer; None where none has moments."""
        errors = []
        for name in settings:
            if name in self.moments:
                key = _key(name, settings)
                if key not in self._errors:
                    self._errors[key] = relative_error(self.layers[name], self.layer(name, settings), self.moments[name])
                errors.append(self._errors[key])
        return max(errors, default=None)

    def sizes(self, settings: Settings) -> Sizes:
        """Of the model that `build` gives; without building it, since no replaced layer shares what it stores."""
        if not self._dense_sizes:
            self._dense_sizes = {"": sizes(self.model)} | {name: sizes(layer) for name, layer in self.layers.items()}
        total = self._dense_sizes[""]
        for name in settings:
            total = total + self._made(name, settings)[1] - self._dense_sizes[name]
        return total

    def dense(self) -> Trial:
        """The model as it is. RuntimeError, with the reason, when it cannot be measured."""
        trial = self.measure([Point(layer_name=DENSE, params={}, settings={})])[0]
        if trial.status is TrialStatus.FAILED:
            raise RuntimeError(f"the dense model could not be measured: {trial.reason}")
        return replace(trial, status=TrialStatus.DENSE)

    def measure(self, points: Sequence[Point]) -> list[Trial]:
        """One trial a point. Accuracies in parallel processes where there are several, speeds one by one."""
        builders = [lambda settings=point.settings: self.build(settings) for point in points]
        replaced = [list(point.settings) for point in points]
        if self.num_workers > 1 and len(points) > 1:
            for point in points:  # here, once, and not in each process
                for name in point.settings:
                    self.layer(name, point.settings)
            found = dict(
                evaluate_each(
                    self.accuracy_func,
                    builders,
                    replaced=replaced,
                    repeats=self.num_runs,
                    timeout=self.timeout,
                    num_workers=self.num_workers,
                )
            )
        else:
            found = {i: self._evaluate(self.accuracy_func, builder(), replaced[i]) for i, builder in enumerate(builders)}
        return [self._trial(point, found[i]) for i, point in enumerate(points)]

    def _evaluate(self, function: EvalFunc, model: nn.Module, replaced: Sequence[str]) -> Evaluation:
        return evaluate(function, model, replaced=replaced, repeats=self.num_runs, timeout=self.timeout)

    def _trial(self, point: Point, accuracy: Evaluation) -> Trial:
        size = self.sizes(point.settings)
        trial = Trial(
            layer_name=point.layer_name,
            params=point.params,
            settings={name: dict(setting.params) for name, setting in point.settings.items()},
            status=TrialStatus.FAILED,
            reason=accuracy.reason,
            error=self.error(point.settings),
            num_stored=size.num_stored,
            num_bytes=size.num_bytes,
            calls=dict(accuracy.calls),
            seconds=accuracy.seconds,
        )
        if accuracy.value is None:
            return trial
        speed = self.speed(point.settings) if self.measures_speed else _NO_SPEED
        trial = replace(
            trial,
            reason=f"speed: {speed.reason}" if speed.reason else "",
            accuracy=accuracy.value,
            accuracy_spread=accuracy.spread,
            speed=speed.value,
            speed_spread=speed.spread,
            seconds=trial.seconds + speed.seconds,
        )
        if speed.reason and self.speed_func is not None and self.goal.is_met(accuracy.value):
            return trial
        return self.goal.judged(replace(trial, status=TrialStatus.PASSED))

    def speed(self, settings: Settings) -> Evaluation:
        """Of a model of its own: what the accuracy function did to the one that it was given does not count."""
        if self.speed_func is not None:
            return self._evaluate(self.speed_func, self.build(settings), ())
        if self._inputs is None:
            return Evaluation(
                values=(), reason="the model is never called as a whole: pass example_inputs", calls={}, seconds=0.0
            )
        self._times = self._times or Times(self.model, list(self.layers), self._inputs, self.num_threads)
        seconds = self._times.predicted({name: self.layer(name, settings) for name in settings})
        return Evaluation(values=(self._times.num_examples / seconds,), reason="", calls={}, seconds=0.0)


def as_call(batch: Any) -> Inputs:
    """args and kwargs of a call: a tuple or list is all args, a mapping all keywords, anything else the one argument."""
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch) if isinstance(batch, tuple | list) else (batch,)), {}


def _key(name: str, settings: Settings) -> str:
    setting = settings[name]
    return f"{name} {setting.method} {setting.copy_weights} {sorted(setting.params.items())}"


class Times:
    """How long the dense model and each layer of it takes, on the inputs of one call."""

    def __init__(self, model: nn.Module, names: Sequence[str], inputs: Inputs, num_threads: int | None) -> None:
        self._fed: dict[str, list[Tensor]] = {name: [] for name in names}
        self._layers = dict(model.named_modules())
        self._costs = CostModel(num_threads=num_threads)
        args, kwargs = inputs
        self.num_examples = next((len(arg) for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor) and arg.dim()), 1)
        model = copied(model).eval()
        call = calling(model, inputs)
        with contextlib.ExitStack() as hooks:
            for name, fed in self._fed.items():
                hooks.callback(model.get_submodule(name).register_forward_pre_hook(_keeper(fed), with_kwargs=True).remove)
            _check_call(model, inputs)
        self.dense_seconds = seconds_of(call, num_threads=num_threads)

    def predicted(self, new: Mapping[str, nn.Module]) -> float:
        """Seconds of a call with these layers in place of theirs."""
        saved = sum(
            self._costs.seconds(self._layers[name], fed) - self._costs.seconds(layer, fed)
            for name, layer in new.items()
            for fed in self._fed[name]
        )
        # Noise of many small layers must not come to more than the whole.
        return max(self.dense_seconds - saved, 0.01 * self.dense_seconds)


def calling(model: nn.Module, inputs: Inputs) -> Callable[[], object]:
    """A call of the model with these inputs, without gradients: what is timed."""
    args, kwargs = inputs

    @torch.no_grad()
    def call() -> object:
        return model(*args, **kwargs)

    return call


def _check_call(model: nn.Module, inputs: Inputs) -> None:
    try:
        calling(model, inputs)()
    except Exception as error:
        raise RuntimeError(f"timing: the model cannot be called with example_inputs: {type(error).__name__}: {error}") from error


def _keeper(fed: list[Tensor]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    """Keeps the first tensor of each call: of attention the query."""

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        fed.extend([arg.detach() for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor)][:1])

    return keep
