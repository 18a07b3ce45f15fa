"""Drives a strategy while a sweep runs: turns its suggestions into runs, and results into what it is told.

  strategy.ask() -> Start(number, draft, until) -> one run for each repeat (seed) of the point -> result.json, metrics.jsonl
  all repeats ended -> one Outcome (mean or median) -> strategy.tell(number, outcome)

The points are in sweep.json before their runs start; what happened is in the run directories. From these two `restore` builds
the strategy anew, so a sweep that was killed goes on as if it had not been.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ksweep.contract.outcome import Result, Status
from ksweep.contract.sweepfile import PointRecord
from ksweep.search.base import Known, Outcome, Start, Strategy
from ksweep.space.axes import Axis, Draft, Row
from ksweep.space.objective import Objectives
from ksweep.sweep.reports import curve_of
from ksweep.sweep.store import GrowingPlan

Curve = dict[int, float]
Aggregate = Callable[[Sequence[float]], float]


@dataclass(frozen=True, kw_only=True)
class RunOrder:
    """A run to start: its point, the resource at which it stops for now, the point whose checkpoint it starts from."""

    point: PointRecord
    until: int | None = None
    parent: PointRecord | None = None


class Search:
    """One search of one sweep. `repeat`: the draft of a point with the seed of its repeat 1, 2, ...; `num_repeats` seeds each.

    `resource`: what reports count, epoch or step.
    """

    def __init__(
        self,
        strategy: Strategy,
        plan: GrowingPlan,
        objectives: Objectives,
        *,
        axes: Iterable[Axis],
        repeat: Callable[[Draft, int], Draft],
        num_repeats: int,
        aggregate: str,
        resource: str,
    ) -> None:
        self._strategy, self._plan, self._objectives = strategy, plan, objectives
        self._axes, self._repeat, self._num_repeats = tuple(axes), repeat, num_repeats
        self._aggregate: Aggregate = statistics.median if aggregate == "median" else statistics.fmean
        self._goal = objectives.goals[0] if objectives.goals else None
        self.on_told: Callable[[], None] = lambda: None  # called after each result
        self._resource = resource
        self._points: dict[int, list[PointRecord]] = {}
        self._number: dict[str, int] = {}
        self._results: dict[str, Result] = {}
        self._curves: dict[str, Curve] = {}

    # -- what was ---------------------------------------------------------------------------------------------------

    def restore(self, results: Mapping[str, Result], imported: Iterable[Known], enqueued: Sequence[Draft]) -> None:
        """Take in the points of the plan and their `results` (point id -> final result), those of other sweeps, and points that
        are to be run first."""
        for point in self._plan.record.points:
            self._enter(point)
        self._results = {id: result for id, result in results.items() if id in self._number}
        for points in self._points.values():
            for point in points:
                self._curves[point.id] = self._stood_at(point) if point.id in self._results else self._curve_of(point)
        self._strategy.enqueue(enqueued)
        self._strategy.restore([*imported, *(self._known(number) for number in sorted(self._points))])

    def _curve_of(self, point: PointRecord) -> Curve:
        return curve_of(self._plan.run_dir(point).metrics, self._goal, self._resource)

    def _stood_at(self, point: PointRecord) -> Curve:
        """The curve of a run that has ended. One that stopped at a rung has a value there, however rarely it reports: that of its
        newest report before, else of its first one."""
        curve, result = self._curve_of(point), self._results[point.id]
        if curve and result.until is not None and result.until not in curve:
            curve[result.until] = curve[max((r for r in curve if r < result.until), default=min(curve))]
        return {r: v for r, v in sorted(curve.items()) if result.until is None or r <= result.until}

    def _enter(self, point: PointRecord) -> None:
        number = point.search["number"]
        self._points.setdefault(number, []).append(point)
        self._number[point.id] = number

    def _known(self, number: int) -> Known:
        points = self._points[number]
        first = points[0]
        outcome = self._outcome(number) or Outcome(
            status=Status.CANCELLED, curve=_shared([self._curves.get(point.id, {}) for point in points], self._aggregate)
        )
        return Known(number=number, id=first.id, rows=self._rows(first), notes=first.search["notes"], outcome=outcome)

    def _rows(self, point: PointRecord) -> dict[str, Row]:
        return {axis.name: row for axis in self._axes if (row := axis.row_in(point.values)) is not None}

    # -- what next --------------------------------------------------------------------------------------------------

    def next(self) -> list[RunOrder]:
        """Runs to start now; none: nothing as long as no run ends, and with none running the search is over."""
        while (start := self._strategy.ask()) is not None:
            if orders := self._orders(start):
                return orders
            self._tell(start.number)  # all its repeats had ended before the sweep was continued
        return []

    @property
    def why_over(self) -> str:
        """Why there are fewer points than were asked for; empty when there are not."""
        return self._strategy.why_over

    def _orders(self, start: Start) -> list[RunOrder]:
        if start.draft is not None:
            self._add(start, start.draft)
        elif len(self._points[start.number]) < self._num_repeats:
            self._add_repeats(start.number)
        parent = self._points[start.parent] if start.parent is not None else None
        points = self._points[start.number]
        orders = [
            RunOrder(point=point, until=start.until, parent=parent[i] if parent else None)
            for i, point in enumerate(points)
            if self._is_to_run(point, start.until)
        ]
        for order in orders:
            self._results.pop(order.point.id, None)
        return orders

    def _is_to_run(self, point: PointRecord, until: int | None) -> bool:
        result = self._results.get(point.id)
        if result is None:
            return True
        return result.status == Status.PRUNED and (until is None or max(self._curves.get(point.id, {}), default=0) < until)

    def _add(self, start: Start, draft: Draft) -> None:
        drafts = [draft, *(self._repeat(draft, i) for i in range(1, self._num_repeats))]
        if self._num_repeats > 1:
            drafts[0] = self._repeat(draft, 0)
        for i, each in enumerate(drafts):
            notes = {"number": start.number, "repeat": i, "notes": dict(start.notes)}
            self._enter(self._plan.add(each, notes | ({} if start.parent is None else {"parent": start.parent})))
        self._plan.save()

    def _add_repeats(self, number: int) -> None:
        """Those that a point lacks since more were asked for."""
        first = self._points[number][0]
        draft = Draft(rows=self._rows(first), values=first.values)
        self._points[number][0] = self._plan.replace(first, self._repeat(draft, 0).values)  # where its seed counts from now on
        for i in range(len(self._points[number]), self._num_repeats):
            self._enter(self._plan.add(self._repeat(draft, i), first.search | {"repeat": i}))
        self._plan.save()

    # -- what came of it --------------------------------------------------------------------------------------------

    def ended(self, id: str, result: Result) -> None:
        """A run has ended with a final result; the strategy is told once all repeats of its point have."""
        number = self._number[id]
        point = next(point for point in self._points[number] if point.id == id)
        self._results[id] = result
        self._curves[id] = self._stood_at(point)
        self._tell(number)
        self.on_told()

    def _tell(self, number: int) -> None:
        outcome = self._outcome(number)
        if outcome is not None:
            self._strategy.tell(number, outcome)

    def _outcome(self, number: int) -> Outcome | None:
        """Of all repeats together, once each has ended."""
        points = self._points[number]
        results = [self._results[point.id] for point in points if point.id in self._results]
        if len(results) < self._num_repeats:
            return None
        return outcome_of(results, [self._curves[point.id] for point in points], self._objectives, self._aggregate)

    def history(self) -> list[Known]:
        """All points that were told, in order of their numbers."""
        known = [self._known(number) for number in sorted(self._points)]
        return [k for k in known if k.outcome is not None and k.outcome.status.is_final]

    def losers(self) -> Iterator[tuple[PointRecord, str]]:
        """The runs that wait at a rung for good, each with the numbers that its point lost to."""
        for number, points in self._points.items():
            if reason := self._strategy.loss_reason(number):
                for point in points:
                    result = self._results.get(point.id)
                    if result is not None and result.status == Status.PRUNED:
                        yield point, reason

    def changed_ns(self) -> int:
        """When the newest result was written, in ns since 1970."""
        files = (self._plan.run_dir(point).result for points in self._points.values() for point in points)
        return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)

    @property
    def total_resource(self) -> int | None:
        """Epochs (or steps) that all runs are trained for together, at least; None: each run is trained to its end."""
        total = self._strategy.total_resource
        return None if total is None else total * self._num_repeats

    @property
    def num_points(self) -> int:
        """Points handed out so far, without their repeats."""
        return len(self._points)

    def label_of(self, number: int) -> str:
        """The label of a point's first run."""
        return self._points[number][0].config


