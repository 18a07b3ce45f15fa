"""What the search engine sees: the parameters of a group of layers, and the choice of a candidate for each group."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from ksweep.space.axes import Axis, Draft, Row, size
from ksweep.space.values import Sampled
from ksweep.tuner.groups import Group, identity
from ksweep.tuner.specs import Float, Int, Spec
from ksweep.tuner.trials import Params

MAX_LISTED = 10_000  # values of one parameter, that are listed
MAX_COUNTED = 20_000  # combinations: a larger space is sampled, and never gone through


class GroupSpace:
    """The points of a group. One under which no layer would store less is not legal: dense is a candidate without a search.

    `only`: parameter -> the values that are gone through (a grid of the user's); the others have all of theirs.
    """

    def __init__(self, group: Group, only: Mapping[str, Sequence[object]] | None = None) -> None:
        self._group = group
        self._values: dict[str, dict[str, int | float | str]] = {}
        axes = []
        for name, spec in group.specs.items():
            values = list(only[name]) if only and name in only else _listed(spec)
            if values is None:
                axes.append(Axis(symbols=(name,), values=(), where=group.name, sampled=_sampled(spec)))
                continue
            self._values[name] = {str(value): value for value in values}  # type: ignore[misc]
            axes.append(Axis(symbols=(name,), values=tuple((text,) for text in self._values[name]), where=group.name))
        self.axes = tuple(axes)

    def draw(self, choose: Callable[[Axis], Row]) -> Draft:
        """See Space."""
        rows = {axis.name: choose(axis) for axis in self.axes}
        texts = {name: row[0] for name, row in rows.items()}
        try:
            settings = self._group.settings(self.params(rows))
        except ValueError as error:
            return Draft(rows=rows, values=texts, reason=str(error))
        if not settings:
            return Draft(rows=rows, values=texts, reason=f"{self._group.name} would store no less than it does")
        return Draft(rows=rows, values=texts, id=identity(self._group.layers, settings))

    def params(self, rows: Mapping[str, Row]) -> Params:
        """What the rows stand for."""
        return {name: self._value(name, row[0]) for name, row in rows.items()}

    def _value(self, name: str, text: str) -> int | float | str:
        if name in self._values:
            return self._values[name][text]
        return int(text) if isinstance(self._group.specs[name], Int) else float(text)

    def distinct(self) -> int | None:
        """How many legal points it has that are not the same model; None: too many to count."""
        combinations = size(self.axes)
        if combinations is None or combinations > MAX_COUNTED:
            return None
        return len({draft.id for draft in map(self.draw, _cells(self.axes)) if draft.id})


def _cells(axes: tuple[Axis, ...]) -> list[Callable[[Axis], Row]]:
    """A way to choose for each combination."""
    combinations: list[dict[str, Row]] = [{}]
    for axis in axes:
        combinations = [{**chosen, axis.name: row} for chosen in combinations for row in axis.values]
    return [lambda axis, chosen=chosen: chosen[axis.name] for chosen in combinations]  # type: ignore[misc]


def _listed(spec: Spec) -> Sequence[object] | None:
    """All values; None where there are too many to list, or no end of them."""
    return spec.values() if spec.num_values is not None and spec.num_values <= MAX_LISTED else None


def _sampled(spec: Spec) -> Sampled:
    assert isinstance(spec, Int | Float), spec
    form = ("log" if spec.log else "") + ("int" if isinstance(spec, Int) else "uniform")
    step = Decimal(spec.step) if isinstance(spec, Int) and not spec.log else None
    return Sampled(form=form, low=Decimal(str(spec.low)), high=Decimal(str(spec.high)), step=step)


class CombinedSpace:
    """A candidate for each group, by its place in the group's list; place 0 is dense, higher places save more.

    `identity_of`: content id of the model that a choice makes, "" for the dense one.
    """

    def __init__(self, num_candidates: Mapping[str, int], identity_of: Callable[[Mapping[str, int]], str]) -> None:
        self._identity_of = identity_of
        self.axes = tuple(
            Axis(symbols=(name,), values=tuple((str(place),) for place in range(count)), where=name)
            for name, count in num_candidates.items()
        )

    def draw(self, choose: Callable[[Axis], Row]) -> Draft:
        """See Space."""
        rows = {axis.name: choose(axis) for axis in self.axes}
        texts = {name: row[0] for name, row in rows.items()}
        id = self._identity_of({name: int(text) for name, text in texts.items()})
        return Draft(rows=rows, values=texts, id=id, reason="" if id else "the dense model is known")
