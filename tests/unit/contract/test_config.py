"""Typed access to a finished configuration."""

import pytest

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError

TEXT = """\
# CONFIG_OFF is not set
CONFIG_ON=y
CONFIG_COUNT=12
CONFIG_MASK=0x1F
CONFIG_RATE="1e-3"
CONFIG_NAME="with \\"quotes\\" and \\\\"
CONFIG_EMPTY=""
"""


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(TEXT, "place/config.txt")


def test_each_type_reads_as_itself(config: RunConfig) -> None:
    assert config.bool("ON") is True
    assert config.bool("OFF") is False
    assert config.int("COUNT") == 12
    assert config.int("MASK") == 31
    assert config.float("RATE") == 0.001
    assert config.str("NAME") == 'with "quotes" and \\'
    assert config.str("EMPTY") == ""


def test_what_was_read_is_remembered_with_its_value(config: RunConfig) -> None:
    config.int("COUNT")
    config.bool("ABSENT")

    assert config.symbols_read == {"COUNT": "12", "ABSENT": "n"}


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("int", "RATE", 'place/config.txt:5: CONFIG_RATE: found "1e-3", allowed: a whole number'),
        ("float", "NAME", "place/config.txt:6: CONFIG_NAME: "),
        ("bool", "COUNT", "allowed: y or n"),
        ("str", "COUMT", "CONFIG_COUMT is not in this file"),
        ("str", "COUMT", "near it: COUNT"),
    ],
)
def test_error_names_file_line_and_symbol(config: RunConfig, method: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        getattr(config, method)(name)

    assert message in str(error.value)


def test_infinite_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="a finite number"):
        RunConfig('CONFIG_A="inf"\n', "c").float("A")
