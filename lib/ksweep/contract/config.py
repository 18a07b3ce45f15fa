"""Typed, recorded access to one finished configuration."""

import builtins
import difflib
import math
import re
from pathlib import Path

from ksweep.contract.errors import ConfigError

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_ESCAPE = re.compile(r"\\(.)")


def parse_config(text: str) -> dict[str, tuple[str, int]]:
    """Symbol -> (value, line number) of a complete .config; strings without their quotes, unset bools as `n`.

    Reads what kconfiglib writes:  CONFIG_X=3 | CONFIG_X="text with \\" and \\\\" | # CONFIG_X is not set
    """
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SET.fullmatch(line):
            name, value = match.groups()
            if value.startswith('"') and value.endswith('"') and len(value) > 1:
                value = _ESCAPE.sub(r"\1", value[1:-1])
            values[name] = value, number
        elif match := _UNSET.fullmatch(line):
            values[match[1]] = "n", number
    return values


class RunConfig:
    """A finished configuration: `cfg.int("BATCH_SIZE")`. Remembers every symbol that was read, with its value.

    Its methods are named after the types that they return; `builtins.str` in this class is the type.

    What was read is the proof that a knob arrived, so ask for a symbol only where its value is used.
    """

    def __init__(self, text: builtins.str, source: builtins.str) -> None:
        self.source = source
        self._values = parse_config(text)
        self.symbols_read: dict[builtins.str, builtins.str] = {}

    @classmethod
    def load(cls, path: Path) -> "RunConfig":
        """Read a .config file. OSError when it cannot be read."""
        return cls(path.read_text(encoding="utf-8"), str(path))

    def str(self, name: builtins.str) -> builtins.str:
        """The value as text. A symbol that the file does not have (its dependencies are not met) is an error."""
        if name not in self._values:
            near = difflib.get_close_matches(name, self._values, n=3)
            raise ConfigError(
                f"{self.source}: CONFIG_{name} is not in this file: unknown, or its dependencies are not met"
                + (f"; near it: {', '.join(near)}" if near else "")
            )
        value = self._values[name][0]
        self.symbols_read[name] = value
        return value

    def bool(self, name: builtins.str) -> builtins.bool:
        """True for y. A bool whose dependencies are not met is not in the file and counts as n, as in Kconfig."""
        if name not in self._values:
            self.symbols_read[name] = "n"
            return False
        value = self.str(name)
        if value not in ("y", "n"):
            raise self._wrong(name, "y or n")
        return value == "y"

    def int(self, name: builtins.str) -> builtins.int:
        """The value as a whole number, decimal or 0x-hexadecimal."""
        try:
            return int(self.str(name), 0)
        except ValueError:
            raise self._wrong(name, "a whole number") from None

    def float(self, name: builtins.str) -> builtins.float:
        """The value as a finite real number."""
        try:
            value = float(self.str(name))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._wrong(name, "a finite number")
        return value

    def _wrong(self, name: builtins.str, allowed: builtins.str) -> ConfigError:
        value, line = self._values[name]
        return ConfigError(f'{self.source}:{line}: CONFIG_{name}: found "{value}", allowed: {allowed}')
