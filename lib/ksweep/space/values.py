"""One value expression of a range file -> the texts that it stands for.

a|b|c                choices, trimmed; "quoted text" is literal, and any choice may itself be a range
start:step:end       inclusive, exact decimals, both directions
log(lo, hi, n)       n log-spaced values
uniform(lo, hi) loguniform(lo, hi) int(lo, hi[, step]) logint(lo, hi)    sampled: no list of values
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

MAX_AXIS_VALUES = 1_000_000
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)
_CALL = re.compile(r"([A-Za-z_]\w*)\((.*)\)")
DRAWN_DIGITS = Context(prec=6, rounding=ROUND_HALF_EVEN)


class ValueProblem(ValueError):
    """What is wrong with a value expression: found, allowed, what to do."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A distribution, for the strategies that sample: `form` and its numbers, all exact."""

    form: str
    low: Decimal
    high: Decimal
    step: Decimal | None = None

    @property
    def is_log(self) -> bool:
        """True when it is uniform in the logarithm."""
        return self.form.startswith("log")

    @property
    def is_whole(self) -> bool:
        """True when it draws whole numbers."""
        return "int" in self.form

    def nearest(self, number: float) -> Decimal:
        """The value closest to `number` that it can draw: within its ends, on its step, a real one to six digits."""
        if self.is_whole:
            step = self.step or Decimal(1)
            steps = min(max(round((number - float(self.low)) / float(step)), 0), int((self.high - self.low) / step))
            return self.low + steps * step
        exact = DRAWN_DIGITS.plus(Decimal(repr(number))).normalize()
        return min(max(exact, self.low), self.high)

    def has(self, number: Decimal) -> bool:
        """Whether it can draw this value."""
        if not self.low <= number <= self.high:
            return False
        return not self.is_whole or (number - self.low) % (self.step or 1) == 0

    def __str__(self) -> str:
        step = "" if self.step is None else f", {decimal_text(self.step)}"
        return f"{self.form}({decimal_text(self.low)}, {decimal_text(self.high)}{step})"


def decimal_text(number: Decimal) -> str:
    """Exact text of a decimal: plain digits, or 1e-8 where plain ones would need more than six zeros."""
    return format(number, "f") if number == 0 or number.adjusted() >= -6 else format(number, "e")


def value_text(value: str) -> str:
    """A value as a range file writes it, in quotes unless it means itself without them."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_decimal(text: str) -> Decimal | None:
    """The finite number that `text` spells, or None."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def split_outside(text: str, separator: str) -> list[str]:
    """Split at `separator` where it stands outside of double quotes and parentheses; pieces trimmed."""
    pieces, start, depth, quoted, i = [], 0, 0, False, 0
    while i < len(text):
        char = text[i]
        if quoted:
            if char == "\\":
                i += 1
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == separator and depth == 0:
            pieces.append(text[start:i].strip())
            start = i + 1
        i += 1
    if quoted:
        raise ValueProblem(f"found {text}: a quote is not closed; close it")
    if depth:
        raise ValueProblem(f"found {text}: a parenthesis is not matched; match it, or quote the text")
    return [*pieces, text[start:].strip()]


def parse_values(text: str) -> list[str] | Sampled:
    """All values of one expression in order, or its distribution. ValueProblem says what is wrong."""
    pieces = split_outside(text, "|")
    if len(pieces) == 1:
        return _parse_piece(pieces[0])
    values: list[str] = []
    for piece in pieces:
        if not piece:
            raise ValueProblem(f'found "{text}": a choice is empty; remove the | that has nothing beside it, or write ""')
        part = _parse_piece(piece)
        if isinstance(part, Sampled):
            raise ValueProblem(f'found "{text}": {part} cannot be one of several choices; give the axis one form')
        values += part
    return values


def parse_tuples(text: str, width: int) -> list[tuple[str, ...]]:
    """The value tuples of a paired axis, `(1, 2)|(3, 4)`; each of `width` plain or quoted values."""
    tuples = []
    for piece in split_outside(text, "|"):
        if not (piece.startswith("(") and piece.endswith(")")):
            raise ValueProblem(f'found "{piece}", allowed: ({", ".join("v" * width)})|(...), one value for each symbol')
        values = split_outside(piece[1:-1], ",")
        if len(values) != width or not all(values):
            raise ValueProblem(f'found "{piece}": {len(values)} values, allowed: {width}, one for each symbol')
        tuples.append(tuple(_unquote(value) for value in values))
    return tuples


