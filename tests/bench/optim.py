"""What optimizers and pruning cost on ResNet-18's parameters, with one thread and with all; in one process, in turns.

  fused     a step of each optimizer that has fused kernels, against the same one on torch's foreach kernels. The limit of 3 is
            for torch's own Adam and AdamW with one thread: with more they wait for the memory, as SGD does on any kernel; the
            others have work of their own, which is the same on both; and on a CPU the fused kernels are slower where parameters
            lie in channels_last
  adafactor a step, against torch.optim.Adafactor
  masking   what the pruner does before each step, against a step of fused AdamW
  choosing  the exact threshold and the new mask, against torch.kthvalue (the threshold alone) on the same scores; and both
            once more with bringing the scores of all layers into one vector
  total     masking, and choosing masks every 100 steps, against a whole training step at batch 128

make bench-optim
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ.pop("OMP_NUM_THREADS", None)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim import Adafactor, Adam, AdamW, Optimizer  # noqa: E402

from ksweep import optim, prune  # noqa: E402
from ksweep.contract.config import RunConfig  # noqa: E402
from ksweep.kconfig.tree import load_tree  # noqa: E402
from ksweep.optim.build import build_optimizer, param_groups  # noqa: E402
from ksweep.prune.build import build_pruner  # noqa: E402
from ksweep.prune.pruner import Pruner  # noqa: E402
from ksweep.prune.select import mask_smallest  # noqa: E402
from ksweep.prune.weights import prunable_weights  # noqa: E402
from ksweep.train.registry import plugins  # noqa: E402
from models.resnet18.model import ResNet18  # noqa: E402

NUM_PAIRS, BATCH, FREQUENCY, SPARSITY = 15, 128, 100, 0.7
FUSED, FUSED_ELSE, MASKING, CHOOSING, TOTAL = 3.0, 1.0, 0.5, 3.0, 0.01  # limits
Work = Callable[[], object]
KCONF = load_tree(ROOT)
WITHOUT_FUSED = {"adafactor", "rmsprop"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: seconds of both, in pairs; `at_least` or `at_most` is the limit of the ratio, if it has one."""

    name: str
    ours_s: list[float]
    other_s: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float:
        """Median of ours / other where less is good, of other / ours where more is."""
        pairs = zip(self.ours_s, self.other_s, strict=True)
        return statistics.median(ours / other if self.at_least is None else other / ours for ours, other in pairs)

    @property
    def holds(self) -> bool:
        """True also without a limit."""
        return (self.at_least is None or self.ratio >= self.at_least) and (self.at_most is None or self.ratio <= self.at_most)

    def __str__(self) -> str:
        limit = f">= {self.at_least:g}" if self.at_least else f"<= {self.at_most:g}" if self.at_most else ""
        verdict = ("holds" if self.holds else "DOES NOT HOLD") if limit else ""
        return f"  {self.name:36} {_ms(self.ours_s):>26} {_ms(self.other_s):>28}  {self.ratio:8.4f}  {limit:8} {verdict}"


