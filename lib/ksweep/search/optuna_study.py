"""What the tuner's API needs of Optuna: its users' own samplers, as samplers of ours, and studies in its users' storages.

A study is a record and no more: a trial is added when it has ended, whole, so that a process killed at any time leaves none
half done. Proposals are made over trials in memory, rebuilt from the record.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState, create_trial

from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, SearchSettings
from ksweep.search.drawing import Choose, DrawingSampler, row_at
from ksweep.search.optuna_samplers import Coding, TpeSampler, shown_distribution, shown_value
from ksweep.space.axes import Axis, Draft, Row, Space

_RECORD = "record"  # the user attribute of a trial that holds all that is known of it


class NearbyTpeSampler(TpeSampler):
    """TPE that gives up soon, and then looks around the best point: one to three axes moved. Over fifty axes a proposal takes a
    tenth of a second, most are known points again, and one drawn at random is hopeless."""

    NUM_PROPOSALS = 3
    NUM_NEARBY = 300

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        self._rows: dict[int, Mapping[str, Row]] = {}

    def _keep(self, number: int, rows: Mapping[str, Row]) -> None:
        super()._keep(number, rows)
        self._rows[number] = rows

    def _without_model(self, number: int) -> Draft | None:
        allowed = {at: of.values[0] for at, of in self._outcomes.items() if _state(of)[0] is TrialState.COMPLETE}
        if allowed:
            best = self._rows[max(allowed, key=lambda at: (allowed[at], -at))]
            for attempt in range(self.NUM_NEARBY):
                rng = random.Random(f"{self.settings.seed} {number} nearby {attempt}")
                moved = set(rng.sample(sorted(best), min(1 + attempt % 3, len(best))))
                draft = self.space.draw(
                    lambda axis, rng=rng, moved=moved: (  # type: ignore[misc]
                        row_at(axis, rng.random()) if axis.name in moved else best[axis.name]
                    )
                )
                if self._is_new(draft):
                    return draft
        return super()._without_model(number)


class GivenSampler(DrawingSampler):
    """Any sampler of Optuna's, as its user made it. Points that break a constraint count as pruned: it may know of none.

    Its random state lives as long as it does: a search that was killed goes on with the sampler's first numbers again, and
    never proposes a known point twice all the same.
    """

    NUM_PROPOSALS = 10

    def __init__(self, space: Space, settings: SearchSettings, sampler: BaseSampler) -> None:
        super().__init__(space, settings)
        self._codings = {axis.name: Coding(axis) for axis in space.axes}
        self._study = optuna.create_study(direction="maximize" if settings.maximize[0] else "minimize", sampler=sampler)
        self._trials: dict[int, Trial] = {}
        self._asked: Trial | None = None  # a proposal that nobody has taken yet

    def tell(self, number: int, outcome: Outcome) -> None:
        """See Sampler."""
        if trial := self._trials.pop(number, None):
            state, value = _state(outcome)
            self._study.tell(trial, value, state)

    def _proposal(self, number: int, attempt: int) -> Choose:
        self._turn_down()
        self._asked = trial = self._study.ask()
        return lambda axis: self._codings[axis.name].suggest(trial)

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        if attempt is None:  # none of its own
            self._turn_down()
            self._study.enqueue_trial({name: self._codings[name].value(row) for name, row in draft.rows.items()})
            self._asked = self._study.ask()
            for name in draft.rows:
                self._codings[name].suggest(self._asked)
        assert self._asked is not None
        self._trials[number], self._asked = self._asked, None
        return {}

    def _take(self, known: Known) -> None:
        if known.outcome is None:
            return
        state, value = _state(known.outcome)
        self._study.add_trial(
            create_trial(
                state=state,
                value=value,
                params={name: self._codings[name].value(row) for name, row in known.rows.items()},
                distributions={name: self._codings[name].distribution for name in known.rows},
            )
        )

    def _turn_down(self) -> None:
        if self._asked is not None:
            self._study.tell(self._asked, state=TrialState.FAIL)
            self._asked = None


def _state(outcome: Outcome) -> tuple[TrialState, float | None]:
    if outcome.status is Status.PASSED and all(map(math.isfinite, outcome.values)):
        if any(violation > 0 for violation in outcome.violations):
            return TrialState.PRUNED, None
        return TrialState.COMPLETE, outcome.values[0]
    return TrialState.FAIL, None


def grid_of(sampler: BaseSampler | None) -> Mapping[str, Sequence[Any]] | None:
    """The values by name that a sampler of Optuna's goes through one by one; {}: of all parameters; None: it is none of those."""
    if isinstance(sampler, GridSampler):
        return dict(sampler._search_space)
    return {} if isinstance(sampler, BruteForceSampler) else None


