"""The search itself: each group alone, then all of them together. Every ended trial is kept before the next one starts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from ksweep.contract.outcome import Status
from ksweep.search.base import Known, Outcome, Sampler
from ksweep.space.axes import Draft, Row, Space
from ksweep.tuner.allocation import Candidate, Choice, damage, frontier, per_error
from ksweep.tuner.assessor import Assessor, Point
from ksweep.tuner.groups import Group, Settings, identity
from ksweep.tuner.optuna_search import OptunaSearch
from ksweep.tuner.space import CombinedSpace, GroupSpace
from ksweep.tuner.trials import COMBINED, Trial, TrialStatus

if TYPE_CHECKING:
    from ksweep.search.optuna_study import StudyRecord

_NUM_CONSTRAINTS = 1  # the floor


@dataclass(kw_only=True)
class Part:
    """One search of the engine: its space, what a point of it replaces, its record, its trials so far."""

    name: str
    space: Space
    sampler: Sampler
    record: "StudyRecord"
    point_of: Callable[[Draft], Point]
    trials: list[Trial] = field(default_factory=list)
    next_number: int = 0


@dataclass(kw_only=True)
class Search:
    """`trials`: all that have ended, in that order. `known`: id of a model -> its trial, over all parts, so that nothing is
    evaluated twice."""

    assessor: Assessor
    algorithm: OptunaSearch
    dense: Trial
    say: Callable[[str], None]
    layers: Mapping[str, nn.Module]
    wide: int = 0  # columns of a name in lines
    trials: list[Trial] = field(default_factory=list)
    known: dict[str, Trial] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)  # layers of which there is nothing to try, and why

    def group(self, group: Group) -> list[Trial]:
        """Trials of a group, all other layers dense, in the order of their evaluation."""
        space = GroupSpace(group, self.algorithm.grid())
        num_distinct = space.distinct()
        if num_distinct == 0:
            self._leave(group, "no setting of its config stores less than it does")
            return []

        def point_of(draft: Draft) -> Point:
            params = space.params(draft.rows)
            return Point(layer_name=group.name, params=params, settings=group.settings(params))

        part = self._open(group.name, space, num_distinct, point_of)
        most = self.algorithm.n_trials if num_distinct is None else min(self.algorithm.n_trials, num_distinct)
        self._go_on(part, most)
        if not part.trials:
            self._leave(group, part.sampler.why_over)
        return part.trials

    def _leave(self, group: Group, why: str) -> None:
        self.say(f"{group.name}: stays dense: {why}")
        self.left |= dict.fromkeys(group.layers, why)

    def combined(self, groups: Sequence[Group], of_groups: Mapping[str, Sequence[Trial]]) -> list[Trial]:
        """Trials of several groups together, among the candidates that are worth it alone.

        First the points of the knapsack's frontier, by bisection for the last one above the floor; then the engine around them.
        """
        candidates = {group.name: self._candidates(of_groups[group.name]) for group in groups}
        candidates = {name: [self.dense, *of_group] for name, of_group in candidates.items() if of_group}
        if len(candidates) < 2:
            return []
        by_name = {group.name: group for group in groups}
        worth = self._worth(candidates)

        def settings_of(choice: Mapping[str, int]) -> Settings:
            made: dict[str, Any] = {}
            for name, place in choice.items():
                made |= by_name[name].settings(dict(candidates[name][place].params)) if place else {}
            return made

        def identity_of(choice: Mapping[str, int]) -> str:
            return identity(self.layers, settings_of(choice)) if any(choice.values()) and self._may_win(choice, worth) else ""

        def point_of(draft: Draft) -> Point:
            choice = {name: int(row[0]) for name, row in draft.rows.items()}
            params = {f"{name}.{key}": value for name, i in choice.items() for key, value in candidates[name][i].params.items()}
            return Point(layer_name=COMBINED, params=params, settings=settings_of(choice))

        space = CombinedSpace({name: len(of_group) for name, of_group in candidates.items()}, identity_of)
        num_distinct = 1
        for of_group in candidates.values():
            num_distinct *= len(of_group)
        part = self._open(COMBINED, space, num_distinct, point_of, others=self._singles(candidates, space))
        num_new = num_distinct - 1 - sum(len(of_group) - 1 for of_group in candidates.values())
        most = min(self.algorithm.n_trials, num_new)
        path = [choice for choice in frontier(worth) if sum(map(bool, choice.values())) > 1]
        self.say(f"{COMBINED}: {len(candidates)} groups, {num_new} combinations, up to {most} evaluations")
        self._bisect(part, path, most)
        self._go_on(part, most)
        return part.trials

    def _candidates(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that are worth it alone, by rising damage; no one that another beats in both."""
        worth = [trial for trial in trials if trial.is_eligible and self._gain(trial) > 0 and self._is_harmless(trial)]
        # Of attention no error is known: the accuracy that it loses by itself has to do.
        worth.sort(key=lambda trial: (max(self._drop(trial), 0.0) if trial.error is None else trial.error, -self._gain(trial)))
        front: list[Trial] = []
        for trial in worth:
            if not front or self._gain(trial) > self._gain(front[-1]):
                front.append(trial)
        return front

    def _is_harmless(self, trial: Trial) -> bool:
        """Without a floor nothing says how much accuracy may be given up: none."""
        if self.assessor.goal.floor is not None:
            return True
        return trial.accuracy is not None and self.dense.accuracy is not None and trial.accuracy >= self.dense.accuracy

    def _gain(self, trial: Trial) -> float:
        """What a trial saves against dense: time, as that adds up over layers; where no speed is known, stored bytes."""
        own, dense = trial.speed, self.dense.speed
        if own is None or dense is None:
            return float(self.dense.num_bytes - trial.num_bytes)
        return 1 / dense - 1 / own if own > 0 and dense > 0 else own - dense

    def _worth(self, candidates: Mapping[str, Sequence[Trial]]) -> dict[str, list[Candidate]]:
        drops = {id(trial): self._drop(trial) for of_group in candidates.values() for trial in of_group}
        pairs = [(drops[id(t)], t.error) for of_group in candidates.values() for t in of_group[1:] if t.error is not None]
        slope = per_error(pairs)
        return {
            name: [
                Candidate(gain=0.0, damage=0.0),
                *(Candidate(gain=self._gain(t), damage=damage(drops[id(t)], t.error, slope)) for t in of_group[1:]),
            ]
            for name, of_group in candidates.items()
        }

    def _drop(self, trial: Trial) -> float:
        return (self.dense.accuracy or 0.0) - (trial.accuracy or 0.0)

    def _may_win(self, choice: Mapping[str, int], worth: Mapping[str, Sequence[Candidate]]) -> bool:
        """Whether a choice of several groups may beat the best so far. The tuner's own speeds are sums, known before anything is
        evaluated; what a user's function will say is not."""
        if self.assessor.speed_func is not None or self.assessor.goal.floor is None or sum(map(bool, choice.values())) < 2:
            return True
        best = max((self._gain(trial) for trial in self.known.values() if trial.is_eligible), default=0.0)
        return sum(worth[name][place].gain for name, place in choice.items()) > best * (1 + 1e-9)

    def _singles(self, candidates: Mapping[str, Sequence[Trial]], space: CombinedSpace) -> list[Known]:
        """What is known of points with one group replaced: they are points of the combined space."""
        known = []
        for name, of_group in candidates.items():
            for place, trial in enumerate(of_group[1:], 1):
                rows: dict[str, Row] = {other: (str(place if other == name else 0),) for other in candidates}
                id = space.draw(lambda axis, rows=rows: rows[axis.name]).id  # type: ignore[misc]
                known.append((id, rows, self._outcome(trial)))
        return [Known(number=i - len(known), id=id, rows=rows, outcome=of) for i, (id, rows, of) in enumerate(known)]

    def _open(
        self,
        name: str,
        space: Space,
        num_distinct: int | None,
        point_of: Callable[[Draft], Point],
        others: Sequence[Known] = (),
    ) -> Part:
        """A part with what its record holds taken in. `others`: points that are known from elsewhere."""
        record = self.algorithm.open(name)
        sampler = self.algorithm.make_sampler(space, num_distinct, _NUM_CONSTRAINTS)
        part = Part(name=name, space=space, sampler=sampler, record=record, point_of=point_of)
        history = list(others)
        for kept in record.known:
            rows = {axis: tuple(row) for axis, row in kept["rows"].items()}
            trial = self._taken_back(part, kept, rows)
            if trial is not None:
                history.append(Known(number=part.next_number, id=kept["id"], rows=rows, outcome=self._outcome(trial)))
                part.next_number += 1
                self._take(part, kept["id"], trial)
        sampler.restore(history)
        if part.trials:
            self.say(f"{name}: going on after {len(part.trials)} finished trials")
        return part

    def _taken_back(self, part: Part, kept: Mapping[str, Any], rows: Mapping[str, Row]) -> Trial | None:
        """A trial of a record by the goal of now; None: two processes kept it, the space has changed since and is without it, or
        the goal needs a number that it lacks."""
        axes = {axis.name: axis for axis in part.space.axes}
        if kept["id"] in self.known or rows.keys() != axes.keys() or not all(axes[name].has(row) for name, row in rows.items()):
            return None
        point = part.point_of(Draft(rows=dict(rows), values={}))
        if identity(self.layers, point.settings) != kept["id"]:
            return None
        trial = Trial.of_json(kept["trial"])
        again = self.assessor.goal.judged(trial)
        return None if again.status is TrialStatus.FAILED and trial.status is not TrialStatus.FAILED else again

    def _take(self, part: Part, id: str, trial: Trial) -> None:
        part.trials.append(trial)
        self.trials.append(trial)
        self.known[id] = trial
        if part.name != COMBINED:
            self.algorithm.records.append(trial.as_json())

    def _outcome(self, trial: Trial) -> Outcome:
        if trial.status is TrialStatus.FAILED or trial.accuracy is None:
            return Outcome(status=Status.FAILED)
        score = self.assessor.goal.score(trial.accuracy, trial.speed)
        if score is None:
            return Outcome(status=Status.FAILED)
        floor = self.assessor.goal.floor
        return Outcome(status=Status.PASSED, values=(score,), violations=(0.0 if floor is None else floor - trial.accuracy,))

    def _go_on(self, part: Part, most: int) -> None:
        """Evaluate points of the sampler's until there are `most` trials, or no new point is left."""
        started, num_before = time.monotonic(), len(part.trials)
        while len(part.trials) < most:
            batch = []
            for _ in range(min(self.assessor.num_workers, most - len(part.trials))):
                drawn = part.sampler.draw(part.next_number)
                if drawn is None:
                    break
                batch.append((part.next_number, drawn[0]))
                part.next_number += 1
            if not batch:
                return
            self._run(part, batch)
            each = (time.monotonic() - started) / (len(part.trials) - num_before)
            left = (most - len(part.trials)) * each
            for trial in part.trials[-len(batch) :]:
                self._report(part, trial, most, left)

    def _bisect(self, part: Part, path: Sequence[Choice], most: int) -> None:
        """Evaluate points of the path for the last one above the floor, as if accuracy fell along it."""
        low, high = -1, len(path)  # the last known to pass, the first known not to
        probe = len(path) - 1
        while low + 1 < high and len(part.trials) < most:
            rows = {name: (str(place),) for name, place in path[probe].items()}
            draft = part.space.draw(lambda axis, rows=rows: rows[axis.name])  # type: ignore[misc]
            if not draft.id:  # it cannot win: what is above the floor and as fast is known
                low, probe = probe, (probe + high) // 2
                continue
            trial = self.known.get(draft.id)
            if trial is None:
                part.sampler.adopt(part.next_number, draft)
                self._run(part, [(part.next_number, draft)])
                part.next_number += 1
                trial = part.trials[-1]
                self._report(part, trial, most)
            low, high = (probe, high) if trial.is_eligible else (low, probe)
            probe = (low + high) // 2

    def _report(self, part: Part, trial: Trial, most: int, left: float | None = None) -> None:
        """A line: place, what came of it, its numbers, its setting; `left`: seconds that this part may take yet."""
        place = f"{part.trials.index(trial) + 1:{len(str(most))}}/{most}"
        faster = ""
        if trial.speed is not None and self.dense.speed is not None:
            is_ratio = trial.speed > 0 and self.dense.speed > 0
            faster = f"{trial.speed / self.dense.speed:.3f} x dense" if is_ratio else f"speed {trial.speed:.5g}"
        accuracy = "" if trial.accuracy is None else f"accuracy {trial.accuracy:.5f}"
        what = f"{len(trial.settings)} layers" if part.name == COMBINED else " ".join(f"{k} {v}" for k, v in trial.params.items())
        why = trial.reason if trial.status is TrialStatus.FAILED else f"at most {left:.0f} s left" if left and left >= 1 else ""
        self.say(f"{part.name:{self.wide}}  {place}  {trial.status:8}  {accuracy:16}  {faster:14}  {what:28}  {why}".rstrip())

    def _run(self, part: Part, batch: Sequence[tuple[int, Draft]]) -> None:
        """Evaluate, tell, keep."""
        trials = self.assessor.measure([part.point_of(draft) for _, draft in batch])
        for (number, draft), trial in zip(batch, trials, strict=True):
            part.sampler.tell(number, self._outcome(trial))
            kept = {"trial": trial.as_json(), "id": draft.id, "rows": draft.rows}
            part.record.add(kept, axes=part.space.axes, rows=draft.rows, value=trial.score, shown=trial.as_json())
            self._take(part, draft.id, trial)


def told(trial: Trial) -> str:
    """The numbers of a trial."""
    numbers = (("accuracy", trial.accuracy), ("speed", trial.speed))
    return ", ".join(f"{name} {value:.5g}" for name, value in numbers if value is not None)
