"""A set of embeddings split by image: who comes where, what is written, and that nothing half or in place of another is."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ksweep.cli.main import main
from ksweep.data import embedding_split
from ksweep.data.embedding_files import distinct, open_set, paths_of, read_metadata
from ksweep.data.embedding_split import split_by_image, split_set
from tests.embedding_sets import read_part, save

PARTS = ("train", "val", "test", "tuning")


def save_seed(folder: Path, images: int = 100, captions: int = 5, dtype: torch.dtype = torch.float32) -> None:
    """A set in the seed's form, its pairs in no order, each row telling its image."""
    ids = [7 * number for number in range(images)] * captions
    image_rows = torch.tensor(ids)[:, None].repeat(1, 3)
    text_rows = torch.stack([torch.tensor(ids), torch.arange(len(ids))], 1)
    metadata = {
        "image_ids": ids,
        "captions": [f"caption {row}" for row in range(len(ids))],
        "image_paths": [f"{image}.jpg" for image in ids],
        "image_model": "siglip",
        "total_pairs": len(ids),
        "image_embedding_shape": [len(ids), 3],
        "seed": 42,
    }
    save(folder, "coco", image_rows.to(dtype), text_rows.to(dtype), metadata)


def run(*arguments: str) -> int:
    try:
        return main(["data-split", *arguments])
    except SystemExit as ended:  # of argparse
        return int(str(ended.code))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".cache")


def test_each_part_holds_its_share_of_the_images_and_all_of_their_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_seed(tmp_path)

    assert run("coco", "--data-dir", str(tmp_path)) == 0

    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [["coco_train", "70", "350"], ["coco_val", "10", "50"], ["coco_test", "20", "100"], ["coco_tuning", "14", "70"]]
    assert shown == [["part", "images", "pairs"], *rows]
    ids = {name: set(open_set(tmp_path, f"coco_{name}").checked.ids) for name in PARTS}
    assert [len(ids[name]) for name in PARTS] == [70, 10, 20, 14]
    assert len(ids["train"] | ids["val"] | ids["test"]) == 100
    assert ids["tuning"] < ids["train"]
    for name in PARTS:
        part = read_part(tmp_path, f"coco_{name}")
        assert part.image_of_text.bincount().tolist() == [5] * len(ids[name])
        assert torch.equal(part.images[part.image_of_text, 0], part.texts[:, 0])  # each caption with its own image


def test_what_is_known_of_a_pair_goes_with_it_and_counts_are_those_of_the_part(tmp_path: Path) -> None:
    save_seed(tmp_path)
    split_set(tmp_path, "coco", val=0.1, test=0.2, tuning=0.2, seed=42)

    texts, metadata = read_part(tmp_path, "coco_tuning").texts, read_metadata(tmp_path, "coco_tuning")

    assert metadata["captions"] == [f"caption {int(row)}" for row in texts[:, 1]]
    assert metadata["image_paths"] == [f"{int(image)}.jpg" for image in texts[:, 0]]
    assert metadata["image_ids"] == texts[:, 0].int().tolist()
    others = {key: value for key, value in metadata.items() if key not in ("captions", "image_paths", "image_ids")}
    assert others == {
        "image_model": "siglip",
        "dataset_name": "coco_tuning",
        "split_of": "coco",
        "split_seed": 42,
        "total_pairs": 70,
        "unique_images": 14,
    }


def test_parts_are_files_that_are_read_in_place(tmp_path: Path) -> None:
    save_seed(tmp_path, dtype=torch.bfloat16)
    split_set(tmp_path, "coco", val=0.1, test=0.2, tuning=0.2, seed=42)

    for name in PARTS:
        opened = open_set(tmp_path, f"coco_{name}")
        assert opened.images.dtype == opened.texts.dtype == torch.float32
        assert len(opened.images) == len(opened.checked.ids)
        whole = torch.load(paths_of(tmp_path, f"coco_{name}").texts, weights_only=True)  # as anyone else does
        assert torch.equal(whole, opened.texts)


def test_a_split_of_small_pieces_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for piece in (2**24, 30):
        folder = tmp_path / str(piece)
        folder.mkdir()
        save_seed(folder)
        monkeypatch.setattr("ksweep.data.embedding_files.PIECE", piece)
        split_set(folder, "coco", val=0.1, test=0.2, tuning=0.2, seed=42)
        contents.append({name: (folder / name).read_bytes() for name in files(folder)})

    assert contents[0] == contents[1]


