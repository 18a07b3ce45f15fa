"""The learning rate of each step, as a share of LEARNING_RATE: linear warm-up, then the curve that LR_SCHEDULE names."""

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError

_NAMES = ("constant", "cosine", "cosine-restarts", "linear", "polynomial")


@dataclass(frozen=True, kw_only=True)
class LrSchedule:
    """Linear warm-up in `warmup_steps` steps (Goyal et al. 2017, section 2.2), then the curve `name`; `num_steps` steps in all.

    constant; linear, to 0; polynomial, to 0, the share that is left to the `power`; cosine, a half one, to 0 (Loshchilov and
    Hutter 2017, equation 5); cosine-restarts, `cycles` of these of equal length.
    """

    name: str
    warmup_steps: int
    num_steps: int
    power: float = 1.0
    cycles: int = 1

    def factor(self, step: int) -> float:
        """The share of the full rate, 0 to 1, with which step number `step`, from 0, is taken; 0 or 1 after the last one."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.name == "constant":
            return 1.0
        left = max(0.0, (self.num_steps - step) / (self.num_steps - self.warmup_steps))
        if self.name in ("linear", "polynomial"):
            return left**self.power
        # Counted in steps: a share of the run, times cycles, may fall short of the whole number that starts the next one.
        done, of = (step - self.warmup_steps) * self.cycles, self.num_steps - self.warmup_steps
        return 0.5 * (1 + math.cos(math.pi * (done % of if step < self.num_steps else of) / of))

    def attach(self, optimizer: Optimizer) -> LambdaLR:
        """Set the rate of the first step; `.step()` after each optimizer step sets the next."""
        return LambdaLR(optimizer, self.factor)


def read_lr_schedule(cfg: RunConfig, *, num_epochs: int, steps_per_epoch: int) -> LrSchedule:
    """What the LR_ symbols ask for. ConfigError for an unknown name, a value out of range, a warm-up that is all of the run."""
    name = cfg.str("LR_SCHEDULE")
    if name not in _NAMES:
        raise ConfigError(f'{cfg.source}: CONFIG_LR_SCHEDULE: found "{name}", allowed: {" ".join(_NAMES)}')
    power = cfg.float("LR_POLYNOMIAL_POWER") if name == "polynomial" else 1.0
    cycles = cfg.int("LR_CYCLES") if name == "cosine-restarts" else 1
    for symbol, value, allowed in (("POLYNOMIAL_POWER", power, power > 0), ("CYCLES", cycles, cycles >= 1)):
        if not allowed:
            raise ConfigError(f"{cfg.source}: CONFIG_LR_{symbol}: found {value}, allowed: above 0")
    num_steps = num_epochs * steps_per_epoch
    warmup_steps = _warmup_steps(cfg, num_epochs, steps_per_epoch)
    return LrSchedule(name=name, warmup_steps=warmup_steps, num_steps=num_steps, power=power, cycles=cycles)


def _warmup_steps(cfg: RunConfig, num_epochs: int, steps_per_epoch: int) -> int:
    epochs, ratio = cfg.int("LR_WARMUP_EPOCHS"), cfg.float("LR_WARMUP_RATIO")
    if epochs and ratio:
        raise ConfigError(
            f"{cfg.source}: CONFIG_LR_WARMUP_EPOCHS: found {epochs}, allowed: 0 with CONFIG_LR_WARMUP_RATIO={ratio}"
        )
    if not 0 <= epochs < num_epochs:
        raise ConfigError(
            f"{cfg.source}: CONFIG_LR_WARMUP_EPOCHS: found {epochs}, allowed: 0 to below NUM_EPOCHS, which is {num_epochs}"
        )
    num_steps = num_epochs * steps_per_epoch
    share_steps = math.ceil(round(ratio * num_steps, 6))  # 0.07 * 100 is 7.000000000000001, and means 7
    if not 0 <= share_steps < num_steps:
        raise ConfigError(
            f"{cfg.source}: CONFIG_LR_WARMUP_RATIO: found {ratio}, allowed: 0 or more, so that one of {num_steps} steps is left"
        )
    return epochs * steps_per_epoch + share_steps
