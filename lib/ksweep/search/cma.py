"""CMA-ES: a normal distribution over the axes of numbers, moved and shaped by which of its points did best."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ksweep.contract.errors import RequestError
from ksweep.search.base import Known, Outcome, SearchSettings
from ksweep.search.drawing import Choose, DrawingSampler, is_ordered, model_seed, random_rows, row_at
from ksweep.search.lesson import rank_key
from ksweep.space.axes import Draft, Row, Space


class CmaesSampler(DrawingSampler):
    """CMA-ES (Hansen 2016) of the package `cmaes`, in the unit cube of the axes of numbers; other axes are drawn at random.

    Not through Optuna's adapter to the same package: that one keeps its state as pickles, and leaves conditional axes to
    chance. Here an axis that is inactive keeps its coordinate. A generation is ranked as soon as enough of its points ended;
    only ranks count, so that pruned points and broken constraints take part.

    Notes of a point: `generation` and `x`, where it was drawn; and, when it is the first of a generation, `told`, the points
    that the one before was ranked by. They rebuild the state. When the space has changed, the search begins anew in it.
    """

    NAME = "cmaes"

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        if len(settings.maximize) > 1:
            raise RequestError(
                f"cmaes ranks by one objective, found {len(settings.maximize)}; name one, or take nsga2, tpe or gp"
            )
        self._axes = [axis for axis in space.axes if is_ordered(axis) and (axis.sampled or len(axis.values) > 1)]
        if not self._axes:
            raise RequestError("cmaes needs an axis of numbers that ascend or descend, found none; add one, or take tpe")
        self._place = {axis.name: i for i, axis in enumerate(self._axes)}
        self._points: dict[int, list[float]] = {}  # where the points of the open generation and of all before were drawn
        self._generation_of: dict[int, int] = {}
        self._closed: list[list[int]] = []  # for each closed generation, the points that it was ranked by
        self._keys: dict[int, tuple[float, ...]] = {}
        self._states = [self._first_state()]  # of the first generations; the rest is made when needed
        self._closing: list[int] = []
        self._x: list[float] = []

    def tell(self, number: int, outcome: Outcome) -> None:
        """See Sampler."""
        generation, key = self._generation_of.get(number), rank_key(outcome, self.settings)
        if generation is None or key is None or self._keys.get(number) == key:
            return
        self._keys[number] = key
        if generation < len(self._closed) and number in self._closed[generation]:
            del self._states[generation + 1 :]  # it was ranked by something else before

    def restore(self, history: Sequence[Known]) -> None:
        """See Sampler."""
        super().restore(history)
        own = [known for known in history if "x" in known.notes or "told" in known.notes]
        if not all(self._is_reproduced(known) for known in own):
            return
        for known in own:
            if "told" in known.notes:
                self._closed.append(list(known.notes["told"]))
            if "x" in known.notes:
                self._points[known.number] = list(known.notes["x"])
                self._generation_of[known.number] = known.notes["generation"]
        for known in own:
            if known.outcome:
                self.tell(known.number, known.outcome)

    def _is_reproduced(self, known: Known) -> bool:
        """Whether the point lies in this space where it was drawn."""
        x = known.notes.get("x")
        if x is None:
            return True
        rows = {axis.name: known.rows[axis.name] for axis in self._axes if axis.name in known.rows}
        return len(x) == len(self._axes) and all(self._row(name, x) == row for name, row in rows.items())

    def _proposal(self, number: int, attempt: int) -> Choose:
        if attempt == 0:
            self._closing = self._ranking()
        optimizer = copy.deepcopy(self._state([*self._closed, *([self._closing] if self._closing else [])]))
        optimizer._rng.seed(model_seed(self.settings.seed, number, attempt))  # no public way; Optuna does the same
        x = self._x = [float(share) for share in optimizer.ask()]
        by_chance = random_rows(self.settings.seed, number, attempt)
        return lambda axis: self._row(axis.name, x) if axis.name in self._place else by_chance(axis)

    def _row(self, name: str, x: Sequence[float]) -> Row:
        return row_at(self._axes[self._place[name]], x[self._place[name]])

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        notes: dict[str, Any] = {}
        if self._closing:
            self._closed.append(self._closing)
            notes["told"] = self._closing
        if attempt is not None:
            self._points[number], self._generation_of[number] = self._x, len(self._closed)
            notes |= {"generation": len(self._closed), "x": self._x}
        return notes

    def _ranking(self) -> list[int]:
        """The points that the open generation is ranked by, once there are enough."""
        generation = len(self._closed)
        ended = sorted(number for number in self._keys if self._generation_of[number] == generation)
        enough = self._states[0].population_size
        return ended[:enough] if len(ended) >= enough else []

    def _state(self, closed: Sequence[list[int]]) -> Any:
        """The distribution after these generations."""
        while len(self._states) <= len(closed):
            numbers = sorted(closed[len(self._states) - 1], key=lambda number: self._keys[number])
            state = copy.deepcopy(self._states[-1])
            import numpy as np

            state.tell([(np.array(self._points[number]), float(rank)) for rank, number in enumerate(numbers)])
            self._states.append(state)
        return self._states[len(closed)]

    def _first_state(self) -> Any:
        import cmaes
        import numpy as np

        dimensions = len(self._axes)
        bounds = np.array([[0.0, 1.0]] * dimensions)
        return cmaes.CMA(mean=np.full(dimensions, 0.5), sigma=1 / 6, bounds=bounds, seed=self.settings.seed % 2**32)
