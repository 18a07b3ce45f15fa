"""Requested values -> complete configurations, or the reason why not.

Kconfig decides what may be combined. Every requested value is compared with the resolved one, for every symbol and every
point: kconfiglib itself drops an unmet dependency, an unknown symbol or a value out of range without a word.

  cartesian   all combinations of the axes
  legal       those whose requested values survive Kconfig, every rule of the tree and every `require`
  distinct    the legal ones that differ: under Adam a momentum is inactive, and points that differ only in it are one

A symbol that is inactive at some points is conditional there; one that is inactive at all points is an error.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kconfiglib import BOOL, HEX, INT, Choice, Kconfig, Symbol

from ksweep.contract.errors import RequestError
from ksweep.kconfig.explain import failing_terms, is_known, not_taken, unknown, unmet
from ksweep.kconfig.functions import declared_bounds, declared_rules
from ksweep.kconfig.rules import Conditions, choice_words, requirement_problems
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.axes import Axis
from ksweep.space.grid import cells
from ksweep.space.rangefile import Assignment, RangeFile, read_range_file
from ksweep.space.require import Requirement
from ksweep.space.values import Sampled, decimal_text, parse_decimal

MAX_PROBLEMS_OF_A_KIND = 5
MAX_COMBINATIONS = 1_000_000  # each is resolved, at about 0.2 ms and 3 KB
COMMAND_LINE = -1  # the depth of what was given there: it overrides the file, as the file does what it includes
Overrides = Mapping[str, tuple[str, str]]
_INT = re.compile(r"-?(0|[1-9]\d*)")  # not 05: equal numbers must have one spelling
_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_ID_LINE = re.compile(r"^CONFIG_(\w+)=(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One legal configuration: content id, active swept values, position in the grid, complete .config text."""

    id: str
    values: dict[str, str]
    index: tuple[int, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A combination that is no point of its own: its requested values, and why."""

    values: dict[str, str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """What a range file comes to. `illegal` and `identical` hold each dropped combination with its reason."""

    axes: tuple[Axis, ...]
    points: list[Point]
    illegal: list[Dropped]
    identical: list[Dropped]
    notes: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """cartesian, legal, distinct."""
        legal = len(self.points) + len(self.identical)
        return {"cartesian": legal + len(self.illegal), "legal": legal, "distinct": len(self.points)}


@dataclass(frozen=True)
class Wish:
    """One symbol that is to have a value; `name` and `text` as the file says it (CONFIG_OPTIMIZER=sgd), else as Kconfig does."""

    name: str
    text: str
    symbol: Symbol
    value: str
    where: str

    def state(self) -> str:
        """ok, inactive (there is nothing to set here) or illegal (it can be set, but not to this)."""
        symbol = self.symbol
        if symbol.choice and self.value == "y":
            if symbol.tri_value == 2:
                return "ok"
            return "illegal" if symbol.choice.visibility else "inactive"
        if not symbol.visibility:
            # A symbol whose prompt alone is conditional has a value all the same; asked for that, nothing is lost.
            return "ok" if symbol.config_string and symbol.str_value == self.value else "inactive"
        return "ok" if symbol.str_value == self.value else "illegal"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A range file that has been checked against the tree: what is fixed, what is swept, what people must be told.

    `plain`: the lines that are not axes.
    """

    file: RangeFile
    fixed: list[Wish]
    axes: list[Assignment]
    plain: list[Assignment]
    notes: list[str]

    @property
    def where(self) -> dict[str, str]:
        """Symbol -> the line that sets it."""
        return _places([*self.plain, *self.axes])


class Resolver:
    """Resolves against one Kconfig tree. Holds the tree's user values while it works: one use at a time."""

    def __init__(self, kconf: Kconfig) -> None:
        self.kconf = kconf
        self.bounds = declared_bounds(kconf)
        self.selectors = choice_words(kconf)
        self._canonical: dict[str, str] = {}

    # -- the whole way ------------------------------------------------------------------------------------------

    def request(self, file: RangeFile, overrides: Overrides | None = None, *, for_grid: bool) -> Request:
        """Check a range file, whatever the point. `overrides` maps a symbol to (value, where it comes from) and replaces its
        line. `for_grid`: SWEEP_REPEATS becomes an axis over SEED, and an axis without a list of values is a problem.

        RequestError with every problem that was found.
        """
        assignments = _override(file.assignments, overrides or {})
        self._check(assignments, file, for_grid)
        assignments = self._without_overridden_choices(assignments)
        fixed = [wish for a in assignments if not a.is_axis for wish in self.wishes(a, a.values[0])]
        axes = [a for a in assignments if a.is_axis]
        repeats = self._repeats(fixed, axes)
        if for_grid and repeats:
            fixed = [wish for wish in fixed if wish.name != "SEED"]
            axes += repeats
        notes = self._imply_choices(fixed, [wish for a in axes for wish in self.wishes(a, _first_row(a))])
        return Request(file=file, fixed=fixed, axes=axes, plain=[a for a in assignments if not a.is_axis], notes=notes)

    def expand(self, file: RangeFile, overrides: Overrides | None = None) -> Expansion:
        """All points of a grid.

        RequestError with every problem that was found; a request of which no point is left is one.
        """
        return self.walk(self.request(file, overrides, for_grid=True))

    def load(self, path: Path) -> list[str]:
        """Set the tree to a plain configuration file; returns what is wrong with it, as `file:line: symbol: ...`.

        That is what did not survive; where all did, the rules that do not hold.
        """
        try:
            file = read_range_file(path, _no_include)
        except RequestError as error:
            return list(error.problems)
        return self.take(file) or self.broken(_places(file.assignments), path)

    def take(self, file: RangeFile) -> list[str]:
        """Set the tree to a parsed configuration file, rules aside; returns what did not survive."""
        problems = [
            f"{a.where}: CONFIG_{', CONFIG_'.join(a.symbols)}: found {_listed(a)}, allowed: one value in a configuration; "
            "ranges go into a range file (make sweep RANGE_CONFIG=...)"
            for a in file.assignments
            if a.is_axis
        ]
        plain = tuple(a for a in file.assignments if not a.is_axis)
        problems += self._static_problems(plain)
        wishes = [wish for a in plain for wish in self.wishes(a, a.values[0], known_only=True)]
        self.set_base(wishes)
        return (
            problems
            + [self.lost(wish) for wish in wishes if wish.state() != "ok" and not _is_absent(wish)]
            + self.computed(plain)
        )

    def broken(self, where: Mapping[str, str], file: Path | str, requirements: Iterable[Requirement] = ()) -> list[str]:
        """What does not hold of the tree's rules, and of `requirements`, with the values that are set now.

        `where` maps symbols to the lines that set them; `file` is named where none does.
        """
        return self.conditions(requirements).broken(where, str(file))

    def conditions(self, requirements: Iterable[Requirement]) -> Conditions:
        return Conditions(self.kconf, (*declared_rules(self.kconf), *requirements))

    def point_id(self, text: str) -> str:
        """Content id of a complete configuration: equal numbers are equal (0.10 and 1e-1), steering symbols do not count."""
        digest = hashlib.sha256()
        for match in _ID_LINE.finditer(text):
            name, value = match.groups()
            if name.startswith(STEERING_PREFIX):
                continue
            if name in self.bounds:
                value = self._canonical.get(value) or self._canonical.setdefault(
                    value, str(Decimal(value.strip('"')).normalize())
                )
            digest.update(f"{name}={value}\n".encode())
        return digest.hexdigest()[:16]

    def text(self) -> str:
        """The complete .config of the values that are set, byte for byte as kconfiglib writes it."""
        text: str = self.kconf._config_contents(None)  # write_config() without the file
        return text

    # -- before anything is set: what is wrong with the request whatever the point ---------------------------------

    def _check(self, assignments: tuple[Assignment, ...], file: RangeFile, for_grid: bool) -> None:
        problems = [*file.problems, *self._static_problems(assignments)]
        for a in assignments:
            shown = ", ".join("CONFIG_" + name for name in a.symbols)
            if a.is_axis and any(name.startswith(STEERING_PREFIX) for name in a.symbols):
                problems.append(
                    f"{a.where}: {shown}: found {_listed(a)}, allowed: one value; it steers the sweep and cannot be swept"
                )
            elif a.is_axis and (computed := [n for n in a.symbols if is_known(self.kconf, n) and not self._can_be_set(n)]):
                problems.append(f"{a.where}: CONFIG_{computed[0]}: it is computed from other symbols and cannot be swept")
            elif a.sampled and for_grid:
                problems.append(_no_list(a))
        for requirement in file.requirements:
            problems += requirement_problems(self.kconf, self.selectors, requirement)
        if problems:
            raise RequestError(*sorted(problems, key=_line_number))

    def _static_problems(self, assignments: Iterable[Assignment]) -> list[str]:
        problems = []
        chosen: dict[Choice, tuple[Assignment, Symbol]] = {}
        for a in assignments:
            for column, name in enumerate(a.symbols):
                if not is_known(self.kconf, name):
                    problems.append(f"{a.where}: {unknown(self.kconf, name)}")
                    continue
                values = dict.fromkeys(row[column] for row in a.values)
                found = [problem for value in values if (problem := self._value_problem(name, value))]
                if a.sampled and (problem := self._sampled_problem(name, a.sampled)):
                    found = [problem]
                problems += [f"{a.where}: CONFIG_{name}: {problem}" for problem in found[:MAX_PROBLEMS_OF_A_KIND]]
                if len(found) > MAX_PROBLEMS_OF_A_KIND:
                    problems.append(f"{a.where}: CONFIG_{name}: and {len(found) - MAX_PROBLEMS_OF_A_KIND} more values like these")
                if found:
                    continue
                for wish in self.wishes(a, _first_row(a), known_only=True):
                    if not wish.symbol.choice or wish.value != "y" or wish.name != name:
                        continue
                    first, member = chosen.setdefault(wish.symbol.choice, (a, wish.symbol))
                    clash = (
                        first is not a and first.depth == a.depth and (member is not wish.symbol or a.is_axis or first.is_axis)
                    )
                    if clash:
                        problems.append(
                            f"{a.where}: CONFIG_{name}: a second member of one choice; "
                            f"CONFIG_{first.symbols[0]} is at {first.where}; "
                            "keep one, or sweep over the members"
                        )
        return problems

    def _can_be_set(self, name: str) -> bool:
        return name in self.selectors or any(node.prompt for node in self.kconf.syms[name].nodes)

    def _value_problem(self, name: str, value: str) -> str | None:
        symbol = self.kconf.syms[name]
        if name in self.selectors:
            words = self.selectors[name]
            return None if value in words else f'found "{value}", allowed: {" | ".join(words)}'
        if symbol.orig_type == BOOL:
            return None if value in ("y", "n") else f'found "{value}", allowed: y | n'
        if symbol.orig_type in (INT, HEX):
            pattern, kind = (_INT, "a whole number") if symbol.orig_type == INT else (_HEX, "a hexadecimal number, 0x...")
            base = 10 if symbol.orig_type == INT else 16
            limits = [(r[0].str_value, r[1].str_value) for r in symbol.ranges if r[2] is self.kconf.y]
            among = f", {limits[0][0]} to {limits[0][1]}" if limits else ""
            if not pattern.fullmatch(value):
                return f'found "{value}", allowed: {kind}{among}'
            if limits and not int(limits[0][0], base) <= int(value, base) <= int(limits[0][1], base):
                return f"found {value}, allowed: {limits[0][0]} to {limits[0][1]}"
            return None
        if name in self.bounds:
            return self.bounds[name].problem(value)
        return "a line break cannot stand in a value" if "\n" in value else None

    def _sampled_problem(self, name: str, sampled: Sampled) -> str | None:
        is_whole = self.kconf.syms[name].orig_type in (INT, HEX)
        if name in self.selectors or not (is_whole or name in self.bounds):
            return f"found {sampled}, allowed: a list of values, a|b; only numbers are drawn"
        if is_whole and not sampled.is_whole:
            return f"found {sampled}, which draws real numbers, allowed: int(lo, hi[, step]), logint(lo, hi)"
        ends = (self._value_problem(name, decimal_text(end)) for end in (sampled.low, sampled.high))
        problem = next((problem for problem in ends if problem), None)
        return f"{problem}; {sampled} reaches beyond" if problem else None

    # -- wishes -----------------------------------------------------------------------------------------------------

    def wishes(self, a: Assignment, row: tuple[str, ...], *, known_only: bool = False) -> list[Wish]:
        wishes = []
        for name, text in zip(a.symbols, row, strict=True):
            if known_only and (not is_known(self.kconf, name) or self._value_problem(name, text)):
                continue
            if name in self.selectors:
                wishes.append(Wish(name, text, self.selectors[name][text], "y", a.where))
            elif any(node.prompt for node in self.kconf.syms[name].nodes):
                # Kconfig compares strings: `depends on SGD_MOMENTUM != "0"` must not depend on how a zero is spelt.
                is_zero = name in self.bounds and parse_decimal(text) == 0
                wishes.append(Wish(name, text, self.kconf.syms[name], "0" if is_zero else text, a.where))
        return wishes

    def _without_overridden_choices(self, assignments: tuple[Assignment, ...]) -> tuple[Assignment, ...]:
        """A file that chooses a member of a choice overrides another member chosen by what it includes."""
        depth: dict[Choice, int] = {}
        choices: list[tuple[Assignment, Choice | None]] = []
        for a in assignments:
            members = [wish.symbol.choice for wish in self.wishes(a, _first_row(a)) if wish.symbol.choice and wish.value == "y"]
            choices.append((a, members[0] if members else None))
            for choice in members:
                depth[choice] = min(depth.get(choice, a.depth), a.depth)
        return tuple(a for a, choice in choices if choice is None or a.depth == depth[choice])

    def _repeats(self, fixed: list[Wish], axes: list[Assignment]) -> list[Assignment]:
        """SWEEP_REPEATS as an axis over SEED."""
        self.set_base(fixed)
        repeats = self.kconf.syms.get("SWEEP_REPEATS")
        if repeats is None or int(repeats.str_value) <= 1:
            return []
        if any("SEED" in a.symbols for a in axes):
            raise RequestError("CONFIG_SWEEP_REPEATS: found together with an axis over CONFIG_SEED; keep one of them")
        first = int(self.kconf.syms["SEED"].str_value)
        values = tuple((str(first + i),) for i in range(int(repeats.str_value)))
        if problem := self._value_problem("SEED", values[-1][0]):
            raise RequestError(f"CONFIG_SWEEP_REPEATS: the last of its seeds: CONFIG_SEED: {problem}")
        return [Assignment(symbols=("SEED",), values=values, where="CONFIG_SWEEP_REPEATS")]

    def _imply_choices(self, fixed: list[Wish], first: list[Wish]) -> list[str]:
        """A choice that the file leaves open follows from a swept symbol that needs one member of it; a note says so.

        Sweeping a symbol says that it is to be active; AdamWPrune's guide sweeps ADAMWPRUNE_BETA1 and leaves the optimizer
        open. A fixed symbol says less: a preset may set the momentum for whenever SGD is chosen.
        """
        settled = {wish.symbol.choice for wish in fixed + first if wish.symbol.choice}
        notes: list[str] = []
        while member_and_wish := self._implied(fixed, first, settled):
            member, wish = member_and_wish
            settled.add(member.choice)
            fixed.append(Wish(member.name, "y", member, "y", wish.where))
            notes.append(
                f"{wish.where}: CONFIG_{wish.name} needs CONFIG_{member.name}=y, and the file leaves that choice open: taken"
            )
        return notes

    def _implied(self, fixed: list[Wish], first: list[Wish], settled: set[Choice]) -> tuple[Symbol, Wish] | None:
        self.set_base(fixed + first)
        for wish in first:
            if wish.state() != "inactive":
                continue
            for term in failing_terms(wish.symbol.choice or wish.symbol):
                if isinstance(term, Symbol) and term.choice and term.choice not in settled and term.visibility:
                    return term, wish
        return None

    # -- points ------------------------------------------------------------------------------------------------------

    def set_base(self, wishes: Iterable[Wish]) -> None:
        self.kconf.unset_values()
        for wish in wishes:
            wish.symbol.set_value(wish.value)

    def walk(self, request: Request) -> Expansion:
        """All combinations of a request whose axes all have values; RequestError when there are too many, or no point is left."""
        file, fixed, axes = request.file, request.fixed, request.axes
        if (combinations := math.prod(len(a.values) for a in axes)) > MAX_COMBINATIONS:
            raise RequestError(
                f"{file.path or file.name}: {combinations:,} combinations, allowed: {MAX_COMBINATIONS:,}; "
                "take fewer axes or values, or a strategy that draws points (STRATEGY=random TRIALS=100)"
            )
        self.set_base(fixed)
        columns = [[self.wishes(a, row) for row in a.values] for a in axes]
        inactive_at: Counter[Wish | str] = Counter()
        inactive_why: dict[Wish | str, str] = {}
        points: dict[str, Point] = {}
        conditions = self.conditions(file.requirements)
        where = request.where
        illegal: list[Dropped] = []
        identical: list[Dropped] = []
        total = 0
        before: tuple[int, ...] = (-1,) * len(axes)
        for index in cells([len(a.values) for a in axes]):
            total += 1
            for axis, (old, new) in enumerate(zip(before, index, strict=True)):
                if old != new:
                    for wish in columns[axis][new]:
                        wish.symbol.set_value(wish.value)
            before = index
            swept = [wish for axis, i in enumerate(index) for wish in columns[axis][i]]
            values, inactive, reason = self.judge(fixed, swept)
            for wish in inactive:
                key = wish.name if wish in swept else wish
                inactive_at[key] += 1
                inactive_why.setdefault(key, self.lost(wish))
            reason = reason or "; ".join(conditions.broken(where, str(file.path or file.name)))
            if reason:
                illegal.append(Dropped(values={wish.name: wish.text for wish in swept}, reason=reason))
                continue
            if not points and (problems := self.computed(request.plain)):
                raise RequestError(*problems)
            text = self.text()
            id = self.point_id(text)
            if id in points:
                why = "; ".join(f"{wish.name} {unmet(wish.symbol.choice or wish.symbol)}" for wish in inactive if wish in swept)
                requested = {wish.name: wish.text for wish in swept}
                identical.append(
                    Dropped(values=requested, reason=f"same as {_shown(points[id].values)}" + (f": {why}" if why else ""))
                )
            else:
                points[id] = Point(id=id, values=values, index=index, text=text)
        never = {key: why for key, why in inactive_why.items() if inactive_at[key] == total}
        if errors := [why for key, why in never.items() if not is_steering(key)]:
            raise RequestError(*errors)
        if not points:
            raise RequestError(*_no_point_left(file, illegal))
        return Expansion(
            axes=tuple(Axis(symbols=a.symbols, values=a.values, where=a.where) for a in axes),
            points=list(points.values()),
            illegal=illegal,
            identical=identical,
            notes=request.notes
            + [f"no effect: {why}" for key, why in never.items() if is_steering(key)]
            + [f"dropped: {line}" for line in counted(illegal)],
        )

    def judge(self, fixed: list[Wish], swept: list[Wish]) -> tuple[dict[str, str], list[Wish], str]:
        """Active swept values, inactive wishes, and the reason why Kconfig does not allow the point (empty when it does)."""
        values: dict[str, str] = {}
        inactive: list[Wish] = []
        reasons: list[str] = []
        for wish in fixed:
            state = wish.state()
            if state == "illegal":
                reasons.append(self.lost(wish))
            elif state == "inactive" and not _is_absent(wish):
                inactive.append(wish)
        for wish in swept:
            state = wish.state()
            if state == "ok":
                values[wish.name] = wish.text
            elif state == "inactive":
                inactive.append(wish)
            else:
                reasons.append(self.lost(wish))
        return values, inactive, "; ".join(reasons)

    def lost(self, wish: Wish) -> str:
        symbol = wish.symbol
        if symbol.choice and wish.value == "y":
            why = unmet(symbol if symbol.choice.visibility and failing_terms(symbol) else symbol.choice)
        else:
            why = not_taken(symbol, wish.value) if symbol.visibility else unmet(symbol)
        return f"{wish.where}: CONFIG_{wish.name}={wish.text}: {why}"

    def computed(self, assignments: Iterable[Assignment]) -> list[str]:
        """Problems of promptless symbols in a plain file: they may stand there, with the value that they have."""
        problems = []
        for a in assignments:
            for name, text in zip(a.symbols, a.values[0], strict=True):
                if not is_known(self.kconf, name) or name in self.selectors:
                    continue
                symbol = self.kconf.syms[name]
                if not any(node.prompt for node in symbol.nodes) and symbol.str_value != text:
                    problems.append(
                        f'{a.where}: CONFIG_{name}: found "{text}", but it is computed '
                        f'and is "{symbol.str_value}"; remove the line'
                    )
        return problems


def load_config(kconf: Kconfig, path: Path) -> list[str]:
    """Set `kconf` to the plain configuration at `path`; returns what did not survive. RequestError: it does not parse."""
    return Resolver(kconf).take(read_range_file(path, _no_include))


def is_steering(key: "Wish | str") -> bool:
    """A line of the file that steers the sweep: under another strategy it may have no effect, and a note says so.

    Not so what the command line asks for.
    """
    return isinstance(key, Wish) and key.name.startswith(STEERING_PREFIX) and ":" in key.where


def _first_row(a: Assignment) -> tuple[str, ...]:
    return (decimal_text(a.sampled.low),) if a.sampled else a.values[0]


def _no_list(a: Assignment) -> str:
    assert a.sampled
    n = f"log({a.sampled.low}, {a.sampled.high}, n)" if a.sampled.form.startswith("log") else "start:step:end"
    return (
        f"{a.where}: CONFIG_{a.symbols[0]}: found {a.sampled}, which has no list of values for a grid; "
        f"write {n}, or choose a strategy that samples (CONFIG_SWEEP_STRATEGY, STRATEGY=tpe)"
    )


def _override(assignments: tuple[Assignment, ...], overrides: Overrides) -> tuple[Assignment, ...]:
    kept = []
    for a in assignments:
        paired = [name for name in a.symbols if name in overrides]
        if paired and len(a.symbols) > 1:
            raise RequestError(
                f"{a.where}: CONFIG_{paired[0]} is paired with other symbols here and cannot be set by {overrides[paired[0]][1]}"
            )
        if not paired:
            kept.append(a)
    given = (
        Assignment(symbols=(name,), values=((value,),), where=where, depth=COMMAND_LINE)
        for name, (value, where) in overrides.items()
    )
    return (*kept, *given)


def _line_number(problem: str) -> int:
    match = re.match(r".*?:(\d+): ", problem)
    return int(match[1]) if match else 0


def _is_absent(wish: Wish) -> bool:
    """`n` asked for a bool that is not there: nothing is lost."""
    return bool(wish.value == "n" and wish.symbol.orig_type == BOOL and wish.symbol.str_value == "n")


def _listed(a: Assignment) -> str:
    return (
        str(a.sampled) if a.sampled else "|".join(",".join(row) for row in a.values[:6]) + ("|..." if len(a.values) > 6 else "")
    )


def _shown(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _no_point_left(file: RangeFile, illegal: list[Dropped]) -> list[str]:
    return [f"{file.path or file.name}: no point is left of {len(illegal)}:", *counted(illegal)]


def counted(illegal: list[Dropped]) -> list[str]:
    """Each reason once, the most frequent first, with the number of points that it costs."""
    reasons = Counter(dropped.reason for dropped in illegal).most_common()
    hidden = len(reasons) - MAX_PROBLEMS_OF_A_KIND
    return [f"{reason}   ({count} point{'s' * (count > 1)})" for reason, count in reasons[:MAX_PROBLEMS_OF_A_KIND]] + (
        [f"and {hidden} more reasons"] if hidden > 0 else []
    )


def _places(assignments: Iterable[Assignment]) -> dict[str, str]:
    """Symbol -> the line that sets it."""
    return {name: a.where for a in assignments for name in a.symbols}


def _no_include(preset: str) -> Path:
    raise RequestError("a configuration file cannot include another; merge them with make mergeconfig")
