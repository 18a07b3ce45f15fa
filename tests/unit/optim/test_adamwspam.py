"""AdamWSPAM: spikes, resets, and a learning rate that stays on its schedule."""

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.lr_scheduler import CosineAnnealingLR

from ksweep.contract.errors import ConfigError, RequestError
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.optim.adamwspam import AdamWSPAM
from ksweep.space.rangefile import read_range_file

ROOT = Path(__file__).resolve().parents[3]


def spam(*params: nn.Parameter, lr: float = 0.01, theta: float = 50.0, clip: bool = True, **others) -> AdamWSPAM:
    settings = {"interval": 10, "warmup_steps": 5, "weight_decay": 0.1, "fused": True, **others}
    return AdamWSPAM([{"params": list(params)}], lr=lr, theta=theta, clip=clip, **settings)


def steps(param: nn.Parameter, optimizer: AdamWSPAM, gradients: list[Tensor]) -> None:
    for gradient in gradients:
        param.grad = gradient.clone()
        optimizer.step()


def drawn(count: int, *, seed: int = 1) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 8, generator=draw) for _ in range(count)]


def test_learning_rate_stays_on_its_schedule_over_five_epochs() -> None:
    num_steps = 5 * 391
    weight, other = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = spam(weight, lr=0.1, interval=1000, warmup_steps=100)
    plain = torch.optim.SGD([other], lr=0.1)
    schedules = CosineAnnealingLR(optimizer, num_steps), CosineAnnealingLR(plain, num_steps)
    for _ in range(num_steps):
        weight.grad = weight.detach().clone()
        optimizer.step()
        plain.step()
        for schedule in schedules:
            schedule.step()
        assert optimizer.param_groups[0]["lr"] == plain.param_groups[0]["lr"]

    assert optimizer.param_groups[0]["spam_step"] == num_steps > 1000 + 100


def test_first_step_after_a_reset_takes_a_small_part_of_the_rate() -> None:
    """Adam's first step has the size of the learning rate; the first of N = 5 warm-up steps takes 0.5*(1-cos(pi/5)) of it."""
    weight = nn.Parameter(torch.zeros(1, 1))
    optimizer = spam(weight, weight_decay=0.0)
    moved = []
    for _ in range(16):
        before = weight.item()
        steps(weight, optimizer, [torch.ones(1, 1)])
        moved.append((before - weight.item()) / 0.01)

    assert moved == pytest.approx([1.0] * 10 + [0.0954915, 0.3454915, 0.6545085, 0.9045085, 1.0] + [1.0], abs=1e-4)


def test_rate_is_restored_when_a_step_fails() -> None:
    weight = nn.Parameter(torch.zeros(8, 8))
    optimizer = spam(weight, clip=False)
    steps(weight, optimizer, drawn(11))
    with pytest.raises(RuntimeError, match="sparse"):
        steps(weight, optimizer, [torch.eye(8).to_sparse()])

    assert optimizer.param_groups[0]["lr"] == 0.01


def test_a_spike_of_ten_thousand_barely_moves_the_weights_and_the_entry_goes_on_learning() -> None:
    """Without clipping, Adam's second moment keeps the spike, and the entry stands still for a thousand steps."""
    moved, learned = {}, {}
    for course in ("plain", "clipped", "not clipped"):
        gradients = [1 + 0.1 * gradient for gradient in drawn(100)]  # downhill, a learning rate a step
        if course != "plain":
            gradients[20][3, 3] = 1e4
        weight = nn.Parameter(torch.zeros(8, 8))
        optimizer = spam(weight, clip=course != "not clipped", interval=0, weight_decay=0.0)
        steps(weight, optimizer, gradients[:40])
        moved[course] = weight.detach() / 0.01
        steps(weight, optimizer, gradients[40:])
        learned[course] = (moved[course] - weight.detach() / 0.01)[3, 3].item() / 60

    apart = moved["clipped"] - moved["plain"]
    assert abs(apart[3, 3]) < 5
    apart[3, 3] = 0
    assert (apart == 0).all()  # the others do not notice
    assert learned["plain"] == pytest.approx(1.0, abs=0.05)
    assert learned["clipped"] > 0.5
    assert learned["not clipped"] < 0.1


def test_gradient_that_is_not_finite_is_seen() -> None:
    """An infinite entry is a spike; one that is not a number must end as a diverged run, not as a clipped one."""
    weight = nn.Parameter(torch.zeros(8, 8))
    gradients = drawn(3)
    gradients[2][0, 0], gradients[2][1, 1] = torch.inf, torch.nan
    steps(weight, spam(weight), gradients)

    assert weight[0, 0].isfinite()
    assert weight[1, 1].isnan()
    assert weight.isfinite().sum() == 63


