"""The heads' task over a set in parts: which image a caption's target is, also beside a queue, and sizes only the files know."""

import json
from pathlib import Path

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.train.device import Compute
from ksweep.train.task import Part
from models.heads.losses import QueueLoss
from models.heads.retrieval import retrieval_metrics
from models.heads.task import Retrieval, build_task
from tests.embedding_sets import save

HEADS = """CONFIG_HEAD="siglip"
CONFIG_OUTPUT_DIM=8
CONFIG_DROPOUT="0"
CONFIG_TEMPERATURE="0.07"
CONFIG_LEARNABLE_TEMP=n
CONFIG_HEAD_LOSS="queue"
CONFIG_QUEUE_SIZE=64
CONFIG_DATASET="embeddings"
CONFIG_EMBEDDINGS_TRAIN="a"
CONFIG_EMBEDDINGS_VAL="b"
CONFIG_EMBEDDINGS_TEST="c"
"""


def task(folder: Path, more: str = "CONFIG_BATCH_SIZE=16\n") -> Retrieval:
    """Three parts of 8 images with two captions each, a caption its image's embedding."""
    torch.manual_seed(0)
    for number, name in enumerate("abc"):
        if not (folder / f"{name}_metadata.json").exists():
            images, ids = torch.randn(8, 6), [100 * number + place // 2 for place in range(16)]
            save(folder, name, images, images.repeat_interleave(2, 0), {"image_ids": ids})
    more += "" if "STEPS" in more else "CONFIG_STEPS_PER_EPOCH=0\n"
    cfg = RunConfig(f'{HEADS}CONFIG_DATA_DIR="{folder}"\n{more}', "config.txt")
    made = build_task(cfg, Compute(device=torch.device("cpu"), autocast=None), torch.Generator().manual_seed(0))
    assert isinstance(made, Retrieval)
    return made


def test_an_image_of_validation_is_not_taken_for_one_of_training_that_is_in_the_queue(tmp_path: Path) -> None:
    heads = task(tmp_path)
    heads.model.train()
    for texts, targets in heads.train_batches:
        heads.loss(heads.model, texts, targets)  # its rows enter the queue
    heads.model.eval()
    loss, val = heads._heads.loss, heads.data.val
    assert isinstance(loss, QueueLoss)
    assert set(loss.ids.tolist()) == {-1, *range(8)}

    with torch.no_grad():
        images = heads._project(heads._heads.image_head, val.images[val.image_of_text])
        texts = heads._project(heads._heads.text_head, val.texts)
        all_others_count = loss(images, texts, val.image_of_text + 1000).item()
        some_left_out = loss(images, texts, val.image_of_text).item()  # were they taken for the images 0 to 7 of training

    assert heads.measure("val", 16)["val_loss"] == pytest.approx(all_others_count, rel=1e-6)
    assert some_left_out < all_others_count - 0.01


def test_each_part_is_measured_on_its_own_rows(tmp_path: Path) -> None:
    heads = task(tmp_path)
    heads.model.eval()

    parts: list[tuple[Part, str]] = [("val", ""), ("test", "test_")]
    for name, prefix in parts:
        part = heads.data.part(name)
        with torch.no_grad():
            projected = heads.model(part.images[part.image_of_text], part.texts)
        gallery = projected.images[::2]
        expected = retrieval_metrics(gallery, projected.texts, part.image_of_text)
        measured = heads.measure(name, 16)
        assert {key: measured[f"{prefix}{key}"] for key in expected} == expected


def test_the_loss_of_a_batch_of_another_part_is_an_error_not_a_number(tmp_path: Path) -> None:
    heads = task(tmp_path)
    texts, targets = next(iter(heads.examples("val", 16)))

    with pytest.raises(IndexError):
        heads.loss(heads.model, texts, targets)


@pytest.mark.parametrize(
    ("changes", "part", "expected"),
    [
        ({}, "head", {"layers": ["LayerNorm", "Dropout", "Linear"], "output_dim": 8, "dropout": 0.0, "hidden_dim": None}),
        ({"HEAD": '"clip"'}, "head", {"layers": ["Linear", "GELU", "Dropout", "Linear"], "hidden_dim": 12}),
        ({"HEAD": '"mlp"'}, "head", {"layers": ["Linear", "GELU", "Dropout", "Linear", "LayerNorm"], "hidden_dim": 12}),
        (
            {"HEAD": '"attention"', "DROPOUT": '"0.25"'},
            "head",
            {"num_tokens": 3, "num_heads": 4, "num_layers": 2, "hidden_dim": 12, "output_dim": 8, "dropout": 0.25},
        ),
        ({}, "loss", {"kind": "QueueLoss", "queue_size": 64, "temperature": 0.07, "is_temperature_learned": False}),
        ({"HEAD_LOSS": '"softmax"', "LEARNABLE_TEMP": "y"}, "loss", {"kind": "SoftmaxLoss", "is_temperature_learned": True}),
        ({"HEAD_LOSS": '"sigmoid"', "TEMPERATURE": '"0.2"'}, "loss", {"kind": "SigmoidLoss", "temperature": 0.2}),
    ],
)
def test_what_was_asked_for_arrives_in_the_modules(
    changes: dict[str, str], part: str, expected: dict[str, object], tmp_path: Path
) -> None:
    asked = {"HIDDEN_DIM": "12", "NUM_TOKENS": "3", "NUM_HEADS": "4", "NUM_LAYERS": "2", "BATCH_SIZE": "16"} | changes
    effective = task(tmp_path, "".join(f"CONFIG_{symbol}={value}\n" for symbol, value in asked.items())).effective()

    assert {name: effective[part][name] for name in expected} == expected


def test_what_the_files_hold_is_reported(tmp_path: Path) -> None:
    effective = task(tmp_path).effective()

    assert effective["num_examples"] == {"train": 16, "val": 16, "test": 16}
    assert effective["num_images"] == 24
    joined = task(tmp_path, "CONFIG_BATCH_SIZE=32\nCONFIG_TRAIN_ON_VALIDATION=y\n")
    assert joined.effective()["num_examples"] == {"train": 32, "val": 0, "test": 16}
    assert not joined.is_validated
    assert json.dumps(effective)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("CONFIG_BATCH_SIZE=17\n", "CONFIG_BATCH_SIZE: found 17, allowed: 1 to 16, the training examples of embeddings"),
        (
            "CONFIG_BATCH_SIZE=8\nCONFIG_STEPS_PER_EPOCH=3\n",
            "CONFIG_STEPS_PER_EPOCH: found 3, allowed: 0 to 2, the batches of 8 that 16 training examples make",
        ),
        ('CONFIG_BATCH_SIZE=16\nCONFIG_HEAD="align"\n', 'CONFIG_HEAD: found "align", allowed: siglip clip mlp attention'),
        (
            'CONFIG_BATCH_SIZE=16\nCONFIG_HEAD_LOSS="triplet"\n',
            'CONFIG_HEAD_LOSS: found "triplet", allowed: sigmoid softmax queue',
        ),
        (
            'CONFIG_BATCH_SIZE=16\nCONFIG_HEAD="attention"\nCONFIG_HIDDEN_DIM=12\nCONFIG_NUM_TOKENS=3\nCONFIG_NUM_HEADS=5\n'
            "CONFIG_NUM_LAYERS=1\n",
            "hidden_dim is 12, which 5 heads do not divide: choose a multiple of num_heads",
        ),
    ],
)
def test_what_does_not_fit_or_is_not_known_is_refused(more: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        task(tmp_path, more)
    assert str(raised.value) == f"config.txt: {expected}"
