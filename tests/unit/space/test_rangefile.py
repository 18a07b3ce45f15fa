"""Range files: lines, comments, includes, requirements."""

import math
from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.space.rangefile import RangeFile, read_range_file
from ksweep.space.values import ValueProblem

# The example configurations of AdamWPrune's sweep guide, with LeNet-5 for ResNet-18.
GUIDE = {
    24: """\
# Fixed parameters
CONFIG_MODEL_MODE_SINGLE=y
CONFIG_TARGET_SPARSITY=0.7

# Range parameters (start:step:end)
CONFIG_ADAMWPRUNE_WEIGHT_DECAY=0.03:0.02:0.09

# Choice parameters (option1|option2|option3)
CONFIG_ADAMWPRUNE_BETA1=0.85|0.87|0.89
CONFIG_ADAMWPRUNE_AMSGRAD=y|n

# Single value
CONFIG_ADAMWPRUNE_BETA2=0.999
""",
    36: """\
# Fixed model settings
CONFIG_MODEL_SELECT_LENET5=y
CONFIG_OPTIMIZER_SELECT_ADAMWPRUNE=y
CONFIG_PRUNING_METHOD="state"
CONFIG_TARGET_SPARSITY=0.7

# Tunable parameters
CONFIG_ADAMWPRUNE_WEIGHT_DECAY=0.03|0.05|0.07
CONFIG_ADAMWPRUNE_BETA1=0.85|0.87|0.89
CONFIG_PRUNING_WARMUP=7800|11700  # Epoch 20 or 30
CONFIG_PRUNING_RAMP_END_EPOCH=70|80
""",
    4: """\
CONFIG_ADAMWPRUNE_WEIGHT_DECAY=0.03|0.07
CONFIG_ADAMWPRUNE_BETA1=0.85|0.89
CONFIG_PRUNING_WARMUP=7800
CONFIG_PRUNING_RAMP_END_EPOCH=70
# Total: 4 configurations
""",
    9: """\
CONFIG_ADAMWPRUNE_WEIGHT_DECAY=0.04|0.05|0.06
CONFIG_ADAMWPRUNE_BETA1=0.86|0.87|0.88
CONFIG_PRUNING_WARMUP=7800
CONFIG_PRUNING_RAMP_END_EPOCH=80
# Total: 9 configurations
""",
}


def parse(tmp_path: Path, text: str, **others: str) -> RangeFile:
    for name, other in others.items():
        (tmp_path / name).write_text(other)
    (tmp_path / "main").write_text(text)
    return read_range_file(tmp_path / "main", lambda name: tmp_path / name)


def values(file: RangeFile) -> dict[str, list[str]]:
    return {",".join(a.symbols): [",".join(row) for row in a.values] for a in file.assignments}


@pytest.mark.parametrize("count", GUIDE)
def test_examples_of_the_guide_have_as_many_points_as_it_says(tmp_path: Path, count: int) -> None:
    file = parse(tmp_path, GUIDE[count])

    assert math.prod(len(a.values) for a in file.assignments) == count


def test_comments_blanks_and_unset_lines_read_as_in_a_defconfig(tmp_path: Path) -> None:
    file = parse(
        tmp_path, '# a comment\n\n  CONFIG_A = 1|2 # trailing\n# CONFIG_B is not set\nCONFIG_C="# no comment"\nCONFIG_D=a#b\n'
    )

    assert values(file) == {"A": ["1", "2"], "B": ["n"], "C": ["# no comment"], "D": ["a#b"]}


def test_paired_axis_is_one_axis(tmp_path: Path) -> None:
    file = parse(tmp_path, "CONFIG_A,CONFIG_B=(1, 2)|(3, 4)\n")

    assert values(file) == {"A,B": ["1,2", "3,4"]}


def test_include_is_overridden_by_the_including_file_in_place(tmp_path: Path) -> None:
    file = parse(tmp_path, "include base\nCONFIG_A=9\nCONFIG_C=3\n", base="CONFIG_A=1\nCONFIG_B=2\n")

    assert values(file) == {"A": ["9"], "B": ["2"], "C": ["3"]}


def test_paired_axis_overrides_included_single_axes_in_their_place(tmp_path: Path) -> None:
    file = parse(
        tmp_path,
        "include base\nCONFIG_A,CONFIG_C=(1, 2)|(3, 4)\n",
        base="CONFIG_A=1|2\nCONFIG_B=2\nCONFIG_C=5|6\n",
    )

    assert values(file) == {"A,C": ["1,2", "3,4"], "B": ["2"]}


def test_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    assert values(parse(tmp_path, "\ufeffCONFIG_A=1|2\r\nCONFIG_B=3\r\n")) == {"A": ["1", "2"], "B": ["3"]}


def test_include_in_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="circle"):
        parse(tmp_path, "include base\n", base="include main\n")


def test_two_includes_that_set_one_symbol_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is set twice"):
        parse(tmp_path, "include one\ninclude two\n", one="CONFIG_A=1\n", two="CONFIG_A=2\n")


def test_every_problem_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        parse(tmp_path, "CONFIG_A=1|\nnonsense\nCONFIG_B=1\nCONFIG_B=2\nrequire\nrequire 1 <\n")

    lines = [problem.split(": ")[0].rsplit(":", 1)[1] for problem in error.value.problems]
    assert lines == ["1", "2", "4", "5", "6"]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("A * B <= 0.02", True),
        ("A * B < 0.02", False),
        ("CONFIG_A + 0.1 == 0.3", True),  # exact decimals, where floats would say no
        ('O == "sgd" or A < 0', True),
        ('O in ("adam", "sgd")', True),
        ("not F", False),
        ("F == y and A > 0", True),
        ("0 < A < 1", True),
        ("1 < A < 2", False),
        ("GONE > 5", True),  # a symbol that is inactive at a point leaves nothing to require
        ("B % 2 == 1 or -A < 0", True),
        ("-(-7 // 2) == 4 and -7 % 2 == 1 and A > 0", True),  # as in Python; a Decimal's own would be 3 and -1
        ("7 // 2 == 3 and 7 % -2 == -1 and 6 // -2 == -3 and A > 0", True),
    ],
)
def test_requirement_is_computed_exactly(tmp_path: Path, expression: str, holds: bool) -> None:
    (requirement,) = parse(tmp_path, f"require {expression}\n").requirements

    assert requirement.holds({"A": "0.2", "B": "0.1", "O": "sgd", "F": "y", "GONE": None}) is holds


@pytest.mark.parametrize(
    "expression", ["A.b", "f(A)", "[A]", "A if B else 1", "A = 1", "lambda: A", "1 < 2", "A ** 99", "None == A"]
)
def test_requirement_of_anything_else_is_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(RequestError):
        parse(tmp_path, f"require {expression}\n")


def test_requirement_that_cannot_be_computed_says_for_which_values(tmp_path: Path) -> None:
    (requirement,) = parse(tmp_path, "require O > 1\n").requirements

    with pytest.raises(ValueProblem, match="O=sgd"):
        requirement.holds({"O": "sgd"})
