"""All samplers, by name. A library is imported with the sampler that needs it."""

from importlib import import_module

from ksweep.contract.errors import RequestError
from ksweep.search.base import Sampler, SearchSettings
from ksweep.space.axes import Space

_PLACES = {
    "grid": ("grid", "GridSampler"),
    "random": ("uniform", "RandomSampler"),
    "qmc": ("uniform", "QmcSampler"),
    "tpe": ("optuna_samplers", "TpeSampler"),
    "gp": ("optuna_samplers", "GpSampler"),
    "cmaes": ("cma", "CmaesSampler"),
    "nsga2": ("optuna_samplers", "Nsga2Sampler"),
}
SAMPLERS = tuple(_PLACES)


def make_sampler(name: str, space: Space, settings: SearchSettings) -> Sampler:
    """The sampler with this name, over a space. RequestError when it cannot search it."""
    if name not in _PLACES:
        raise RequestError(f"found sampler {name}, allowed: {', '.join(SAMPLERS)}")
    module, kind = _PLACES[name]
    sampler: Sampler = getattr(import_module(f"ksweep.search.{module}"), kind)(space, settings)
    return sampler
