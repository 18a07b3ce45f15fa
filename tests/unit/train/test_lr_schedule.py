"""The learning rate of each step."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.train.lr_schedule import LrSchedule, read_lr_schedule


def rates(schedule: LrSchedule, lr: float = 0.4) -> list[float]:
    """The rate with which each step is taken."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    attached = schedule.attach(optimizer)
    taken = []
    for _ in range(schedule.num_steps):
        taken.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        attached.step()
    return taken


def test_warmup_rises_in_equal_steps_to_the_full_rate_and_cosine_falls_to_0() -> None:
    taken = rates(LrSchedule(name="cosine", warmup_steps=4, num_steps=14))

    assert taken[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert taken[4:] == pytest.approx([0.2 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])
    assert LrSchedule(name="cosine", warmup_steps=4, num_steps=14).factor(14) == 0.0


def test_cosine_without_warmup_is_torchs_own() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    expected = []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()

    assert rates(LrSchedule(name="cosine", warmup_steps=0, num_steps=50)) == pytest.approx(expected, abs=1e-12)


def test_constant_stays_after_the_warmup() -> None:
    assert rates(LrSchedule(name="constant", warmup_steps=2, num_steps=5)) == pytest.approx([0.2, 0.4, 0.4, 0.4, 0.4])


# transformers/optimization.py restated: the curve after a warm-up of the same length, by its get_..._schedule_with_warmup.
def linear_of_transformers(step: int, warmup_steps: int, num_steps: int) -> float:
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))


def polynomial_of_transformers(step: int, warmup_steps: int, num_steps: int, power: float) -> float:
    rate, end = 0.4, 0.0
    remaining = 1 - (step - warmup_steps) / (num_steps - warmup_steps)
    return ((rate - end) * remaining**power + end) / rate


def hard_restarts_of_transformers(step: int, warmup_steps: int, num_steps: int, cycles: int) -> float:
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    if progress >= 1.0:
        return 0.0
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))


@pytest.mark.parametrize("warmup_steps", [0, 7])
@pytest.mark.parametrize(
    ("name", "knobs", "reference"),
    [
        ("linear", {}, linear_of_transformers),
        ("polynomial", {"power": 2.0}, partial(polynomial_of_transformers, power=2.0)),
        ("polynomial", {"power": 0.5}, partial(polynomial_of_transformers, power=0.5)),
        ("cosine-restarts", {"cycles": 4}, partial(hard_restarts_of_transformers, cycles=4)),
        ("cosine-restarts", {"cycles": 1}, partial(hard_restarts_of_transformers, cycles=1)),
    ],
    ids=["linear", "power 2", "power 1/2", "4 cycles", "1 cycle"],
)
def test_curve_is_that_of_transformers(
    name: str, knobs: dict[str, Any], reference: Callable[..., float], warmup_steps: int
) -> None:
    num_steps = warmup_steps + 64
    schedule = LrSchedule(name=name, warmup_steps=warmup_steps, num_steps=num_steps, **knobs)
    steps = range(warmup_steps, num_steps + 1)

    expected = [reference(step, warmup_steps, num_steps) for step in steps]
    assert [schedule.factor(step) for step in steps] == pytest.approx(expected, abs=1e-12)
    assert rates(schedule)[warmup_steps:] == pytest.approx([0.4 * factor for factor in expected[:-1]], abs=1e-12)


@pytest.mark.parametrize("cycles", [3, 7, 10, 49])
def test_each_cycle_starts_at_the_full_rate_in_its_own_step(cycles: int) -> None:
    """A share of the run times cycles, 49 * (1 / 49), may come out below the whole number: the rate would be 0 for a step."""
    schedule = LrSchedule(name="cosine-restarts", warmup_steps=0, num_steps=cycles * 49, cycles=cycles)

    assert [step for step in range(cycles * 49) if schedule.factor(step) == 1.0] == [49 * cycle for cycle in range(cycles)]
    assert schedule.factor(cycles * 49) == 0.0


def config(**values: str) -> RunConfig:
    values = {"LR_SCHEDULE": '"cosine"', "LR_WARMUP_EPOCHS": "0", "LR_WARMUP_RATIO": '"0"'} | values
    return RunConfig("".join(f"CONFIG_{name}={value}\n" for name, value in values.items()), "config.txt")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"LR_WARMUP_EPOCHS": "2"}, {"name": "cosine", "warmup_steps": 34}),
        ({"LR_WARMUP_RATIO": '"0.1"'}, {"name": "cosine", "warmup_steps": 17}),
        ({"LR_WARMUP_RATIO": '"0.101"'}, {"name": "cosine", "warmup_steps": 18}),
        ({"LR_SCHEDULE": '"polynomial"', "LR_POLYNOMIAL_POWER": '"3"'}, {"name": "polynomial", "warmup_steps": 0, "power": 3.0}),
        ({"LR_SCHEDULE": '"cosine-restarts"', "LR_CYCLES": "5"}, {"name": "cosine-restarts", "warmup_steps": 0, "cycles": 5}),
    ],
    ids=["epochs", "a share", "a share, rounded up", "power", "cycles"],
)
def test_symbols_arrive_in_steps(values: dict[str, str], expected: dict[str, Any]) -> None:
    found = read_lr_schedule(config(**values), num_epochs=10, steps_per_epoch=17)

    assert found == LrSchedule(num_steps=170, **expected)


def test_a_share_is_no_step_more_for_how_binary_numbers_are_rounded() -> None:
    assert 0.07 * 100 > 7
    assert read_lr_schedule(config(LR_WARMUP_RATIO='"0.07"'), num_epochs=10, steps_per_epoch=10).warmup_steps == 7


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"LR_WARMUP_EPOCHS": "10"}, "CONFIG_LR_WARMUP_EPOCHS: found 10, allowed: 0 to below NUM_EPOCHS, which is 10"),
        ({"LR_WARMUP_RATIO": '"0.995"'}, "CONFIG_LR_WARMUP_RATIO: found 0.995, allowed: .* one of 170 steps is left"),
        ({"LR_WARMUP_RATIO": '"-0.1"'}, "CONFIG_LR_WARMUP_RATIO: found -0.1, allowed: 0 or more"),
        (
            {"LR_WARMUP_RATIO": '"0.1"', "LR_WARMUP_EPOCHS": "1"},
            "CONFIG_LR_WARMUP_EPOCHS: found 1, allowed: 0 with CONFIG_LR_WARMUP_RATIO=0.1",
        ),
        (
            {"LR_SCHEDULE": '"step"'},
            'CONFIG_LR_SCHEDULE: found "step", allowed: constant cosine cosine-restarts linear polynomial',
        ),
        (
            {"LR_SCHEDULE": '"polynomial"', "LR_POLYNOMIAL_POWER": '"0"'},
            "CONFIG_LR_POLYNOMIAL_POWER: found 0.0, allowed: above 0",
        ),
        ({"LR_SCHEDULE": '"cosine-restarts"', "LR_CYCLES": "0"}, "CONFIG_LR_CYCLES: found 0, allowed: above 0"),
    ],
    ids=["all epochs", "all steps", "below 0", "both", "name", "power", "cycles"],
)
def test_what_cannot_be_is_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_lr_schedule(config(**values), num_epochs=10, steps_per_epoch=17)
