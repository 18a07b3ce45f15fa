"""The network."""

from torch import Tensor, nn


class LeNet5(nn.Module):
    """Two convolutions, three linear layers; 61,750 parameters for grey images and ten classes.

    As in LeCun et al. 1998, figure 2, but: batch normalisation and ReLU after each convolution, ReLU for tanh, max-pooling
    for the trained average, all maps of C3 connected to all of S2, and a linear layer for the radial basis functions.
    """

    def __init__(self, num_channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(  # [B, C, 32, 32]
            nn.Conv2d(num_channels, 6, kernel_size=5),  # [B, 6, 28, 28]
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),  # [B, 6, 14, 14]
            nn.Conv2d(6, 16, kernel_size=5),  # [B, 16, 10, 10]
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),  # [B, 16, 5, 5]
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),  # [B, 400]
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),  # [B, classes]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, channels, 32, 32] to logits [B, classes]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
