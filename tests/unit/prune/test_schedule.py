"""The ramps, and the schedules that are refused."""

import pytest

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.schedule import Schedule, read_schedule

RAMP = Schedule(shape="cubic", target=0.8, warmup_steps=100, end_step=300, frequency=30)
ONE_SHOT = Schedule(shape="one_shot", target=0.8, warmup_steps=100, end_step=100, frequency=0)


def config(**values: object) -> RunConfig:
    settings = {
        "TARGET_SPARSITY": "0.8",
        "PRUNING_SCHEDULE": "cubic",
        "PRUNING_WARMUP": 100,
        "PRUNING_RAMP_END_STEP": 0,
        "PRUNING_RAMP_END_EPOCH": 3,
        "PRUNING_FREQUENCY": 30,
        "NUM_EPOCHS": 5,
    }
    merged = {name: value for name, value in {**settings, **values}.items() if value is not None}
    return RunConfig("".join(f"CONFIG_{name}={value}\n" for name, value in merged.items()), "config.txt")


@pytest.mark.parametrize(
    ("shape", "quarter", "half"),
    [("cubic", 1 - 0.75**3, 0.875), ("linear", 0.25, 0.5), ("late_cubic", 1 / 64, 0.125), ("one_shot", 0, 0)],
)
def test_ramp_has_its_shape(shape: str, quarter: float, half: float) -> None:
    warmup_steps = 300 if shape == "one_shot" else 100
    ramp = Schedule(shape=shape, target=0.8, warmup_steps=warmup_steps, end_step=300, frequency=30)

    assert [ramp.sparsity(step) for step in (0, 100, 150, 200, 300, 10_000)] == pytest.approx(
        [0, 0, 0.8 * quarter, 0.8 * half, 0.8, 0.8]
    )


@pytest.mark.parametrize(
    ("target", "num_weights", "num_pruned"), [(0.29, 100, 29), (0.7, 10, 7), (0.7, 11, 7), (0.999, 999, 998), (0.0, 100, 0)]
)
def test_number_is_rounded_down_but_not_by_the_last_bit_of_a_float(target: float, num_weights: int, num_pruned: int) -> None:
    schedule = Schedule(shape="cubic", target=target, warmup_steps=0, end_step=1, frequency=1)

    assert schedule.num_pruned(1, num_weights) == num_pruned


def test_masks_change_at_the_frequency_and_at_the_end_of_the_ramp() -> None:
    assert [step for step in range(1000) if RAMP.is_due(step)] == [130, 160, 190, 220, 250, 280, 300]
    assert [step for step in range(1000) if ONE_SHOT.is_due(step)] == [100]


def test_schedule_is_read_in_steps_of_this_data_set() -> None:
    assert read_schedule(config(), steps_per_epoch=100) == RAMP


def test_step_of_the_ramps_end_goes_before_its_epoch() -> None:
    cfg = config(PRUNING_RAMP_END_STEP=450, PRUNING_RAMP_END_EPOCH=None)

    assert read_schedule(cfg, steps_per_epoch=100).end_step == 450


def test_one_shot_reads_no_symbol_of_the_ramp() -> None:
    ramp_symbols = {"PRUNING_RAMP_END_STEP": None, "PRUNING_RAMP_END_EPOCH": None, "PRUNING_FREQUENCY": None}

    assert read_schedule(config(PRUNING_SCHEDULE="one_shot", **ramp_symbols), steps_per_epoch=100) == ONE_SHOT


def test_one_shot_without_warm_up_waits_for_the_first_step() -> None:
    schedule = read_schedule(config(PRUNING_SCHEDULE="one_shot", PRUNING_WARMUP=0), steps_per_epoch=100)

    assert [step for step in range(1000) if schedule.is_due(step)] == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PRUNING_WARMUP": 300}, r"config.txt: CONFIG_PRUNING_WARMUP: found 300 steps, allowed: less than 300, the end of the"),
        ({"PRUNING_WARMUP": 7800}, r"CONFIG_PRUNING_WARMUP: found 7800 steps"),
        ({"PRUNING_WARMUP": -1}, r"CONFIG_PRUNING_WARMUP: found -1, allowed: 0 or more"),
        (
            {"NUM_EPOCHS": 3},
            r"CONFIG_PRUNING_RAMP_END_EPOCH=3: the ramp ends at step 300, allowed: before step 300",
        ),
        (
            {"PRUNING_RAMP_END_STEP": 500},
            r"CONFIG_PRUNING_RAMP_END_STEP=500: the ramp ends at step 500, allowed: before",
        ),
        (
            {"PRUNING_SCHEDULE": "one_shot", "PRUNING_WARMUP": 500},
            r"PRUNING_WARMUP: found 500 steps, allowed: less than 500",
        ),
        ({"NUM_EPOCHS": 2, "PRUNING_WARMUP": 7800}, r"(?s)RAMP_END_EPOCH=3.*WARMUP: found 7800"),
        ({"TARGET_SPARSITY": 1}, r"CONFIG_TARGET_SPARSITY: found 1.0, allowed: 0 to below 1"),
        ({"PRUNING_FREQUENCY": 0}, r"CONFIG_PRUNING_FREQUENCY: found 0, allowed: 1 or more"),
        ({"PRUNING_SCHEDULE": "cubik"}, r'PRUNING_SCHEDULE: found "cubik", allowed: cubic linear late_cubic one_shot'),
    ],
    ids=[
        "warm-up ends with the ramp",
        "warm-up ends after the ramp",
        "negative warm-up",
        "ramp ends with the run",
        "ramp ends with the run, in steps",
        "one-shot at the end of the run",
        "both problems at once",
        "all weights",
        "no frequency",
        "unknown shape",
    ],
)
def test_schedule_that_cannot_reach_its_target_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_schedule(config(**changes), steps_per_epoch=100)
