"""Population based training: after each interval the last of the population become perturbed copies of the first.

Jaderberg et al. 2017, Algorithm 1, with truncation selection: the last quarter copy members of the first quarter (the paper: a
fifth), and each setting is drawn anew with probability 0.25, else multiplied by 0.8 or 1.2; the numbers are Ray Tune's
(PopulationBasedTraining: quantile_fraction, resample_probability, perturbation_factors). Departures: generations are
synchronous, so that the same history gives the same copies; a perturbed copy is a new point, which starts from its parent's
checkpoint, as a run directory has one configuration; a member that failed is replaced as well; only axes of numbers are
perturbed, listed ones by one place up or down, as a checkpoint of another model or optimizer could not be loaded. For the
same reason an axis that changes the shape of a network cannot be searched like this.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ksweep.search.base import Sampler, SearchSettings, Start
from ksweep.search.drawing import is_ordered, row_at
from ksweep.search.rung_strategy import RungStrategy
from ksweep.search.rungs import counted, generation_ends
from ksweep.space.axes import Axis, Row, rounded

DEFAULT_POPULATION = 10
SHARE_REPLACED = 4  # one in four
FACTORS = (0.8, 1.2)
RESAMPLE_PROBABILITY = 0.25
MAX_TRIES = 100  # to find a perturbed copy that is legal and new; without one, the member stays as it is


class Pbt(RungStrategy):
    """`num_points` is the population, `min_resource` the interval. Its members cost as much as so many complete runs.

    Notes of a copy: its `parent`, its `slot` in the population, the `generation` (from 1) in which it first trains. It is
    handed out before its parent goes on: only until then is the checkpoint that it starts from the parent's newest.
    """

    NAME = "pbt"
    ENDS_BY_ITSELF = True

    def __init__(self, sampler: Sampler, settings: SearchSettings) -> None:
        super().__init__(sampler, settings)
        self._size = settings.num_points or DEFAULT_POPULATION
        self._ends = generation_ends(settings.min_resource, settings.max_resource)

    @property
    def num_points(self) -> int:
        """A population and its copies; more where members fail, fewer where the space is small."""
        return self._size + (len(self._ends) - 1) * self._num_copies(self._size)

    @property
    def total_resource(self) -> int:
        return self._size * self.settings.max_resource

    def table(self) -> str:
        num_copies, unit = self._num_copies(self._size), self.settings.unit
        total = counted(self.total_resource, unit)
        return (
            f"pbt: a population of {self._size}, {len(self._ends)} generations, to {unit}s {', '.join(map(str, self._ends))}\n"
            f"  after each but the last, {num_copies} become perturbed copies of the best {num_copies}: "
            f"{self.num_points} points, more where some fail\n"
            f"  {total}, as much as {counted(self._size, 'complete run')}"
        )

    def loss_reason(self, number: int) -> str:
        copy = next((copy for copy in self._notes if self._notes[copy].get("replaces") == number), None)
        if copy is None:
            return ""
        parent, generation = self._notes[copy]["parent"], self._notes[copy]["generation"] - 1
        end = self._ends[generation - 1]
        if not self._is_waiting(number, end):
            return ""
        return (
            f"generation {generation} of {len(self._ends)} (to {self.settings.unit} {end}): {self._shown(number, end)}; "
            f"point {copy} takes its place, a perturbed copy of point {parent}, which has {self._shown(parent, end)}"
        )

    def _rung_problems(self) -> list[str]:
        settings, problems = self.settings, []
        if settings.num_points is not None and settings.num_points < 2:
            problems.append(f"CONFIG_SWEEP_TRIALS: found {settings.num_points}, allowed: a population of 2 or more")
        if not 1 <= settings.min_resource < settings.max_resource:
            problems.append(
                f"CONFIG_SWEEP_PBT_INTERVAL: found {settings.min_resource}, allowed: 1 or more and below the "
                f"{counted(settings.max_resource, settings.unit)} of a complete run, else nothing is ever exchanged"
            )
        return problems

    def _next(self) -> Start | None:
        if len(self._founders()) < self._size and (start := self._new_point(until=self._stop(self._ends[0]))):
            return start
        population = self._founders()
        for generation, end in enumerate(self._ends[:-1], start=2):
            if not all(self._is_done(number, end) for number in population):
                return None
            if start := self._copy(population, generation, end) or self._survivor(population, generation, end):
                return start
            population = [self._member(slot, number, generation) for slot, number in enumerate(population)]
        return None

    def _is_drawn(self, notes: Mapping[str, Any]) -> bool:
        return "parent" not in notes

    def _founders(self) -> list[int]:
        return sorted(number for number, notes in self._notes.items() if self._is_drawn(notes))

    def _member(self, slot: int, number: int, generation: int) -> int:
        """Who trains in this slot in this generation, where `number` did before: its copy, or itself."""
        key = {"slot": slot, "generation": generation}
        return next((copy for copy, notes in self._notes.items() if key.items() <= notes.items()), number)

    def _copy(self, population: Sequence[int], generation: int, end: int) -> Start | None:
        """A copy for the first slot that needs one."""
        ranked = self._ranked(population, end)
        num_copies = self._num_copies(len(population))
        parents = [number for number in ranked[:num_copies] if self._is_waiting(number, end)]
        for slot, number in enumerate(population):
            is_last = number in ranked[num_copies:][-num_copies:] and self._is_waiting(number, end)
            needs_one = self._member(slot, number, generation) == number and (is_last or self._is_out(number))
            if needs_one and parents and (start := self._perturbed(parents, slot, number, generation)):
                return start
        return None

    def _num_copies(self, size: int) -> int:
        return max(1, size // SHARE_REPLACED)

    def _survivor(self, population: Sequence[int], generation: int, end: int) -> Start | None:
        for slot, number in enumerate(population):
            if self._member(slot, number, generation) == number and self._is_waiting(number, end):
                return self._go_on(number, self._ends[generation - 1])
        return None

    def _perturbed(self, parents: Sequence[int], slot: int, replaced: int, generation: int) -> Start | None:
        number = self._next_number
        rng = random.Random(f"pbt {self.settings.seed} {number}")
        parent = rng.choice(parents)
        for _ in range(MAX_TRIES):
            draft = self.sampler.space.draw(perturbation(self._rows[parent], rng))
            if draft.id and draft.id not in self._ids:
                notes = {"parent": parent, "replaces": replaced, "slot": slot, "generation": generation}
                return self._started(number, draft, self._stop(self._ends[generation - 1]), notes, parent)
        return None

    def _restart(self, number: int) -> Start:
        """A copy starts from its parent's checkpoint where it has none of its own."""
        notes = self._notes[number]
        first = self._ends[notes.get("generation", 1) - 1]
        resource = max(self._resources[number], first)
        rung = next((end for end in self._ends if end >= resource), self.settings.max_resource)
        return self._go_on(number, rung, notes.get("parent"))

    def _ladder(self, number: int) -> Sequence[int]:
        return self._ends


def perturbation(rows: Mapping[str, Row], rng: random.Random) -> Callable[[Axis], Row]:
    """Rows near these; an axis that was not active there is drawn at random."""

    def choose(axis: Axis) -> Row:
        row = rows.get(axis.name)
        if row is None:
            return row_at(axis, rng.random())
        if not is_ordered(axis):
            return row
        if rng.random() < RESAMPLE_PROBABILITY:
            return row_at(axis, rng.random())
        return _scaled(axis, row, rng) if axis.sampled else _neighbour(axis, row, rng)

    return choose


def _scaled(axis: Axis, row: Row, rng: random.Random) -> Row:
    factor = rng.choice(FACTORS)
    text = rounded(axis, float(row[0]) * factor)
    if text == row[0] and axis.sampled and axis.sampled.is_whole:  # a small whole number: the next one, else it would never move
        text = rounded(axis, float(row[0]) + float(axis.sampled.step or 1) * (1 if factor > 1 else -1))
    return (text,)


def _neighbour(axis: Axis, row: Row, rng: random.Random) -> Row:
    place = axis.values.index(row) + rng.choice((-1, 1))
    return axis.values[min(max(place, 0), len(axis.values) - 1)]
