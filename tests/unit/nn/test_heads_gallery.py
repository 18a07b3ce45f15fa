"""The pictures of a run of heads: what is found is what is nearest, and what cannot be drawn is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ksweep.contract.paths import RunDir
from ksweep.contract.run import Run
from ksweep.kconfig.tree import load_tree
from ksweep.train.loop import train
from models.heads.gallery import describe, gallery, main, of_run, spaces
from models.heads.pictures import principal_components
from models.heads.shown import what_is_shown
from models.heads.task import build_task
from tests.embedding_sets import save

ROOT = Path(__file__).resolve().parents[3]
NUM = {"train": 40, "val": 8, "test": 9}


def write_embeddings(folder: Path) -> None:
    """Two captions an image; of the test part the first image has a picture, the second none, the others a path to nothing."""
    folder.mkdir()
    Image.new("RGBA", (40, 20), "red").save(folder / "0.png")
    chance = torch.Generator().manual_seed(1)
    for part, count in NUM.items():
        points = torch.randn(count, 8, generator=chance)
        names = [f"{part}{image}" for image in range(count) for _ in range(2)]
        more = {"image_paths": [f"{image}.png" for image in range(count) for _ in range(2)]}
        metadata = {"image_ids": names, "captions": [f"$ caption {place} of {name}" for place, name in enumerate(names)]}
        texts = points.repeat_interleave(2, dim=0) + 0.1 * torch.randn(2 * count, 8, generator=chance)
        save(folder, part, points, texts, metadata | more)


def trained(dir: Path, symbols: str) -> RunDir:
    """A run of two epochs."""
    dir.mkdir()
    kconf = load_tree(ROOT)
    small = "CONFIG_MODEL_SELECT_HEADS=y\nCONFIG_BATCH_SIZE=32\nCONFIG_NUM_EPOCHS=2\nCONFIG_OUTPUT_DIM=8\n"
    (dir / "asked").write_text(small + symbols)
    kconf.load_config(str(dir / "asked"))
    kconf.write_config(str(dir / "config.txt"))
    assert train(Run(RunDir(dir), 1), build_task) == 0
    return RunDir(dir)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    place = tmp_path_factory.mktemp("gallery")
    write_embeddings(place / "data")
    return trained(place / "run", f'CONFIG_DATASET_SELECT_EMBEDDINGS=y\nCONFIG_DATA_DIR="{place / "data"}"\n')


def changed(run: RunDir, place: Path) -> RunDir:
    """A copy to be damaged."""
    return RunDir(shutil.copytree(run.path, place / "run"))


@pytest.mark.parametrize("count", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_both_pictures_are_written_into_the_directory_of_the_run(
    count: int, run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in ("NUM_CAPTIONS", "NUM_IMAGES"):
        monkeypatch.setattr(f"models.heads.gallery.{asked}", count)

    assert main([str(run.path)]) == 0

    said = capsys.readouterr().out
    assert said.count(": written") == 2
    assert said.endswith(f"; ids in place of pictures that are not there, such as {run.path.parent}/data/1.png\n")
    for name in ("retrieval_gallery.png", "embedding_pca.png"):
        with Image.open(run.path / name) as picture:
            assert picture.width >= 1500
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_what_is_shown_as_nearest_is_nearest_by_brute_force(run: RunDir) -> None:
    projected = of_run(run)
    shown = what_is_shown(projected.cfg)
    assert shown is not None

    drawn = gallery(projected, shown, "")

    own = [place // 2 for place in range(18)]
    similar = projected.texts.double() @ projected.images.double().T
    assert [found.of for found in drawn.of_images] == list(range(9))  # fewer than wanted: all
    for found in drawn.of_texts:
        order = sorted(range(9), key=lambda image: -similar[found.of, image])[:5]
        assert list(found.rows) == order
        assert list(found.is_right) == [image == own[found.of] for image in order]
        assert found.values == pytest.approx([float(similar[found.of, image]) for image in order], abs=1e-5)
    for found in drawn.of_images:
        order = sorted(range(18), key=lambda text: -similar[text, found.of])[:5]
        assert list(found.rows) == order
        assert list(found.is_right) == [own[text] == found.of for text in order]


def test_the_weights_are_those_whose_metrics_the_run_has_written(run: RunDir) -> None:
    metrics = json.loads(run.training_metrics.read_text())["metrics"]

    said = describe(of_run(run))

    for way in ("i2t", "t2i"):
        assert " ".join(f"{metrics[f'test_{way}_r{k}']:.3f}" for k in (1, 5, 10)) in said


def test_a_picture_that_is_not_there_is_shown_as_its_id(run: RunDir) -> None:
    shown = what_is_shown(of_run(run).cfg)
    assert shown is not None

    assert [shown.ids[image] for image in (0, 8)] == ["test0", "test8"]
    red = shown.picture(0)
    assert red is not None
    assert red.shape == (20, 40, 3)
    assert red[0, 0].tolist() == [255, 0, 0]
    assert shown.picture(8) is None


def test_points_are_joined_to_their_own_captions(run: RunDir) -> None:
    drawn = spaces(of_run(run))

    assert len(drawn.images) == len(drawn.shared_images) == 9
    assert drawn.image_of_text.tolist() == [place // 2 for place in range(18)]


@pytest.mark.slow
def test_a_set_without_captions_gets_the_pca_and_says_what_it_does_not_get(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", "CONFIG_PAIR_IMAGES=60\n")

    assert main([str(run.path)]) == 0

    assert "retrieval_gallery.png: not drawn: synthetic-pairs has neither captions nor pictures" in capsys.readouterr().out
    assert (run.path / "embedding_pca.png").exists()
    assert not (run.path / "retrieval_gallery.png").exists()


def test_a_directory_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "nothing: found no config.txt there, allowed: the directory of a finished run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run.checkpoints / "best.pt").unlink(), "found no checkpoints/best.pt"),
        (lambda run: (run.checkpoints / "best.pt").write_bytes(b"torn"), "best.pt is damaged"),
        (lambda run: run.training_metrics.unlink(), "a run that was not trained to its end"),
        (lambda run: run.training_metrics.write_text('{"status": "diverged"}'), "a run that ended as diverged"),
        (lambda run: run.config.write_text('CONFIG_MODEL="lenet5"\n'), "found a run of lenet5"),
        (lambda run: run.config.write_text(""), "MODEL"),
        (
            lambda run: run.config.write_text(run.config.read_text().replace("OUTPUT_DIM=8", "OUTPUT_DIM=9")),
            "of another configuration",
        ),
    ],
    ids=["no weights", "torn weights", "not ended", "diverged", "another model", "empty config", "config edited"],
)
def test_a_run_that_cannot_be_drawn_is_told_in_one_message(
    damage: object, said: str, run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = changed(run, tmp_path)
    damage(copy)  # type: ignore[operator]

    assert main([str(copy.path)]) == 2

    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_a_data_set_that_is_gone_or_another_one_is_told(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, data = changed(run, tmp_path), run.path.parent / "data"
    kept, texts = (data / "test_metadata.json").read_text(), (data / "test_text_embeddings.pt").read_bytes()
    try:
        (data / "test_metadata.json").unlink()
        assert main([str(copy.path)]) == 2
        assert "test_metadata.json" in capsys.readouterr().err
        (data / "test_metadata.json").write_text(json.dumps(json.loads(kept) | {"captions": ["too few"]}))
        assert main([str(copy.path)]) == 2
        assert 'found "captions" that is no list of 18 texts' in capsys.readouterr().err
        (data / "test_metadata.json").write_text(kept)
        torch.save(torch.randn(18, 8), data / "test_text_embeddings.pt")
        assert main([str(copy.path)]) == 2
        assert "embeddings is other data now than it was trained on: train it again" in capsys.readouterr().err
    finally:
        (data / "test_text_embeddings.pt").write_bytes(texts)
        (data / "test_metadata.json").write_text(kept)


def test_components_are_those_of_the_singular_values() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)

    points, variance = principal_components(rows)

    np.testing.assert_allclose(variance, values**2 / (values**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ axes[:2].T), atol=1e-4)
    assert principal_components(np.ones((3, 1), np.float32))[0].tolist() == [[0, 0]] * 3