def _ms(seconds: list[float]) -> str:
    low, middle, high = (value * 1e3 for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def in_turns(ours: Work, other: Work, num_pairs: int = NUM_PAIRS) -> tuple[list[float], list[float]]:
    """Seconds of each, pair by pair; the first pair warms up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(num_pairs + 1):
        for column, work in zip(seconds, (ours, other), strict=True):
            start = time.perf_counter()
            work()
            if pair:
                column.append(time.perf_counter() - start)
    return seconds


def config(**words: str) -> RunConfig:
    """The complete configuration with these members of choices and values."""
    KCONF.unset_values()
    for symbol, value in words.items():
        member = KCONF.syms.get(f"{symbol.replace('PRUNING_METHOD', 'PRUNING')}_SELECT_{value.upper()}")
        assert member.set_value("y") if member else KCONF.syms[symbol].set_value(value)
    with tempfile.TemporaryDirectory() as scratch:
        KCONF.write_config(f"{scratch}/config.txt")
        return RunConfig.load(Path(scratch, "config.txt"))


def make_model(memory_format: torch.memory_format = torch.contiguous_format) -> nn.Module:
    """ResNet-18 for CIFAR-10 with a gradient on every parameter."""
    torch.manual_seed(1)
    model = ResNet18(3, 10, width=64, stem="cifar").to(memory_format=memory_format)
    for param in model.parameters():
        param.grad = torch.randn_like(param) * 1e-3
    return model


def make_optimizer(name: str, model: nn.Module, *, fused: bool = True) -> Optimizer:
    """The optimizer, after a step."""
    optimizer = build_optimizer(config(OPTIMIZER=name), model)
    if name not in WITHOUT_FUSED:
        for group in optimizer.param_groups:
            assert group["fused"], f"{name} is not on the fused kernels"
            group.update(fused=fused, foreach=not fused)
    optimizer.step()
    return optimizer


def make_pruner(method: str) -> Pruner:
    """A pruner that chooses masks after each of 40 steps, with an optimizer that has made a step."""
    words = {"OPTIMIZER": "adamwprune" if method == "state" else "adamw", "PRUNING_METHOD": method}
    schedule = {"PRUNING_FREQUENCY": "1", "NUM_EPOCHS": "2", "PRUNING_RAMP_END_EPOCH": "1", "TARGET_SPARSITY": str(SPARSITY)}
    cfg, model = config(**words, **schedule), make_model()
    optimizer = build_optimizer(cfg, model)
    optimizer.step()
    pruner = build_pruner(cfg, model, optimizer, steps_per_epoch=40)
    assert pruner
    pruner.before_step()
    return pruner


def fused_rows() -> list[Row]:
    """Each optimizer."""
    rows = []
    for name in (name for name in plugins(optim) if name not in WITHOUT_FUSED):
        fused = make_optimizer(name, make_model())
        ours, other = in_turns(fused.step, make_optimizer(name, make_model(), fused=False).step)
        limit = FUSED if type(fused) in (Adam, AdamW) and torch.get_num_threads() == 1 else FUSED_ELSE
        rows.append(Row(name=f"fused: {name}", ours_s=ours, other_s=other, at_least=limit))
    models = [make_model(torch.channels_last) for _ in range(2)]
    ours, other = in_turns(make_optimizer("adamw", models[0]).step, make_optimizer("adamw", models[1], fused=False).step)
    rows.append(Row(name="fused: adamw, channels_last", ours_s=ours, other_s=other, at_least=FUSED_ELSE))
    torchs = Adafactor(param_groups(make_model()))
    ours, other = in_turns(make_optimizer("adafactor", make_model()).step, torchs.step)
    return [*rows, Row(name="adafactor", ours_s=ours, other_s=other, at_least=1.0)]


def pruning_rows(step_s: float) -> list[Row]:
    """Each method: masking before each step, choosing masks after it, and the total as a share of `step_s`."""
    adamw, rows = make_optimizer("adamw", make_model()), []
    for method in plugins(prune):
        pruner = make_pruner(method)
        choosing, _ = in_turns(pruner.after_step, lambda: None)
        masking, adamw_s = in_turns(pruner.before_step, adamw.step)
        total = [each + update / FREQUENCY for each, update in zip(masking, choosing, strict=True)]
        # Movement adds up its scores there as well, which is no masking.
        limit = None if method == "movement" else MASKING
        rows.append(Row(name=f"masking: {method}", ours_s=masking, other_s=adamw_s, at_most=limit))
        rows.append(Row(name=f"all of a mask update: {method}", ours_s=choosing, other_s=adamw_s))
        rows.append(Row(name=f"total: {method}", ours_s=total, other_s=[step_s] * NUM_PAIRS, at_most=TOTAL))
    return rows


def choosing_rows() -> list[Row]:
    """The threshold and the mask, without and with making one vector of the scores."""
    layers = [weight.detach().abs().flatten() for weight in prunable_weights(make_model())]
    scores = torch.cat(layers)
    mask, count = torch.ones_like(scores), int(SPARSITY * len(scores))

    def with_vector() -> None:
        vector = torch.empty_like(scores)
        for part, layer in zip(vector.split([len(layer) for layer in layers]), layers, strict=True):
            part.copy_(layer)
        mask_smallest(mask, vector, count)

    alone = in_turns(lambda: mask_smallest(mask, scores, count), lambda: scores.kthvalue(count))
    together = in_turns(with_vector, lambda: torch.cat(layers).kthvalue(count))
    return [
        Row(name="choosing, against kthvalue", ours_s=alone[0], other_s=alone[1], at_least=CHOOSING),
        Row(name="choosing, against cat and kthvalue", ours_s=together[0], other_s=together[1], at_least=CHOOSING),
    ]


def training_step_s() -> float:
    """Seconds of a forward and backward pass and a step of fused AdamW; the faster of two."""
    model = make_model(torch.channels_last).train()
    optimizer = build_optimizer(config(OPTIMIZER="adamw"), model)
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))

    def step() -> None:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return min(in_turns(step, lambda: None, num_pairs=2)[0])


def main() -> None:
    """Print the table; exit code 1 when a limit does not hold."""
    rows = []
    for num_threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(num_threads)
        step_s = training_step_s()
        print(f"{num_threads} threads, n={NUM_PAIRS} pairs; a training step at batch {BATCH} takes {step_s:.2f} s")
        print(f"  {'':36} {'ours: median (range), ms':>26} {'other: median (range), ms':>28}  {'ratio':>8}  limit")
        for row in [*fused_rows(), *pruning_rows(step_s), *choosing_rows()]:
            print(row, flush=True)
            rows.append(row)
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
