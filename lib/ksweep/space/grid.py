"""The points of a grid, and the order in which they are best started."""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import count, islice


def cells(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every index tuple of a grid with axes of these sizes, in file order: the last axis varies fastest."""
    if not sizes:
        yield ()
        return
    for first in range(sizes[0]):
        for rest in cells(sizes[1:]):
            yield (first, *rest)


def space_filling_order(points: Sequence[tuple[int, ...]], seed: int) -> list[int]:
    """Positions of `points` (index tuples of one length) in an order whose every beginning covers the grid evenly.

    Halton's sequence with random digit permutations (Owen 2017), each draw giving the grid's cell that it falls
    into: a sweep that is stopped early is still a sample, where the first third of a nested loop is a corner. Cells that
    the sequence has not met after a few rounds follow in random order.
    """
    rng = random.Random(seed)
    sizes = [max(index) + 1 for index in zip(*points, strict=True)]
    where: dict[tuple[int, ...], list[int]] = {}
    for position, point in enumerate(points):
        where.setdefault(point, []).append(position)
    order: list[int] = []
    for cell in islice(_halton(sizes, rng), 4 * len(points)):
        order += where.pop(cell, [])
    rest = [position for positions in where.values() for position in positions]
    rng.shuffle(rest)
    return order + rest


def space_filling_cells(sizes: Sequence[int], seed: int) -> Iterator[tuple[int, ...]]:
    """Every cell of a grid once, in such an order; a cell is made when it is asked for."""
    rng = random.Random(seed)
    seen: set[tuple[int, ...]] = set()
    for cell in islice(_halton(sizes, rng), 4 * math.prod(sizes)):
        if cell not in seen:
            seen.add(cell)
            yield cell
    rest = [cell for cell in cells(sizes) if cell not in seen]
    rng.shuffle(rest)
    yield from rest


def _halton(sizes: Sequence[int], rng: random.Random) -> Iterator[tuple[int, ...]]:
    """The cells into which the points of the sequence fall, again and again."""
    axes = [_Radix(base, rng) for base in _first_primes(len(sizes))]
    for i in count():
        yield tuple(int(axis.fraction(i) * size) for axis, size in zip(axes, sizes, strict=True))


class _Radix:
    """The radical inverse in one base, its digits permuted at random, level by level."""

    def __init__(self, base: int, rng: random.Random) -> None:
        self._base = base
        self._permutations = [rng.sample(range(base), base) for _ in range(24)]

    def fraction(self, i: int) -> float:
        """In [0, 1), the i-th number of the sequence."""
        value, scale = 0.0, 1.0
        for permutation in self._permutations:
            scale /= self._base
            i, digit = divmod(i, self._base)
            value += permutation[digit] * scale
            if scale < 1e-9:
                break
        return value


def _first_primes(count: int) -> list[int]:
    primes: list[int] = []
    number = 2
    while len(primes) < count:
        if all(number % prime for prime in primes):
            primes.append(number)
        number += 1
    return primes