def outcome_of(results: Sequence[Result], curves: Sequence[Curve], objectives: Objectives, aggregate: Aggregate) -> Outcome:
    """How a point stands of which these are all repeats: passed if all have, else what the first that went wrong came to."""
    others = [result.status for result in results if result.status != Status.PASSED]
    status = next((s for s in others if s != Status.PRUNED), others[0] if others else Status.PASSED)
    values = _columns([objectives.values(result.metrics) for result in results], aggregate) if status == Status.PASSED else ()
    if status == Status.PASSED and not values and objectives.goals:
        status = Status.FAILED  # it passed when the objective was another one
    violations = _columns([objectives.violations(result.metrics) for result in results], aggregate)
    return Outcome(status=status, values=values, curve=_shared(curves, aggregate), violations=violations)


def _columns(rows: Sequence[tuple[float, ...]], aggregate: Aggregate) -> tuple[float, ...]:
    """Of rows of equal length the aggregate of each column; nothing where a row is empty."""
    return tuple(aggregate(column) for column in zip(*rows, strict=True)) if all(rows) else ()


def _shared(curves: Sequence[Curve], aggregate: Aggregate) -> Curve:
    """Where all repeats have reported."""
    shared = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    return {resource: aggregate([curve[resource] for curve in curves]) for resource in shared}
