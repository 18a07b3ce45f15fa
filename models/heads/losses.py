"""The losses over a batch of pairs: what draws an image and its captions together, and pushes other rows apart."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_LEARNED_TEMPERATURE = 0.01  # a scale of 100, as in CLIP (Radford et al. 2021): a larger one makes training unstable
MAX_LEARNED_LOG_SCALE = -math.log(MIN_LEARNED_TEMPERATURE)
EMPTY = -1  # the image id of a slot of the queue that no row was written to


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What `build_loss` makes. `kind`: sigmoid, softmax or queue; `queue_size`: rows that the queue keeps, else 0.

    `temperature`, above 0: what similarities are divided by; its first value if it is learned, and then 0.01 or more.
    """

    kind: str
    temperature: float
    is_temperature_learned: bool
    queue_size: int


class Loss(nn.Module):
    """Similarities over a temperature that is fixed, or learned and kept at 0.01 or above; a subclass says what they cost.

    Logits are computed in the precision of the embeddings, also under autocast: 16 bits of a cosine, times a scale of up to 100,
    are off by some tenths.
    """

    log_scale: Tensor

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        is_learned, temperature = settings.is_temperature_learned, settings.temperature
        if temperature <= 0 or (is_learned and temperature < MIN_LEARNED_TEMPERATURE):
            allowed = f"{MIN_LEARNED_TEMPERATURE:g} or more where it is learned" if is_learned else "above 0"
            raise ValueError(f"temperature is {temperature:g}: allowed is {allowed}")
        log_scale = torch.tensor(-math.log(temperature))
        if is_learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.is_temperature_learned = is_learned

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by now, a scalar on the loss's device."""
        log_scale = self.log_scale.detach()
        if self.is_temperature_learned:  # since the last forward pass the optimizer may have gone beyond
            log_scale = log_scale.clamp(max=MAX_LEARNED_LOG_SCALE)
        return log_scale.neg().exp()

    def forward(self, images: Tensor, texts: Tensor, image_ids: Tensor) -> Tensor:
        """Unit rows [B, d] of both modalities, row i of one with row i of the other, and the image of each row, int64 [B], 0 or
        more: the mean loss of a row, a scalar.
        """
        if self.is_temperature_learned:
            with torch.no_grad():  # the parameter itself: behind a clamp of what it gives, no gradient would lead it back
                self.log_scale.clamp_(max=MAX_LEARNED_LOG_SCALE)
        with torch.autocast(images.device.type, enabled=False):
            return self.cost(images, texts, image_ids, self.log_scale.exp())

    def cost(self, images: Tensor, texts: Tensor, image_ids: Tensor, scale: Tensor) -> Tensor:
        """The loss for the inputs of `forward` and 1 / temperature."""
        raise NotImplementedError


class SigmoidLoss(Loss):
    """Each pair of rows for itself: of the same image or not (Zhai et al. 2023, algorithm 1).

    -log sigmoid(t (S / temperature + bias)), t = 1 for rows of the same image and else -1: the sum over a row, mean over rows.
    The bias is learned from -10, the paper's start: about the log-odds of a match in a batch of 20,000.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__(settings)
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def cost(self, images: Tensor, texts: Tensor, image_ids: Tensor, scale: Tensor) -> Tensor:
        """As `Loss.cost`."""
        logits = (scale * images) @ texts.T + self.bias
        signs = torch.where(_same(image_ids, image_ids), 1.0, -1.0).to(logits.dtype)
        return -F.logsigmoid(signs * logits).sum(1).mean()


class SoftmaxLoss(Loss):
    """Cross-entropy of an image over the texts of the batch, and of a text over its images; the mean of the two.

    All rows of the same image are right answers, in equal shares.
    """

    def cost(self, images: Tensor, texts: Tensor, image_ids: Tensor, scale: Tensor) -> Tensor:
        """As `Loss.cost`."""
        logits = (scale * images) @ texts.T
        targets = _same(image_ids, image_ids).to(logits.dtype)
        targets = targets / targets.sum(1, keepdim=True)  # the same matrix transposed, before and after
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


class QueueLoss(Loss):
    """Cross-entropy over the batch and a queue of past rows of the other modality, both directions, their mean.

    The right answer is the row's own partner. Other rows of the same image, in the batch and in the queue, are left out. The
    queue is a ring of the last `queue_size` rows of training batches: `images` and `texts` [Q, d] without gradient, `ids` int64
    [Q] with -1 where nothing was written yet, `position`: the slot that is written next, the oldest once all are filled.
    """

    images: Tensor
    texts: Tensor
    ids: Tensor
    position: Tensor

    def __init__(self, settings: LossSettings, output_dim: int) -> None:
        super().__init__(settings)
        size = settings.queue_size
        if size < 1:
            raise ValueError(f"queue_size is {size}: allowed is 1 or more")
        self.register_buffer("images", torch.zeros(size, output_dim))
        self.register_buffer("texts", torch.zeros(size, output_dim))
        self.register_buffer("ids", torch.full((size,), EMPTY))
        self.register_buffer("position", torch.tensor(0))

    def cost(self, images: Tensor, texts: Tensor, image_ids: Tensor, scale: Tensor) -> Tensor:
        """As `Loss.cost`. In training the batch then enters the queue."""
        own = torch.arange(len(images), device=images.device)
        is_double = _same(image_ids, image_ids).fill_diagonal_(False)
        is_out = torch.cat([is_double, _same(image_ids, self.ids) | (self.ids == EMPTY)], 1)
        # Added to the product, not written into it: so it costs nothing in the backward pass.
        left_out = torch.zeros_like(is_out, dtype=images.dtype).masked_fill_(is_out, -math.inf)
        losses = [
            F.cross_entropy(torch.addmm(left_out, scale * rows, torch.cat([others, past]).T), own)
            for rows, others, past in ((images, texts, self.texts), (texts, images, self.images))
        ]
        if self.training:
            self._push(images.detach(), texts.detach(), image_ids)
        return (losses[0] + losses[1]) / 2

    def _push(self, images: Tensor, texts: Tensor, image_ids: Tensor) -> None:
        """Writes the rows behind those written last, over the oldest; of more rows than the queue holds, the last ones."""
        size = len(self.ids)
        end = self.position + len(image_ids)
        images, texts, image_ids = images[-size:], texts[-size:], image_ids[-size:]
        slots = (end - len(image_ids) + torch.arange(len(image_ids), device=image_ids.device)) % size
        # In place: the loss is of a copy (`torch.cat`), so its backward pass still sees the queue as it was.
        self.images.index_copy_(0, slots, images)
        self.texts.index_copy_(0, slots, texts)
        self.ids.index_copy_(0, slots, image_ids)
        self.position.copy_(end % size)


def build_loss(settings: LossSettings, output_dim: int) -> Loss:
    """The loss of one run, with parameters and queue of its own: module(images [B, d], texts [B, d], image_ids int64 [B]) gives
    the mean loss of a row, where d is `output_dim`. See `Loss.forward`, and `Loss.temperature` for reports.

    Raises ValueError for an unknown kind, a temperature or a queue size out of range.
    """
    match settings.kind:
        case "sigmoid":
            return SigmoidLoss(settings)
        case "softmax":
            return SoftmaxLoss(settings)
        case "queue":
            return QueueLoss(settings, output_dim)
    raise ValueError(f"loss {settings.kind!r} is not known: choose sigmoid, softmax or queue")


def _same(image_ids: Tensor, others: Tensor) -> Tensor:
    """Which rows show the same image, bool [B, N]."""
    return image_ids.unsqueeze(1) == others.unsqueeze(0)
