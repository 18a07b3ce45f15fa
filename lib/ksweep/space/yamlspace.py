"""A search space in YAML, as tuners around Optuna write it -> the text of a range file that says the same.

  study_name, storage, base_data_dir, data             taken, and of no effect here (`notes` say why)
  n_trials, n_jobs, timeout, max_epochs, max_patience  SWEEP_TRIALS, SWEEP_PARALLEL_JOBS, SWEEP_MAX_WALL_TIME, NUM_EPOCHS,
                                                       EARLY_STOPPING_PATIENCE
  pruner: {min_resource, reduction_factor,             successive halving of live runs: SWEEP_PRUNER=asha, SWEEP_ETA, and
           min_early_stopping_rate}                    SWEEP_MIN_RESOURCE = min_resource * reduction_factor^rate, the first
                                                       rung; one that is not below max_epochs stops no run, and is left out
  search_space:
    <name>: {type: categorical, choices: [...]}        a|b|c
    <name>: {type: float | int, low, high, log, step}  uniform, loguniform, int, logint; a float with a step is low:step:high

A name is a symbol in small letters, or an alias that is declared beside it: $(alias,LEARNING_RATE,lr). Conditions are not
written here: a symbol whose `depends on` does not hold at a point is left out there. An alias of a choice's member is a further
word for it among `choices`.

Each assignment stands on the line of its key, so that whatever is said of it later names the line of the YAML file; behind it
stands the YAML itself, as a comment.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ksweep.contract.errors import RequestError
from ksweep.space.values import ValueProblem, decimal_text, parse_decimal, value_text

_IGNORED = {
    "study_name": "a sweep is named after its file",
    "storage": "a sweep keeps its study in its own directory",
    "base_data_dir": "CONFIG_DATA_DIR says where data lies; to set it here: data_dir: {choices: [<path>]} in search_space",
    "data": "CONFIG_DATASET says which data is used; to set it here: dataset: {choices: [<its word>]} in search_space",
}
_STUDY = ("n_trials", "n_jobs", "timeout", "max_epochs", "max_patience", "pruner", "search_space")
_PRUNER = ("min_resource", "reduction_factor", "min_early_stopping_rate", "type")
_TYPES = ("categorical", "float", "int")
_PRUNER_TYPE = "SuccessiveHalvingPruner"
_PARAMETER = ("type", "choices", "low", "high", "log", "step")
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"

_Entries = dict[str, tuple[int, Node]]  # key -> its line and its value


@dataclass(frozen=True, kw_only=True)
class YamlSpace:
    """`text`: the range file. `notes`: lines for people, what of the YAML has no effect here."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a search space may say: the names of all `symbols`; `aliases`, further names -> symbols; `words`: of a string that
    follows a choice, further words -> those that it has.
    """

    symbols: Collection[str]
    aliases: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]


def range_text_from_yaml(text: str, path: Path, names: Names) -> YamlSpace:
    """The range file that the YAML `text` of the file at `path` amounts to. RequestError with every problem."""
    reader = _Reader(path, names)
    reader.read(text)
    if reader.problems:
        raise RequestError(*(f"{path}:{line}: {problem}" for line, problem in sorted(reader.problems)))
    return YamlSpace(text=reader.range_text(text), notes=tuple(reader.notes))


class _Reader:
    def __init__(self, path: Path, names: Names) -> None:
        self._path, self._names = path, names
        self.problems: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self._lines: dict[int, str] = {}
        self._named: dict[str, str] = {}  # symbol -> the name by which the search space calls it

    def read(self, text: str) -> None:
        try:
            document = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            words = getattr(error, "problem", None) or str(error).splitlines()[0]
            self.problems.append((mark.line + 1 if mark else 1, f"not YAML: {words}"))
            return
        study = self._entries(document, "", (*_IGNORED, *_STUDY), line=1)
        if "search_space" not in study:
            if study or not self.problems:
                self.problems.append((1, "search_space: found none, allowed: search_space: {<name>: {type: ...}}; write one"))
        else:
            self._read_search_space(*study["search_space"])
        max_epochs = self._read_study(study)
        if "pruner" in study:
            self._read_pruner(*study["pruner"], max_epochs)
        self._put(1, "SWEEP_STRATEGY", "tpe")

    def range_text(self, text: str) -> str:
        rows = text.splitlines()
        lines = []
        for number in range(1, max(len(rows), *self._lines) + 1):
            origin = f"#| {rows[number - 1]}".rstrip() if number <= len(rows) else ""
            lines.append("   ".join(part for part in (self._lines.get(number, ""), origin) if part))
        return "\n".join(lines) + "\n"

    def _put(self, line: int, symbol: str, value: str) -> None:
        """Of several keys on one line the later ones go to the next free lines."""
        while line in self._lines:
            line += 1
        self._lines[line] = f"CONFIG_{symbol}={value}"

    # -- the parts ---------------------------------------------------------------------------------------------

    def _read_study(self, study: _Entries) -> Decimal | None:
        """max_epochs, where it is there and right."""
        for name, why in _IGNORED.items():
            if name in study:
                self.notes.append(f"{self._path}:{study[name][0]}: {name} has no effect here: {why}")
        self._read_number(study, "n_trials", "SWEEP_TRIALS", lowest=1)
        max_epochs = self._read_number(study, "max_epochs", "NUM_EPOCHS", lowest=1)
        self._read_number(study, "max_patience", "EARLY_STOPPING_PATIENCE", lowest=0)
        if "n_jobs" in study and _is_scalar(study["n_jobs"][1], "-1"):
            self._put(study["n_jobs"][0], "SWEEP_PARALLEL_JOBS", "0")  # Optuna's word for as many as there are
        else:
            self._read_number(study, "n_jobs", "SWEEP_PARALLEL_JOBS", lowest=1)
        if "timeout" in study:
            line, node = study["timeout"]
            seconds = Decimal(0) if node.tag == _NULL else self._number(node, "timeout", lowest=0, of="seconds, or null")
            if seconds is not None:
                self._put(line, "SWEEP_MAX_WALL_TIME", str(math.ceil(seconds)))
        return max_epochs

    def _read_number(self, study: _Entries, name: str, symbol: str, *, lowest: int) -> Decimal | None:
        if name not in study:
            return None
        line, node = study[name]
        number = self._number(node, name, lowest=lowest, is_whole=True)
        if number is not None:
            self._put(line, symbol, str(int(number)))
        return number

    def _read_pruner(self, line: int, node: Node, max_epochs: Decimal | None) -> None:
        if node.tag == _NULL:
            return
        pruner = self._entries(node, "pruner", _PRUNER, line)
        if "type" in pruner and not _is_text(kind := pruner["type"][1], _PRUNER_TYPE):
            self.problems.append((pruner["type"][0], f"pruner: type: found {_shown(kind)}, allowed: {_PRUNER_TYPE}"))
        values = {"min_resource": 1, "reduction_factor": 4, "min_early_stopping_rate": 0}  # Optuna's own
        for name, lowest in (("min_resource", 1), ("reduction_factor", 2), ("min_early_stopping_rate", 0)):
            if name in pruner:
                number = self._number(pruner[name][1], f"pruner: {name}", lowest=lowest, highest=10**9, is_whole=True)
                values[name] = int(number or 0)
        factor = values["reduction_factor"]
        rate = min(values["min_early_stopping_rate"], 40)  # 2^40 is beyond any resource as it is
        first = values["min_resource"] * factor**rate
        if max_epochs is not None and max_epochs <= first:
            lowest = values["min_resource"]
            change = f"min_early_stopping_rate: 0 puts it at {lowest}" if lowest < max_epochs else "take a lower min_resource"
            self.notes.append(
                f"{self._path}:{line}: pruner has no effect here: its first rung, min_resource * reduction_factor ^ "
                f"min_early_stopping_rate, is epoch {first}, and max_epochs is {max_epochs}, so no run is stopped; {change}"
            )
            return
        self._put(line, "SWEEP_PRUNER", "asha")
        self._put(pruner.get("reduction_factor", (line, node))[0], "SWEEP_ETA", str(factor))
        self._put(pruner.get("min_resource", (line, node))[0], "SWEEP_MIN_RESOURCE", str(first))

    def _read_search_space(self, line: int, node: Node) -> None:
        space = self._entries(node, "search_space", None, line)
        if not space and isinstance(node, MappingNode):
            self.problems.append((line, "search_space: found nothing in it, allowed: <name>: {type: ...}; write one"))
        for name, (at, value) in space.items():
            key = f"search_space: {name}"
            parameter = self._entries(value, key, _PARAMETER, at)
            try:
                symbol = self._symbol(name)
            except ValueProblem as problem:
                self.problems.append((at, f"{key}: {problem}"))
                symbol = ""
            num_problems = len(self.problems)
            if parameter:
                values = self._values(parameter, key, at, self._names.words.get(symbol, {}))
                if symbol and len(self.problems) == num_problems:
                    self._put(at, symbol, values)

    def _symbol(self, name: str) -> str:
        upper = name.removeprefix("CONFIG_").upper()
        aliases = self._names.aliases
        symbol = aliases.get(name) or (upper if upper in self._names.symbols else "")
        if not symbol:
            known = [*aliases, *(symbol.lower() for symbol in self._names.symbols)]
            near = _near(name.lower(), known) or f"; aliases: {', '.join(sorted(aliases))}"
            raise ValueProblem(f"no symbol has this name or alias{near}")
        if symbol in self._named:
            raise ValueProblem(f"means {symbol}, as {self._named[symbol]} does; keep one of them")
        self._named[symbol] = name
        return symbol

    # -- one parameter -----------------------------------------------------------------------------------------

    def _values(self, parameter: _Entries, key: str, line: int, words: Mapping[str, str]) -> str:
        """What stands behind = in a range file; problems are added."""
        kind = self._type(parameter, key, line)
        wanted = {"categorical": ("choices",), "float": ("low", "high"), "int": ("low", "high")}.get(kind, ())
        for name in wanted:
            if name not in parameter:
                self.problems.append((line, f"{key}: {name} is missing; a {kind} parameter has {' and '.join(wanted)}"))
        foreign = ("low", "high", "log", "step") if kind == "categorical" else ("choices",) if kind else ()
        for name in foreign:
            if name in parameter:
                at = parameter[name][0]
                self.problems.append((at, f"{key}: {name}: not of a {kind} parameter, which has {', '.join(wanted)}; remove it"))
        if any(name not in parameter for name in wanted) or not kind:
            return ""
        if kind == "categorical":
            return self._choices(parameter, key, words)
        return self._numbers(parameter, key, is_whole=kind == "int")

    def _type(self, parameter: _Entries, key: str, line: int) -> str:
        if "type" not in parameter:
            if "choices" in parameter:
                return "categorical"
            self.problems.append((line, f"{key}: type is missing; allowed: {' '.join(_TYPES)}"))
            return ""
        at, node = parameter["type"]
        if isinstance(node, ScalarNode) and node.value in _TYPES:
            return str(node.value)
        near = _near(node.value, _TYPES) if isinstance(node, ScalarNode) else ""
        self.problems.append((at, f"{key}: type: found {_shown(node)}, allowed: {' '.join(_TYPES)}{near}"))
        return ""

    def _choices(self, parameter: _Entries, key: str, words: Mapping[str, str]) -> str:
        line, node = parameter["choices"]
        if not isinstance(node, SequenceNode) or not node.value:
            self.problems.append((line, f"{key}: choices: found {_shown(node)}, allowed: a list of values: [a, b]"))
            return ""
        texts: list[str] = []
        for item in node.value:
            try:
                text = words.get(word := _choice(item), word)
                if text in texts:
                    raise ValueProblem(f"found {_shown(item)} twice; keep one")
                texts.append(text)
            except ValueProblem as problem:
                self.problems.append((_line(item), f"{key}: choices: {problem}"))
        return "|".join(texts)

    def _numbers(self, parameter: _Entries, key: str, *, is_whole: bool) -> str:
        low, high, step = (
            self._number(parameter[name][1], f"{key}: {name}", is_whole=is_whole) if name in parameter else None
            for name in ("low", "high", "step")
        )
        is_log = "log" in parameter and self._flag(parameter["log"][1], f"{key}: log")
        if low is None or high is None or ("step" in parameter and step is None):
            return ""
        line = parameter["low"][0]
        if low >= high:
            self.problems.append((line, f"{key}: low: found {low}, which is not below high, {high}; swap them or write choices"))
        if is_log and low <= 0:
            self.problems.append((line, f"{key}: low: found {low}, allowed above 0 with log: true; raise it, or remove log"))
        if step is not None:
            self._check_step(parameter, key, low, high, step, is_log)
        texts = [decimal_text(number.normalize()) for number in (low, high, step) if number is not None]
        if step is not None and not is_whole:
            return f"{texts[0]}:{texts[2]}:{texts[1]}"
        form = {(True, True): "logint", (True, False): "int", (False, True): "loguniform"}.get((is_whole, is_log), "uniform")
        return f"{form}({', '.join(texts)})"

    def _check_step(self, parameter: _Entries, key: str, low: Decimal, high: Decimal, step: Decimal, is_log: bool) -> None:
        line = parameter["step"][0]
        if is_log:
            self.problems.append((line, f"{key}: step: not together with log: true; remove one of them"))
        if step <= 0:
            self.problems.append((line, f"{key}: step: found {step}, allowed: above 0"))
        elif low < high < low + step:
            self.problems.append((line, f"{key}: step: found {step}, allowed: up to {high - low}, from low to high"))

    # -- pieces of YAML ------------------------------------------------------------------------------------------

    def _entries(self, node: Node | None, key: str, allowed: Collection[str] | None, line: int) -> _Entries:
        """The entries of a mapping whose keys are all `allowed` (None: any); problems are added."""
        prefix = f"{key}: " if key else ""
        if not isinstance(node, MappingNode):
            names = ", ".join(allowed or ("<name>",))
            self.problems.append((line, f"{prefix}found {_shown(node)}, allowed: a mapping with {names}"))
            return {}
        found: _Entries = {}
        for name, value in node.value:
            at, text = _line(name), name.value if isinstance(name, ScalarNode) else _shown(name)
            if text in found:
                self.problems.append((at, f"{prefix}{text}: stands twice, first on line {found[text][0]}; keep one"))
            elif allowed is not None and text not in allowed:
                self.problems.append((at, f"{prefix}{text}: no such key; allowed: {' '.join(allowed)}{_near(text, allowed)}"))
            else:
                found[text] = at, value
        return found

    def _number(
        self, node: Node, key: str, *, lowest: float = -math.inf, highest: float = math.inf, is_whole: bool = False, of: str = ""
    ) -> Decimal | None:
        """A number written without quotes; None, and a problem, when it is none."""
        # PyYAML takes 1e-4 for a text, as YAML 1.1 wants a dot in it: what counts here is what it spells.
        number = parse_decimal(node.value) if isinstance(node, ScalarNode) else None
        is_fine = number is not None and lowest <= number <= highest and not (is_whole and number != int(number))
        if is_fine and not node.style:
            return number
        allowed = f"a {'whole ' if is_whole else ''}number" + (f" of {of}" if of else "")
        bounds = [f"{lowest} or more"] * (lowest > -math.inf) + [f"up to {highest}"] * (highest < math.inf)
        hint = "; write it without quotes" if is_fine else ""
        self.problems.append((_line(node), f"{key}: found {_shown(node)}, allowed: {', '.join([allowed, *bounds])}{hint}"))
        return None

    def _flag(self, node: Node, key: str) -> bool:
        if node.tag == _BOOL:
            return _is_true(node)
        self.problems.append((_line(node), f"{key}: found {_shown(node)}, allowed: true or false"))
        return False


def _choice(node: Node) -> str:
    """One value of a list, as a range file has it."""
    if not isinstance(node, ScalarNode) or node.tag == _NULL:
        raise ValueProblem(f"found {_shown(node)}, allowed: a text, a number, true or false")
    if node.tag == _BOOL:
        return "y" if _is_true(node) else "n"
    text = str(node.value)
    if len(text.splitlines()) > 1:
        raise ValueProblem(f"found {text!r}, allowed: a text of one line")
    return value_text(text)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _is_true(node: Node) -> bool:
    return str(node.value).lower() in ("true", "yes", "on")


def _is_scalar(node: Node, text: str) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value == text


def _is_text(node: Node, text: str) -> bool:
    return isinstance(node, ScalarNode) and node.value == text


def _shown(node: Node | None) -> str:
    if node is None or node.tag == _NULL:
        return "nothing"
    if isinstance(node, ScalarNode):
        return f"the text {node.value!r}" if node.style else f'"{node.value}"'
    return "a mapping" if isinstance(node, MappingNode) else "a list" if node.value else "an empty list"


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; near it: {', '.join(near)}" if near else ""
