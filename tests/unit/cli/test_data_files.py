"""Files that runs need are looked for before anything starts."""

from pathlib import Path

import pytest

from ksweep.cli.main import main
from ksweep.cli.tree import Tree
from ksweep.data.embedding_files import paths_of
from ksweep.data.paired import emoji
from ksweep.data.texts import bible, moby_dick
from ksweep.space.rangefile import parse_range_text
from ksweep.sweep.sweep import config_values


def refusal(place: Path, capsys: pytest.CaptureFixture[str], text: str, *more: str) -> str:
    """What a sweep over this range file is refused with, before anything was made."""
    (place / "ranges").write_text(f'{text}\nCONFIG_DATA_DIR="{place}"\n')
    arguments = ("--range", place / "ranges", "--results", place / "results", "--out", place / "configs")
    assert main(["sweep", *map(str, arguments), *more]) == 2
    assert not list(place.glob("results/*"))
    return capsys.readouterr().err.replace(f"{place}/", "")


@pytest.mark.parametrize(
    ("model", "dataset", "paths"),
    [
        ("transformer", "bible", [bible.REMOTE.path(Path("data"))]),
        ("transformer", "moby-dick", [moby_dick.REMOTE.path(Path("data"))]),
        ("heads", "emoji", [path for part in emoji.PARTS for path in paths_of(Path("data"), part)]),
        ("heads", "embeddings", [path for part in ("train", "val", "test") for path in paths_of(Path("data"), part)]),
    ],
)
def test_what_is_looked_for_is_what_a_run_reads(model: str, dataset: str, paths: list[Path]) -> None:
    tree = Tree()
    file = parse_range_text(f"CONFIG_MODEL={model}\nCONFIG_DATASET={dataset}\n", Path("ranges"), tree.find_preset)
    values = config_values(tree.resolver.expand(file).points[0].text)

    assert [Path("data") / name.format_map(values) for name in values["SWEEP_DATA_FILES"].split()] == paths


def test_each_data_set_of_a_grid_whose_files_are_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "CONFIG_MODEL=heads\nCONFIG_DATASET=synthetic-pairs|emoji|embeddings\nCONFIG_BATCH_SIZE=8"

    assert refusal(tmp_path, capsys, text) == (
        'emoji_train_image_embeddings.pt and 8 more are not there, which CONFIG_DATASET="emoji" needs; '
        "emoji: pictures of emoji and their names (make data-emoji)\n"
        'train_image_embeddings.pt and 8 more are not there, which CONFIG_DATASET="embeddings" needs; '
        "embeddings: files of your own in DATA_DIR (make data-split)\n"
    )


def test_a_search_without_its_files_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("coco_train", "coco_val", "coco_test"):
        for path in paths_of(tmp_path, name):
            path.touch()
    paths_of(tmp_path, "coco_test").images.unlink()
    parts = "".join(f'\nCONFIG_EMBEDDINGS_{part.upper()}="coco_{part}"' for part in ("train", "val", "test"))
    text = f"CONFIG_MODEL=heads\nCONFIG_DATASET=embeddings\nCONFIG_BATCH_SIZE=8|16{parts}"

    assert refusal(tmp_path, capsys, text, "--strategy", "tpe", "--trials", "2").startswith(
        'coco_test_image_embeddings.pt: not there, and CONFIG_DATASET="embeddings" needs it; '
    )


def test_a_text_that_is_not_there_is_named_with_how_it_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "CONFIG_MODEL=transformer\nCONFIG_DATASET=bible"

    assert refusal(tmp_path, capsys, text) == (
        'bible.txt: not there, and CONFIG_DATASET="bible" needs it; King James Bible: 4.1 million characters (make data-bible)\n'
    )


def test_one_configuration_alone_does_not_start_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".config").write_text(f'CONFIG_MODEL=heads\nCONFIG_DATASET=emoji\nCONFIG_DATA_DIR="{tmp_path}"\n')

    assert main(["train", "--config", str(tmp_path / ".config"), "--results", str(tmp_path / "results")]) == 2
    assert "emoji_train_image_embeddings.pt and 8 more are not there" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
