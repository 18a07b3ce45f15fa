"""The optimizers take the steps of the published formulas, restated here in double precision without torch.optim.

300 steps of two parameters (a weight, which decays, and a bias, which does not) under a falling learning rate. Gradients are
drawn beforehand, some with a spike of 10,000 times the usual size, one entry without any for the first 100 steps.
"""

import math

import pytest
import torch
from torch import Tensor, nn

NUM_STEPS = 300
RATE, DECAY, BETA1, BETA2, EPS = 0.1, 0.2, 0.8, 0.99, 1e-6
MAX_GRAD_NORM = 2.0
THETA, INTERVAL, WARMUP_STEPS = 20.0, 70, 15

SGD = {"OPTIMIZER": "sgd", "SGD_MOMENTUM": "0.9", "SGD_NESTEROV": "n", "WEIGHT_DECAY": "0.2"}
KNOBS = {"BETA1": "0.8", "BETA2": "0.99", "EPSILON": "1e-6", "AMSGRAD": "n"}
ADAM = {"WEIGHT_DECAY": "0.2", **{f"ADAM_{name}": value for name, value in KNOBS.items()}}
PRUNE = {"ADAMWPRUNE_WEIGHT_DECAY": "0.2", **{f"ADAMWPRUNE_{name}": value for name, value in KNOBS.items()}}
ADV = {"ADAMWADV_MAX_GRAD_NORM": "2"}
RMSPROP = {"OPTIMIZER": "rmsprop", "RMSPROP_ALPHA": "0.95", "RMSPROP_EPSILON": "1e-6", "WEIGHT_DECAY": "0.2"}
FACTOR = {
    "OPTIMIZER": "adafactor",
    "ADAFACTOR_BETA2_DECAY": "0.7",
    "ADAFACTOR_EPSILON1": "1e-12",
    "ADAFACTOR_EPSILON2": "0.002",
    "ADAFACTOR_D": "0.5",
    "WEIGHT_DECAY": "0.2",
}
SPAM = {"SPAM_THETA": "20", "SPAM_CLIP": "y", "SPAM_INTERVAL": "70", "SPAM_WARMUP_STEPS": "15"}

Pair = tuple[Tensor, Tensor]  # of the weight [5, 7] and the bias [5]


def rate(step: int) -> float:
    """Half a cosine from RATE; `step` from 0."""
    return RATE * 0.5 * (1 + math.cos(math.pi * step / NUM_STEPS))


@pytest.fixture(scope="module")
def gradients() -> list[Pair]:
    draw = torch.Generator().manual_seed(1)
    pairs = []
    for step in range(NUM_STEPS):
        size = (1.0, 3.0, 0.1, 2.0, 0.01)[step % 5]
        weight, bias = (torch.randn(shape, generator=draw, dtype=torch.float64) * size for shape in ((5, 7), (5,)))
        if step % 23 == 22:
            weight[step % 5, step % 7] = 1e4 * (-1) ** step
        if step < 100:
            weight[2, 3] = 0.0
        pairs.append((weight, bias))
    return pairs


def sgd(w: Tensor, gradients: list[Tensor], decay: float, *, nesterov: bool = False) -> Tensor:
    """Sutskever et al. 2013 as torch writes it, L2 weight decay in the gradient."""
    velocity = torch.zeros_like(w)
    for step, g in enumerate(gradients):
        g = g + decay * w
        velocity = 0.9 * velocity + g
        w = w - rate(step) * (g + 0.9 * velocity if nesterov else velocity)
    return w


def adam(w: Tensor, gradients: list[Tensor], decay: float, *, decoupled: bool = True, amsgrad: bool = False) -> Tensor:
    """Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2; Reddi et al. 2018, algorithm 2."""
    m, v, largest = (torch.zeros_like(w) for _ in range(3))
    for step, g in enumerate(gradients):
        if decoupled:
            w = w - rate(step) * decay * w
        else:
            g = g + decay * w
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
        largest = torch.maximum(largest, v) if amsgrad else v
        m_hat, v_hat = m / (1 - BETA1 ** (step + 1)), largest / (1 - BETA2 ** (step + 1))
        w = w - rate(step) * m_hat / (v_hat.sqrt() + EPS)
    return w


def clipped(gradients: list[Pair]) -> list[Pair]:
    """Pascanu et al. 2013, algorithm 1: the norm is that of all gradients of a step together."""
    norms = [math.sqrt(sum(float((g**2).sum()) for g in pair)) for pair in gradients]
    assert min(norms) < MAX_GRAD_NORM < max(norms)
    scales = [min(1.0, MAX_GRAD_NORM / norm) for norm in norms]
    return [(weight * scale, bias * scale) for (weight, bias), scale in zip(gradients, scales, strict=True)]


def spam(w: Tensor, gradients: list[Tensor], decay: float, *, amsgrad: bool = False) -> Tensor:
    """Huang et al. 2025, algorithm 1, with the departures that lib/ksweep/optim/adamwspam.py lists, entry by entry."""
    entries = zip(w.flatten().tolist(), torch.stack(gradients).flatten(1).T.tolist(), strict=True)
    return torch.tensor([spam_entry(*entry, decay, amsgrad) for entry in entries], dtype=torch.float64).view_as(w)


