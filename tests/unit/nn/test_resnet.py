"""The residual networks are the published ones, and narrow ones compute right."""

import pytest
import torch
from torch import nn

from ksweep.train.torchvision_import import import_torchvision
from models.resnet18.model import ResNet18
from models.resnet50.model import ResNet50

PUBLISHED = import_torchvision().models
MODELS = pytest.mark.parametrize(
    ("own", "published"), [(ResNet18, "resnet18"), (ResNet50, "resnet50")], ids=["resnet18", "resnet50"]
)


def num_parameters(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(ResNet18(3, 10, width=64, stem="cifar"), 11_173_962, id="resnet18-cifar10"),
        pytest.param(ResNet50(3, 100, width=64, stem="cifar"), 23_705_252, id="resnet50-cifar100"),
    ],
)
def test_networks_for_cifar_have_the_number_of_parameters_that_others_report(model: nn.Module, expected: int) -> None:
    assert num_parameters(model) == expected


@MODELS
def test_with_the_imagenet_stem_it_is_torchvisions_network(own, published: str) -> None:
    torch.manual_seed(1)
    model = own(3, 1000, width=64, stem="imagenet").eval()
    torch.manual_seed(1)
    other = getattr(PUBLISHED, published)().eval()
    initial, theirs = model.state_dict(), other.state_dict()
    images = torch.randn(2, 3, 64, 64)

    assert list(initial) == list(theirs)
    assert all(torch.equal(initial[name], theirs[name]) for name in theirs), "initial values from the same seed"
    torch.manual_seed(2)
    other = getattr(PUBLISHED, published)().eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), other(images))


def test_the_cifar_stem_keeps_the_resolution_of_the_image() -> None:
    def side_of_the_last_features(stem: str) -> int:
        model, sides = ResNet18(1, 10, width=4, stem=stem).eval(), []
        model.layer4.register_forward_hook(lambda module, args, features: sides.append(features.shape[-1]))
        model(torch.randn(1, 1, 32, 32))
        return sides[0]

    assert side_of_the_last_features("cifar") == 4
    assert side_of_the_last_features("imagenet") == 1


@pytest.mark.parametrize("width", [1, 4, 7, 8, 12, 16])
def test_strided_shortcuts_of_any_width_have_right_gradients_in_channels_last(width: int) -> None:
    """oneDNN's strided 1x1 convolution overruns its workspace for few channels: with it, this test crashes or hangs."""
    torch.manual_seed(1)
    shortcut = ResNet18(1, 10, width=width, stem="cifar").to(memory_format=torch.channels_last).layer2[0].downsample[0]
    images = torch.randn(32, width, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    output_gradient = torch.randn(32, 2 * width, 16, 16).contiguous(memory_format=torch.channels_last)
    exact = [images.detach().double().requires_grad_(), shortcut.weight.detach().double().requires_grad_()]
    expected = nn.functional.conv2d(*exact, stride=2)

    for _ in range(5):
        found = shortcut(images)
        gradients = torch.autograd.grad(found, [images, shortcut.weight], output_gradient)

    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4)
    for gradient, right in zip(gradients, torch.autograd.grad(expected, exact, output_gradient.double()), strict=True):
        assert torch.allclose(gradient.double(), right, rtol=1e-4, atol=1e-3)


def test_an_unknown_stem_is_refused() -> None:
    with pytest.raises(ValueError, match='found "tiny", allowed: cifar imagenet'):
        ResNet18(3, 10, width=4, stem="tiny")
