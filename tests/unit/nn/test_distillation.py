"""The polish of replaced layers: nearer to the teacher, and nothing else touched."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ksweep.nn.calibration import Call
from ksweep.nn.compress import Setting, compressed
from ksweep.nn.distillation import distill


@dataclass(frozen=True)
class Answer:
    """As models answer: numbers, labels, and nothing."""

    logits: Tensor
    labels: Tensor
    more: dict[str, list[Tensor | None]]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.drop = nn.Linear(12, 24), nn.BatchNorm1d(24), nn.Dropout(0.5)
        self.fc2 = nn.Linear(24, 6)

    def forward(self, x: Tensor, *, scale: float) -> Answer:
        hidden = self.drop(self.norm(torch.relu(self.fc1(x * scale))))
        logits = self.fc2(hidden)
        return Answer(logits=logits, labels=logits.argmax(-1), more={"hidden": [hidden, None]})


def make() -> tuple[nn.Module, nn.Module, list[Call]]:
    torch.manual_seed(0)
    teacher = Network().train()
    generator = torch.Generator().manual_seed(1)
    batches: list[Call] = [((torch.randn(32, 12, generator=generator),), {"scale": 1.0}) for _ in range(3)]
    student = compressed(teacher, {"fc1": Setting(params={"rank": 4}, method="svd")}, moments={})
    return student, teacher, batches


def state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def changed(model: nn.Module, before: dict[str, Tensor]) -> list[str]:
    return [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]


def polish(student: nn.Module, teacher: nn.Module, batches: list[Call], **options: Any) -> Any:
    return distill(student, teacher, ["fc1"], batches, **({"num_steps": 60, "learning_rate": 0.01} | options))


def test_the_student_comes_nearer_by_the_weights_of_the_replaced_layer_alone() -> None:
    student, teacher, batches = make()
    before, of_teacher, random_state = state(student), state(teacher), torch.get_rng_state()
    student.fc1.down.requires_grad_(False)
    student.fc2.weight.grad = torch.ones_like(student.fc2.weight)
    student.norm.eval()
    found = polish(student, teacher, batches)
    assert found.after < 0.8 * found.before
    assert sorted(changed(student, before)) == ["fc1.bias", "fc1.down", "fc1.up"]
    assert changed(teacher, of_teacher) == []
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not student.fc1.down.requires_grad
    assert student.fc1.up.requires_grad
    assert student.fc1.up.grad is None
    assert torch.equal(student.fc2.weight.grad, torch.ones_like(student.fc2.weight))
    assert [student.training, student.norm.training, student.drop.training, teacher.training] == [True, False, True, True]
    student.eval(), teacher.eval()
    with torch.no_grad():
        off, wanted = ([model(*args, **kwargs).logits for args, kwargs in batches] for model in (student, teacher))
    assert (torch.cat(off) - torch.cat(wanted)).norm() < torch.cat(wanted).norm()


def test_it_is_the_same_each_time_and_works_where_gradients_are_off() -> None:
    first, teacher, batches = make()
    second = copy.deepcopy(first)
    polish(first, teacher, batches)
    torch.manual_seed(99)
    with torch.no_grad():
        polish(second, teacher, batches)
    assert changed(second, state(first)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_of_16_bits_are_polished_too(dtype: torch.dtype) -> None:
    student, teacher, batches = make()
    narrow: list[Call] = [((args[0].to(dtype),), kwargs) for args, kwargs in batches]
    found = polish(student.to(dtype), teacher.to(dtype), narrow, num_steps=30)
    assert found.after < 0.8 * found.before
    assert student.fc1.up.dtype == dtype


def test_what_is_not_finite_is_an_error_and_the_student_stays_as_it_was() -> None:
    student, teacher, batches = make()
    before = state(student)
    with pytest.raises(ValueError, match=r"distill: the error of the outputs went from .* lower the learning rate"):
        polish(student, teacher, batches, learning_rate=1e30)
    assert changed(student, before) == []
    assert student.training
    assert student.fc1.up.requires_grad


def test_batches_that_are_not_finite_are_an_error_and_the_student_stays_as_it_was() -> None:
    student, teacher, batches = make()
    before = state(student)
    with pytest.raises(ValueError, match="not finite"):
        polish(student, teacher, [*batches, ((torch.full((4, 12), torch.nan),), {"scale": 1.0})], num_steps=2)
    assert changed(student, before) == []


def test_weights_that_do_no_better_are_put_back() -> None:
    student, teacher, batches = make()
    before = state(student)
    found = polish(student, teacher, batches, num_steps=1, learning_rate=5.0)
    assert found.after == found.before
    assert changed(student, before) == []


def test_an_exception_in_the_middle_leaves_the_student_as_it_was() -> None:
    student, teacher, batches = make()
    before, calls = state(student), list[None]()

    def fail(_layer: nn.Module, _args: Any) -> None:
        calls.append(None)
        if len(calls) == 10:
            raise RuntimeError("in the middle")

    handle = student.fc1.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        polish(student, teacher, batches)
    handle.remove()
    assert changed(student, before) == []
    assert student.fc1.up.grad is None


def test_nothing_to_train_and_nothing_to_compare_are_errors() -> None:
    student, teacher, batches = make()
    with pytest.raises(ValueError, match="found 0 parameters in drop and 3 batches"):
        distill(student, teacher, ["drop"], batches, num_steps=1, learning_rate=0.1)
    with pytest.raises(ValueError, match="found 3 parameters in fc1 and 0 batches"):
        polish(student, teacher, [])
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda module, args, output: output.argmax(-1))
    with pytest.raises(ValueError, match="found no floating-point tensor in the outputs"):
        distill(model, model, [""], [((torch.ones(1, 2),), {})], num_steps=1, learning_rate=0.1)
