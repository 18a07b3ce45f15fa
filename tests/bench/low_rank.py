"""What low-rank and sketched layers cost beside dense ones, and how near they come to the limit that their FLOPs set.

  low rank    LowRankLinear of rank 64 against nn.Linear
  sketched    SketchedLinear (num_terms 1, low_rank 64) against its formula as published and implemented there: four batched
              products of weights [terms, in, low_rank], means over the terms, a sum, a scale; and against the barest form, the
              same four products of matrices

One thread, batch 64, float32, without gradients, all layers of one width in turns; p10 of the times, since a virtual machine
loses time to others. The layers' outputs are those of their formulas. Exit code 1 when a limit does not hold.

make bench-low-rank
"""

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ.pop("OMP_NUM_THREADS", None)

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from ksweep.nn.low_rank import LowRankLinear  # noqa: E402
from ksweep.nn.sketched import SketchedLinear  # noqa: E402
from ksweep.nn.timing import p10  # noqa: E402

BATCH, RANK = 64, 64
ROUNDS = {512: 600, 1024: 400, 2048: 200, 4096: 80}
LOW_RANK_LIMITS = {2048: 8.0, 4096: 18.0}
SKETCHED_LIMIT, TOLERANCE = 1.3, 1e-4


class FourProducts(nn.Module):
    """A sketched layer of one term with weights laid out as published, and computed as there."""

    def __init__(self, layer: SketchedLinear) -> None:
        super().__init__()
        self.S1, self.U2 = (nn.Parameter(part.detach().T.contiguous().unsqueeze(0)) for part in (layer.S1, 2 * layer.U2))
        self.U1, self.S2 = (nn.Parameter(part.detach().clone().unsqueeze(0)) for part in (2 * layer.U1, layer.S2))
        self.bias = layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        by_term = inputs.expand(len(self.S1), -1, -1)
        first = torch.bmm(torch.bmm(by_term, self.S1), self.U1).mean(0)
        second = torch.bmm(torch.bmm(by_term, self.U2), self.S2).mean(0)
        return (first + second) / 2 + self.bias


class FourProductsOfMatrices(FourProducts):
    """The same without the dimension of terms, which one term does not need."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.S1[0] @ self.U1[0] + inputs @ self.U2[0] @ self.S2[0]) / 2 + self.bias


def times_of(works: dict[str, Callable[[Tensor], Tensor]], inputs: Tensor, num_rounds: int) -> dict[str, list[float]]:
    """Seconds of each, all in each round, so that what else runs hits them alike, in an order of its own: a dense layer fills the
    caches with itself, which the next one pays for."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    draw = random.Random(1)
    for number in range(-5, num_rounds):  # the first five warm up
        for name in draw.sample(list(works), len(works)):
            start = time.perf_counter()
            works[name](inputs)
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def relative_difference(found: Tensor, right: Tensor) -> float:
    return ((found - right).norm() / right.norm()).item()


def measure(width: int) -> bool:
    """Prints the rows of one width; whether its limits hold."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCH, width, generator=draw)
    dense = nn.Linear(width, width)
    low_rank = LowRankLinear(width, width, RANK, generator=draw)
    sketched = SketchedLinear(width, width, 1, RANK, generator=draw)
    published, barest = FourProducts(sketched), FourProductsOfMatrices(sketched)
    works: dict[str, Callable[[Tensor], Tensor]] = {
        "dense": dense,
        "low rank": low_rank,
        "sketched": sketched,
        "  published form": published,
        "  barest form": barest,
    }
    differences = {
        "low rank": relative_difference(low_rank(inputs), low_rank.to_dense()(inputs)),
        "sketched": relative_difference(sketched(inputs), published(inputs)),
        "  barest form": relative_difference(barest(inputs), published(inputs)),
    }
    times = times_of(works, inputs, ROUNDS[width])
    limits = {"low rank": width / (2 * RANK)} | dict.fromkeys(list(works)[2:], width / (4 * RANK))
    for name, seconds in times.items():
        row = f"  {width:5} {name:17} {p10(seconds) * 1e3:8.3f} {min(seconds) * 1e3:8.3f}"
        if name in limits:
            row += f"  {p10(times['dense']) / p10(seconds):6.2f} of {limits[name]:4.0f}"
        if name in differences:
            row += f"     {differences[name]:.0e}"
        print(row, flush=True)
    to_published = p10(times["  published form"]) / p10(times["sketched"])
    to_barest = p10(times["  barest form"]) / p10(times["sketched"])
    print(f"        sketched: {to_published:.2f} times as fast as its published form, {to_barest:.2f} as its barest", flush=True)
    is_fast = p10(times["dense"]) / p10(times["low rank"]) >= LOW_RANK_LIMITS.get(width, 0.0)
    return is_fast and to_published >= SKETCHED_LIMIT and max(differences.values()) <= TOLERANCE


def main() -> None:
    """Print all widths; exit code 1 when a limit does not hold."""
    torch.set_num_threads(1)
    needed = ", ".join(f"{times:.0f} at {width}" for width, times in LOW_RANK_LIMITS.items())
    print(f"one thread, batch {BATCH}, float32, rank {RANK}; needed: low rank {needed} times as fast as dense;")
    print(
        f"sketched {SKETCHED_LIMIT} times as fast as its published form; relative difference of the outputs below {TOLERANCE:.0e}"
    )
    print(f"  {'width':>5} {'':17} {'p10 ms':>8} {'min ms':>8}  {'times dense, limit':14}  difference")
    with torch.no_grad():
        holds = [measure(width) for width in ROUNDS]
    sys.exit(0 if all(holds) else 1)


if __name__ == "__main__":
    main()
