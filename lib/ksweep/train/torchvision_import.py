"""Import torchvision, also where its compiled operators do not load.

The package index has torchvision built for CUDA only. Beside a CPU build of torch its library does not load, and the import
ends with "operator torchvision::nms does not exist", since the Python side registers shape functions for two operators that
nobody defined. Defining their schemas first is enough for models, transforms and data sets (not for nms itself).

Kept out of the default path: the import costs 2.5 s.
"""

import importlib
import sys
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[torch.library.Library] = []  # the schemas live as long as the object that defined them


def import_torchvision() -> ModuleType:
    """The module torchvision, whole. ImportError when it is not installed."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left half-made
    _library.append(torch.library.Library("torchvision", "DEF"))
    for operator in ("nms", "qnms"):
        _library[0].define(operator + _SCHEMA)
    return importlib.import_module("torchvision")
