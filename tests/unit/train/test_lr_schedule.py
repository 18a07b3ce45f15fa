"""The learning rate of each step."""

import math

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


def config(**values: str) -> RunConfig:
    return RunConfig("".join(f"CONFIG_{name}={value}\n" for name, value in values.items()), "config.txt")


def test_symbols_arrive_in_steps() -> None:
    cfg = config(LR_SCHEDULE='"cosine"', LR_WARMUP_EPOCHS="2")

    assert read_lr_schedule(cfg, num_epochs=10, steps_per_epoch=17) == LrSchedule(name="cosine", warmup_steps=34, num_steps=170)


@pytest.mark.parametrize(
    ("schedule", "warmup", "words"),
    [
        ('"cosine"', "10", "CONFIG_LR_WARMUP_EPOCHS: found 10, allowed: below NUM_EPOCHS, which is 10"),
        ('"linear"', "0", 'CONFIG_LR_SCHEDULE: found "linear", allowed: constant cosine'),
    ],
)
def test_what_cannot_be_is_refused(schedule: str, warmup: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_lr_schedule(config(LR_SCHEDULE=schedule, LR_WARMUP_EPOCHS=warmup), num_epochs=10, steps_per_epoch=17)
