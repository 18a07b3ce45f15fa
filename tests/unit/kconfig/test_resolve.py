"""Requested against resolved, over the real tree."""

from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import Expansion, Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import read_range_file

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(load_tree(ROOT))


@pytest.fixture
def expand(resolver: Resolver, tmp_path: Path):
    def expand(text: str, overrides: dict[str, tuple[str, str]] | None = None, **others: str) -> Expansion:
        for name, other in others.items():
            (tmp_path / name).write_text(other)
        (tmp_path / "ranges").write_text(text)
        return resolver.expand(read_range_file(tmp_path / "ranges", lambda name: tmp_path / name), overrides)

    return expand


def test_inactive_axis_collapses_and_the_dependency_is_named(expand) -> None:
    expansion = expand("CONFIG_OPTIMIZER=sgd|adam\nCONFIG_SGD_MOMENTUM=0.5|0.9\n")

    assert expansion.counts == {"cartesian": 4, "legal": 4, "distinct": 3}
    assert [point.values for point in expansion.points] == [
        {"OPTIMIZER": "sgd", "SGD_MOMENTUM": "0.5"},
        {"OPTIMIZER": "sgd", "SGD_MOMENTUM": "0.9"},
        {"OPTIMIZER": "adam"},
    ]
    assert "SGD_MOMENTUM needs OPTIMIZER_SELECT_SGD (OPTIMIZER_SELECT_ADAM is chosen)" in expansion.identical[0].reason


def test_member_that_cannot_be_chosen_drops_its_point_with_the_term(expand) -> None:
    expansion = expand("CONFIG_OPTIMIZER=sgd|adamwprune\nCONFIG_PRUNING_METHOD=none|state\n")

    assert expansion.counts == {"cartesian": 4, "legal": 3, "distinct": 3}
    assert "needs OPTIMIZER_SUPPORTS_STATE_PRUNING, which OPTIMIZER_SELECT_ADAMWPRUNE selects" in expansion.illegal[0].reason


def test_symbol_that_is_inactive_everywhere_is_an_error_with_the_term(expand) -> None:
    with pytest.raises(RequestError, match=r"ranges:2: CONFIG_SGD_MOMENTUM=0.5: needs OPTIMIZER_SELECT_SGD"):
        expand("CONFIG_OPTIMIZER_SELECT_ADAM=y\nCONFIG_SGD_MOMENTUM=0.5|0.9\n")


def test_fixed_symbol_with_an_unmet_dependency_is_an_error(expand) -> None:
    with pytest.raises(RequestError, match="needs OPTIMIZER_SELECT_SGD"):
        expand("CONFIG_SGD_MOMENTUM=0.5\n")


def test_fixed_symbol_of_some_points_is_conditional(expand) -> None:
    assert expand("CONFIG_OPTIMIZER=sgd|adam\nCONFIG_SGD_MOMENTUM=0.5\n").counts["distinct"] == 2


def test_swept_symbol_takes_the_choice_that_the_file_leaves_open_and_says_so(expand) -> None:
    expansion = expand("CONFIG_ADAMWPRUNE_BETA1=0.85|0.89\nCONFIG_PRUNING_WARMUP=78\n")

    assert expansion.counts["distinct"] == 2
    assert "CONFIG_OPTIMIZER_SELECT_ADAMWPRUNE=y" in expansion.notes[0]
    assert 'CONFIG_OPTIMIZER="adamwprune"' in expansion.points[0].text


def test_equal_numbers_are_one_point_whatever_their_spelling(expand) -> None:
    expansion = expand("CONFIG_LEARNING_RATE=0.1|0.10|1e-1\n")

    assert expansion.counts == {"cartesian": 3, "legal": 3, "distinct": 1}
    assert 'CONFIG_LEARNING_RATE="0.1"' in expansion.points[0].text


def test_identity_ignores_what_steers_the_sweep(expand) -> None:
    one = expand("CONFIG_LEARNING_RATE=0.1\nCONFIG_SWEEP_PARALLEL_JOBS=1\n").points[0]
    two = expand("CONFIG_LEARNING_RATE=0.1\nCONFIG_SWEEP_PARALLEL_JOBS=2\n").points[0]

    assert one.id == two.id
    assert one.text != two.text


def test_repeats_are_an_axis_over_seeds(expand) -> None:
    expansion = expand("CONFIG_LEARNING_RATE=0.1|0.2\nCONFIG_SWEEP_REPEATS=3\nCONFIG_SEED=5\n")

    assert [point.values["SEED"] for point in expansion.points] == ["5", "6", "7"] * 2


def test_repeats_beside_a_seed_axis_are_refused(expand) -> None:
    with pytest.raises(RequestError, match="keep one of them"):
        expand("CONFIG_SEED=1|2\nCONFIG_SWEEP_REPEATS=3\n")


def test_override_replaces_the_line(expand) -> None:
    expansion = expand("CONFIG_NUM_EPOCHS=5|10\n", {"NUM_EPOCHS": ("1", "EPOCHS")})

    assert expansion.counts["distinct"] == 1
    assert "CONFIG_NUM_EPOCHS=1\n" in expansion.points[0].text


def test_wrong_override_names_where_it_comes_from(expand) -> None:
    with pytest.raises(RequestError, match='EPOCHS: CONFIG_NUM_EPOCHS: found "many"'):
        expand("CONFIG_SEED=1\n", {"NUM_EPOCHS": ("many", "EPOCHS")})


