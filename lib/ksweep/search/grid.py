"""Every combination of a finite space, in an order whose every beginning covers it evenly."""

from collections.abc import Mapping, Sequence
from typing import Any

from ksweep.contract.errors import RequestError
from ksweep.search.base import Known, Outcome, Sampler, SearchSettings
from ksweep.space.axes import Axis, Draft, Row, Space, size
from ksweep.space.grid import space_filling_cells
from ksweep.space.values import decimal_text


class GridSampler(Sampler):
    """Hands out a finite space whole. RequestError where an axis has no list of values."""

    NAME = "grid"

    def __init__(self, space: Space, settings: SearchSettings) -> None:
        super().__init__(space, settings)
        if problems := [_not_finite(axis) for axis in space.axes if axis.sampled]:
            raise RequestError(*problems)
        self._left = Left(space, settings.seed)
        self._ids: set[str] = set()

    def draw(self, number: int) -> tuple[Draft, Mapping[str, Any]] | None:
        """See Sampler."""
        draft = self._left.next(self._ids)
        self.why_over = self._left.why_over
        if draft is None:
            return None
        self._ids.add(draft.id)
        return draft, {}

    def adopt(self, number: int, draft: Draft) -> Mapping[str, Any]:
        """See Sampler."""
        self._ids.add(draft.id)
        return {}

    def tell(self, number: int, outcome: Outcome) -> None:
        """See Sampler. What becomes of a point changes nothing here."""

    def restore(self, history: Sequence[Known]) -> None:
        """See Sampler."""
        self._ids.update(known.id for known in history)


class Left:
    """What is left of a finite space: its legal points that were not handed out, in a space-filling order."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._cells = space_filling_cells([len(axis.values) for axis in space.axes], seed)
        self._place = {axis.name: i for i, axis in enumerate(space.axes)}
        self._legal: set[str] = set()
        self._last_reason = ""
        self.why_over = ""  # set when nothing is left

    def next(self, ids: set[str]) -> Draft | None:
        """The next one whose id is not in `ids`. A combination that was passed over once is not looked at again."""
        for cell in self._cells:
            draft = self._draw(cell)
            if not draft.id:
                self._last_reason = draft.reason
                continue
            self._legal.add(draft.id)
            if draft.id not in ids:
                return draft
        combinations = size(self._space.axes)
        if self._legal:
            self.why_over = f"the whole space: all {len(self._legal):,} points of {combinations:,} combinations have been run"
        else:
            self.why_over = f"none of {combinations:,} combinations is legal; the last one: {self._last_reason}"
        return None

    def _draw(self, cell: tuple[int, ...]) -> Draft:
        def choose(axis: Axis) -> Row:
            return axis.values[cell[self._place[axis.name]]]

        return self._space.draw(choose)


def _not_finite(axis: Axis) -> str:
    assert axis.sampled is not None
    low, high = decimal_text(axis.sampled.low), decimal_text(axis.sampled.high)
    spaced = f"log({low}, {high}, n) or " if axis.sampled.low > 0 else ""
    return (
        f"{axis.where}: CONFIG_{axis.name}: found {axis.sampled}, of which a grid has no list of values; write "
        f"{spaced}{low}:step:{high}, or take a strategy that samples: random, qmc, tpe, ..."
    )
