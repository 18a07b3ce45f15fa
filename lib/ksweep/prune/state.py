"""Pruning by the optimizer's own state: m, the mean of the gradients (exp_avg), and v, that of their squares (exp_avg_sq).

It needs no memory beyond the masks. The variants are those of AdamWPrune, bitter0 to bitter9 (lib/optimizers.py and docs/
there); eps is 1e-8. Where its documents and its code disagree, the documented formula stands here:

  bitter2  its code is bitter1 with more iterations; how long to train is not the business of a score, so the two are equal
  bitter4  bitter3's score; the sparsity that grows with depth is PRUNING_ALLOCATION=depth, its default
  bitter8  documented as |w| sqrt(|m_hat|), m_hat = m / (1 - beta1^t); its code computes bitter7 in half precision
  bitter9  documented as the hybrid, which is bitter0; its code is its bitter8, compiled

bitter5 is signed: a weight that moves towards zero scores below 0. There, what is pruned scores 0 and outranks it; here what is
pruned stays so with every variant (pruner.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.importance import Importance

NAME = "state"
EPS = 1e-8


@dataclass(frozen=True)
class Moments:
    """Of one weight: the weight, Adam's moments in its shape, and 1 - beta1^t, by which m is too small after t steps."""

    w: Tensor
    m: Tensor
    v: Tensor
    bias: Tensor


def _hybrid(of: Moments) -> Tensor:
    return (of.w * of.m).abs() * of.w.abs() / (of.v.sqrt() + EPS)


def _magnitude(of: Moments) -> Tensor:
    return of.w.abs()


def _momentum(of: Moments) -> Tensor:
    return of.w.abs() * (of.m.abs() + EPS).sqrt()


def _direction(of: Moments) -> Tensor:
    return of.w.sign() * of.m / (of.v.sqrt() + EPS) + 0.1 * of.w.abs()


def _coherence(of: Moments) -> Tensor:
    return _momentum(of) * (of.m.square() / (of.v + EPS)).sqrt()


def _fourth_root(of: Moments) -> Tensor:
    return of.w.abs() * (of.v + EPS).sqrt().sqrt()


def _corrected_momentum(of: Moments) -> Tensor:
    return of.w.abs() * (of.m / of.bias).abs().sqrt()


VARIANTS: dict[str, Callable[[Moments], Tensor]] = {
    "bitter0": _hybrid,
    "bitter1": _magnitude,
    "bitter2": _magnitude,
    "bitter3": _momentum,
    "bitter4": _momentum,
    "bitter5": _direction,
    "bitter6": _coherence,
    "bitter7": _fourth_root,
    "bitter8": _corrected_momentum,
    "bitter9": _hybrid,
}


class State(Importance):
    """The score `variant`, from the state of `optimizer`, which is of the Adam family."""

    method = NAME

    def __init__(self, weights: Sequence[nn.Parameter], optimizer: Optimizer, variant: str) -> None:
        super().__init__(weights)
        self.variant = variant
        self.is_signed = variant == "bitter5"
        self._formula = VARIANTS[variant]
        self._optimizer = optimizer
        self._beta1 = {id(param): group["betas"][0] for group in optimizer.param_groups for param in group["params"]}

    def score(self, index: int) -> Tensor:
        """See Importance. A weight without state never had a gradient: its moments are zero."""
        weight = self.weights[index]
        state = self._optimizer.state.get(weight)
        if not state:
            zeros = torch.zeros_like(weight)
            return self._formula(Moments(weight, zeros, zeros, bias=zeros + 1))
        bias = 1 - self._beta1[id(weight)] ** state["step"]  # the step is a tensor, and stays on the device
        return self._formula(Moments(weight, state["exp_avg"], state["exp_avg_sq"], bias))


def build(cfg: RunConfig, weights: Sequence[nn.Parameter], optimizer: Optimizer) -> State:
    """ConfigError for an unknown variant, and for an optimizer that keeps no such state."""
    variant = cfg.str("PRUNING_VARIANT")
    if variant not in VARIANTS:
        raise ConfigError(f'{cfg.source}: CONFIG_PRUNING_VARIANT: found "{variant}", allowed: {" ".join(VARIANTS)}')
    if any("betas" not in group for group in optimizer.param_groups):
        raise ConfigError(
            f"{cfg.source}: CONFIG_PRUNING_METHOD=state needs an optimizer with two moments; {type(optimizer).__name__}"
            " has none; use CONFIG_OPTIMIZER=adamwprune, or CONFIG_PRUNING_METHOD=magnitude|movement"
        )
    return State(weights, optimizer, variant)