def _unquote(piece: str) -> str:
    if not piece.startswith('"'):
        return piece
    if len(piece) < 2 or not piece.endswith('"'):
        raise ValueProblem(f"found {piece}: text follows a closing quote; quote the whole value")
    return re.sub(r"\\(.)", r"\1", piece[1:-1])


def _parse_piece(piece: str) -> list[str] | Sampled:
    if piece.startswith('"'):
        return [_unquote(piece)]
    if not piece:
        raise ValueProblem('no value was found after =; write one, "" for empty text, or "# CONFIG_X is not set"')
    if match := _CALL.fullmatch(piece):
        return _parse_call(piece, match[1], [argument.strip() for argument in match[2].split(",")])
    if '"' in piece:
        raise ValueProblem(f"found {piece}: a quote in the middle of a value; quote the whole value")
    if ":" in piece:
        numbers = [parse_decimal(part) for part in piece.split(":")]
        if all(number is not None for number in numbers):
            return _decimal_range(piece, [number for number in numbers if number is not None])
    return [piece]


def _decimal_range(piece: str, numbers: list[Decimal]) -> list[str]:
    if len(numbers) != 3:
        raise ValueProblem(f'found "{piece}", allowed: start:step:end (quote it if it is text)')
    start, step, end = numbers
    if step == 0:
        raise ValueProblem(f'found "{piece}": the step is 0; write a step that leads from {start} to {end}')
    if (end - start) * step < 0:
        raise ValueProblem(f'found "{piece}": it runs the wrong way; write {start}:{-step}:{end} or {end}:{step}:{start}')
    count = int((end - start) / step) + 1
    if count > MAX_AXIS_VALUES:
        raise ValueProblem(f'found "{piece}": {count:,} values, allowed: {MAX_AXIS_VALUES:,} an axis; take a larger step')
    return [decimal_text(start + i * step) for i in range(count)]


def _parse_call(piece: str, form: str, arguments: list[str]) -> list[str] | Sampled:
    widths = {"log": (3,), "uniform": (2,), "loguniform": (2,), "int": (2, 3), "logint": (2,)}
    if form not in widths:
        raise ValueProblem(f'found "{piece}", allowed: {"(...), ".join(widths)}(...); quote it if it is text')
    numbers = [parse_decimal(argument) for argument in arguments]
    if len(arguments) not in widths[form] or None in numbers:
        wanted = {"log": "log(lo, hi, n)", "int": "int(lo, hi[, step])"}.get(form, f"{form}(lo, hi)")
        raise ValueProblem(f'found "{piece}", allowed: {wanted} with numbers')
    low, high, *rest = [number for number in numbers if number is not None]
    if low >= high:
        raise ValueProblem(f'found "{piece}": lo is not below hi; write {form}({high}, {low}...)')
    if form.startswith("log") and low <= 0:
        raise ValueProblem(f'found "{piece}": a logarithmic axis needs lo above 0')
    if form == "log":
        return _log_spaced(piece, low, high, rest[0])
    if "int" in form and any(number != int(number) for number in (low, high, *rest)):
        raise ValueProblem(f'found "{piece}", allowed: whole numbers')
    if rest and rest[0] <= 0:
        raise ValueProblem(f'found "{piece}": the step must be above 0')
    return Sampled(form=form, low=low, high=high, step=rest[0] if rest else None)


def _log_spaced(piece: str, low: Decimal, high: Decimal, count: Decimal) -> list[str]:
    if count != int(count) or not 2 <= count <= MAX_AXIS_VALUES:
        raise ValueProblem(f'found "{piece}": n must be a whole number from 2 to {MAX_AXIS_VALUES:,}')
    ratio = (high / low).ln() / (int(count) - 1)
    inner = [DRAWN_DIGITS.plus(low * (ratio * i).exp()).normalize() for i in range(1, int(count) - 1)]
    return [decimal_text(number) for number in (low, *inner, high)]