def test_including_file_chooses_another_member_than_its_base(expand) -> None:
    expansion = expand("include base\nCONFIG_OPTIMIZER=sgd|adam\n", base="CONFIG_OPTIMIZER_SELECT_ADAMW=y\nCONFIG_SEED=3\n")

    assert [point.values["OPTIMIZER"] for point in expansion.points] == ["sgd", "adam"]


def test_real_number_out_of_its_declared_bounds_is_refused(expand) -> None:
    with pytest.raises(RequestError, match=r'CONFIG_LEARNING_RATE: found "20", allowed: a number > 0 and <= 10'):
        expand("CONFIG_LEARNING_RATE=0.1|20\n")


PRUNED = "CONFIG_MODEL=resnet18\nCONFIG_OPTIMIZER=adamwprune\nCONFIG_NUM_EPOCHS=100\nCONFIG_BATCH_SIZE=128\n"  # 352 steps each


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("CONFIG_PRUNING_WARMUP=15600\nCONFIG_PRUNING_RAMP_END_EPOCH=30\n", "CONFIG_PRUNING_WARMUP=15600: .* 15600 < 10560 "),
        ("CONFIG_PRUNING_WARMUP=9\nCONFIG_PRUNING_RAMP_END_STEP=9\n", "CONFIG_PRUNING_WARMUP=9: .* 9 < 9 "),
        ("CONFIG_PRUNING_RAMP_END_EPOCH=100\n", "CONFIG_PRUNING_RAMP_END_EPOCH=100: .* 100 < 100 "),
        ("CONFIG_PRUNING_RAMP_END_STEP=35200\n", "CONFIG_PRUNING_RAMP_END_STEP=35200: .* 35200 < 35200 "),
        ("CONFIG_PRUNING_SCHEDULE=one_shot\nCONFIG_PRUNING_WARMUP=35200\n", "CONFIG_PRUNING_WARMUP=35200: .* 35200 < 35200 "),
    ],
    ids=["warm-up past the epoch", "warm-up past the step", "ramp past the epochs", "ramp past the steps", "one shot"],
)
def test_pruning_that_cannot_reach_its_target_in_time_is_refused_with_both_numbers(expand, text: str, numbers: str) -> None:
    with pytest.raises(RequestError, match=numbers):
        expand(PRUNED + text)


@pytest.mark.parametrize(
    "text",
    [
        "CONFIG_PRUNING_WARMUP=11700|15600\nCONFIG_PRUNING_RAMP_END_EPOCH=60|99\n",
        "CONFIG_PRUNING_WARMUP=35198\nCONFIG_PRUNING_RAMP_END_STEP=35199\n",
        "CONFIG_PRUNING_SCHEDULE=one_shot\nCONFIG_PRUNING_WARMUP=0|35199\n",
        "CONFIG_PRUNING_METHOD=none\nCONFIG_NUM_EPOCHS=1\n",
    ],
    ids=["epochs", "steps", "one shot", "dense"],
)
def test_pruning_that_ends_in_time_is_legal(expand, text: str) -> None:
    plain = PRUNED.replace("CONFIG_NUM_EPOCHS=100\n", "") if "NUM_EPOCHS" in text else PRUNED

    assert expand(plain + text).illegal == []


def test_each_config_is_what_kconfiglib_itself_loads_and_writes(expand, resolver: Resolver, tmp_path: Path) -> None:
    expansion = expand(
        "CONFIG_OPTIMIZER=adamw|sgd|adamwprune\nCONFIG_SGD_MOMENTUM=0|0.9\nCONFIG_PRUNING_METHOD=none|state\n"
        "CONFIG_TARGET_SPARSITY=0.5|0.6\nCONFIG_DATASET=mnist|digits\n"
    )
    kconf = load_tree(ROOT)
    for point in expansion.points:
        path = tmp_path / "config"
        path.write_text(point.text)
        kconf.load_config(str(path))
        kconf.write_config(str(tmp_path / "again"))

        assert (tmp_path / "again").read_text() == point.text
        assert resolver.load(path) == []
        assert resolver.point_id(resolver.text()) == point.id
    assert len(expansion.points) == (1 + 2 + 1 + 2) * 2  # adamw, sgd by momentum, adamwprune dense and by sparsity; two data sets


def test_plain_file_that_loses_something_says_what(resolver: Resolver, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("CONFIG_SEED=1|2\nCONFIG_SGD_MOMENTUM=0.9\nCONFIG_BATCH_SIZE=0\nCONFIG_MODEL_COMMAND=ls\nCONFIG_NOPE=1\n")

    problems = "\n".join(resolver.load(path))

    for line, words in enumerate(
        ("found 1|2, allowed: one value", "needs OPTIMIZER_SELECT_SGD", "found 0, allowed: 1 to", "computed", "no such symbol"), 1
    ):
        assert f"config:{line}: " in problems
        assert words in problems


def test_zero_is_zero_however_it_is_spelt(expand) -> None:
    expansion = expand("CONFIG_OPTIMIZER=sgd\nCONFIG_SGD_MOMENTUM=0.0|0.9\nCONFIG_SGD_NESTEROV=y|n\n")

    assert expansion.counts == {"cartesian": 4, "legal": 4, "distinct": 3}


def test_number_with_a_leading_zero_is_refused(expand) -> None:
    with pytest.raises(RequestError, match='found "064"'):
        expand("CONFIG_BATCH_SIZE=64|064\n")


def test_repeats_past_the_last_seed_are_refused(expand) -> None:
    with pytest.raises(RequestError, match="CONFIG_SWEEP_REPEATS"):
        expand("CONFIG_SWEEP_REPEATS=2\nCONFIG_SEED=2147483647\n")
