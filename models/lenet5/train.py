"""Train LeNet-5 as config.txt in KSWEEP_RUN_DIR says: python -m models.lenet5.train"""

import sys

from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.data.dataset import DataSet
from ksweep.train.images import image_classification
from ksweep.train.main import run_trainer
from models.lenet5.model import LeNet5


def build_model(cfg: RunConfig, data: DataSet) -> nn.Module:
    """A new network for the images and classes of `data`."""
    return LeNet5(data.num_channels, data.num_classes)


build_task = image_classification(build_model)


def main() -> int:
    """Train; the exit code."""
    return run_trainer("lenet5", build_task)


if __name__ == "__main__":
    sys.exit(main())
