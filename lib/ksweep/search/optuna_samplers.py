"""The samplers of Optuna, and a study file for its dashboard. The only module that imports Optuna; it does so when needed.

What Optuna knows is a list of trials, one a point, made from nothing but the point's rows, notes and outcome: the study that
lived on and the one rebuilt after a restart are the same. A sampler of Optuna's lives for one proposal, with a seed of its own.
"""

import json
import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.storages import InMemoryStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from ksweep.contract.atomic import write_text
from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, SearchSettings
from ksweep.search.drawing import Choose, DrawingSampler, ends, is_ordered, model_seed
from ksweep.search.lesson import Lesson, finite_curve, lesson
from ksweep.space.axes import Axis, Draft, Row, Space, rounded
from ksweep.space.values import parse_decimal

optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it prints a line about each study that it makes
_NAME = "points"
_GOOD = (Lesson.COMPLETE, Lesson.PRUNED)
# Where NSGAIISampler keeps a trial's generation, and the parents of each generation.
_GENERATION, _PARENTS = NSGAIISampler._get_generation_key(), NSGAIISampler._get_parent_cache_key_prefix()


class Coding:
    """An axis as Optuna sees it: numbers of a distribution as they are; values by their index, in order when they have one."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.distribution = _distribution(axis)

    def suggest(self, trial: Trial) -> Row:
        """The row that a running trial takes."""
        name, distribution = self.axis.name, self.distribution
        if isinstance(distribution, FloatDistribution):
            return (rounded(self.axis, trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)),)
        if isinstance(distribution, CategoricalDistribution):
            return self.axis.values[int(trial.suggest_categorical(name, distribution.choices))]  # type: ignore[arg-type]
        assert isinstance(distribution, IntDistribution)
        step = distribution.step
        whole = trial.suggest_int(name, distribution.low, distribution.high, step=step, log=distribution.log)
        return (rounded(self.axis, whole),) if self.axis.sampled else self.axis.values[whole]

    def value(self, row: Row) -> float | int:
        """What stands for a row: exactly the number of its text."""
        if self.axis.sampled is None:
            return self.axis.values.index(row)
        return int(Decimal(row[0])) if self.axis.sampled.is_whole else float(row[0])


def _distribution(axis: Axis) -> BaseDistribution:
    sampled = axis.sampled
    if sampled is None:
        last = len(axis.values) - 1
        return IntDistribution(0, last) if is_ordered(axis) else CategoricalDistribution(tuple(range(last + 1)))
    low, high = ends(sampled)
    if sampled.is_whole:
        return IntDistribution(int(low), int(high), log=sampled.is_log, step=int(sampled.step or 1))
    return FloatDistribution(low, high, log=sampled.is_log)


class _Trials(InMemoryStorage):
    """One study whose trials are numbered like the points, and can be put anew: a point may be told again."""

    def __init__(self, maximize: Sequence[bool]) -> None:
        super().__init__()
        self.study_id = self.create_new_study(_directions(maximize), _NAME)

    def put(self, number: int, trial: FrozenTrial) -> None:
        """As trial `number`, whatever stood there. The public ways refuse to change a finished one."""
        while number >= self.get_n_trials(self.study_id):
            gap = self.create_new_trial(self.study_id)
            self._set_trial(gap, _numbered(create_trial(state=TrialState.FAIL), gap))
        self._set_trial(number, _numbered(trial, number))


def _numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    trial.number = trial._trial_id = number  # what a storage does with a template
    return trial


def _directions(maximize: Sequence[bool]) -> list[StudyDirection]:
    return [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in maximize]


class OptunaSampler(DrawingSampler):
    """Base of the samplers below: keeps the trials, and asks a sampler of Optuna's for rows."""

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        self._codings = {axis.name: Coding(axis) for axis in space.axes}
        self._trials = _Trials(settings.maximize)
        self._params: dict[int, dict[str, Any]] = {}  # number -> what stands for its rows
        self._shapes: set[frozenset[str]] = set()  # the axes that points have; more than one in a conditional space
        self._num_others = 0
        self._outcomes: dict[int, Outcome] = {}
        self._avoided: dict[int, dict[str, Any]] = {}  # number -> as what it was put last

    @abstractmethod
    def _make(self, seed: int) -> BaseSampler:
        """A sampler of Optuna's, for one proposal."""

    def _attrs(self, number: int) -> dict[str, Any]:
        """What the library itself keeps with a trial."""
        return {}

    def _stand_in(self) -> dict[str, Any]:
        """What a point to avoid is put as. A pruned trial without a report ranks below all others."""
        return {"state": TrialState.PRUNED}

    def tell(self, number: int, outcome: Outcome) -> None:
        """See Sampler."""
        if number in self._params:  # else a point that has no place in this space, or was not drawn here
            self._outcomes[number] = outcome
            self._put(number)

    def restore(self, history: Sequence[Known]) -> None:
        """See Sampler."""
        self._num_others = sum(known.number < 0 for known in history)
        super().restore(history)

    def _index(self, number: int) -> int:
        """The trial of a point: those of other sweeps come first."""
        return number + self._num_others

    def _take(self, known: Known) -> None:
        self._keep(known.number, known.rows)
        if known.outcome:
            self._outcomes[known.number] = known.outcome
        self._put(known.number)

    def _proposal(self, number: int, attempt: int) -> Choose:
        if attempt == 0:
            self._put_avoided()
        self._trials.put(self._index(number), create_trial(state=TrialState.RUNNING))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._make(model_seed(self.settings.seed, number, attempt))
        trial = Trial(optuna.load_study(study_name=_NAME, storage=self._trials, sampler=sampler), self._index(number))
        return lambda axis: self._codings[axis.name].suggest(trial)

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        self._keep(number, draft.rows)
        self._put(number)
        return {}

    def _keep(self, number: int, rows: Mapping[str, Row]) -> None:
        self._params[number] = {name: self._codings[name].value(row) for name, row in rows.items()}
        self._shapes.add(frozenset(rows))

    def _common(self) -> dict[str, BaseDistribution]:
        """What all points so far have."""
        names = frozenset.intersection(*self._shapes) if self._shapes else frozenset()
        common = {name: self._codings[name].distribution for name in sorted(names)}
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def _groups(self) -> _SearchSpaceGroup:
        """The axes, in groups of those that are active together."""
        group = _SearchSpaceGroup()
        for names in sorted(map(sorted, self._shapes)):
            group.add_distributions({name: self._codings[name].distribution for name in names})
        return group

    def _put(self, number: int) -> None:
        outcome = self._outcomes.get(number)
        learned = lesson(outcome, self.settings)
        self._avoided.pop(number, None)
        if learned is Lesson.AVOID:
            self._avoided[number] = {}
        self._trials.put(self._index(number), self._trial(number, **_fields(outcome, learned, self.settings)))

    def _put_avoided(self) -> None:
        """Show the model the points to avoid, but never so many that some of them would count as the better tenth."""
        num_good = sum(lesson(outcome, self.settings) in _GOOD for outcome in self._outcomes.values()) if self._avoided else 0
        stand_in = self._stand_in() if num_good else {}
        for i, number in enumerate(sorted(self._avoided)):
            fields = stand_in if i < 9 * num_good else {"state": TrialState.FAIL}
            if self._avoided[number] != fields:
                self._avoided[number] = fields
                self._trials.put(self._index(number), self._trial(number, **fields))

    def _trial(self, number: int, **fields: Any) -> FrozenTrial:
        params = self._params[number]
        distributions = {name: self._codings[name].distribution for name in params}
        return create_trial(params=params, distributions=distributions, system_attrs=self._attrs(number), **fields)


