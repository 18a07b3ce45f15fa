"""The symbols of training hold each other: what a plan refuses, drops, or counts as the same point."""

from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import Expansion, Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import parse_range_text

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(load_tree(ROOT))


def expand(resolver: Resolver, text: str) -> Expansion:
    return resolver.expand(parse_range_text(text, Path("ranges"), Path))


@pytest.mark.parametrize(
    ("text", "symbol", "legal"),
    [
        ("CONFIG_STEPS_PER_EPOCH=0|17|18\n", "STEPS_PER_EPOCH", ["0", "17"]),  # digits: 1,079 examples
        ("CONFIG_STEPS_PER_EPOCH=1\nCONFIG_BATCH_SIZE=1079|1080\n", "BATCH_SIZE", ["1079"]),
        ("CONFIG_LR_WARMUP_RATIO=0|0.994|0.995\n", "LR_WARMUP_RATIO", ["0", "0.994"]),  # 170 steps; 169.15 are 170 in whole ones
        ("CONFIG_STEPS_PER_EPOCH=5\nCONFIG_LR_WARMUP_RATIO=0.98|0.981\n", "LR_WARMUP_RATIO", ["0.98"]),
        ("CONFIG_LR_WARMUP_EPOCHS=0|1\nCONFIG_LR_WARMUP_RATIO=0.1\n", "LR_WARMUP_EPOCHS", ["0"]),
        (
            "CONFIG_OPTIMIZER=adamwprune\nCONFIG_STEPS_PER_EPOCH=5\nCONFIG_PRUNING_RAMP_END_EPOCH=3\nCONFIG_PRUNING_WARMUP=14|15\n",
            "PRUNING_WARMUP",
            ["14"],
        ),
    ],
    ids=["steps", "batch", "warm-up", "warm-up of short epochs", "warm-up twice", "pruning in short epochs"],
)
def test_rules_keep_exactly_what_can_be_trained(resolver: Resolver, text: str, symbol: str, legal: list[str]) -> None:
    assert [point.values[symbol] for point in expand(resolver, text).points] == legal


def test_knobs_of_other_schedules_make_no_points(resolver: Resolver) -> None:
    text = "CONFIG_LR_SCHEDULE=cosine|linear|polynomial|cosine-restarts\nCONFIG_LR_POLYNOMIAL_POWER=2|3\nCONFIG_LR_CYCLES=2|3\n"
    found = expand(resolver, text)

    assert found.counts == {"cartesian": 16, "legal": 16, "distinct": 6}


@pytest.mark.parametrize("clips_itself", ["OPTIMIZER=adamwadv", "OPTIMIZER=adamwprune\nCONFIG_ADAMWPRUNE_BASE=adamwadv"])
def test_gradients_are_clipped_once(resolver: Resolver, clips_itself: str) -> None:
    """AdamWAdv has a norm of its own: that of all optimizers is not asked for, and refused where it stands."""
    assert expand(resolver, f"CONFIG_{clips_itself}\nCONFIG_MAX_GRAD_NORM=0|0.5|1\n").counts["distinct"] == 1
    assert expand(resolver, "CONFIG_OPTIMIZER=adamw\nCONFIG_MAX_GRAD_NORM=0|0.5|1\n").counts["distinct"] == 3
    with pytest.raises(RequestError, match="CONFIG_MAX_GRAD_NORM"):
        expand(resolver, f"CONFIG_{clips_itself}\nCONFIG_MAX_GRAD_NORM=1\n")
