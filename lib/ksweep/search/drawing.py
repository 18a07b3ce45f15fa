"""What all samplers share: points that are legal and new, and a clear end.

A sampler proposes a row for each axis that it is asked for. A draft that is not legal, or that was handed out before, is drawn
again, NUM_PROPOSALS times; then rows are drawn at random, without its model; a finite space that is not too large is gone
through to its end. So no draw is endless, and a finite space is handed out whole before a sampler gives up.

Every proposal has random numbers of its own, seeded by the search's seed, the point's number and the attempt: nothing depends
on what the process did before. What else a sampler must know of its past travels with its points, as their notes.
"""

import math
import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ksweep.search.base import Known, Outcome, Sampler, SearchSettings
from ksweep.search.grid import Left
from ksweep.space.axes import Axis, Draft, Row, Space, rounded, size
from ksweep.space.values import Sampled, parse_decimal

Choose = Callable[[Axis], Row]
NUM_RANDOM = 1_000  # random draws, where the model's proposals were all turned down
MAX_ENUMERATED = 100_000  # combinations: a larger space is not gone through to find what is left of it


class DrawingSampler(Sampler):
    """Hands out what `_proposal` proposes, when that is legal and new."""

    NUM_PROPOSALS: ClassVar[int] = 50  # a turned down one costs a point drawn, and what the model needs

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        self._ids: set[str] = set()
        self._left: Left | None = None

    @abstractmethod
    def _proposal(self, number: int, attempt: int) -> Choose:
        """A way to choose rows, the same one each time for the same history, number and attempt."""

    def _notes(self, number: int, draft: Draft, attempt: int | None) -> Mapping[str, Any]:
        """Notes of a point about to be handed out; `attempt`: of the proposal that made it; None: it was none of the model's."""
        return {}

    def _take(self, known: Known) -> None:
        """Take in a point of the history; all of its rows are on axes of the space."""

    def draw(self, number: int) -> tuple[Draft, Mapping[str, Any]] | None:
        """See Sampler."""
        for attempt in range(self.NUM_PROPOSALS):
            draft = self.space.draw(self._proposal(number, attempt))
            if self._is_new(draft):
                return self._hand_out(number, draft, attempt)
        rest = self._without_model(number)
        return self._hand_out(number, rest, None) if rest else None

    def adopt(self, number: int, draft: Draft) -> Mapping[str, Any]:
        """See Sampler."""
        return self._hand_out(number, draft, None)[1]

    def tell(self, number: int, outcome: Outcome) -> None:
        """See Sampler. What becomes of a point changes nothing here."""

    def restore(self, history: Sequence[Known]) -> None:
        """See Sampler."""
        axes = {axis.name: axis for axis in self.space.axes}
        for known in history:
            self._ids.add(known.id)
            if all(name in axes and axes[name].has(row) for name, row in known.rows.items()):
                self._take(known)

    def _is_new(self, draft: Draft) -> bool:
        return bool(draft.id) and draft.id not in self._ids

    def _hand_out(self, number: int, draft: Draft, attempt: int | None) -> tuple[Draft, Mapping[str, Any]]:
        self._ids.add(draft.id)
        return draft, self._notes(number, draft, attempt)

    def _without_model(self, number: int) -> Draft | None:
        combinations = size(self.space.axes)
        if combinations is not None and combinations <= MAX_ENUMERATED:
            self._left = self._left or Left(self.space, self.settings.seed)
            rest = self._left.next(self._ids)
            self.why_over = self._left.why_over
            return rest
        last = ""
        for attempt in range(NUM_RANDOM):
            draft = self.space.draw(random_rows(self.settings.seed, number, f"without model {attempt}"))
            if self._is_new(draft):
                return draft
            last = draft.reason or "it was handed out before"
        self.why_over = f"no new legal point was found in {self.NUM_PROPOSALS + NUM_RANDOM:,} draws; the last one: {last}"
        return None


def random_rows(seed: int, number: int, attempt: object) -> Choose:
    """Rows drawn uniformly, with random numbers of their own for this point and attempt."""
    rng = random.Random(f"{seed} {number} {attempt}")
    return lambda axis: row_at(axis, rng.random())


def model_seed(seed: int, number: int, attempt: int) -> int:
    """A seed (32 bits) for the random numbers of one proposal of a library."""
    return random.Random(f"{seed} {number} {attempt} model").getrandbits(32)


def row_at(axis: Axis, share: float) -> Row:
    """The row at `share` (0 to 1) of the way along an axis: in file order, or by its distribution."""
    if axis.sampled is None:
        return axis.values[min(int(share * len(axis.values)), len(axis.values) - 1)]
    low, high = ends(axis.sampled)
    # A whole number stands for the half step on either side of it, else the ends came half as often.
    half = float(axis.sampled.step or 1) / 2 if axis.sampled.is_whole else 0.0
    low, high = low - half, high + half
    drawn = math.exp(math.log(low) + share * math.log(high / low)) if axis.sampled.is_log else low + share * (high - low)
    return (rounded(axis, drawn),)


def ends(sampled: Sampled) -> tuple[float, float]:
    """The smallest and the largest value that it can draw."""
    return float(sampled.low), float(sampled.nearest(float(sampled.high)))


def is_ordered(axis: Axis) -> bool:
    """Whether its values are numbers that ascend or descend, so that neighbours are alike."""
    if axis.sampled:
        return True
    if len(axis.symbols) > 1:
        return False
    numbers = [number for row in axis.values if (number := parse_decimal(row[0])) is not None]
    return len(numbers) == len(axis.values) and numbers in (sorted(numbers), sorted(numbers, reverse=True))
