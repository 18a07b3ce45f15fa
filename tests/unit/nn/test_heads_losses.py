"""The losses of the projection heads: they equal a restatement row by row, and the queue holds what it should."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from models.heads.losses import Loss, LossSettings, QueueLoss, SigmoidLoss, build_loss

DIM = 3
IDS = torch.tensor([4, 7, 4, 0, 9, 7])  # three images of which two have two rows
KINDS = ("sigmoid", "softmax", "queue")
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)
Batch = tuple[Tensor, Tensor, Tensor]


def make_loss(kind: str, **changes: Any) -> Loss:
    known: dict[str, Any] = {
        "kind": kind,
        "temperature": 0.2,
        "is_temperature_learned": False,
        "queue_size": 10 if kind == "queue" else 0,
    }
    loss = build_loss(LossSettings(**known | changes), DIM)
    assert isinstance(loss, Loss)
    return loss.double()


def make_rows(number: int, seed: int) -> Tensor:
    rows = torch.randn(number, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


def make_batch(ids: Tensor = IDS, seed: int = 1) -> Batch:
    return make_rows(len(ids), seed), make_rows(len(ids), seed + 1000), ids


def dot(one: Tensor, other: Tensor) -> float:
    return math.fsum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))


def restated_sigmoid(images: Tensor, texts: Tensor, ids: Tensor, temperature: float, bias: float) -> float:
    total = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            sign = 1 if ids[i] == ids[j] else -1
            total += math.log1p(math.exp(-sign * (dot(image, text) / temperature + bias)))
    return total / len(ids)


def restated_softmax(images: Tensor, texts: Tensor, ids: Tensor, temperature: float) -> float:
    totals = []
    for rows, others in ((images, texts), (texts, images)):
        for i, row in enumerate(rows):
            odds = [math.exp(dot(row, other) / temperature) for other in others]
            right = [odds[j] for j in range(len(ids)) if ids[j] == ids[i]]
            totals.append(-math.fsum(math.log(one / math.fsum(odds)) for one in right) / len(right))
    return math.fsum(totals) / len(totals)


def restated_queue(batch: Batch, past: list[tuple[Tensor, Tensor, int]], temperature: float) -> float:
    """`past`: the rows that the queue holds, images, texts, ids."""
    images, texts, ids = batch
    totals = []
    for rows, others, of_past in ((images, texts, 1), (texts, images, 0)):
        for i, row in enumerate(rows):
            wrong = [other for j, other in enumerate(others) if ids[j] != ids[i]]
            wrong += [entry[of_past] for entry in past if entry[2] != ids[i]]
            own = math.exp(dot(row, others[i]) / temperature)
            totals.append(-math.log(own / (own + math.fsum(math.exp(dot(row, other) / temperature) for other in wrong))))
    return math.fsum(totals) / len(totals)


def make_stream(number: int, size: int) -> Iterator[Batch]:
    """Batches in which some images come twice, and again in later ones."""
    ids = torch.randint(6, (number * size,), generator=torch.Generator().manual_seed(6))
    yield from (make_batch(part, seed) for part, seed in zip(ids.split(size), range(20, 20 + number), strict=True))


def test_sigmoid_equals_its_restatement() -> None:
    loss, batch = make_loss("sigmoid"), make_batch()
    assert isinstance(loss, SigmoidLoss)
    assert loss.bias.item() == -10
    assert loss(*batch).item() == pytest.approx(restated_sigmoid(*batch, 0.2, -10), abs=1e-6)
    with torch.no_grad():
        loss.bias.fill_(-0.7)
    assert loss(*batch).item() == pytest.approx(restated_sigmoid(*batch, 0.2, -0.7), abs=1e-6)


def test_softmax_equals_its_restatement() -> None:
    batch = make_batch()
    assert make_loss("softmax")(*batch).item() == pytest.approx(restated_softmax(*batch, 0.2), abs=1e-6)


@pytest.mark.parametrize("queue_size", [3, 4, 10, 100])
def test_queue_equals_its_restatement_batch_after_batch(queue_size: int) -> None:
    loss = make_loss("queue", queue_size=queue_size)
    past: list[tuple[Tensor, Tensor, int]] = []
    for batch in make_stream(number=5, size=4):
        assert loss(*batch).item() == pytest.approx(restated_queue(batch, past, 0.2), abs=1e-6)
        past = [*past, *zip(batch[0], batch[1], batch[2].tolist(), strict=True)][-queue_size:]


@ALL_KINDS
def test_with_one_row_an_image_a_batch_in_another_order_costs_the_same(kind: str) -> None:
    images, texts, _ = make_batch()
    ids, order = torch.arange(6), torch.tensor([3, 0, 5, 1, 4, 2])
    expected = make_loss(kind)(images, texts, ids)
    torch.testing.assert_close(make_loss(kind)(images[order], texts[order], ids[order]), expected)


@ALL_KINDS
@pytest.mark.parametrize("is_learned", [False, True])
def test_gradients_equal_finite_differences(kind: str, is_learned: bool) -> None:
    loss = make_loss(kind, is_temperature_learned=is_learned)
    loss(*make_batch(seed=5))  # fills a part of the queue
    loss.eval()  # which then stays as it is
    images, texts, ids = make_batch()
    names = [name for name, _ in loss.named_parameters()]
    assert names == [*["log_scale"] * is_learned, *["bias"] * (kind == "sigmoid")]
    if kind == "sigmoid":
        loss.get_parameter("bias").data.fill_(-1.0)

    def cost(images: Tensor, texts: Tensor, *weights: Tensor) -> Tensor:
        state = dict(zip(names, weights, strict=True))
        result: Tensor = torch.func.functional_call(loss, state, (images, texts, ids))
        return result

    weights = [weight.detach().clone().requires_grad_() for weight in loss.parameters()]
    assert torch.autograd.gradcheck(cost, (images.requires_grad_(), texts.requires_grad_(), *weights))


def test_the_backward_pass_sees_the_queue_as_it_was_at_the_loss() -> None:
    gradients = []
    for is_training in (True, False):
        loss = make_loss("queue")
        loss(*make_batch(seed=5))
        loss.train(is_training)
        images, texts, ids = make_batch()
        loss(images.requires_grad_(), texts.requires_grad_(), ids).backward()  # in training the batch was pushed before
        gradients.append(torch.cat([images.grad, texts.grad]))  # type: ignore[list-item]
    assert torch.equal(*gradients)


def test_a_queue_of_10_after_three_pushes_of_4_holds_the_last_10_rows_in_order() -> None:
    loss = make_loss("queue")
    assert isinstance(loss, QueueLoss)
    ids = torch.arange(12)
    images, texts, _ = make_batch(ids)
    for part in ids.split(4):
        loss(images[part], texts[part], part)
    assert loss.position.item() == 2
    assert loss.ids.tolist() == [10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert loss.ids.roll(-2).tolist() == list(range(2, 12))
    assert torch.equal(loss.images, images[loss.ids])
    assert torch.equal(loss.texts, texts[loss.ids])


def test_a_batch_larger_than_the_queue_leaves_its_last_rows() -> None:
    loss = make_loss("queue", queue_size=5)
    assert isinstance(loss, QueueLoss)
    for part in (torch.arange(3), torch.arange(3, 15)):
        loss(*make_batch(part))
    assert loss.ids.roll(-int(loss.position)).tolist() == [10, 11, 12, 13, 14]


def test_evaluation_pushes_nothing() -> None:
    loss = make_loss("queue")
    loss(*make_batch(seed=5))
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.eval()(*make_batch())
    assert before.keys() == {"log_scale", "images", "texts", "ids", "position"}
    for name, value in loss.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_queue_keeps_no_graph() -> None:
    loss = make_loss("queue")
    images, texts, ids = make_batch()
    loss(images.requires_grad_(), texts.requires_grad_(), ids)
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_a_queue_taken_up_from_its_state_goes_on_as_the_first() -> None:
    first, second = make_loss("queue"), make_loss("queue")
    *earlier, last = make_stream(number=4, size=4)
    for batch in earlier:
        first(*batch)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*last), second(*last))


def test_two_losses_share_nothing() -> None:
    first, second = make_loss("queue", temperature=0.01), make_loss("queue", temperature=0.2)
    first(*make_batch())
    assert isinstance(second, QueueLoss)
    assert (second.ids == -1).all()
    assert [float(one.temperature) for one in (first, second)] == pytest.approx([0.01, 0.2])


@ALL_KINDS
def test_a_fixed_temperature_is_used_as_it_is_also_below_the_clamp(kind: str) -> None:
    loss, batch = make_loss(kind, temperature=0.005), make_batch()
    assert float(loss.temperature) == pytest.approx(0.005)
    expected = {
        "sigmoid": lambda: restated_sigmoid(*batch, 0.005, -10),
        "softmax": lambda: restated_softmax(*batch, 0.005),
        "queue": lambda: restated_queue(batch, [], 0.005),
    }[kind]()
    assert loss(*batch).item() == pytest.approx(expected, rel=1e-6)
    assert "log_scale" not in dict(loss.named_parameters())


@ALL_KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_learned_temperature_stays_at_a_hundredth_or_above_and_comes_back(kind: str, dtype: torch.dtype) -> None:
    loss = make_loss(kind, is_temperature_learned=True).to(dtype)
    images, texts, ids = make_batch()
    batch = images.to(dtype), texts.to(dtype), ids
    with torch.no_grad():
        loss.log_scale.fill_(math.log(500))  # where a step of the optimizer may put it
    assert float(loss.temperature) == pytest.approx(0.01)
    result = loss(*batch)
    torch.testing.assert_close(result, make_loss(kind, temperature=0.01).to(dtype)(*batch))
    assert loss.log_scale.item() == pytest.approx(math.log(100))
    result.backward()
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad.abs() > 0


@ALL_KINDS
def test_a_step_reads_no_number_back_from_the_device(kind: str) -> None:
    settings = LossSettings(kind=kind, temperature=0.2, is_temperature_learned=True, queue_size=10)
    with FakeTensorMode():  # tensors without numbers: to ask for one raises
        loss = build_loss(settings, DIM)
        for name, buffer in [*loss.named_buffers()]:
            setattr(loss, name, torch.empty_like(buffer))  # of one made from a number, the number is still known
        for _ in range(2):
            images, texts = torch.empty(6, DIM, requires_grad=True), torch.empty(6, DIM, requires_grad=True)
            loss(images, texts, torch.empty(6, dtype=torch.int64)).backward()
            assert images.grad is not None


@ALL_KINDS
def test_autocast_leaves_the_logits_as_exact_as_the_embeddings(kind: str) -> None:
    images, texts, ids = make_batch()
    plain, under_autocast = make_loss(kind).float(), make_loss(kind).float()
    expected = plain(images.float(), texts.float(), ids)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(under_autocast(images.float(), texts.float(), ids), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "hinge"}, "'hinge' is not known: choose sigmoid, softmax or queue"),
        ({"temperature": 0.0}, "temperature is 0: allowed is above 0"),
        (
            {"temperature": 0.005, "is_temperature_learned": True},
            "is 0.005: allowed is 0.01 or more where it is learned",
        ),
        ({"kind": "queue", "queue_size": 0}, "queue_size is 0: allowed is 1 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_is_allowed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_loss(**{"kind": "softmax"} | changes)
