"""Rules between symbols, declared in a tree of their own."""

from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import Expansion, Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import parse_range_text

KCONFIG = """
config PRUNE
    bool "Prune"
    default y

config WARMUP
    int "Steps"
    depends on PRUNE
    default 0

config RAMP_END
    int "Epoch"
    depends on PRUNE
    default 2

config BATCH_SIZE
    int "Examples"
    default 128

config EXAMPLES
    int
    default 45000 if !TINY

config TINY
    bool "A model without a data set"

choice
    prompt "Colour"

config COLOUR_SELECT_RED
    bool "Red"

config COLOUR_SELECT_BLUE
    bool "Blue"

endchoice

config COLOUR
    string
    default "red" if COLOUR_SELECT_RED
    default "blue" if COLOUR_SELECT_BLUE

steps-per-epoch := (-(-EXAMPLES // BATCH_SIZE))
"""
RULE = "$(rule,WARMUP < RAMP_END * $(steps-per-epoch),the warm-up, all of it, must end before the ramp does)\n"


def tree(root: Path, more: str = RULE) -> Resolver:
    (root / "Kconfig").write_text(KCONFIG + more)
    return Resolver(load_tree(root))


def expand(resolver: Resolver, text: str) -> Expansion:
    return resolver.expand(parse_range_text(text, Path("ranges"), Path))


def test_steps_of_an_epoch_count_the_last_incomplete_batch(tmp_path: Path) -> None:
    expansion = expand(tree(tmp_path), "CONFIG_RAMP_END=1\nCONFIG_WARMUP=351|352\n")  # 45000 = 351 * 128 + 72

    assert [point.values["WARMUP"] for point in expansion.points] == ["351"]
    assert expansion.illegal[0].values == {"WARMUP": "352"}


def test_message_has_the_line_the_words_both_numbers_and_where_the_rule_is(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        expand(tree(tmp_path), "CONFIG_RAMP_END=30\nCONFIG_WARMUP=15600\n")

    line = (KCONFIG + RULE).count("\n")
    assert error.value.problems[1] == (
        "ranges:2: CONFIG_WARMUP=15600: the warm-up, all of it, must end before the ramp does: "
        "WARMUP < RAMP_END * (-(-EXAMPLES // BATCH_SIZE)): 15600 < 10560 does not hold "
        f"(RAMP_END=30, EXAMPLES=45000, BATCH_SIZE=128); Kconfig:{line}   (1 point)"
    )


def test_message_leads_to_a_line_of_the_file_where_it_sets_any_symbol_of_the_rule(tmp_path: Path) -> None:
    resolver = tree(tmp_path, "$(rule,RAMP_END < WARMUP,swapped)\n")

    with pytest.raises(RequestError, match=r"ranges:1: CONFIG_WARMUP=1: swapped"):
        expand(resolver, "CONFIG_WARMUP=1\n")
    with pytest.raises(RequestError, match=r"ranges: CONFIG_RAMP_END=2: swapped"):
        expand(resolver, "CONFIG_BATCH_SIZE=1\n")


@pytest.mark.parametrize("inactive", ["# CONFIG_PRUNE is not set", "CONFIG_TINY=y"], ids=["with a prompt", "computed"])
def test_rule_with_an_inactive_symbol_says_nothing(tmp_path: Path, inactive: str) -> None:
    resolver = tree(tmp_path, "$(rule,WARMUP > EXAMPLES,it never does)\n")

    assert expand(resolver, f"{inactive}\n").counts["legal"] == 1
    with pytest.raises(RequestError, match="0 > 45000 does not hold"):
        expand(resolver, "")


def test_notes_count_the_points_of_each_reason(tmp_path: Path) -> None:
    expansion = expand(tree(tmp_path), "CONFIG_WARMUP=1|9999\nCONFIG_COLOUR=red|blue\n")

    assert len(expansion.notes) == 1
    assert expansion.notes[0].startswith("dropped: ranges:1: CONFIG_WARMUP=9999: ")
    assert expansion.notes[0].endswith("(2 points)")


def test_plain_configuration_is_held_to_the_rules_once_its_values_survive(tmp_path: Path) -> None:
    resolver = tree(tmp_path)
    config = tmp_path / "config"

    config.write_text("CONFIG_WARMUP=9999\n")
    assert [problem.partition(": the warm-up")[0] for problem in resolver.load(config)] == [f"{config}:1: CONFIG_WARMUP=9999"]
    config.write_text("CONFIG_WARMUP=9999\nCONFIG_BATCH_SIZE=many\n")
    assert [problem.partition(": found")[0] for problem in resolver.load(config)] == [f"{config}:2: CONFIG_BATCH_SIZE"]
    config.write_text("CONFIG_WARMUP=9\n")
    assert resolver.load(config) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("$(rule,WARMUPS < 3,words)", r"Kconfig:\d+: rule: CONFIG_WARMUPS: no such symbol in the Kconfig tree; near it: WARMUP"),
        ('$(rule,COLOUR != "pink",words)', r'Kconfig:\d+: rule: CONFIG_COLOUR: found "pink", allowed: red \| blue'),
        ("$(rule,WARMUP <,words)", r"Kconfig:\d+: rule WARMUP <: not an expression"),
        ("$(rule,WARMUP < 3,)", r"Kconfig:\d+: \$\(rule,WARMUP < 3\): found no words"),
    ],
    ids=["unknown symbol", "word of no member", "no expression", "no words"],
)
def test_wrong_rule_is_an_error_of_the_tree(tmp_path: Path, rule: str, expected: str) -> None:
    with pytest.raises(RequestError, match=expected):
        tree(tmp_path, rule + "\n")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('COLOUR == "RED"', 'CONFIG_COLOUR: found "RED", allowed: red | blue'),
        ('WARMUP > 0 or COLOUR in ("red", "green")', 'CONFIG_COLOUR: found "green", allowed: red | blue'),
        ('BATCH_SIZE == "128"', 'CONFIG_BATCH_SIZE: found the text "128", which it never equals; write it without quotes'),
        ('PRUNE == "y"', 'CONFIG_PRUNE: found the text "y", which it never equals; write it without quotes'),
    ],
)
def test_require_with_a_text_that_is_never_met_is_refused(tmp_path: Path, expression: str, expected: str) -> None:
    with pytest.raises(RequestError) as error:
        expand(tree(tmp_path), f"require {expression}\n")

    assert error.value.problems == (f"ranges:1: require: {expected}",)


def test_symbol_whose_prompt_alone_is_conditional_keeps_its_value_and_its_rules(tmp_path: Path) -> None:
    size = 'config SIZE\n    int "Size" if TINY\n    default 32\n\n$(rule,SIZE * BATCH_SIZE < 9999,small)\n'
    resolver = tree(tmp_path, size)

    assert expand(resolver, "CONFIG_SIZE=32\n").counts["legal"] == 1
    with pytest.raises(RequestError, match="32000 < 9999 does not hold"):
        expand(resolver, "CONFIG_BATCH_SIZE=1000\n")
    with pytest.raises(RequestError, match="CONFIG_SIZE=64: needs TINY"):
        expand(resolver, "CONFIG_SIZE=64\n")
