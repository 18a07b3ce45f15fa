"""The network."""

from ksweep.nn.resnet import BasicBlock, ResNet


class ResNet18(ResNet):
    """Eight blocks of two 3x3 convolutions; 11,173,962 parameters for colour images, ten classes, the cifar stem and width 64."""

    def __init__(self, num_channels: int, num_classes: int, *, width: int, stem: str) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2), num_channels=num_channels, num_classes=num_classes, width=width, stem=stem)
