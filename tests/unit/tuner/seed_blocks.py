"""The Python code blocks of the seed's tutorial, as they are printed."""

import re
import textwrap
from pathlib import Path

_DIRECTIVE = re.compile(r"(?P<indent> *)\.\. code-block:: python\s*")
_OPTION = re.compile(r"\s+:[\w-]+:.*")


def python_blocks(text: str) -> list[str]:
    """The bodies of `.. code-block:: python` in order, without their indent, their options and the blank lines around them."""
    blocks, lines = [], text.splitlines()
    for number, line in enumerate(lines):
        if directive := _DIRECTIVE.fullmatch(line):
            blocks.append(_body(lines[number + 1 :], len(directive["indent"])))
    return blocks


def seed_text() -> str | None:
    """The seed's text, from `shared/seeds` beside the checkout; None where that is not."""
    checkout = Path(__file__).resolve().parents[3]
    found = sorted((checkout.parent / "shared" / "seeds").glob("001_*.txt"))
    return found[0].read_text(encoding="utf-8") if found else None


def _body(lines: list[str], indent: int) -> str:
    """The lines that stand deeper than the directive, up to the first that does not."""
    while lines and _OPTION.fullmatch(lines[0]):
        lines = lines[1:]
    body = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    return textwrap.dedent("\n".join(body)).strip("\n") + "\n"
