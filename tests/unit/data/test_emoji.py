"""The emoji set: which signs become images, what their captions are, what is in one part, and what is asked of its files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image, ImageDraw

from ksweep.cli.main import main
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.data.embedding_files import read_metadata
from ksweep.data.embedding_split import write_sets
from ksweep.data.emoji import Emoji, captions_of, draw, embed, family_of, is_stored, read_annotations, read_words, write_pictures
from ksweep.data.emoji_features import BINS, SIZE, embed_images, embed_texts, oriented_gradients
from ksweep.data.pairs import load_pairs

FONT = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # a glyph of it is at most as wide as an emoji's


def made(count: int = 60) -> list[Emoji]:
    """Squares, each of its own size and colour, in families of two."""
    found = []
    for number in range(count):
        picture = Image.new("RGBA", (136, 128))
        ImageDraw.Draw(picture).rectangle((10, 10, 20 + number, 60), fill=(4 * number, 90, 200))
        captions = (f"square {number} of {count}", f"side {number}, colour {number % 7}")
        found.append(Emoji(id=f"{number:04X}", family=str(number // 2), picture=picture, captions=captions))
    return found


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    write_pictures(folder, made())
    write_sets(folder, embed(made(), ["squares_1.0"]))
    return folder


def test_a_sign_is_an_image_when_the_font_has_one_glyph_of_it_and_no_skin_tone() -> None:
    captions = {"A": ("a",), "WMW": ("three in a row",), " ": ("a space",), "B": ("b",), "C\U0001f3fb": ("c: light skin tone",)}

    found = draw(FONT, captions)

    assert [each.id for each in found] == ["0041", "0042"]
    assert all(each.picture.getbbox() for each in found)


def test_equal_glyphs_are_one_image_with_the_captions_of_both() -> None:
    (found,) = draw(FONT, {"A": ("latin a", "letter"), "\u0391": ("greek alpha", "letter")})

    assert found.id == "0041"
    assert found.captions == ("latin a", "letter", "greek alpha")


def test_keywords_that_several_images_have_are_left_out_and_names_are_not() -> None:
    a, b, c = draw(FONT, {"A": ("a", "letter"), "B": ("b", "letter"), "C": ("c", "a")})

    assert [each.captions for each in (a, b, c)] == [("a",), ("b",), ("c",)]


def test_captions_are_the_name_the_other_keywords_and_all_words() -> None:
    assert captions_of("hammer", ["hammer", "tool"], ["hammer", "tools"]) == ("hammer", "tool", "hammer, tools")
    assert captions_of("hammer", ["hammer"], []) == ("hammer",)


def test_emoji_that_differ_in_who_is_shown_are_a_family_and_others_are_not() -> None:
    farmers = ["🧑\u200d🌾", "👨\u200d🌾", "👩\u200d🌾"]
    families = ["👨\u200d👩\u200d👦", "👩\u200d👩\u200d👧\u200d👦"]

    assert len(set(map(family_of, farmers))) == 1
    assert family_of("🏃\u200d♀") == family_of("🏃") != family_of("🚶")
    assert len(set(map(family_of, families))) == 1
    assert family_of("🇦🇼") != family_of("🇼🇦")
    assert family_of("♀") != family_of("♂")  # nothing but who is shown


def test_names_and_keywords_are_read_from_both_files(tmp_path: Path) -> None:
    for folder, sign, name in (("annotations", "A", "first"), ("annotationsDerived", "B", "second")):
        file = tmp_path / "usr/share/unicode/cldr/common" / folder / "en.xml"
        file.parent.mkdir(parents=True)
        lines = f'<annotation cp="{sign}">{name} | other</annotation><annotation cp="{sign}" type="tts">{name}</annotation>'
        file.write_text(f"<ldml><annotations>{lines}</annotations></ldml>", encoding="utf-8")

    assert read_annotations(tmp_path) == ({"A": "first", "B": "second"}, {"A": ["first", "other"], "B": ["second", "other"]})


def test_words_are_found_without_the_sign_that_asks_for_colour(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "emoji-en-US.json").write_text('{"\u2764\ufe0f": ["red_heart", "love"]}', encoding="utf-8")

    assert read_words(tmp_path) == {"\u2764": ["red heart", "love"]}


def test_a_family_is_in_one_part_and_each_image_in_one(stored: Path) -> None:
    parts = [
        {int(each, 16) // 2 for each in read_metadata(stored, f"emoji_{part}")["image_ids"]} for part in ("train", "val", "test")
    ]

    assert sum(map(len, parts)) == len(set.union(*parts)) == 30
    assert [len(part) for part in parts] == [22, 4, 4]


def test_what_is_fitted_does_not_depend_on_the_other_parts() -> None:
    pictures, train = [each.picture for each in made()], np.arange(40)
    texts = [caption for each in made() for caption in each.captions][:60]
    blank = [Image.new("RGBA", (136, 128))] * 20

    np.testing.assert_array_equal(
        embed_images(pictures, train)[:40], embed_images([*pictures[:40], *blank], train)[:40], strict=True
    )
    np.testing.assert_array_equal(embed_texts(texts, train)[:40], embed_texts([*texts[:40], *["other"] * 20], train)[:40])


def test_embeddings_have_length_one_and_a_text_of_unknown_words_is_zeros() -> None:
    texts = embed_texts(["red heart", "blue heart", "zzz qqq"], np.arange(2))

    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), [1, 1, 0], atol=1e-6)
    images = embed_images([each.picture for each in made()], np.arange(60))
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("axis", "bins"), [(1, {0, BINS - 1}), (0, {BINS // 2})], ids=["vertical edge", "horizontal edge"])
def test_an_edge_counts_in_the_direction_across_it(axis: int, bins: set[int]) -> None:
    pixels = np.zeros((SIZE, SIZE, 3), np.float32)
    pixels[(slice(None), slice(28, None))[:: 1 if axis else -1]] = 1

    counted = oriented_gradients(pixels).reshape(-1, BINS)

    assert set(np.flatnonzero(counted.sum(axis=0) > 1e-6)) == bins


def config(folder: Path) -> RunConfig:
    return RunConfig(f'CONFIG_DATASET="emoji"\nCONFIG_DATA_DIR="{folder}"\nCONFIG_TRAIN_ON_VALIDATION=n\n', "config.txt")


def test_a_run_reads_it(stored: Path) -> None:
    pairs = load_pairs(config(stored))

    assert [len(pairs.part(part).images) for part in ("train", "val", "test")] == [44, 8, 8]


def test_a_run_says_how_to_get_it_where_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"emoji_train_metadata.json: not there: run `make data-emoji`"):
        load_pairs(config(tmp_path))


def test_a_set_that_is_there_and_whole_is_left(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "emoji", "--data-dir", str(stored)]) == 0
    assert "already there, and whole" in capsys.readouterr().out


def test_a_folder_without_it_has_none(tmp_path: Path) -> None:
    assert not is_stored(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert main(["data", "emoji", "--data-dir", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}/file: emoji cannot be put there ([Errno 17] File exists")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("emoji_val_text_embeddings.pt", None, "emoji_val_text_embeddings.pt: not there, but"),
        ("emoji_glyphs/0003.png", None, "0003.png: not there"),
        ("emoji_test_image_embeddings.pt", b"torn", "emoji_test_image_embeddings.pt: found what torch.load cannot map"),
    ],
    ids=["a file is missing", "a picture is missing", "a file is torn"],
)
def test_a_set_that_is_not_whole_is_told_with_what_to_do(
    stored: Path, tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    damaged = shutil.copytree(stored, tmp_path / "data")
    (damaged / file).unlink()
    if content is not None:
        (damaged / file).write_bytes(content)

    with pytest.raises(KsweepError, match=f"{said}.*delete .*emoji_\\* and run `make data-emoji` again"):
        is_stored(damaged)
