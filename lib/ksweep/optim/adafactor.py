"""Adafactor: second moments as a row and a column for each weight, and steps relative to the size of the weights.

Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arXiv 1804.04235, algorithms 4 and 5,
with their "proposed hyperparameters" for defaults. Departures from them, and from torch.optim.Adafactor:

- The relative step size is the learning rate of the schedule, as it is; the paper's own, min(0.01, 1/sqrt(t)), is one schedule.
  torch takes the smaller of the rate and 1/sqrt(t), which are the same for as long as the rate is below.
- A weight of more than two dimensions is a matrix of its first dimension against all others: a convolution's output channels
  against what each looks at. torch takes the last two, the kernel's, and saves a third of the memory at 3x3.
- Weight decay is decoupled (Loshchilov and Hutter 2019), as in torch.
- No step waits for the device; torch's reads two norms of each parameter from it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig

NAME = "adafactor"


class Adafactor(Optimizer):
    """Adafactor without a first moment.

    `lr`: relative step size, rho; 0 or more. `beta2_decay`: c of the decay 1 - t^-c; above 0.
    `eps`: what is added to squared gradients, and the least root mean square of a parameter that steps are relative to; above 0.
    `d`: the largest root mean square of a step of one parameter, in units of the step size; above 0.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        *,
        lr: float,
        beta2_decay: float,
        eps: tuple[float, float],
        d: float,
        weight_decay: float,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name}: found {value}, allowed: 0 or more")
        for name, value in (("beta2_decay", beta2_decay), ("eps[0]", eps[0]), ("eps[1]", eps[1]), ("d", d)):
            if not value > 0:
                raise ValueError(f"{name}: found {value}, allowed: above 0")
        super().__init__(params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; moves nothing to the host. A `closure` computes the loss and the gradients, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, param.grad, group)
        return loss

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["step"] = 0  # a number of our own: reading torch's tensor waits for the device
            state["second_moments"] = _no_moments(grad)
        state["step"] += 1
        lr, (eps1, eps2) = group["lr"], group["eps"]
        step_size = lr * _root_mean_square(param).clamp_(min=eps2)
        param.mul_(1 - lr * group["weight_decay"])
        update = _inverse_root(state["second_moments"], grad, eps1, state["step"] ** -group["beta2_decay"]).mul_(grad)
        step_size /= _root_mean_square(update).div_(group["d"]).clamp_(min=1.0)
        param.sub_(update.mul_(step_size))


def _no_moments(grad: Tensor) -> list[Tensor]:
    """Zeros: a column and a row of a weight, which are broadcast against each other; or all of a vector."""
    if grad.ndim < 2:
        return [torch.zeros_like(grad)]
    return [grad.new_zeros(len(grad), *[1] * (grad.ndim - 1)), grad.new_zeros(1, *grad.shape[1:])]


def _inverse_root(moments: list[Tensor], grad: Tensor, eps: float, share: float) -> Tensor:
    """Take the squares of `grad`, plus `eps`, into the moments by the weight `share`; 1 / the root of what they then estimate."""
    squares = grad.square()
    if len(moments) == 1:
        return moments[0].lerp_(squares.add_(eps), share).rsqrt()
    column, row = moments
    column.lerp_(squares.mean(tuple(range(1, grad.ndim)), keepdim=True).add_(eps), share)
    row.lerp_(squares.mean(0, keepdim=True).add_(eps), share)
    # Root by root: the product of two small moments would be 0 in single precision.
    return (column / column.mean()).rsqrt_() * row.rsqrt()


def _root_mean_square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor) / tensor.numel() ** 0.5


def build(cfg: RunConfig, param_groups: list[dict[str, Any]]) -> Optimizer:
    """ValueError or ConfigError when a value is refused."""
    return Adafactor(
        param_groups,
        lr=cfg.float("LEARNING_RATE"),
        beta2_decay=cfg.float("ADAFACTOR_BETA2_DECAY"),
        eps=(cfg.float("ADAFACTOR_EPSILON1"), cfg.float("ADAFACTOR_EPSILON2")),
        d=cfg.float("ADAFACTOR_D"),
        weight_decay=cfg.float("WEIGHT_DECAY"),
    )