def _fields(outcome: Outcome | None, learned: Lesson, settings: SearchSettings) -> dict[str, Any]:
    if outcome is None or learned is Lesson.OPEN:
        return {"state": TrialState.RUNNING}
    constraints = {str(i): value for i, value in enumerate(outcome.violations) if math.isfinite(value)}
    if learned is Lesson.COMPLETE:
        return {"state": TrialState.COMPLETE, "values": outcome.values, "constraints": constraints}
    if learned is Lesson.PRUNED:
        # With several objectives there is no order among curves of the first; Optuna refuses to look at them.
        curve = dict(finite_curve(outcome)) if len(settings.maximize) == 1 else {}
        return {"state": TrialState.PRUNED, "intermediate_values": curve, "constraints": constraints}
    return {"state": TrialState.FAIL}


class _Over(BaseSampler):
    """A sampler with the axes that its model is to be over, which it finds by comparing all trials (half of its time)."""

    def __init__(self, common: dict[str, BaseDistribution], sampler: BaseSampler) -> None:
        self._common, self._sampler = common, sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._common

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._sampler.sample_independent(study, trial, name, distribution)


class _Groups(_GroupDecomposedSearchSpace):
    """The groups of axes that are active together, where Optuna's TPE looks for them."""

    def __init__(self, group: _SearchSpaceGroup) -> None:
        super().__init__()
        self._group = group

    def calculate(self, study: Study, use_cache: bool = False) -> _SearchSpaceGroup:
        return self._group


