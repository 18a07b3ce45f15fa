"""How many weights are zero at each optimizer step."""

from collections.abc import Callable
from dataclasses import dataclass

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError

# Share of the target that is reached at the share t of the ramp, 0 to 1.
RAMPS: dict[str, Callable[[float], float]] = {
    "cubic": lambda t: 1 - (1 - t) ** 3,  # Zhu and Gupta 2017, "To prune, or not to prune", equation 1, from dense
    "linear": lambda t: t,
    "late_cubic": lambda t: t**3,  # what AdamWPrune's public code does: half of the target in the last fifth of the ramp
}
ONE_SHOT = "one_shot"
_ROUNDING = 1e-6  # 0.29 * 100 is 28.999999999999996, and means 29


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Dense until `warmup_steps`, then sparser along the ramp `shape`, and at `target` from `end_step` on.

    The masks change every `frequency` steps, and at `end_step` in any case, so that the target is met there and not at the
    next multiple; with frequency 0 (one-shot) only there. Steps count from 1.
    """

    shape: str
    target: float
    warmup_steps: int
    end_step: int
    frequency: int

    def sparsity(self, step: int) -> float:
        """Share of the weights that may be pruned that is zero after `step`, 0 to `target`."""
        if step >= self.end_step:
            return self.target
        if step <= self.warmup_steps:
            return 0.0
        return self.target * RAMPS[self.shape]((step - self.warmup_steps) / (self.end_step - self.warmup_steps))

    def num_pruned(self, step: int, num_weights: int) -> int:
        """The same as a number of weights, rounded down: never sparser than asked for."""
        return int(self.sparsity(step) * num_weights + _ROUNDING)

    def is_due(self, step: int) -> bool:
        """True when the masks change after `step`."""
        if step == self.end_step:
            return True
        return self.warmup_steps < step < self.end_step and (step - self.warmup_steps) % self.frequency == 0


def read_schedule(cfg: RunConfig, steps_per_epoch: int) -> Schedule:
    """The schedule that a configuration asks for.

    ConfigError when a value is out of range, when the warm-up does not end before the ramp, or the ramp before training.
    """
    shape, target, warmup_steps = cfg.str("PRUNING_SCHEDULE"), cfg.float("TARGET_SPARSITY"), cfg.int("PRUNING_WARMUP")
    num_epochs = cfg.int("NUM_EPOCHS")
    num_steps = num_epochs * steps_per_epoch
    training = f"{num_steps}, the end of training ({num_epochs} epochs of {steps_per_epoch} steps)"
    problems = []
    if shape not in (*RAMPS, ONE_SHOT):
        problems.append(f'PRUNING_SCHEDULE: found "{shape}", allowed: {" ".join([*RAMPS, ONE_SHOT])}')
    if not 0 <= target < 1:
        problems.append(f"TARGET_SPARSITY: found {target}, allowed: 0 to below 1")
    if warmup_steps < 0:
        problems.append(f"PRUNING_WARMUP: found {warmup_steps}, allowed: 0 or more")
    if shape == ONE_SHOT:
        frequency, end_step = 0, max(1, warmup_steps)  # no weight has a score before the first step
        if warmup_steps >= num_steps:
            problems.append(f"PRUNING_WARMUP: found {warmup_steps} steps, allowed: less than {training}; make it shorter")
    else:
        frequency = cfg.int("PRUNING_FREQUENCY")
        end_symbol, end_step = _ramp_end(cfg, steps_per_epoch)
        if frequency < 1:
            problems.append(f"PRUNING_FREQUENCY: found {frequency}, allowed: 1 or more")
        if end_step >= num_steps:
            problems.append(f"{end_symbol}: the ramp ends at step {end_step}, allowed: before step {training}; end it earlier")
        if warmup_steps >= end_step:
            problems.append(
                f"PRUNING_WARMUP: found {warmup_steps} steps, allowed: less than {end_step}, the end of the ramp"
                f" ({end_symbol}); make it shorter, or end the ramp later"
            )
    if problems:
        raise ConfigError("\n".join(f"{cfg.source}: CONFIG_{problem}" for problem in problems))
    return Schedule(shape=shape, target=target, warmup_steps=warmup_steps, end_step=end_step, frequency=frequency)


def _ramp_end(cfg: RunConfig, steps_per_epoch: int) -> tuple[str, int]:
    """The symbol that says it, with its value, and the step."""
    end_step = cfg.int("PRUNING_RAMP_END_STEP")
    if end_step:
        return f"PRUNING_RAMP_END_STEP={end_step}", end_step
    end_epoch = cfg.int("PRUNING_RAMP_END_EPOCH")
    return f"PRUNING_RAMP_END_EPOCH={end_epoch}", end_epoch * steps_per_epoch
