"""A short polish of replaced layers: what the whole network gives is brought back to what the dense one gives."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from ksweep.nn.calibration import Call
from ksweep.nn.modes import evaluation_mode

_NARROW = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Mean squared error of the student's outputs over the batches, as a share of the teacher's mean square."""

    before: float
    after: float


def distill(
    student: nn.Module,
    teacher: nn.Module,
    names: Sequence[str],
    batches: Sequence[Call],
    *,
    num_steps: int,
    learning_rate: float,
) -> Distillation:
    """Trains the parameters of the student's layers `names`, also those that need no gradient otherwise, for `num_steps` steps of
    Adam towards the teacher's outputs: the squared error of every floating-point tensor in them, as a share of its mean square.
    `batches`: (args, kwargs) of calls, as capture_inputs gives them, taken in order and over again.

    Both models compute in evaluation mode: batch norms keep their statistics, dropout drops nothing, no random number is drawn.
    Modes and requires_grad flags are put back, gradients stay as they are. Weights that do no better on the batches than before
    are put back too.

    Raises ValueError, leaving the student as it was, when a loss or a weight is no finite number, and for nothing to train.
    """
    layers = [student.get_submodule(name) for name in names]
    trained = list({id(one): one for layer in layers for one in layer.parameters() if one.is_floating_point()}.values())
    if not trained or not batches:
        raise ValueError(
            f"distill: found {len(trained)} parameters in {', '.join(names) or 'no layers'} and {len(batches)} batches"
        )
    former = [one.detach().clone() for one in trained]
    with evaluation_mode(student), evaluation_mode(teacher), _trained(trained), torch.inference_mode(False):
        targets = [_targets(teacher, call) for call in batches]
        before = _mean_loss(student, batches, targets)
        try:
            _train(student, trained, batches, targets, num_steps, learning_rate)
            after = _mean_loss(student, batches, targets)
            _check_finite(trained, before, after)
        except BaseException:
            _set(trained, former)
            raise
        if not after < before:
            _set(trained, former)
            after = before
    return Distillation(before=before, after=after)


def _train(
    student: nn.Module,
    trained: Sequence[nn.Parameter],
    batches: Sequence[Call],
    targets: Sequence[list[Tensor]],
    num_steps: int,
    learning_rate: float,
) -> None:
    # Adam in 16 bits divides by squares that are 0 there. Other dtypes: the weights themselves.
    masters = [one.detach().float() if one.dtype in _NARROW else one.detach() for one in trained]
    optimizer = torch.optim.Adam(masters, lr=learning_rate)
    pairs = itertools.cycle(zip(batches, targets, strict=True))
    with torch.enable_grad():
        for call, wanted in itertools.islice(pairs, num_steps):
            loss = _loss(student, call, wanted)
            # Not backward(): no gradient that a weight has is to be touched.
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for master, gradient in zip(masters, gradients, strict=True):
                master.grad = None if gradient is None else gradient.to(master.dtype)
            optimizer.step()
            _set(trained, masters)


def _check_finite(trained: Sequence[Tensor], before: float, after: float) -> None:
    """At the end only, once: what is not finite stays so."""
    if not (math.isfinite(before) and math.isfinite(after) and all(bool(one.isfinite().all()) for one in trained)):
        raise ValueError(
            f"distill: the error of the outputs went from {before:g} to {after:g}, or a weight is not finite; "
            "allowed: finite numbers; lower the learning rate, or look at the batches"
        )


@torch.no_grad()
def _set(trained: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(trained, values, strict=True):
        parameter.copy_(value)


@torch.no_grad()
def _targets(teacher: nn.Module, call: Call) -> list[Tensor]:
    args, kwargs = call
    targets = [one.detach().clone() for one in _float_tensors(teacher(*args, **kwargs))]
    if not targets:
        raise ValueError("distill: found no floating-point tensor in the outputs of the model; there is nothing to compare")
    return targets


@torch.no_grad()
def _mean_loss(student: nn.Module, batches: Sequence[Call], targets: Sequence[list[Tensor]]) -> float:
    losses = [_loss(student, call, wanted) for call, wanted in zip(batches, targets, strict=True)]
    return float(torch.stack(losses).mean())


def _loss(student: nn.Module, call: Call, targets: Sequence[Tensor]) -> Tensor:
    args, kwargs = call
    outputs = list(_float_tensors(student(*args, **kwargs)))
    shares = [
        (output.float() - target.float()).square().mean() / target.float().square().mean().clamp(min=1e-12)
        for output, target in zip(outputs, targets, strict=True)
    ]
    return torch.stack(shares).mean()


def _float_tensors(outputs: object) -> Iterator[Tensor]:
    """In the order of the outputs: tensors, and those in sequences, mappings and dataclasses."""
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point() and outputs.numel():
            yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _float_tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _float_tensors(value)
    elif is_dataclass(outputs):
        for one in fields(outputs):
            yield from _float_tensors(getattr(outputs, one.name))


@contextmanager
def _trained(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    former = [(one, one.requires_grad) for one in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, flag in former:
            parameter.requires_grad_(flag)