def test_the_seed_makes_the_split_and_ids_as_text_make_no_other() -> None:
    ids = [number // 2 for number in range(200)]
    shares = {"val": 0.1, "test": 0.2}
    first, again, as_text, other = (
        {part: rows.tolist() for part, rows in split_by_image(of, shares=shares, seed=seed).items()}
        for of, seed in ((ids, 1), (ids, 1), ([str(of) for of in ids], 1), (ids, 2))
    )

    assert first == again == as_text
    assert all(first[part] != other[part] for part in ("train", "val", "test"))
    assert [len(first[part]) for part in ("val", "test", "train")] == [20, 40, 140]
    assert sorted(row for rows in first.values() for row in rows) == list(range(200))


def test_a_share_of_zero_is_a_part_that_is_not_written(tmp_path: Path) -> None:
    save_seed(tmp_path)

    assert run("coco", "--data-dir", str(tmp_path), "--val", "0", "--tuning", "0") == 0

    assert [name for name in files(tmp_path) if "val" in name or "tuning" in name] == []
    assert len(read_part(tmp_path, "coco_train").images) == 80


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--val", "1"], "share of val: found 1, allowed: 0 to below 1"),
        (["--test", "-0.1"], "share of test: found -0.1, allowed: 0 to below 1"),
        (["--tuning", "nan"], "share of tuning: found nan, allowed: 0 to below 1"),
        (["--val", "0.5", "--test", "0.5"], "shares: found val 0.5 + test 0.5, allowed: a sum below 1, the rest is for train"),
        (["--val", "0.001"], "100 images: no image is left for val; take other shares, or more images"),
        (["--val", "0.5", "--test", "0.499"], "100 images: no image is left for train; take other shares, or more images"),
        (["--tuning", "0.999"], "70 images: no image is left for train; take other shares, or more images"),
        (["--seed", "-1"], "SEED: found -1, allowed: 0 to 4294967295"),
        (["--val", "a tenth"], "argument --val: invalid float value: 'a tenth'"),
    ],
)
def test_shares_that_make_no_split_are_refused_and_nothing_is_written(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_seed(tmp_path)
    before = files(tmp_path)

    assert run("coco", "--data-dir", str(tmp_path), *arguments) == 2

    assert capsys.readouterr().err.strip().endswith(expected)
    assert files(tmp_path) == before


def test_a_set_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("coco", "--data-dir", str(tmp_path / "none")) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/none/coco_image_embeddings.pt: cannot be read (No such file")
    assert not (tmp_path / "none").exists()


def test_nothing_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_seed(tmp_path)
    kept = paths_of(tmp_path, "coco_val").metadata
    kept.write_text("mine")
    before = files(tmp_path)

    assert run("coco", "--data-dir", str(tmp_path)) == 2

    assert capsys.readouterr().err == f"already there, and nothing is replaced: {kept}; move them away first\n"
    assert kept.read_text() == "mine"
    assert files(tmp_path) == before


@pytest.mark.parametrize("step", ["_write_tensor", "write_json"])
def test_where_it_cannot_be_written_to_the_end_nothing_is_left(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_seed(tmp_path)
    before = files(tmp_path)
    write, calls = getattr(embedding_split, step), []

    def full_at_the_third(*given: Any) -> None:
        calls.append(given)
        write(*given)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedding_split, step, full_at_the_third)

    assert run("coco", "--data-dir", str(tmp_path)) == 1

    assert "the embeddings cannot be written ([Errno 28] No space left on device)" in capsys.readouterr().err
    assert files(tmp_path) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from ksweep.data import embedding_split
write, calls = embedding_split._write_tensor, []
def killed_at_the_fourth(*given):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*given)
embedding_split._write_tensor = killed_at_the_fourth
embedding_split.split_set(Path(sys.argv[1]), "coco", val=0.1, test=0.2, tuning=0.2, seed=42)
"""


@pytest.mark.slow
def test_killed_in_the_middle_no_part_is_there_and_the_next_one_goes_through(tmp_path: Path) -> None:
    save_seed(tmp_path)
    before = files(tmp_path)

    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": "lib"}, timeout=60)

    assert ended.returncode == -signal.SIGKILL
    assert [name for name in files(tmp_path) if not name.startswith(".")] == before
    assert run("coco", "--data-dir", str(tmp_path)) == 0
    assert [name for name in files(tmp_path) if name.startswith(".")] == []
    assert len(read_part(tmp_path, "coco_train").images) == 70


def test_ids_of_a_split_keep_their_type(tmp_path: Path) -> None:
    save_seed(tmp_path)
    split_set(tmp_path, "coco", val=0.1, test=0.2, tuning=0, seed=0)

    ids = read_metadata(tmp_path, "coco_val")["image_ids"]
    assert {type(value) for value in ids} == {int}
    assert len(distinct(ids)[0]) == 10
