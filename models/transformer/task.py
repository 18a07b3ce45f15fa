"""The two tasks of a transformer: the next token of a text, and the class of a sequence; and what its depth is in evaluation."""

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ksweep.contract.config import RunConfig
from ksweep.data.loader import Batch, Batches
from ksweep.data.text import Sequences, load_sequences
from ksweep.data.tokens import load_digit_tokens
from ksweep.train.device import Compute
from ksweep.train.task import AnyPart, Part, Selection, Task, read_batch_size, read_label_smoothing, read_num_batches
from models.transformer.halting import PonderNet
from models.transformer.measure import flops_per_token, time_against_full_depth
from models.transformer.model import IGNORED, Output, Transformer
from models.transformer.settings import read_settings

NUM_TIMED_PAIRS = 7


class SequenceTask(Task):
    """What both have in common. Depth is measured on the validation part, in evaluation mode, over all its tokens."""

    unit = "tokens"
    load: ClassVar[Callable[[RunConfig], Sequences]]

    def __init__(self, cfg: RunConfig, compute: Compute, order: Generator) -> None:
        self._compute = compute
        self._label_smoothing = read_label_smoothing(cfg)
        settings, num_workers = read_settings(cfg), cfg.int("NUM_WORKERS")
        data = type(self).load(cfg)
        batch_size = read_batch_size(cfg, len(data.train), data.name)
        self.name, self.data = data.name, data if num_workers else data.to(compute.device)
        self.train_batches = self._batches(
            self.data.train,
            batch_size,
            num_workers=num_workers,
            generator=order,
            num_batches=read_num_batches(cfg, len(data.train), batch_size),
        )
        sizes = {"num_tokens": data.num_tokens, "num_outputs": data.num_outputs, "length": data.length}
        self.model = Transformer(settings, **sizes).to(compute.device)
        self._num_layers = settings.num_layers

    def _batches(self, part: Tensor, batch_size: int, **order: Any) -> Batches:
        """Tokens int32 [B, T] and targets int64, [B, T] or [B]."""
        device = self._compute.device
        return Batches(
            self.data.inputs, self.data.targets, part, batch_size=batch_size, device=device, prepare=_with_int64, **order
        )

    @property
    def _transformer(self) -> Transformer:
        return cast(Transformer, self.model)

    @property
    def is_validated(self) -> bool:
        return len(self.data.val) > 0

    @property
    def units_per_example(self) -> int:
        return self.data.length

    def loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._transformer.loss(network(inputs), targets, self._label_smoothing)

    def score(self, part: Part, micro_batch: int) -> dict[str, float]:
        return self._pass_over(part, micro_batch)[0]

    def measure(self, part: Part, micro_batch: int) -> dict[str, float]:
        measured, depths, ponders = self._pass_over(part, micro_batch)
        rows = getattr(self.data, part)
        if part == "val":
            measured |= self._of_depth(torch.cat(depths), rows)
            measured |= {"ponder": torch.stack(ponders).sum().item() / len(rows)} if ponders else {}
        return measured

    def _pass_over(self, part: Part, micro_batch: int) -> tuple[dict[str, float], list[Tensor], list[Tensor]]:
        """Metrics of the answers; of each batch the depth of its tokens, and the sum of what depth costs, where it costs."""
        sums, depths, ponders = torch.zeros(3, dtype=torch.float64, device=self._compute.device), [], []
        for targets, output in self._evaluated(self.examples(part, micro_batch)):
            sums += _score(output.logits, targets)
            depths.append(self._depth_of(output, len(targets)))
            ponders += [] if output.ponder is None else [output.ponder * len(targets)]
        loss_sum, num_right, num_asked = sums.tolist()
        return self._metrics(part, loss_sum / num_asked, num_right / num_asked), depths, ponders

    def examples(
        self, part: AnyPart, batch_size: int, *, generator: Generator | None = None, num_batches: int | None = None
    ) -> Batches:
        return self._batches(getattr(self.data, part), batch_size, generator=generator, num_batches=num_batches)

    def calling_all_layers(self) -> AbstractContextManager[None]:
        model = self._transformer
        # With PonderNet's rule queries and keys come from different states, and neither calls the layer of both.
        return model.full_depth() if isinstance(model.halting_rule, PonderNet) else model.all_layers()

    @abstractmethod
    def _metrics(self, part: Part, loss: float, accuracy: float) -> dict[str, float]:
        """What a mean cross-entropy and a share of right answers are called."""

    def _depth_of(self, output: Output, num_rows: int) -> Tensor:
        """Layers that each token enters, [B, T]."""
        if output.depth is not None:
            return output.depth
        return torch.full((num_rows, self.data.length), self._num_layers, device=self._compute.device)

    def _of_depth(self, depth: Tensor, rows: Tensor) -> dict[str, float]:
        """`layers_mean`: whole layers entered per token, 1 to L; half, and nine tenths, of the tokens enter no more than
        `layers_p50`, `layers_p90`; `halted_fraction`: of tokens that leave before the last layer. Of a set that knows how hard
        its tokens are also the mean of each kind."""
        counts = torch.bincount(depth.flatten(), minlength=self._num_layers + 1).tolist()
        num_tokens, mean = sum(counts), sum(n * count for n, count in enumerate(counts)) / sum(counts)
        up_to = [count / num_tokens for count in accumulate(counts)]
        of_depth = {
            "layers_mean": mean,
            "layers_p50": next(n for n, share in enumerate(up_to) if share >= 0.5),
            "layers_p90": next(n for n, share in enumerate(up_to) if share >= 0.9),
            "halted_fraction": 1 - counts[-1] / num_tokens,
            "speedup_layers": self._num_layers / mean,
            "flops_per_token": flops_per_token(self._transformer, depth),
        }
        if self.data.difficulty is not None:
            difficulty = self.data.difficulty[rows]
            for hops in difficulty[difficulty >= 0].unique().tolist():
                of_depth[f"layers_hops{hops}"] = depth[difficulty == hops].double().mean().item()
        return of_depth

    def measure_selected(self, micro_batch: int) -> dict[str, float]:
        """`ms_per_token`, of an evaluation of the first rows of the validation part, as many as go through the network at once in
        training; `speedup_measured`: how many times faster that is than with halting off; the `ponder` of PonderNet."""
        batches, model = self.examples("val", micro_batch), self._transformer
        inputs, _ = next(iter(batches))
        with self._compute.forward_format():
            speed = time_against_full_depth(model, [inputs], num_pairs=NUM_TIMED_PAIRS)
        measured = {"ms_per_token": speed.ms_per_token}
        if model.halting_rule is not None:
            measured["speedup_measured"] = speed.speedup
        if isinstance(model.halting_rule, PonderNet):  # its cost is one of all layers, which evaluation skips
            with model.all_layers():
                ponders = [
                    output.ponder * len(targets) for targets, output in self._evaluated(batches) if output.ponder is not None
                ]
            measured["ponder"] = torch.stack(ponders).sum().item() / len(self.data.val)
        return measured

    def effective(self) -> dict[str, Any]:
        return {
            "num_examples": {part: len(getattr(self.data, part)) for part in ("train", "val", "test")},
            "sequence_length": self.data.length,
            "vocabulary_size": self.data.num_tokens,
            "data_digest": self.data.digest,
            "label_smoothing": self._label_smoothing,
            "transformer": self._transformer.effective(),
        }

    @torch.no_grad()
    def _evaluated(self, batches: Batches) -> Iterator[tuple[Tensor, Output]]:
        """Targets and output of each batch; logits in 32 bits, since bf16 would sum losses with three digits."""
        self.model.eval()
        for inputs, targets in batches:
            with self._compute.forward_format():
                output: Output = self.model(inputs)
            yield targets, output._replace(logits=output.logits.float())


