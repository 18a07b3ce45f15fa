"""When a sweep starts no more runs: time, device hours, target reached, nothing better for long."""

from collections.abc import Sequence
from dataclasses import dataclass

from ksweep.sweep.progress import duration_text


@dataclass(frozen=True, kw_only=True)
class StopRules:
    """The stop rules of a sweep; 0 or None: not asked for. `max_stale` counts points, of `num_repeats` runs each."""

    max_wall_s: float = 0.0
    max_slot_s: float = 0.0
    max_total: int = 0  # epochs or steps of all runs together
    target: float | None = None
    max_stale: int = 0
    num_repeats: int = 1

    @property
    def are_any(self) -> bool:
        """True when something was asked for."""
        return self != StopRules(num_repeats=self.num_repeats)

    def reason(self, *, wall_s: float, slot_s: float, total: int, values: Sequence[float | None], maximize: bool) -> str:
        """Why no more runs are started; empty: go on.

        `wall_s`: that the sweep has worked, over all its continuations; `slot_s`: that its runs took together; `total`: epochs or
        steps that they have trained; `values`: the objective of each ended run, in the order in which they ended (None: it has
        none).
        """
        if self.max_wall_s and wall_s >= self.max_wall_s:
            return f"stop rule: {duration_text(wall_s)} of {duration_text(self.max_wall_s)} (SWEEP_MAX_WALL_TIME)"
        if self.max_slot_s and slot_s >= self.max_slot_s:
            return f"stop rule: {slot_s / 3600:.3g} of {self.max_slot_s / 3600:.3g} device hours (SWEEP_MAX_GPU_HOURS)"
        if self.max_total and total >= self.max_total:
            return f"stop rule: {total} of {self.max_total} (SWEEP_MAX_TOTAL_RESOURCE)"
        best, num_after = _best(values, maximize)
        stale = num_after // self.num_repeats
        if best is not None and self.target is not None and (best >= self.target if maximize else best <= self.target):
            return f"stop rule: {best:.6g} reaches {self.target:.6g} (SWEEP_TARGET)"
        if self.max_stale and best is not None and stale >= self.max_stale:
            return f"stop rule: {stale} points without a new best (SWEEP_MAX_STALE_TRIALS)"
        return ""


def _best(values: Sequence[float | None], maximize: bool) -> tuple[float | None, int]:
    """The best value, and how many ended after it."""
    best: float | None = None
    stale = 0
    for value in values:
        if value is not None and (best is None or (value > best if maximize else value < best)):
            best, stale = value, 0
        else:
            stale += 1
    return best, stale
