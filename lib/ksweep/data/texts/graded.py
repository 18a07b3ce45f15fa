"""graded: a task of our own whose tokens need different depths: look back once, twice, three times in a row, or not at all.

A token is a symbol, or says how far back to look; what is asked for at each place is the symbol at the end of the way from there:

    token     3   5   back 2   back 1   0   back 2        hops     0   0   1   2   0   3
    answer    3   5     3        3      0     3

(the last looks back 2, to `back 1`, and that to `back 2`, and that to the symbol 3). A layer of attention can make one look-up a
token, of what the layer before it has found: without a hop no layer is needed, with three hops three in a row. So it can be seen
whether a network whose depth adapts spends it where it is needed. Symbols are drawn: nothing but the way leads to an answer.
"""

import numpy as np
from numpy.typing import NDArray

from ksweep.contract.config import RunConfig
from ksweep.data.text_source import Rows, sequence_counts

NAME = "graded"
SYMBOLS = 8
REACH = 7  # how far back a token can say to look
MOST_HOPS = 3
VOCABULARY = (*map(str, range(SYMBOLS)), *(f"back {distance}" for distance in range(1, REACH + 1)))
SEEDS = (20170101, 20170102, 20170103)  # of the parts; never the run's SEED: runs are only comparable on the same rows


def read(cfg: RunConfig) -> Rows:
    """As many rows a part as its tokens make; `difficulty` is the number of hops."""
    length, counts = cfg.int("SEQUENCE_LENGTH"), sequence_counts(cfg)
    drawn = [_draw(count, length, seed) for count, seed in zip(counts, SEEDS, strict=True)]
    inputs, targets, hops = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    return Rows(vocabulary=VOCABULARY, inputs=inputs, targets=targets, difficulty=hops.astype(np.int8))


def _draw(count: int, length: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Inputs, answers and hops, each [count, length]. At each place a number of hops is drawn, then one of the tokens in reach
    from which it is one hop more; where there is none, and for no hop, a symbol."""
    # The one generator whose stream numpy has frozen for good (NEP 19). By rows: the first are the same however many follow.
    chance = np.random.RandomState(seed).random_sample((count, length, 2))
    inputs, answers, hops = (np.zeros((count, length), np.int32) for _ in range(3))
    rows = np.arange(count)
    for place in range(length):
        wanted = (chance[:, place, 0] * (MOST_HOPS + 1)).astype(int)
        first = max(place - REACH, 0)
        fits = hops[:, first:place] == wanted[:, None] - 1
        number = fits.sum(axis=1)
        which = (chance[:, place, 1] * number).astype(int)
        source = first + (fits.cumsum(axis=1) <= which[:, None]).sum(axis=1)  # `place` itself where none fits
        symbol = (chance[:, place, 1] * SYMBOLS).astype(int)
        inputs[:, place] = np.where(number > 0, SYMBOLS + place - source - 1, symbol)
        answers[:, place] = np.where(number > 0, answers[rows, source], symbol)
        hops[:, place] = np.where(number > 0, wanted, 0)
    return inputs, answers, hops
