"""The learning rate of each step, as a share of LEARNING_RATE: linear warm-up, then cosine or constant."""

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LrSchedule:
    """`name`: cosine (Loshchilov and Hutter 2017, equation 5, to 0 and without restarts) or constant, after `warmup_steps` steps
    of linear warm-up (Goyal et al. 2017, section 2.2), over `num_steps` steps in all."""

    name: str
    warmup_steps: int
    num_steps: int

    def factor(self, step: int) -> float:
        """The share of the full rate, 0 to 1, with which step number `step`, from 0, is taken."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.name == "constant":
            return 1.0
        done = (step - self.warmup_steps) / (self.num_steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * done))

    def attach(self, optimizer: Optimizer) -> LambdaLR:
        """Set the rate of the first step; `.step()` after each optimizer step sets the next."""
        return LambdaLR(optimizer, self.factor)


def read_lr_schedule(cfg: RunConfig, *, num_epochs: int, steps_per_epoch: int) -> LrSchedule:
    """What LR_SCHEDULE and LR_WARMUP_EPOCHS ask for. ConfigError for an unknown name or a warm-up that is all of the run."""
    name, warmup_epochs = cfg.str("LR_SCHEDULE"), cfg.int("LR_WARMUP_EPOCHS")
    if name not in ("constant", "cosine"):
        raise ConfigError(f'{cfg.source}: CONFIG_LR_SCHEDULE: found "{name}", allowed: constant cosine')
    if warmup_epochs >= num_epochs:
        raise ConfigError(
            f"{cfg.source}: CONFIG_LR_WARMUP_EPOCHS: found {warmup_epochs}, allowed: below NUM_EPOCHS, which is {num_epochs}"
        )
    return LrSchedule(name=name, warmup_steps=warmup_epochs * steps_per_epoch, num_steps=num_epochs * steps_per_epoch)
