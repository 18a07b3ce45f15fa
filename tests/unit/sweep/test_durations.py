"""What runs took, and what others will take."""

import random

import pytest

from ksweep.sweep.durations import Durations, makespan


def test_nothing_is_predicted_from_nothing() -> None:
    assert Durations().predict({"A": "1"}) is None


def test_factors_of_two_axes_multiply() -> None:
    durations = Durations()
    for epochs in ("5", "20"):
        for width in ("8", "32"):
            if (epochs, width) != ("20", "32"):
                for _ in range(20):
                    durations.add({"EPOCHS": epochs, "WIDTH": width}, int(epochs) * int(width) / 8)

    assert durations.predict({"EPOCHS": "20", "WIDTH": "32"}) == pytest.approx(80, rel=0.3)


def test_noise_of_a_few_percent_does_not_change_the_order() -> None:
    rng = random.Random(1)
    durations = Durations()
    values = {str(i): {"X": str(i)} for i in range(20)}
    for value in values.values():
        durations.add(value, 3.0 + rng.random() / 10)

    assert durations.longest_first(list(values), values) == list(values)


def test_clearly_longer_points_come_first() -> None:
    durations = Durations()
    values = {name: {"EPOCHS": epochs} for name, epochs in (("short", "1"), ("long", "50"), ("middle", "10"))}
    for _ in range(5):
        for value in values.values():
            durations.add(value, float(value["EPOCHS"]))

    assert durations.longest_first(["short", "middle", "long"], values) == ["long", "middle", "short"]


@pytest.mark.parametrize(
    ("durations", "running", "slots", "expected"),
    [
        ([], [], 2, 0),
        ([3, 3, 3, 3], [], 2, 6),
        ([1, 1, 4], [], 2, 5),
        ([4, 1, 1], [], 2, 4),
        ([2], [5, 1], 2, 5),
        ([2], [5], 1, 7),
    ],
)
def test_makespan_fills_the_slot_that_is_free_first(
    durations: list[float], running: list[float], slots: int, expected: float
) -> None:
    assert makespan(durations, running, slots) == expected
