"""Strategies and pruners by their names. A sampler's name, asked for as a strategy, means its points, each run to its end."""

from ksweep.contract.errors import RequestError
from ksweep.search.asha import Asha
from ksweep.search.base import Pruner, SearchSettings, Strategy
from ksweep.search.halving import Halving
from ksweep.search.hyperband import Hyperband
from ksweep.search.one_by_one import OneByOne
from ksweep.search.pbt import Pbt
from ksweep.search.pruners import PRUNERS, PrunerSettings
from ksweep.search.samplers import SAMPLERS, make_sampler
from ksweep.space.axes import Space

STRATEGIES: dict[str, type[Strategy]] = {
    **dict.fromkeys(SAMPLERS, OneByOne),
    **{strategy.NAME: strategy for strategy in (Halving, Asha, Hyperband, Pbt)},
}


def strategy_class(name: str) -> type[Strategy]:
    """The strategy that this name means. RequestError, with the list, when there is none."""
    if name not in STRATEGIES:
        raise RequestError(f'CONFIG_SWEEP_STRATEGY: found "{name}", allowed: {" ".join(STRATEGIES)}')
    return STRATEGIES[name]


def build_strategy(name: str, sampler_name: str, space: Space, settings: SearchSettings) -> Strategy:
    """A strategy over `space`; `sampler_name` (empty: random) gives the points of one that has rungs.

    RequestError where the settings make no sense. `restore` comes next, with an empty history for a new search.
    """
    strategy = strategy_class(name)
    return strategy(make_sampler(name if name in SAMPLERS else sampler_name or "random", space, settings), settings)


def build_pruner(name: str, settings: PrunerSettings) -> Pruner:
    """The pruner of this name. RequestError when there is none; that it could never stop a run is its `problem()`."""
    if name not in PRUNERS:
        raise RequestError(f'CONFIG_SWEEP_PRUNER: found "{name}", allowed: none {" ".join(PRUNERS)}')
    return PRUNERS[name](settings)
