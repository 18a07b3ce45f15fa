"""The samplers without a model: at random, and by Sobol's sequence. What becomes of their points changes nothing."""

from collections.abc import Mapping
from typing import Any

from ksweep.search.base import Known, SearchSettings
from ksweep.search.drawing import Choose, DrawingSampler, random_rows, row_at
from ksweep.space.axes import Draft, Space


class RandomSampler(DrawingSampler):
    """Every row by chance."""

    NAME = "random"

    def _proposal(self, number: int, attempt: int) -> Choose:
        return random_rows(self.settings.seed, number, attempt)


class QmcSampler(DrawingSampler):
    """Sobol's sequence, scrambled (Owen), one coordinate an axis: covers the space more evenly than chance does.

    Not Optuna's, which draws its first point and all conditional axes at random. Here a coordinate of an inactive axis is
    passed over, and the others keep their evenness. Notes: `sobol`, the index in the sequence, so that the next one is known.
    """

    NAME = "qmc"

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        from scipy.stats import qmc  # a second to import

        self._sequence = qmc.Sobol(max(1, len(space.axes)), scramble=True, rng=settings.seed)
        self._place = {axis.name: i for i, axis in enumerate(space.axes)}
        self._next = 0

    def _proposal(self, number: int, attempt: int) -> Choose:
        point = self._point(self._next + attempt)
        return lambda axis: row_at(axis, float(point[self._place[axis.name]]))

    def _point(self, index: int) -> Any:
        if index < self._sequence.num_generated:
            self._sequence.reset()
        if index > self._sequence.num_generated:
            self._sequence.fast_forward(index - self._sequence.num_generated)
        return self._sequence.random(1)[0]

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        index = self._next + (self.NUM_PROPOSALS - 1 if attempt is None else attempt)
        self._next = index + 1
        return {"sobol": index}

    def _take(self, known: Known) -> None:
        self._next = max(self._next, int(known.notes.get("sobol", -1)) + 1)
