"""What the transformer's depth saves, and what the training loop costs it. Paired in one process, one thread.

  half       evaluation with halting, where tokens enter half of the layers, against the same weights at full depth: every token
             half of them, or each token a number of its own, drawn evenly from 1 to all but one (mean: half)
  step       a training step of the plain language model, making its batch included, against a bare torch loop over the same
             network, loss and optimizer; in CPU time, since a virtual machine loses more wall time than there is to measure

make bench-transformer
"""

import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ.pop("OMP_NUM_THREADS", None)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ksweep.contract.config import RunConfig  # noqa: E402
from ksweep.data.loader import Batch  # noqa: E402
from ksweep.kconfig.tree import load_tree  # noqa: E402
from ksweep.train.training import Training  # noqa: E402
from models.transformer.measure import time_against_full_depth  # noqa: E402
from models.transformer.model import Transformer  # noqa: E402
from models.transformer.settings import Halting, Settings  # noqa: E402
from models.transformer.task import build_task  # noqa: E402
from tests.unit.nn.transformers import force_depth  # noqa: E402

BATCH, LENGTH, WIDTH, NUM_LAYERS, NUM_TOKENS = 32, 256, 256, 8, 256
NUM_PAIRS = int(os.environ.get("PAIRS", "15"))
TIMES_FASTER, STEP_RATIO = 1.4, 1.05
SYMBOLS = "CONFIG_MODEL_SELECT_TRANSFORMER=y\nCONFIG_TEXT_LEVEL_SELECT_CHAR=y\n"


def speedup(depth: Tensor) -> float:
    """Of evaluation where tokens enter `depth` int [BATCH, LENGTH] layers."""
    settings = Settings(
        task="language-model",
        d_model=WIDTH,
        num_layers=NUM_LAYERS,
        num_heads=4,
        mlp_ratio=4,
        positions="rotary",
        mlp="gelu",
        dropout=0.0,
        is_head_tied=True,
        halting=Halting(kind="act", threshold=0.99, ponder_weight=0.01, bias=-1.0, prior=None),
        experts=None,
    )
    torch.manual_seed(1)
    model = Transformer(settings, num_tokens=NUM_TOKENS, num_outputs=NUM_TOKENS, length=LENGTH)
    force_depth(model, depth)
    tokens = torch.randint(NUM_TOKENS, depth.shape)
    speed = time_against_full_depth(model, [tokens], num_pairs=NUM_PAIRS)
    return speed.speedup


class BareLoop:
    """What one would write by hand around the same network."""

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        self.max_grad_norm = max_grad_norm

    def step(self, tokens: Tensor, targets: Tensor) -> None:
        logits = self.model(tokens).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()


def step_ratios() -> list[float]:
    """CPU time of our step over that of the bare loop, pair by pair."""
    training = _training()
    bare = BareLoop(copy.deepcopy(training.model), training.max_grad_norm)
    training.model.train()
    batches = _batches(training)
    tensors = next(batches)

    def ours() -> None:
        training.train_step(*next(batches))

    def theirs() -> None:
        bare.step(*tensors)

    ratios = []
    for pair in range(-2, NUM_PAIRS):  # the first two warm up
        seconds = {work: _cpu_s(work) for work in ((ours, theirs) if pair % 2 else (theirs, ours))}
        if pair >= 0:
            ratios.append(seconds[ours] / seconds[theirs])
    return ratios


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _training() -> Training:
    kconf = load_tree(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "config")
        path.write_text(SYMBOLS)
        kconf.load_config(str(path))
        kconf.write_config(str(path))
        return Training(RunConfig.load(path), build_task, num_micro_batches=1)


def _batches(training: Training) -> Iterator[Batch]:
    while True:
        yield from training.train_batches


def main() -> None:
    """Print both; exit code 1 when a limit does not hold."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(1)
    depths = {
        "all tokens alike": torch.full((BATCH, LENGTH), NUM_LAYERS // 2),
        "each its own": torch.randint(1, NUM_LAYERS, (BATCH, LENGTH), generator=draw),
    }
    print(f"evaluation, batch {BATCH}, length {LENGTH}, width {WIDTH}, {NUM_LAYERS} layers, one thread; limit {TIMES_FASTER}")
    all_hold = True
    for name, depth in depths.items():
        times = speedup(depth)
        all_hold &= times >= TIMES_FASTER
        print(
            f"  {name:17} layers_mean {depth.double().mean():.2f}: {times:.2f} times as fast (median of {NUM_PAIRS} pairs)",
            flush=True,
        )
    ratios = step_ratios()
    ratio = statistics.median(ratios)
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"training step of the plain model, batch 32, length 128, width 64, 4 layers; limit {STEP_RATIO}")
    print(f"  {ratio:.3f} of a bare loop's CPU time (median of {NUM_PAIRS} pairs, {spread})")
    sys.exit(0 if all_hold and ratio <= STEP_RATIO else 1)


if __name__ == "__main__":
    main()
