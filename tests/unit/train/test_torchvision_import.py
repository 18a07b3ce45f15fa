"""torchvision loads beside any build of torch."""

import importlib

import torch

from ksweep.train.torchvision_import import import_torchvision


def test_torchvision_comes_with_models_transforms_and_datasets() -> None:
    torchvision = import_torchvision()
    image = torch.zeros(1, 3, 40, 40)

    transforms = importlib.import_module("torchvision.transforms.v2")

    assert transforms.RandomCrop(32)(image).shape == (1, 3, 32, 32)
    assert torchvision.models.resnet18(num_classes=7)(image).shape == (1, 7)
    assert torchvision.datasets.CIFAR10.__name__ == "CIFAR10"
    assert import_torchvision() is torchvision
