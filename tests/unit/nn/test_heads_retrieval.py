"""Retrieval metrics against a restatement that looks at every pair, and what must not change them."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.heads.retrieval import retrieval_metrics, retrieval_ranks

ROOT = Path(__file__).resolve().parents[3]
KEYS = ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean", "r1_mean", "median_rank_i2t", "median_rank_t2i"]


def drawn(num_images: int = 37, num_texts: int = 101, dim: int = 6, noise: float = 0.8) -> tuple[Tensor, Tensor, Tensor]:
    """Captions near their image; of some images none, in no order."""
    chance = torch.Generator().manual_seed(3)
    images = torch.randn(num_images, dim, generator=chance)
    own = torch.randint(num_images - 4, (num_texts,), generator=chance)
    texts = images[own] + noise * torch.randn(num_texts, dim, generator=chance)
    return F.normalize(images, dim=1), F.normalize(texts, dim=1), own


def restated(images: Tensor, texts: Tensor, own: Tensor) -> dict[str, float]:
    """The same by loops over pairs, in float64."""
    similar = (images.double() @ texts.double().T).tolist()
    owners = own.tolist()
    gallery = sorted(set(owners))
    i2t, t2i = [], []
    for image in gallery:
        best = max(similar[image][text] for text, owner in enumerate(owners) if owner == image)
        i2t.append(1 + sum(similar[image][text] >= best - 1e-6 for text, owner in enumerate(owners) if owner != image))
    for text, owner in enumerate(owners):
        t2i.append(1 + sum(similar[image][text] >= similar[owner][text] - 1e-6 for image in gallery if image != owner))
    recall = {
        f"{way}_r{k}": sum(rank <= k for rank in ranks) / len(ranks)
        for way, ranks in (("i2t", i2t), ("t2i", t2i))
        for k in (1, 5, 10)
    }
    return {
        **recall,
        "r_mean": statistics.mean(recall.values()),
        "r1_mean": (recall["i2t_r1"] + recall["t2i_r1"]) / 2,
        "median_rank_i2t": statistics.median(i2t),
        "median_rank_t2i": statistics.median(t2i),
    }


@pytest.mark.parametrize(("num_texts", "chunk"), [(102, 4), (101, 33), (102, 4096)])
def test_metrics_equal_a_look_at_every_pair_whatever_the_chunk(num_texts: int, chunk: int) -> None:
    given = drawn(num_texts=num_texts)
    measured = retrieval_metrics(*given, chunk=chunk)

    assert list(measured) == KEYS
    assert measured == pytest.approx(restated(*given), abs=1e-12)
    assert 0.2 < measured["r1_mean"] < 0.8  # neither all nor nothing is found


def test_ranks_by_hand() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    texts = torch.tensor([[0.8, 0.6], [0.0, 1.0], [0.28, 0.96], [1.0, 0.0]])
    i2t, t2i = retrieval_ranks(images, texts, torch.tensor([0, 0, 1, 2]))

    # Image 0: its caption .8, the others .28 and 1. Image 1: its .96, the others .6 1 0. Image 2: its .6, others .96 .8 .936.
    assert i2t.tolist() == [2, 2, 4]
    # Caption 0: own .8, others .6 .96; 1: own 0, others 1 .8; 2: own .96, others .28 .936; 3: own .6, others 1 0.
    assert t2i.tolist() == [2, 3, 1, 2]


def test_median_of_an_even_number_of_ranks_is_the_mean_of_the_middle_two() -> None:
    measured = retrieval_metrics(torch.eye(2), torch.eye(2)[[0, 0]], torch.tensor([0, 1]))

    assert (measured["median_rank_i2t"], measured["median_rank_t2i"]) == (2.0, 1.5)


def test_repeating_an_image_of_the_gallery_for_each_caption_changes_no_metric() -> None:
    images, texts, own = drawn()
    rows = torch.cat([images, images[own]])  # as in files with one row a pair: they occur in no index

    assert retrieval_metrics(rows, texts, own) == retrieval_metrics(images, texts, own)


def test_repeating_captions_changes_neither_the_rank_of_an_image_nor_the_share_found() -> None:
    images, texts, own = drawn()
    once, twice = retrieval_metrics(images, texts, own), retrieval_metrics(images, texts.repeat(2, 1), own.repeat(2))

    from_text = ["t2i_r1", "t2i_r5", "t2i_r10", "median_rank_t2i", "i2t_r1"]
    assert {key: twice[key] for key in from_text} == pytest.approx({key: once[key] for key in from_text})


def test_order_of_images_and_captions_changes_no_metric() -> None:
    images, texts, own = drawn()
    chance = torch.Generator().manual_seed(4)
    row, column = torch.randperm(len(images), generator=chance), torch.randperm(len(texts), generator=chance)

    assert retrieval_metrics(images[row], texts[column], row.argsort()[own[column]], chunk=16) == retrieval_metrics(
        images, texts, own
    )


def test_the_second_nearest_image_is_found_at_5_and_not_at_1() -> None:
    images = torch.eye(20)
    own = torch.arange(20).repeat_interleave(5)
    texts = F.normalize(images[own] + 2 * images[(own + 1) % 20], dim=1)  # nearer to the next image than to their own
    measured = retrieval_metrics(images, texts, own)

    assert (measured["t2i_r1"], measured["t2i_r5"], measured["median_rank_t2i"]) == (0.0, 1.0, 2.0)
    # The five captions of the image before are nearer than its own.
    assert (measured["i2t_r1"], measured["i2t_r5"], measured["i2t_r10"], measured["median_rank_i2t"]) == (0.0, 0.0, 1.0, 6.0)


@pytest.mark.parametrize("noise", [0.5, 0.8, 3.0])
def test_recall_does_not_decrease_in_k(noise: float) -> None:
    measured = retrieval_metrics(*drawn(noise=noise))

    for way in ("i2t", "t2i"):
        assert 0 < measured[f"{way}_r1"] <= measured[f"{way}_r5"] <= measured[f"{way}_r10"] <= 1
    assert measured["t2i_r1"] < measured["t2i_r5"]


def test_a_perfect_embedding_finds_all_and_its_five_captions_are_no_rivals() -> None:
    images = torch.eye(12)
    own = torch.arange(12).repeat_interleave(5)

    assert retrieval_metrics(images, images[own], own) == dict.fromkeys(KEYS, 1.0)


@pytest.mark.parametrize("chunk", [5, 1024])
@pytest.mark.parametrize("value", [1.0, 0.0, float("nan")])
def test_an_embedding_that_collapsed_finds_nothing(value: float, chunk: int) -> None:
    chance = torch.Generator().manual_seed(5)
    row = F.normalize(torch.randn(1, 67, generator=chance), dim=1) * value
    own = torch.arange(30).repeat_interleave(2)
    i2t, t2i = retrieval_ranks(row.expand(30, -1), row.expand(60, -1), own, chunk)

    assert i2t.tolist() == [59] * 30  # behind all captions of the others
    assert t2i.tolist() == [30] * 60


def test_two_images_with_the_same_embedding_stay_two() -> None:
    images = torch.eye(4)[[0, 0, 1, 2]]
    own = torch.arange(4)
    measured = retrieval_metrics(images, images[own], own)

    assert (measured["i2t_r1"], measured["t2i_r1"], measured["t2i_r5"]) == (0.5, 0.5, 1.0)


def test_autocast_changes_no_metric() -> None:
    given = drawn()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measured = retrieval_metrics(*given)

    assert measured == retrieval_metrics(*given)


def test_without_texts_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="found no text"):
        retrieval_metrics(torch.eye(2), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


@pytest.mark.slow
def test_memory_stays_far_below_that_of_all_similarities() -> None:
    """In a process of its own: what tests before it took would hide what this takes."""
    code = """
import resource, torch
from models.heads.retrieval import retrieval_metrics
own = torch.arange(8000).repeat_interleave(5)
images = torch.nn.functional.normalize(torch.randn(8000, 16), dim=1)
retrieval_metrics(images[:10], images[:10], own[:10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
retrieval_metrics(images, images[own], own)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert float(done.stdout) < 150  # MiB; all similarities at once: 1221
