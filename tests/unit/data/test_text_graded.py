"""graded: the made task is what it says."""

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.data.text import Sequences, load_sequences
from ksweep.data.texts import graded


def rows(*, length: int = 32, joined: str = "n", seed: int = 1) -> Sequences:
    lines = ('DATASET="graded"', f"SEQUENCE_LENGTH={length}", "TRAIN_TOKENS=6400", "VAL_TOKENS=3200", "TEST_TOKENS=3200")
    text = "\n".join(f"CONFIG_{line}" for line in (*lines, f"TRAIN_ON_VALIDATION={joined}", f"SEED={seed}"))
    return load_sequences(RunConfig(text, "config.txt"))


def test_each_answer_is_at_the_end_of_the_way_back_and_each_step_of_it_a_hop() -> None:
    """Restated from the words of the vocabulary alone."""
    sequences = rows()
    assert sequences.difficulty is not None
    for inputs, targets, difficulty in zip(sequences.inputs, sequences.targets, sequences.difficulty, strict=True):
        said = [sequences.vocabulary[token] for token in inputs.tolist()]
        for start in range(len(said)):
            place, hops = start, 0
            while said[place].startswith("back "):
                place, hops = place - int(said[place].removeprefix("back ")), hops + 1
                assert place >= 0
            assert sequences.vocabulary[targets[start]] == said[place]
            assert difficulty[start] == hops


def test_all_depths_all_symbols_and_all_distances_occur() -> None:
    sequences = rows()
    assert sequences.difficulty is not None
    hops = torch.bincount(sequences.difficulty.flatten().long()) / sequences.difficulty.numel()
    tokens = torch.bincount(sequences.inputs.flatten().long(), minlength=sequences.num_tokens) / sequences.inputs.numel()

    assert len(hops) == graded.MOST_HOPS + 1
    assert hops.min() > 0.1
    assert tokens.min() > 0.04
    symbols = tokens[: graded.SYMBOLS] / tokens[: graded.SYMBOLS].sum()
    assert symbols.tolist() == pytest.approx([1 / graded.SYMBOLS] * graded.SYMBOLS, abs=0.02)


def test_rows_are_the_same_for_every_seed_and_differ_between_parts() -> None:
    first, second = rows(seed=1), rows(seed=2)
    heads = [first.inputs[getattr(first, part)][:100] for part in ("train", "val", "test")]

    assert torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.targets, second.targets)
    assert first.digest == second.digest
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])


def test_rows_can_be_longer() -> None:
    assert rows(length=100).inputs.shape == (64 + 2 * 32, 100)
