"""Pruning by optimizer state, on a small network that really trains."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.prune.build import build_pruner
from ksweep.prune.schedule import Schedule
from ksweep.prune.state import StatePruner, measured_sparsity, prunable_weights, smallest

RAMP = Schedule(target=0.9, warmup_steps=5, end_step=20, frequency=4, end_epoch=1)


class Net:
    """A small convolutional network with its optimizer and pruner."""

    def __init__(self, schedule: Schedule = RAMP, amsgrad: bool = True) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, weight_decay=0.1, amsgrad=amsgrad, fused=True)
        self.pruner = StatePruner(self.model, self.optimizer, schedule)
        self.data = torch.Generator().manual_seed(1)

    def step(self) -> None:
        images = torch.randn(16, 1, 8, 8, generator=self.data)
        labels = torch.randint(0, 10, (16,), generator=self.data)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images), labels).backward()
        self.pruner.mask_gradients()
        self.optimizer.step()
        self.pruner.after_step()

    def of_pruned(self) -> list[Tensor]:
        """Weights, gradients and all moments at the places that are pruned."""
        found = []
        for weight, mask in zip(prunable_weights(self.model), self.pruner.masks, strict=True):
            state = self.optimizer.state[weight]
            moments = [state[name] for name in state if name.startswith(("exp", "max"))]
            found += [tensor[~mask] for tensor in (weight, weight.grad, *moments)]
        return found


def test_prunable_are_the_weights_of_convolutions_and_linear_layers() -> None:
    model = Net().model

    assert [id(weight) for weight in prunable_weights(model)] == [id(model[0].weight), id(model[4].weight)]


def test_weights_are_dense_before_the_ramp() -> None:
    net = Net()
    for _ in range(8):
        net.step()

    assert measured_sparsity(net.model) == 0.0


@pytest.mark.parametrize("target", [0.0, 0.333, 0.7, 0.9, 0.995])
def test_achieved_sparsity_is_the_target_to_one_weight(target: float) -> None:
    net = Net(Schedule(target=target, warmup_steps=0, end_step=10, frequency=3, end_epoch=1))
    for _ in range(12):
        net.step()

    assert measured_sparsity(net.model) == pytest.approx(target, abs=1 / (36 + 1440))


@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_pruned_weights_gradients_and_moments_stay_zero(amsgrad: bool) -> None:
    net = Net(amsgrad=amsgrad)
    for _ in range(60):
        net.step()
    found = net.of_pruned()

    assert len(found) == 2 * (5 if amsgrad else 4)
    assert sum(len(values) for values in found[:1]) > 0
    assert all((values == 0).all() for values in found)


def test_what_is_pruned_never_comes_back() -> None:
    net = Net()
    pruned = [~mask for mask in net.pruner.masks]
    for _ in range(25):
        net.step()
        now = [~mask for mask in net.pruner.masks]
        assert all((later | ~earlier).all() for earlier, later in zip(pruned, now, strict=True))
        pruned = now


def test_the_least_important_weights_go_first() -> None:
    net = Net(Schedule(target=0.5, warmup_steps=0, end_step=1, frequency=1, end_epoch=1))
    net.step()
    twin = Net()  # the same step without pruning tells what the scores were
    twin.step()
    scores = [w.abs() * twin.optimizer.state[w]["exp_avg_sq"] ** 0.25 for w in prunable_weights(twin.model)]
    kept = torch.cat([score[mask] for score, mask in zip(scores, net.pruner.masks, strict=True)])
    gone = torch.cat([score[~mask] for score, mask in zip(scores, net.pruner.masks, strict=True)])

    assert len(gone) == 738
    assert gone.max() <= kept.min()


def test_smallest_takes_the_earlier_of_equals() -> None:
    scores = torch.tensor([2.0, 1.0, 1.0, 0.5, 1.0, 3.0])

    assert smallest(scores, 0).nonzero().flatten().tolist() == []
    assert smallest(scores, 2).nonzero().flatten().tolist() == [1, 3]
    assert smallest(scores, 3).nonzero().flatten().tolist() == [1, 2, 3]
    assert smallest(scores, 6).all()


def test_state_survives_a_checkpoint() -> None:
    whole, resumed = Net(), Net()
    for _ in range(12):
        whole.step()
    resumed.model.load_state_dict(whole.model.state_dict())
    resumed.optimizer.load_state_dict(copy.deepcopy(whole.optimizer.state_dict()))  # else both share their moments
    resumed.pruner.load_state_dict(whole.pruner.state_dict())
    resumed.data.set_state(whole.data.get_state())
    for _ in range(12):
        whole.step()
        resumed.step()

    assert measured_sparsity(resumed.model) == pytest.approx(0.9, abs=1 / 1476)
    parameters = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in parameters)


def test_optimizer_without_second_moment_is_refused() -> None:
    model = Net().model
    with pytest.raises(ConfigError, match="CONFIG_PRUNING_METHOD=state needs an optimizer with a second moment; SGD has none"):
        build_pruner(RunConfig('CONFIG_PRUNING_METHOD="state"\n', "config.txt"), model, torch.optim.SGD(model.parameters()), 10)


def test_unknown_method_is_refused_with_the_list() -> None:
    net = Net()
    with pytest.raises(ConfigError, match='found "movement", allowed: none state'):
        build_pruner(RunConfig('CONFIG_PRUNING_METHOD="movement"\n', "config.txt"), net.model, net.optimizer, 10)
