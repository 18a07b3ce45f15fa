"""Train ResNet-50 as config.txt in KSWEEP_RUN_DIR says: python -m models.resnet50.train"""

import sys

from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.data.dataset import DataSet
from ksweep.train.images import image_classification
from ksweep.train.main import run_trainer
from models.resnet50.model import ResNet50


def build_model(cfg: RunConfig, data: DataSet) -> nn.Module:
    """A new network for the images and classes of `data`, of the width and with the stem that `cfg` asks for."""
    return ResNet50(data.num_channels, data.num_classes, width=cfg.int("RESNET_WIDTH"), stem=cfg.str("RESNET_STEM"))


build_task = image_classification(build_model)


def main() -> int:
    """Train; the exit code."""
    return run_trainer("resnet50", build_task)


if __name__ == "__main__":
    sys.exit(main())