def spam_entry(w: float, gradients: list[float], decay: float, amsgrad: bool) -> float:
    m = v = largest = 0.0
    t = 0  # steps since the moments were zero
    for step, g in enumerate(gradients):
        lr = rate(step)
        if step % INTERVAL == 0:
            m = v = largest = 0.0
            t = 0
        if v > 0 and g**2 > THETA * v / (1 - BETA2**t):
            g = math.copysign(math.sqrt(THETA * v / (1 - BETA2**t)), g)
        t += 1
        if step >= INTERVAL and t <= WARMUP_STEPS:
            lr *= 0.5 * (1 - math.cos(math.pi * t / WARMUP_STEPS))
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
        largest = max(largest, v) if amsgrad else v
        w -= lr * decay * w
        w -= lr * (m / (1 - BETA1**t)) / (math.sqrt(largest / (1 - BETA2**t)) + EPS)
    return w


def rmsprop(w: Tensor, gradients: list[Tensor], decay: float, *, momentum: float) -> Tensor:
    """Tieleman and Hinton 2012, lecture 6.5, page 29; the momentum is of the divided gradients, as torch has it."""
    v, velocity = torch.zeros_like(w), torch.zeros_like(w)
    for step, g in enumerate(gradients):
        g = g + decay * w
        v = 0.95 * v + 0.05 * g**2
        velocity = momentum * velocity + g / (v.sqrt() + EPS)
        w = w - rate(step) * velocity
    return w


def adafactor(w: Tensor, gradients: list[Tensor], decay: float) -> Tensor:
    """Shazeer and Stern 2018, algorithm 4 for the weight, 5 for the bias; weight decay as Loshchilov and Hutter 2019."""
    rows, columns, v = torch.zeros(len(w), dtype=w.dtype), torch.zeros(w[0].numel(), dtype=w.dtype), torch.zeros_like(w)
    for step, g in enumerate(gradients):
        beta2 = 1 - (step + 1) ** -0.7
        if w.ndim > 1:
            rows = beta2 * rows + (1 - beta2) * (g**2 + 1e-12).sum(1)
            columns = beta2 * columns + (1 - beta2) * (g**2 + 1e-12).sum(0)
            v = torch.outer(rows, columns) / rows.sum()
        else:
            v = beta2 * v + (1 - beta2) * (g**2 + 1e-12)
        u = g / v.sqrt()
        u = u / max(1.0, rms(u) / 0.5)
        w = w * (1 - rate(step) * decay) - max(0.002, rms(w)) * rate(step) * u
    return w


def rms(tensor: Tensor) -> float:
    return math.sqrt(float((tensor**2).mean()))


def of_pairs(formula, gradients: list[Pair], start: Pair) -> Pair:
    return tuple(formula(start[i], [pair[i] for pair in gradients], (DECAY, 0.0)[i]) for i in (0, 1))


CASES = {
    "sgd": (SGD, sgd),
    "sgd nesterov": ({**SGD, "SGD_NESTEROV": "y"}, lambda w, g, d: sgd(w, g, d, nesterov=True)),
    "adam": ({**ADAM, "OPTIMIZER": "adam"}, lambda w, g, d: adam(w, g, d, decoupled=False)),
    "adamw": ({**ADAM, "OPTIMIZER": "adamw"}, adam),
    "adamw amsgrad": ({**ADAM, "OPTIMIZER": "adamw", "ADAM_AMSGRAD": "y"}, lambda w, g, d: adam(w, g, d, amsgrad=True)),
    "adamwadv": ({**ADAM, **ADV, "OPTIMIZER": "adamwadv", "ADAM_AMSGRAD": "y"}, lambda w, g, d: adam(w, g, d, amsgrad=True)),
    "adamwspam": ({**ADAM, **SPAM, "OPTIMIZER": "adamwspam"}, spam),
    "adamwspam amsgrad": (
        {**ADAM, **SPAM, "OPTIMIZER": "adamwspam", "ADAM_AMSGRAD": "y"},
        lambda w, g, d: spam(w, g, d, amsgrad=True),
    ),
    "rmsprop": ({**RMSPROP, "RMSPROP_MOMENTUM": "0"}, lambda w, g, d: rmsprop(w, g, d, momentum=0.0)),
    "rmsprop momentum": ({**RMSPROP, "RMSPROP_MOMENTUM": "0.5"}, lambda w, g, d: rmsprop(w, g, d, momentum=0.5)),
    "adafactor": (FACTOR, adafactor),
    "adamwprune adam": (
        {**PRUNE, "OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": "adam"},
        lambda w, g, d: adam(w, g, d, decoupled=False),
    ),
    "adamwprune adamw": ({**PRUNE, "OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": "adamw"}, adam),
    "adamwprune adamwadv": ({**PRUNE, **ADV, "OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": "adamwadv"}, adam),
    "adamwprune adamwspam": ({**PRUNE, **SPAM, "OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": "adamwspam"}, spam),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_the_formula(built, gradients: list[Pair], case: str, dtype: torch.dtype) -> None:
    symbols, formula = CASES[case]
    torch.manual_seed(2)
    model = nn.Linear(7, 5, dtype=dtype)
    start = model.weight.detach().double().clone(), model.bias.detach().double().clone()
    optimizer = built(model, LEARNING_RATE="0.1", **symbols)
    for step, pair in enumerate(gradients):
        model.weight.grad, model.bias.grad = (g.to(dtype, copy=True) for g in pair)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()

    expected = of_pairs(formula, clipped(gradients) if "adv" in case else gradients, start)
    for found, wanted in zip((model.weight, model.bias), expected, strict=True):
        error = ((found.double() - wanted).abs().max() / wanted.abs().max()).item()
        # Single precision rounds each of the steps, to within 6e-8 of the largest value; 300 of them come to 9e-7 here.
        assert error < (1e-6 if dtype == torch.float64 else 2e-6)
