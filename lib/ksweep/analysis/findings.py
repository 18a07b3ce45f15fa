"""All that is found in a sweep, from which text, tables, pictures and the report are made. Nothing is computed twice."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ksweep.analysis.effects import Effects, find_effects
from ksweep.analysis.load import SweepState, load_sweep
from ksweep.analysis.ranking import Ranking, rank
from ksweep.contract.metrics import read_history
from ksweep.contract.paths import SweepDir


@dataclass(frozen=True)
class Findings:
    """A sweep as it stood at one moment, ranked; the rest is found when it is first asked for."""

    state: SweepState
    ranking: Ranking

    @cached_property
    def effects(self) -> Effects:
        """What each axis does to the first goal, and how much of it each explains."""
        return find_effects(self.state, self.ranking)

    @cached_property
    def histories(self) -> dict[str, list[dict[str, Any]]]:
        """Config -> its reports in order of `step`; empty for a run that has not reported."""
        return {run.config: read_history(run.dir.metrics) for run in self.state.runs}


def find(dir: SweepDir) -> Findings:
    """Read and rank a sweep. RequestError when `dir` is none, or its sweep.json cannot be understood."""
    state = load_sweep(dir)
    return Findings(state, rank(state))
