"""How a model computes for a while: in evaluation mode, uncompiled."""

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """All modules of `model` in evaluation mode, and each as it was afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """What torch.compile made computes as it is written: a graph that was compiled before a hook was put on never calls the hook,
    in copies of the model neither."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled yet, and to import it takes two seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
