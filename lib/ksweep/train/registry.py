"""Plug-ins found by file: a module of a package that has a NAME is one, and adding it is dropping the file in."""

import importlib
import pkgutil
from types import ModuleType

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


def plugins(package: ModuleType) -> dict[str, ModuleType]:
    """NAME -> module, in order of NAME."""
    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    return dict(sorted((module.NAME, module) for module in modules if hasattr(module, "NAME")))


def selected(cfg: RunConfig, symbol: str, package: ModuleType) -> ModuleType:
    """The plug-in of `package` that the configuration names by `symbol`. ConfigError, with the list, when there is none."""
    name, known = cfg.str(symbol), plugins(package)
    if name not in known:
        raise ConfigError(
            f'{cfg.source}: CONFIG_{symbol}: found "{name}", allowed: {" ".join(known)} (the files of {package.__name__})'
        )
    return known[name]