class TpeSampler(OptunaSampler):
    """TPE (Bergstra 2011; Watanabe 2023), for one objective multivariate; running points count as bad ones, so that parallel
    runs do not crowd. Axes that are active together are modelled together."""

    NAME = "tpe"

    def _make(self, seed: int) -> BaseSampler:
        if len(self.settings.maximize) > 1:
            return TPESampler(seed=seed, constant_liar=True)
        if len(self._shapes) > 1:
            with_groups = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
            with_groups._group_decomposed_search_space = _Groups(self._groups())  # what it would find in all trials, each time
            return with_groups
        return _Over(self._common(), TPESampler(seed=seed, multivariate=True, constant_liar=True))


class GpSampler(OptunaSampler):
    """Expected improvement under a Gaussian process. It fits one for each proposal: a quarter of a second at 100 points.

    The model is used from a quarter of the points asked for on (4 to 10). Optuna's needs torch, which is imported then; no
    other sampler does. Axes that are not active everywhere are drawn at random. A point to avoid counts as bad as the worst
    that was measured.
    """

    NAME = "gp"
    NUM_PROPOSALS = 4  # each is the best point of nearly the same model

    def _make(self, seed: int) -> BaseSampler:
        first = max(4, min(10, (self.settings.num_points or 40) // 4))
        sampler = GPSampler(seed=seed, n_startup_trials=first, warn_independent_sampling=False)
        return _Over(self._common(), sampler)

    def _stand_in(self) -> dict[str, Any]:
        complete = [outcome for outcome in self._outcomes.values() if lesson(outcome, self.settings) is Lesson.COMPLETE]
        if not complete:
            return {"state": TrialState.FAIL}
        columns = zip(*(outcome.values for outcome in complete), strict=True)
        worst = [min(column) if up else max(column) for column, up in zip(columns, self.settings.maximize, strict=True)]
        violations = [max(column) for column in zip(*(outcome.violations for outcome in complete), strict=True)]
        constraints = {str(i): value for i, value in enumerate(violations)}
        return {"state": TrialState.COMPLETE, "values": worst, "constraints": constraints}


class Nsga2Sampler(OptunaSampler):
    """NSGA-II (Deb 2002): children of the points that no other dominates.

    A population is a fifth of the points asked for, 8 to 50, so that there are several generations. Notes of a point: its
    `generation`; and `parents`, by generation, when it is the first that needs them.
    """

    NAME = "nsga2"

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        self._population = max(8, min(50, (settings.num_points or 250) // 5))
        self._generation: dict[int, int] = {}
        self._parents: dict[int, list[int]] = {}

    def _make(self, seed: int) -> BaseSampler:
        return _Over(self._common(), NSGAIISampler(population_size=self._population, seed=seed))

    def _attrs(self, number: int) -> dict[str, Any]:
        return {_GENERATION: self._generation[number]}

    def _take(self, known: Known) -> None:
        self._generation[known.number] = int(known.notes.get("generation", 0))
        for generation, numbers in known.notes.get("parents", {}).items():
            self._parents[int(generation)] = list(numbers)
        super()._take(known)

    def _proposal(self, number: int, attempt: int) -> Choose:
        for generation, numbers in self._parents.items():
            complete = [n for n in numbers if lesson(self._outcomes.get(n), self.settings) is Lesson.COMPLETE]
            self._trials.set_study_system_attr(self._trials.study_id, _PARENTS + str(generation), complete)
        return super()._proposal(number, attempt)

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        generation = int(self._trials.get_trial(number).system_attrs.get(_GENERATION, 0))
        self._generation[number] = generation
        chosen = {
            int(key.removeprefix(_PARENTS)): list(numbers)
            for key, numbers in self._trials.get_study_system_attrs(self._trials.study_id).items()
        }
        new = {str(of): numbers for of, numbers in chosen.items() if of not in self._parents}
        self._parents = chosen | self._parents
        super()._notes(number, draft, attempt)
        return {"generation": generation} | ({"parents": new} if new else {})


class StudyFile:
    """The points of a search as a study of Optuna's in a journal file: for optuna-dashboard, not for the search itself.

    Written by one process. It takes no lock, so that a dead process leaves none behind; readers pass over a torn last line.
    """

    def __init__(self, path: Path, name: str, axes: Sequence[Axis], maximize: Sequence[bool]) -> None:
        self._path, self._name, self._maximize = path, name, tuple(maximize)
        self._axes = {axis.name: axis for axis in axes}
        self._distributions = {axis.name: shown_distribution(axis) for axis in axes}
        self._stamp: tuple[int, int] | None = None  # of the file as it was left
        self._study: Study | None = None
        self._lines = _Lines([])
        self._entries: dict[int, _Entry] = {}  # number -> what the file says of it

    def update(self, finished: Sequence[Known], labels: Mapping[int, str]) -> None:
        """Append the points that are not in it; `labels`: their configs, by number.

        Written anew when it is missing, torn, not readable, or does not agree with `finished`, which is the whole history: a
        point that goes on after a rung is told again, and Optuna's format has no way to change a finished trial.
        """
        wanted = {known.number: _entry(known, labels.get(known.number, "")) for known in finished if known.outcome}
        if self._stamp is None or self._stamp != _stamp(self._path):
            self._load()
        if self._study is None or any(wanted.get(number) != entry for number, entry in self._entries.items()):
            self._begin()
        assert self._study is not None
        is_new, kept = not self._entries, len(self._lines.texts)
        for known in finished:
            if known.number in wanted and known.number not in self._entries:
                self._study.add_trial(self._trial(known, labels.get(known.number, "")))
        self._entries = wanted
        if is_new:
            write_text(self._path, "".join(self._lines.texts), sync=False)  # no more than an export
        elif len(self._lines.texts) > kept:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(self._lines.texts[kept:]))
        self._stamp = _stamp(self._path)

    def _load(self) -> None:
        """Take in what the file says; no study when it says nothing whole."""
        self._study, self._entries = None, {}
        try:
            text = self._path.read_text(encoding="utf-8")
            if not text.endswith("\n"):
                return
            self._lines = _Lines(text.splitlines(keepends=True))
            study = optuna.load_study(study_name=self._name, storage=optuna.storages.JournalStorage(self._lines))
            trials = study.get_trials(deepcopy=False)
            entries = {trial.user_attrs["number"]: _entry_of(trial) for trial in trials}
        except Exception:  # missing, or a line of which Optuna makes nothing, in whatever way: it is written anew
            return
        if study.directions == _directions(self._maximize) and len(entries) == len(trials):
            self._study, self._entries = study, entries

    def _begin(self) -> None:
        self._lines, self._entries = _Lines([]), {}
        storage = optuna.storages.JournalStorage(self._lines)
        self._study = optuna.create_study(study_name=self._name, storage=storage, directions=_directions(self._maximize))

    def _trial(self, known: Known, label: str) -> FrozenTrial:
        assert known.outcome is not None
        id, label, status, values, curve, violations = _entry(known, label)
        rows = {name: row for name, row in known.rows.items() if name in self._axes and self._axes[name].has(row)}
        return create_trial(
            state=_STATES.get(known.outcome.status, TrialState.FAIL) if values or status != Status.PASSED else TrialState.FAIL,
            values=values or None,
            params={name: shown_value(self._axes[name], row) for name, row in rows.items()},
            distributions={name: self._distributions[name] for name in rows},
            user_attrs={"number": known.number, "config": label, "point": id, "status": status},
            intermediate_values=dict(curve),
            constraints={str(i): value for i, value in enumerate(violations)},
        )


_Entry = tuple[str, str, str, tuple[float, ...], tuple[tuple[int, float], ...], tuple[float, ...]]
_STATES = {Status.PASSED: TrialState.COMPLETE, Status.PRUNED: TrialState.PRUNED}


def _entry(known: Known, label: str) -> _Entry:
    """What a study file says of a point. A number that is not finite has no place in JSON: the rest is said without it."""
    outcome = known.outcome
    assert outcome is not None
    values = outcome.values if outcome.status is Status.PASSED and all(map(math.isfinite, outcome.values)) else ()
    violations = outcome.violations if all(map(math.isfinite, outcome.violations)) else ()
    return (known.id, label, str(outcome.status), values, tuple(sorted(finite_curve(outcome).items())), violations)


def _entry_of(trial: FrozenTrial) -> _Entry:
    said = trial.user_attrs
    curve, violations = tuple(sorted(trial.intermediate_values.items())), tuple(trial.constraints.values())
    return (said["point"], said["config"], said["status"], tuple(trial.values or ()), curve, violations)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size


def shown_value(axis: Axis, row: Row) -> float | int | str:
    """A row as people know it."""
    number = parse_decimal(row[0]) if len(row) == 1 else None
    if number is None:
        return ", ".join(row)
    return int(number) if number == int(number) and "." not in row[0] else float(number)


def shown_distribution(axis: Axis) -> BaseDistribution:
    if axis.sampled is None:
        return CategoricalDistribution(tuple(dict.fromkeys(shown_value(axis, row) for row in axis.values)))
    return _distribution(axis)


class _Lines(BaseJournalBackend):
    """Optuna's journal format in memory."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self._logs = [json.loads(text) for text in texts]

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for log in logs:
            self.texts.append(json.dumps(log, separators=(",", ":")) + "\n")
            self._logs.append(json.loads(self.texts[-1]))
