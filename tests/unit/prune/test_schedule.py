"""The ramp, and the schedules that are refused."""

import pytest

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.schedule import Schedule, read_schedule

RAMP = Schedule(target=0.8, warmup_steps=100, end_step=300, frequency=30, end_epoch=3)


def config(**values: object) -> RunConfig:
    settings = {
        "TARGET_SPARSITY": "0.8",
        "PRUNING_WARMUP": 100,
        "PRUNING_RAMP_END_EPOCH": 3,
        "PRUNING_FREQUENCY": 30,
        "NUM_EPOCHS": 5,
    }
    return RunConfig("".join(f"CONFIG_{name}={value}\n" for name, value in {**settings, **values}.items()), "config.txt")


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(0, 0.0), (100, 0.0), (150, 0.8 * (1 - 0.75**3)), (200, 0.8 * 0.875), (300, 0.8), (10_000, 0.8)],
    ids=["before", "end of warm-up", "a quarter", "half", "end", "after"],
)
def test_ramp_is_the_cubic_of_zhu_and_gupta(step: int, sparsity: float) -> None:
    assert RAMP.sparsity(step) == pytest.approx(sparsity)


def test_masks_change_at_the_frequency_and_at_the_end_of_the_ramp() -> None:
    assert [step for step in range(1000) if RAMP.is_due(step)] == [130, 160, 190, 220, 250, 280, 300]


def test_schedule_is_read_in_steps_of_this_data_set() -> None:
    assert read_schedule(config(), steps_per_epoch=100) == RAMP


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PRUNING_WARMUP": 300}, r"config.txt: CONFIG_PRUNING_WARMUP: found 300 steps, allowed: less than 300"),
        ({"PRUNING_WARMUP": 7800}, r"CONFIG_PRUNING_WARMUP: found 7800 steps"),
        ({"NUM_EPOCHS": 2}, r"CONFIG_PRUNING_RAMP_END_EPOCH: found 3, allowed: up to NUM_EPOCHS, which is 2"),
        ({"NUM_EPOCHS": 2, "PRUNING_WARMUP": 7800}, r"(?s)RAMP_END_EPOCH: found 3.*WARMUP: found 7800"),
    ],
    ids=["warm-up ends with the ramp", "warm-up ends after the ramp", "ramp ends after the run", "both problems at once"],
)
def test_schedule_that_cannot_reach_its_target_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_schedule(config(**changes), steps_per_epoch=100)
