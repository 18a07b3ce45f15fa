"""Random states come back."""

import io
import random

import numpy as np
import torch

from ksweep.train.seeding import data_generator, random_state, restore_random_state, seed_all


def draw(data: torch.Generator) -> list[float]:
    return [
        random.random(),
        float(np.random.rand()),
        float(np.random.randn()),
        torch.rand(1).item(),
        torch.rand(1, generator=data).item(),
    ]


def test_restored_generators_draw_the_same_again() -> None:
    seed_all(3)
    data = data_generator(3)
    draw(data)  # numpy now holds half of a pair of normal numbers: a state that is easily lost
    file = io.BytesIO()
    torch.save(random_state(data), file)
    expected = draw(data)
    draw(data)
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True), data)

    assert draw(data) == expected


def test_seed_decides_what_is_drawn() -> None:
    drawn = []
    for seed in (1, 1, 2):
        seed_all(seed)
        drawn.append(draw(data_generator(seed)))

    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))