def test_entry_without_history_is_not_clipped() -> None:
    """A unit that was dead for 20 steps: its second moment is 0, and a limit of 0 would keep it dead."""
    weight = nn.Parameter(torch.zeros(8, 8))
    gradients = drawn(21)
    for gradient in gradients[:20]:
        gradient[0] = 0.0
    steps(weight, spam(weight, interval=0), gradients)

    assert torch.equal(weight.grad[0], gradients[20][0])
    assert (weight[0] != 0).all()


@pytest.mark.parametrize("amsgrad", [False, True], ids=["adam", "amsgrad"])
def test_what_is_pruned_stays_exactly_zero(amsgrad: bool) -> None:
    """Weight, moments and gradient are 0: through spikes elsewhere, resets, warm-ups and weight decay."""
    weight = nn.Parameter(torch.ones(8, 8))
    optimizer = spam(weight, amsgrad=amsgrad)
    gradients = drawn(35)
    steps(weight, optimizer, gradients[:5])
    pruned = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)) < 0.7
    for tensor in (weight.data, *(t for t in optimizer.state[weight].values() if t.ndim)):
        tensor[pruned] = 0.0
    steps(weight, optimizer, [gradient.masked_fill(pruned, 0.0) for gradient in gradients[5:]])

    assert (weight[pruned] == 0).all()
    assert all((t[pruned] == 0).all() for t in optimizer.state[weight].values() if t.ndim)
    assert (weight[~pruned] != 0).all()


@pytest.mark.parametrize("after", [9, 10, 12, 17], ids=["before a reset", "at a reset", "in the warm-up", "after it"])
def test_resumed_run_goes_on_to_the_last_bit(after: int) -> None:
    gradients = drawn(40)
    whole, first, second = (nn.Parameter(torch.ones(8, 8)) for _ in range(3))
    steps(whole, spam(whole, amsgrad=True), gradients)
    stopped = spam(first, amsgrad=True)
    steps(first, stopped, gradients[:after])
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed = spam(second, amsgrad=True)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    second.data.copy_(first.data)
    steps(second, resumed, gradients[after:])

    assert torch.equal(second, whole)


def test_no_step_reads_from_the_device() -> None:
    """Tensors without values, that refuse to be read: clipping, a reset and its warm-up ask for none."""
    with FakeTensorMode():
        weight = nn.Parameter(torch.ones(8, 8))
        steps(weight, spam(weight), [torch.ones(8, 8)] * 25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"theta": 0.0}, "theta: found 0.0, allowed: above 0"),
        ({"interval": -1}, "found -1 and 5, allowed: 0 or more"),
        ({"interval": 100, "warmup_steps": 100}, "100 warm-up steps do not end before the next reset, 100 steps after"),
    ],
    ids=["theta", "negative", "warm-up too long"],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spam(nn.Parameter(torch.ones(2, 2)), **settings)


SYMBOLS = {
    **{"OPTIMIZER": "adamwspam", "LEARNING_RATE": "0.1", "WEIGHT_DECAY": "0"},
    **{"ADAM_BETA1": "0.9", "ADAM_BETA2": "0.999", "ADAM_EPSILON": "1e-8", "ADAM_AMSGRAD": "n"},
    **{"SPAM_THETA": "50", "SPAM_CLIP": "y", "SPAM_INTERVAL": "100", "SPAM_WARMUP_STEPS": "200"},
}


def test_warm_up_longer_than_the_interval_is_refused_by_the_trainer_with_both_numbers(built) -> None:
    with pytest.raises(ConfigError, match=r"config\.txt: optimizer adamwspam: 200 warm-up steps .* 100 steps after"):
        built(nn.Linear(2, 2), **SYMBOLS)


def test_warm_up_longer_than_the_interval_is_refused_at_planning_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "ranges").write_text("CONFIG_OPTIMIZER=adamwspam\nCONFIG_SPAM_INTERVAL=100\nCONFIG_SPAM_WARMUP_STEPS=200\n")

    with pytest.raises(RequestError, match=r"CONFIG_SPAM_INTERVAL=100: .* before the next reset.*SPAM_WARMUP_STEPS=200"):
        Resolver(load_tree(ROOT)).expand(read_range_file(tmp_path / "ranges", lambda name: tmp_path / name))
