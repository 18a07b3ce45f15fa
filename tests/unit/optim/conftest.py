"""Optimizers built as a run builds them, from the text of a configuration."""

import pytest
from torch import nn
from torch.optim import Optimizer

from ksweep.contract.config import RunConfig
from ksweep.optim.build import build_optimizer


@pytest.fixture
def built():
    """`built(model, OPTIMIZER="sgd", SGD_MOMENTUM="0.9", ...)`: its optimizer; every symbol that it reads must be given."""

    def build(model: nn.Module, **symbols: str) -> Optimizer:
        return build_optimizer(RunConfig("".join(f"CONFIG_{k}={v}\n" for k, v in symbols.items()), "config.txt"), model)

    return build
