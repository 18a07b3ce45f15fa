"""Residual networks (He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition") from torchvision's blocks."""

from typing import Any

from torch import Tensor, nn

from ksweep.train.torchvision_import import import_torchvision

_published = import_torchvision().models.resnet
BasicBlock: Any = _published.BasicBlock
Bottleneck: Any = _published.Bottleneck


class ResNet(nn.Module):
    """A stem, four stages of `depths` blocks, the mean over what is left of the image, one linear layer.

    With the imagenet stem, width 64 and three channels it is torchvision's ResNet: same names and shapes of parameters, same
    initial values from the same seed, same outputs. `width`: channels of the first stage, doubled by each later one (times 4
    behind a Bottleneck). `stem`:

      cifar     3x3 convolution, stride 1, and no pooling, as in section 4.2 of the paper: 32x32 images keep their resolution
      imagenet  7x7 convolution, stride 2, then max-pooling, stride 2, as in its table 1: for images of 64x64 and more
    """

    def __init__(
        self, block: Any, depths: tuple[int, int, int, int], *, num_channels: int, num_classes: int, width: int, stem: str
    ) -> None:
        super().__init__()
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(num_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        elif stem == "cifar":
            self.conv1 = nn.Conv2d(num_channels, width, kernel_size=3, padding=1, bias=False)
        else:
            raise ValueError(f'stem: found "{stem}", allowed: cifar imagenet')
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.layer1 = _stage(block, depths[0], width, width, stride=1)
        self.layer2 = _stage(block, depths[1], width * block.expansion, width * 2, stride=2)
        self.layer3 = _stage(block, depths[2], width * 2 * block.expansion, width * 4, stride=2)
        self.layer4 = _stage(block, depths[3], width * 4 * block.expansion, width * 8, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width * 8 * block.expansion, num_classes)
        for module in self.modules():  # He et al. 2015; the linear layer and the norms keep torch's own defaults
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, channels, side, side] to logits [B, classes]."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


class _NarrowProjection(nn.Conv2d):
    """A strided 1x1 convolution without bias that picks its pixels first: the same parameters, the same result.

    For fewer channels than a vector register holds floats (8, with AVX-512 16), channels last, oneDNN's own strided one writes
    past its workspace in the backward pass: crashes, hangs or wrong gradients (uxlfoundation/oneDNN issue 6035; torch 2.13).
    """

    NUM_SAFE = 16

    def __init__(self, num_in: int, num_out: int, *, stride: int) -> None:
        super().__init__(num_in, num_out, kernel_size=1, bias=False)
        self._step = stride

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[:, :, :: self._step, :: self._step])


def _stage(block: Any, depth: int, num_in: int, planes: int, *, stride: int) -> nn.Sequential:
    """`depth` blocks. The first takes `num_in` channels and the stride; where the shape changes, its shortcut is a projection."""
    num_out = planes * block.expansion
    shortcut = None
    if stride != 1 or num_in != num_out:
        if num_in < _NarrowProjection.NUM_SAFE:
            projection: nn.Module = _NarrowProjection(num_in, num_out, stride=stride)
        else:
            projection = nn.Conv2d(num_in, num_out, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm2d(num_out))
    first = block(num_in, planes, stride, shortcut)
    return nn.Sequential(first, *(block(num_out, planes) for _ in range(depth - 1)))
