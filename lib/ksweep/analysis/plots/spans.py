"""When each run was at work, and in which slot: from the journal, which knows every attempt, else from result.json."""

import math
from dataclasses import dataclass

from ksweep.analysis.load import RunRecord, SweepState, as_number
from ksweep.contract.atomic import read_lines
from ksweep.contract.outcome import Status


@dataclass(frozen=True, kw_only=True)
class Span:
    """One piece of work on a run, in Unix seconds. `status`: how it ended; RUNNING where nothing is known of its end."""

    config: str
    slot: int
    start: float
    end: float
    status: Status
    attempt: int = 1


def spans(state: SweepState) -> list[Span]:
    """Of all runs that were started, in order of their starts."""
    journal = _of_journal(state)
    found = []
    for run in state.runs:
        pieces = journal.get(run.config) or _of_result(run)
        found += pieces
    return sorted(found, key=lambda span: (span.start, span.config))


def ends(state: SweepState) -> dict[str, float]:
    """Config -> when its last piece of work ended."""
    return {span.config: span.end for span in sorted(spans(state), key=lambda span: span.end)}


def _of_journal(state: SweepState) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    started: dict[str, tuple[float, int, int]] = {}
    latest = 0.0  # of the events before this one: a killed runner's runs were seen until then
    for event in read_lines(state.dir.journal):
        time, name, config = as_number(event.get("time")), event.get("event"), str(event.get("config"))
        if time is None:
            continue
        slot, attempt = as_number(event.get("slot")), as_number(event.get("attempt"))
        if name == "run_started" and slot is not None:
            started[config] = (time, int(slot), int(attempt or 1))
        elif name in ("run_ended", "run_retried") and config in started:
            found.setdefault(config, []).append(_span(config, started.pop(config), time, event))
        elif name == "sweep_started":  # anew: what an earlier runner has not ended was killed with it
            for killed in list(started):
                found.setdefault(killed, []).append(_span(killed, started.pop(killed), latest, event))
        latest = max(latest, time)
    for config, begun in started.items():
        found.setdefault(config, []).append(_span(config, begun, latest, {}))
    return found


def _span(config: str, begun: tuple[float, int, int], end: float, event: dict[str, object]) -> Span:
    start, slot, attempt = begun
    status = str(event.get("status", ""))
    known = status if status in list(Status) else Status.FAILED if event.get("event") == "run_retried" else Status.RUNNING
    return Span(config=config, slot=slot, start=start, end=max(start, end), status=Status(known), attempt=attempt)


def _of_result(run: RunRecord) -> list[Span]:
    if run.result is None or run.result.started_at <= 0 or not math.isfinite(run.result.started_at + run.result.wall_s):
        return []
    result = run.result
    return [
        Span(
            config=run.config,
            slot=result.slot or 0,
            start=result.started_at,
            end=result.started_at + max(0.0, result.wall_s),
            status=run.status,
            attempt=result.attempt,
        )
    ]
