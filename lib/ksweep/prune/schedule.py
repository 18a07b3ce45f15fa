"""How sparse the weights are to be at each optimizer step."""

from dataclasses import dataclass

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The cubic ramp s = target * (1 - (1 - t)^3), t from 0 at `warmup_steps` to 1 at `end_step`: fast first, then ever slower.

    Zhu and Gupta 2017, "To prune, or not to prune", equation 1 with an initial sparsity of 0. The masks change every
    `frequency` steps, and at `end_step` in any case, so that the target is met there and not at the next multiple.
    Steps count from 1; `end_epoch` is the epoch that ends with `end_step`.
    """

    target: float
    warmup_steps: int
    end_step: int
    frequency: int
    end_epoch: int

    def sparsity(self, step: int) -> float:
        """Share of the prunable weights that are zero after `step`, 0 to `target`."""
        done = (step - self.warmup_steps) / (self.end_step - self.warmup_steps)
        return self.target * (1 - (1 - min(1.0, max(0.0, done))) ** 3)

    def is_due(self, step: int) -> bool:
        """True when the masks change after `step`."""
        if not self.warmup_steps < step <= self.end_step:
            return False
        return (step - self.warmup_steps) % self.frequency == 0 or step == self.end_step


def read_schedule(cfg: RunConfig, steps_per_epoch: int) -> Schedule:
    """The schedule that a configuration asks for. ConfigError when it cannot reach its target within the run."""
    warmup_steps, end_epoch, num_epochs = cfg.int("PRUNING_WARMUP"), cfg.int("PRUNING_RAMP_END_EPOCH"), cfg.int("NUM_EPOCHS")
    end_step = end_epoch * steps_per_epoch
    problems = []
    if end_epoch > num_epochs:
        problems.append(f"PRUNING_RAMP_END_EPOCH: found {end_epoch}, allowed: up to NUM_EPOCHS, which is {num_epochs}")
    if warmup_steps >= end_step:
        problems.append(
            f"PRUNING_WARMUP: found {warmup_steps} steps, allowed: less than {end_step}, the end of the ramp"
            f" (epoch {end_epoch} of {steps_per_epoch} steps each); else nothing is ever pruned"
        )
    if problems:
        raise ConfigError("\n".join(f"{cfg.source}: CONFIG_{problem}" for problem in problems))
    return Schedule(
        target=cfg.float("TARGET_SPARSITY"),
        warmup_steps=warmup_steps,
        end_step=end_step,
        frequency=cfg.int("PRUNING_FREQUENCY"),
        end_epoch=end_epoch,
    )