class StudyRecord:
    """A study that keeps ended trials with all that is known of them, in a storage of Optuna's (a URL, an object, None: memory).

    optuna.exceptions.DuplicatedStudyError when it exists and `load_if_exists` is not given. `known`: what it held when it was
    opened, in order.
    """

    def __init__(self, name: str, storage: Any, *, load_if_exists: bool) -> None:
        try:
            self.study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", load_if_exists=load_if_exists
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise optuna.exceptions.DuplicatedStudyError(
                f'the study "{name}" is in {storage} already: load_if_exists=True goes on with it,'
                " another study_name starts a new one"
            ) from None
        attrs = (trial.user_attrs for trial in self.study.get_trials(deepcopy=False))
        self.known: list[dict[str, Any]] = [json.loads(attr[_RECORD]) for attr in attrs if _RECORD in attr]

    def add(
        self,
        record: Mapping[str, Any],
        *,
        axes: Sequence[Axis],
        rows: Mapping[str, Row],
        value: float | None,
        shown: Mapping[str, Any],
    ) -> None:
        """Keep an ended trial: COMPLETE with its value; without one PRUNED where it has an accuracy, else FAIL.
        `shown`: what of it becomes an attribute of its own, for dashboards."""
        state = TrialState.COMPLETE if value is not None else TrialState.FAIL if shown["accuracy"] is None else TrialState.PRUNED
        attrs = {_RECORD: json.dumps(record), **{name: shown[name] for name in _SHOWN}}
        params = {axis.name: shown_value(axis, rows[axis.name]) for axis in axes}
        distributions = {axis.name: shown_distribution(axis) for axis in axes}
        try:
            self.study.add_trial(
                create_trial(state=state, value=value, params=params, distributions=distributions, user_attrs=attrs)
            )
        except ValueError:  # the choices were others when the study began, which Optuna does not allow: the record tells all
            self.study.add_trial(create_trial(state=state, value=value, user_attrs=attrs))

    def note(self, name: str, value: Any) -> None:
        """Keep a fact (JSON) with the study."""
        self.study.set_user_attr(name, value)

    def noted(self, name: str) -> Any:
        """A fact that was kept; None when there is none of this name."""
        return self.study.user_attrs.get(name)


_SHOWN = ("layer_name", "accuracy", "speed", "status", "reason", "num_bytes")  # as attributes of their own, for dashboards


def merged(name: str, records: Sequence[Mapping[str, Any]]) -> Study:
    """One study in memory, to look at, of trials that were searched apart: `params` with the `layer` that they are of."""
    study = optuna.create_study(study_name=name, direction="maximize")
    of_each = [{**record["params"], "layer": record["layer_name"]} for record in records]
    values: dict[str, list[Any]] = {}
    for params in of_each:
        for param, value in params.items():
            values.setdefault(param, []).append(value)
    distributions = {param: _around(all_values) for param, all_values in values.items()}
    for record, params in zip(records, of_each, strict=True):
        state = TrialState.PRUNED if record["score"] is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                value=record["score"],
                params=params,
                distributions={param: distributions[param] for param in params},
                user_attrs={key: record[key] for key in _SHOWN},
            )
        )
    return study


def _around(values: Sequence[Any]) -> BaseDistribution:
    """One that all the values are of."""
    if all(isinstance(value, int) for value in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(tuple(dict.fromkeys(values)))
