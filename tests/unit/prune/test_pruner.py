"""The masks at work on a small network that really trains. What every method owes is in tests/contracts/test_pruning.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ksweep.prune.allocation import ALLOCATIONS
from ksweep.prune.importance import Importance
from ksweep.prune.magnitude import Magnitude
from ksweep.prune.movement import Movement
from ksweep.prune.pruner import Pruner
from ksweep.prune.schedule import Schedule
from ksweep.prune.state import State
from ksweep.prune.weights import prunable_weights, share_of_zeros

RAMP = Schedule(shape="cubic", target=0.9, warmup_steps=5, end_step=20, frequency=4)
NUM_WEIGHTS = 36 + 1440


class Net:
    """A small convolutional network with its optimizer and pruner."""

    def __init__(self, method: str = "state", schedule: Schedule = RAMP, exact_limit: int = 10**8) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
        self.model.to(memory_format=torch.channels_last)
        self.weights = prunable_weights(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, weight_decay=0.1, amsgrad=True, fused=True)
        self.importance = {
            "magnitude": lambda: Magnitude(self.weights),
            "movement": lambda: Movement(self.weights),
            "state": lambda: State(self.weights, self.optimizer, "bitter7"),
            "counting": lambda: Counting(self.weights),
        }[method]()
        self.pruner = Pruner(self.importance, self.optimizer, schedule, allocation="global", exact_limit=exact_limit)
        self.data = torch.Generator().manual_seed(1)

    def step(self) -> None:
        images = torch.randn(16, 1, 8, 8, generator=self.data)
        labels = torch.randint(0, 10, (16,), generator=self.data)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images), labels).backward()
        self.pruner.before_step()
        self.optimizer.step()
        self.pruner.after_step()

    @property
    def num_zeros(self) -> int:
        return round(share_of_zeros(self.weights) * NUM_WEIGHTS)


class Counting(Importance):
    """Magnitude that counts its calls."""

    method = "counting"
    num_observed = num_scored = 0

    def observe(self) -> None:
        self.num_observed += 1

    def score(self, index: int) -> Tensor:
        self.num_scored += 1
        return self.weights[index].abs()


def test_weights_and_gradients_are_untouched_before_the_ramp() -> None:
    net = Net()
    twin = Net()
    twin.pruner.before_step = twin.pruner.after_step = lambda: None
    for _ in range(8):
        net.step()
        twin.step()

    assert all(torch.equal(one.grad, other.grad) for one, other in zip(net.weights, twin.weights, strict=True))
    assert net.num_zeros == 0


def test_the_least_important_go_first() -> None:
    net = Net(schedule=Schedule(shape="one_shot", target=0.5, warmup_steps=0, end_step=1, frequency=0))
    net.step()
    twin = Net()  # the same step without pruning tells what the scores were
    twin.step()
    scores = [twin.importance.score(0), twin.importance.score(1)]
    kept = torch.cat([score[mask == 1] for score, mask in zip(scores, net.pruner.masks, strict=True)])
    gone = torch.cat([score[mask == 0] for score, mask in zip(scores, net.pruner.masks, strict=True)])

    assert len(gone) == NUM_WEIGHTS // 2
    assert gone.max() <= kept.min()


def test_masks_have_the_memory_format_of_their_weights() -> None:
    """Else each product takes several times as long."""
    net = Net()

    assert [mask.stride() for mask in net.pruner.masks] == [weight.stride() for weight in net.weights]
    assert [mask.dtype for mask in net.pruner.masks] == [torch.float32] * 2


def test_nothing_is_scored_where_the_number_stays() -> None:
    net = Net("counting", Schedule(shape="linear", target=0.002, warmup_steps=0, end_step=100, frequency=1))
    for _ in range(120):
        net.step()

    assert net.num_zeros == 2  # of 1476
    assert net.importance.num_scored == 2 * 2  # twice, two layers


def test_nothing_is_observed_after_the_ramp() -> None:
    net = Net("counting")
    for _ in range(30):
        net.step()

    assert net.importance.num_observed == RAMP.end_step


@pytest.mark.parametrize(("method", "score_bytes"), [("state", 0), ("magnitude", 0), ("movement", 4 * NUM_WEIGHTS)])
def test_memory_is_counted_in_bytes(method: str, score_bytes: int) -> None:
    pruner = Net(method).pruner

    assert pruner.memory_bytes() == 4 * NUM_WEIGHTS + score_bytes
    assert (pruner.effective()["mask_bytes"], pruner.effective()["score_bytes"]) == (4 * NUM_WEIGHTS, score_bytes)


def test_effective_settings_are_those_of_the_objects() -> None:
    assert Net().pruner.effective() == {
        "method": "state",
        "variant": "bitter7",
        "allocation": "global",
        "schedule": {"shape": "cubic", "target": 0.9, "warmup_steps": 5, "end_step": 20, "frequency": 4},
        "exact_limit": 100_000_000,
        "num_weights": 1476,
        "num_layers": 2,
        "dense_layers": [],
        "mask_dtype": "float32",
        "mask_bytes": 5904,
        "score_bytes": 0,
    }


@pytest.mark.parametrize("method", ["state", "movement"])
def test_sampled_thresholds_stay_below_the_schedule(method: str) -> None:
    net = Net(method, exact_limit=1000)
    for step in range(1, 25):
        net.step()
        scheduled = RAMP.num_pruned(step, NUM_WEIGHTS)
        if RAMP.is_due(step):
            assert scheduled - 10 <= net.num_zeros <= scheduled


@pytest.mark.parametrize("method", ["state", "magnitude", "movement"])
def test_run_that_diverges_is_not_ended_here(method: str) -> None:
    net = Net(method)
    for step in range(25):
        net.step()
        if step == 10:
            net.model[0].weight.data[:2] = torch.nan
        if step == 14:
            net.model[4].weight.data.fill_(torch.inf)


def test_layer_without_a_gradient_is_pruned_all_the_same() -> None:
    net = Net()
    unused = nn.Linear(100, 100)
    weights = [*net.weights, unused.weight]
    net.pruner = Pruner(State(weights, net.optimizer, "bitter7"), net.optimizer, RAMP, allocation="per_layer", exact_limit=10**8)
    for _ in range(25):
        net.step()

    assert share_of_zeros([unused.weight]) == pytest.approx(0.9, abs=1e-3)


class NoHostCopies(TorchDispatchMode):
    """Fails where a tensor's value goes to the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("exact_limit", [10**8, 100])
@pytest.mark.parametrize("method", ["state", "magnitude", "movement"])
def test_no_value_goes_to_the_host(method: str, exact_limit: int) -> None:
    net = Net(method, exact_limit=exact_limit)
    for _ in range(25):
        net.optimizer.zero_grad()
        net.model(torch.ones(2, 1, 8, 8)).square().mean().backward()
        with NoHostCopies():
            net.pruner.before_step()
        net.optimizer.step()
        with NoHostCopies():
            net.pruner.after_step()

    assert net.num_zeros > 0


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_no_value_goes_to_the_host_from_a_device(allocation: str) -> None:
    """Tensors of the meta device take the path of a GPU and have no values to give."""
    weights = [nn.Parameter(torch.empty(4, 1, 3, 3, device="meta")), nn.Parameter(torch.empty(10, 144, device="meta"))]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, foreach=False)
    pruner = Pruner(Movement(weights), optimizer, RAMP, allocation=allocation, exact_limit=10**8)
    for _ in range(25):
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        pruner.before_step()
        optimizer.step()
        pruner.after_step()

    assert sum(pruner.state_dict()["num_pruned"]) == int(0.9 * NUM_WEIGHTS)
