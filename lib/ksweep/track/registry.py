"""Trackers by name: one module each in this package, and those of installed packages (entry points of group ksweep.trackers).

Whether a name can be used is found out without importing anything of it: foreign code runs in its own process only.
"""

import importlib.util
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ksweep.contract.errors import RequestError
from ksweep.track.base import Tracker

GROUP = "ksweep.trackers"
PINS = "requirements-trackers.txt"  # the versions that are tested
_PLACES = {
    "tensorboard": ("tensorboard", "TensorBoard"),
    "mlflow": ("mlflow", "MLflow"),
    "wandb": ("wandb", "Wandb"),
    "trackio": ("trackio", "Trackio"),
}
TRACKERS = tuple(_PLACES)


def check_trackers(text: str) -> list[str]:
    """The trackers that SWEEP_TRACKERS names, each once. RequestError for one that there is not, or whose package is missing."""
    names = list(dict.fromkeys(text.split()))
    problems = [problem for name in names if (problem := _problem(name))]
    if problems:
        raise RequestError(*(f"CONFIG_SWEEP_TRACKERS: {problem}" for problem in problems))
    return names


def check_tracker(name: str) -> None:
    """RequestError unless this tracker can be used."""
    if problem := _problem(name):
        raise RequestError(f"TRACKER: {problem}")


def tracker_class(name: str) -> type[Tracker]:
    """The tracker with this name, which `check_tracker` has nothing against. RequestError when it cannot be loaded."""
    if name in _PLACES:
        module, kind = _PLACES[name]
        found: type[Tracker] = getattr(import_module(f"ksweep.track.{module}"), kind)
        return found
    point = _installed()[name]
    try:
        loaded = point.load()
    except Exception as error:  # any package's code
        raise RequestError(f"tracker {name} cannot be loaded from {point.value}: {type(error).__name__}: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Tracker)):
        raise RequestError(f"tracker {name}: {point.value} is not a subclass of ksweep.track.base.Tracker")
    return loaded


def _problem(name: str) -> str:
    if name not in _PLACES:
        installed = _installed()
        allowed = " ".join([*TRACKERS, *installed])
        return "" if name in installed else f'found "{name}", allowed: {allowed}; others by entry points of group {GROUP}'
    missing = [package for module, package in tracker_class(name).PACKAGES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return ""
    return f"{name} needs {' and '.join(missing)}; install with: {sys.executable} -m pip install -c {PINS} {' '.join(missing)}"


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
