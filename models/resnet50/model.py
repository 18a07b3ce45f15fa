"""The network."""

from ksweep.nn.resnet import Bottleneck, ResNet


class ResNet50(ResNet):
    """Sixteen blocks of three convolutions; 23,705,252 parameters for colour images, 100 classes, the cifar stem, width 64."""

    def __init__(self, num_channels: int, num_classes: int, *, width: int, stem: str) -> None:
        super().__init__(Bottleneck, (3, 4, 6, 3), num_channels=num_channels, num_classes=num_classes, width=width, stem=stem)
