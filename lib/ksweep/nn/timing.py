"""How long things take, measured so that two can be compared: in turns, on pinned threads, with an interval."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ksweep.nn.modes import evaluation_mode

LEVEL = 0.95  # of intervals
MIN_PAIRS = 6  # with fewer no interval of LEVEL exists that assumes nothing about how times are distributed

_WARMUP = 3  # calls
_NUM_SAMPLES = 20  # of a layer, for the cost model


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much faster one thing is than another. Times are seconds a call."""

    speedup: float
    """Median over pairs of second / first: above 1, the first is faster."""
    low: float
    """Lower end of the 95 % interval of that median."""
    high: float
    seconds: tuple[float, float]
    """Medians: of the first, of the second."""
    p10: tuple[float, float]
    """Tenth percentiles: what it takes when nothing else wants the processor."""
    num_pairs: int
    num_threads: int
    device: str


def compare(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    num_pairs: int = 30,
    min_seconds: float = 0.002,
    num_threads: int | None = 1,
    device: torch.device | str | None = None,
    warmup: int = _WARMUP,
    now: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Times the two in turns, `num_pairs` pairs, every other one in the other order: what slows the machine down for a while
    slows down both of a pair. `min_seconds`: a measurement calls its function as often as it takes to last that long.
    `num_threads`: of torch, for this time only; None leaves them. `device`: where the functions compute; None: the CPU, unless
    CUDA is in use. The garbage collector rests meanwhile. Gradients are the functions' own matter. `now`: a clock, in seconds.

    The interval is that of order statistics, by the binomial distribution: it assumes only that pairs are independent.
    Raises ValueError for fewer than 6 pairs, and what the functions raise.
    """
    if num_pairs < MIN_PAIRS:
        raise ValueError(f"num_pairs: found {num_pairs}, allowed: {MIN_PAIRS} or more, or there is no interval of {LEVEL:.0%}")
    where = _device(device)
    with _undisturbed(num_threads):
        clocks = [_Clock(function, where, min_seconds, warmup, now) for function in (first, second)]
        times: tuple[list[float], list[float]] = ([], [])
        for pair in range(num_pairs):
            for which in (0, 1) if pair % 2 == 0 else (1, 0):
                times[which].append(clocks[which].seconds())
        used_threads = torch.get_num_threads()
    ratios = [slow / fast for fast, slow in zip(*times, strict=True)]
    low, high = median_interval(ratios)
    return Comparison(
        speedup=statistics.median(ratios),
        low=low,
        high=high,
        seconds=(statistics.median(times[0]), statistics.median(times[1])),
        p10=(p10(times[0]), p10(times[1])),
        num_pairs=num_pairs,
        num_threads=used_threads,
        device=str(where),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that covers the median of what `values` are drawn from with a chance of at least 95 %, whatever they are
    drawn from: the k-th smallest and the k-th largest, with the largest k for which fewer than k of n fair coins fall on a given
    side with at most 2.5 %. (-inf, inf) when even the smallest and the largest do not reach it: below 6 values.
    """
    ordered, total = sorted(values), len(values)
    rank, below = 0, 0.0
    while rank < total / 2:
        below += math.comb(total, rank) / 2**total  # the chance that at most `rank` values lie below the median
        if below > (1 - LEVEL) / 2:
            break
        rank += 1
    return (ordered[rank - 1], ordered[-rank]) if rank else (-math.inf, math.inf)


def p10(times: Sequence[float]) -> float:
    """The tenth percentile, between the two nearest values."""
    ordered = sorted(times)
    place = 0.1 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def seconds_of(function: Callable[[], object], *, num_threads: int | None = 1, device: torch.device | str | None = None) -> float:
    """What one call takes when nothing else wants the processor: the tenth percentile of 20 measurements, in seconds. The options
    are those of `compare`."""
    with _undisturbed(num_threads):
        clock = _Clock(function, _device(device), 0.001, _WARMUP, time.perf_counter)
        return p10([clock.seconds() for _ in range(_NUM_SAMPLES)])


class CostModel:
    """Measured seconds of single layers, each kind and size measured once: for one thread unless told otherwise."""

    def __init__(self, *, num_threads: int | None = 1) -> None:
        self.num_threads = num_threads
        self._seconds: dict[tuple[Any, ...], float] = {}

    def seconds(self, layer: nn.Module, example_input: Tensor) -> float:
        """What one call takes in evaluation mode without gradients, tenth percentile, in seconds. Layers of one class, size,
        dtype and device cost the same for inputs of one shape; the values do not count. An attention layer is given the input as
        query, key and value. The layer is left as it was."""
        key = (
            *_kind_and_size(layer),
            tuple(example_input.shape),
            example_input.dtype,
            str(example_input.device),
            self.num_threads,
        )
        if key not in self._seconds:
            self._seconds[key] = self._measure(layer, example_input)
        return self._seconds[key]

    def __len__(self) -> int:
        """How many layers were measured."""
        return len(self._seconds)

    def _measure(self, layer: nn.Module, example_input: Tensor) -> float:
        is_attention = hasattr(layer, "in_proj_weight")
        inputs = (example_input,) * (3 if is_attention else 1)
        options = {"need_weights": False} if is_attention else {}
        with evaluation_mode(layer), torch.inference_mode():
            return seconds_of(lambda: layer(*inputs, **options), num_threads=self.num_threads, device=example_input.device)


class _Clock:
    """Measures one function, warmed up, over as many calls at a time as are needed to last `min_seconds`."""

    def __init__(
        self, function: Callable[[], object], device: torch.device, min_seconds: float, warmup: int, now: Callable[[], float]
    ) -> None:
        self._function, self._device, self._now = function, device, now
        self._num_calls = 1
        for _ in range(warmup):
            function()
        while (taken := self.seconds() * self._num_calls) < min_seconds:
            # A little more than it takes at this speed, but a guess from a few calls is poor: at most ten times as many.
            wanted = 1.1 * self._num_calls * min_seconds / max(taken, 1e-9)
            self._num_calls = min(math.ceil(wanted), 10 * self._num_calls)

    def seconds(self) -> float:
        """Of one call, mean over a measurement."""
        function, num_calls = self._function, self._num_calls
        self._wait()
        start = self._now()
        for _ in range(num_calls):
            function()
        self._wait()
        return (self._now() - start) / num_calls

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _device(device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_initialized() else "cpu")


@contextmanager
def _undisturbed(num_threads: int | None) -> Iterator[None]:
    former_threads, was_collecting = torch.get_num_threads(), gc.isenabled()
    gc.disable()
    try:
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        yield
    finally:
        torch.set_num_threads(former_threads)
        if was_collecting:
            gc.enable()


def _kind_and_size(layer: nn.Module) -> tuple[Any, ...]:
    """What the time of a layer depends on: its printed form tells strides and the like, its tensors tell sizes; torch prints
    nothing of attention's heads and layout."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    shapes = tuple((name, tuple(one.shape), one.dtype, str(one.device)) for name, one in tensors)
    attention = tuple(getattr(layer, name, None) for name in ("num_heads", "batch_first"))
    return (type(layer), repr(layer), attention, shapes)
