"""Which weights may be pruned."""

import pytest
import torch
from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.weights import prunable_layers, prunable_weights, read_dense_layers, share_of_zeros


def make_model() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 10)
    )
    model[2][1].weight = model[2][0].weight
    return model


def dense(text: str) -> list[str]:
    cfg = RunConfig(f'CONFIG_PRUNING_DENSE_LAYERS="{text}"\n', "config.txt")
    return read_dense_layers(cfg, prunable_layers(make_model()))


def test_prunable_are_the_weights_of_convolutions_and_linear_layers_each_once() -> None:
    model = make_model()

    assert list(prunable_layers(model)) == ["0", "2.0", "3"]
    assert [id(weight) for weight in prunable_weights(model)] == [id(layer.weight) for layer in (model[0], model[2][0], model[3])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), ("0", ["0"]), ("3, 0", ["0", "3"]), ("2.*", ["2.0"]), ("[03]", ["0", "3"]), (" , ", [])],
)
def test_dense_layers_are_names_or_patterns(text: str, expected: list[str]) -> None:
    assert dense(text) == expected


def test_pattern_that_matches_nothing_is_refused_with_the_layers() -> None:
    with pytest.raises(ConfigError) as caught:
        dense("0,conv1,layer1.*")

    assert str(caught.value) == (
        'config.txt: CONFIG_PRUNING_DENSE_LAYERS: "conv1" matches no layer; the layers are 0 2.0 3\n'
        'config.txt: CONFIG_PRUNING_DENSE_LAYERS: "layer1.*" matches no layer; the layers are 0 2.0 3'
    )


def test_leaving_every_layer_dense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nothing is left to prune; .* use CONFIG_PRUNING_METHOD=none"):
        dense("*")


def test_share_of_zeros_is_counted() -> None:
    assert share_of_zeros([torch.tensor([0.0, -0.0, 1.0]), torch.tensor([[0.0]])]) == 0.75
    assert share_of_zeros([]) == 0.0