class LanguageModel(SequenceTask):
    """Cross-entropy per token; selected by validation loss. `val_ppl` is its exponential: perplexity per token."""

    selection = Selection(by="val_loss", is_maximized=False)
    load = load_sequences

    def _metrics(self, part: Part, loss: float, accuracy: float) -> dict[str, float]:
        # Beyond what a float holds it is infinite, and the run has diverged.
        ppl = math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf
        return {f"{part}_loss": loss, f"{part}_ppl": ppl, f"{part}_acc": accuracy}

    def of_reports(self, reports: list[dict[str, Any]]) -> dict[str, float]:
        """`convergence_speed`: by how much the validation's perplexity has fallen from the first epoch to the last."""
        ppls = [record["val_ppl"] for record in reports if "val_ppl" in record]
        return {"convergence_speed": ppls[0] - ppls[-1]} if ppls else {}


class Classifier(SequenceTask):
    """Cross-entropy per sequence; selected by validation accuracy, at a tie by the lower loss."""

    selection = Selection(by="val_acc", is_maximized=True, then="val_loss")
    load = load_digit_tokens

    def _metrics(self, part: Part, loss: float, accuracy: float) -> dict[str, float]:
        return {f"{part}_acc": accuracy, f"{part}_loss": loss}


def build_task(cfg: RunConfig, compute: Compute, order: Generator) -> Task:
    """The task that TRANSFORMER_TASK names."""
    return (LanguageModel if cfg.str("TRANSFORMER_TASK") == "language-model" else Classifier)(cfg, compute, order)


def _with_int64(num_examples: int, batch_size: int) -> Callable[[Tensor, Tensor], Batch]:
    return lambda inputs, targets: (inputs, targets.long())


def _score(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the losses, number of right answers, number of questions; float64 [3]."""
    logits, targets = logits.flatten(0, -2), targets.flatten()
    loss_sum = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    num_right = (logits.argmax(-1) == targets).sum()
    return torch.stack([loss_sum.double(), num_right.double(), (targets != IGNORED).sum().double()])
