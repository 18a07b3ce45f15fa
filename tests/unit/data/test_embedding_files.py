"""Files of embeddings: what loads, what is mapped, what is checked once, and what is refused in which words."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import embedding_files, paired
from ksweep.data.embedding_files import distinct, open_set, paths_of, read_pairs
from ksweep.data.paired import embeddings
from ksweep.data.pairs import PARTS, load_pairs
from ksweep.train.registry import plugins
from tests.embedding_sets import read_part, save

IDS = [139, 139, 285, 139, 632, 285]  # as in COCO: numbers, and an image's captions need not be neighbours
OWN = [0, 0, 1, 0, 2, 1]
Changed = Callable[[torch.Tensor, torch.Tensor, dict[str, Any]], tuple[Any, Any, Any]]


def rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def save_seed(folder: Path, name: str = "coco", ids: list[Any] = IDS, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
    """A row for each pair: the image's is repeated for each of its captions."""
    known, index = distinct(ids)
    images = rows(len(known), 4, seed)[torch.from_numpy(index)]
    save(folder, name, images.to(dtype), rows(len(ids), 3, seed + 1).to(dtype), {"image_ids": ids})


def save_compact(folder: Path, name: str = "coco", ids: list[Any] = IDS, width: int = 4) -> None:
    save(folder, name, rows(len(distinct(ids)[0]), width), rows(len(ids), 3, 1), {"image_ids": ids})


def is_mapped(tensor: torch.Tensor, path: Path) -> bool:
    """Whether the tensor's memory is that of a mapped file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, *_, name = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in place.split("-"))
        if start <= tensor.data_ptr() < end:
            return Path(name).resolve() == path.resolve() if name.startswith("/") else False
    return False


def refused(folder: Path, name: str = "coco") -> str:
    with pytest.raises(ConfigError) as raised:
        read_part(folder, name)
    return str(raised.value).replace(f"{folder}/", "")


def test_a_row_for_each_pair_and_a_row_for_each_image_are_the_same_set(tmp_path: Path) -> None:
    save_seed(tmp_path, "seed")
    save_compact(tmp_path, "compact")

    seed, compact = (read_part(tmp_path, name) for name in ("seed", "compact"))

    assert seed.image_of_text.tolist() == compact.image_of_text.tolist() == OWN
    assert torch.equal(seed.images, rows(3, 4))
    assert torch.equal(compact.images, rows(3, 4))
    assert torch.equal(seed.texts, compact.texts)
    digests = {open_set(tmp_path, name).checked.digest for name in ("seed", "compact")}
    assert len(digests) == 1


def test_float32_files_are_mapped_and_only_repeated_images_copied(tmp_path: Path) -> None:
    save_seed(tmp_path, "seed")
    save_compact(tmp_path, "compact")

    seed, compact = (read_part(tmp_path, name) for name in ("seed", "compact"))

    assert is_mapped(compact.images, paths_of(tmp_path, "compact").images)
    assert is_mapped(compact.texts, paths_of(tmp_path, "compact").texts)
    assert is_mapped(seed.texts, paths_of(tmp_path, "seed").texts)
    assert not is_mapped(seed.images, paths_of(tmp_path, "seed").images)
    assert seed.images.untyped_storage().nbytes() == 3 * 4 * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    save_seed(tmp_path, dtype=dtype)

    part = read_part(tmp_path, "coco")

    assert part.images.dtype == part.texts.dtype == torch.float32
    assert torch.equal(part.texts, rows(6, 3, 1).to(dtype).float())


def test_a_tensor_that_is_a_view_or_a_parameter_loads_as_its_numbers(tmp_path: Path) -> None:
    images = torch.nn.Parameter(rows(3, 4))
    save(tmp_path, "coco", images, rows(3, 6, 1).T, {"image_ids": IDS})

    part = read_part(tmp_path, "coco")

    assert torch.equal(part.images, rows(3, 4))
    assert not part.images.requires_grad
    assert torch.equal(part.texts, rows(3, 6, 1).T)


def test_ids_as_numbers_and_as_text_are_the_same_image() -> None:
    assert distinct([139, "139", "a", 139, "0139"])[0] == ["139", "a", "0139"]


def break_ids(ids: Any) -> Changed:
    return lambda images, texts, metadata: (images, texts, {"image_ids": ids})


def break_row(of: int, row: int, value: float) -> Changed:
    def change(images: torch.Tensor, texts: torch.Tensor, metadata: dict[str, Any]) -> tuple[Any, Any, Any]:
        (images, texts)[of][row, 1] = value
        return images, texts, metadata

    return change


FORM = "allowed: one tensor of real numbers [rows, dimensions], as torch.save writes it"
PAIRS = "allowed: 6, one for each of image_ids in coco_metadata.json"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            break_row(1, 2, float("nan")),
            "coco_text_embeddings.pt: found 1 rows that are not finite, first 2, allowed: finite numbers",
        ),
        (
            break_row(0, 3, float("inf")),
            "coco_image_embeddings.pt: found 1 rows that are not finite, first 3, allowed: finite numbers",
        ),
        (
            break_row(0, 3, 7.0),
            'coco_image_embeddings.pt: found row 3 other than row 0, both of image id "139", allowed: equal rows',
        ),
        (lambda i, t, m: (i, t[:5], m), f"coco_text_embeddings.pt: found 5 rows, {PAIRS}"),
        (
            lambda i, t, m: (i[:4], t, m),
            f"coco_image_embeddings.pt: found 4 rows, {PAIRS}, or 3, one for each distinct id",
        ),
        (
            lambda i, t, m: ({"embeddings": i}, t, m),
            f"coco_image_embeddings.pt: found a dict, {FORM}",
        ),
        (lambda i, t, m: (i[0], t, m), f"coco_image_embeddings.pt: found torch.float32 [4], {FORM}, at least one of each"),
        (lambda i, t, m: (i.int(), t, m), f"coco_image_embeddings.pt: found torch.int32 [6, 4], {FORM}, at least one of each"),
        (lambda i, t, m: (i[:0], t, m), f"coco_image_embeddings.pt: found torch.float32 [0, 4], {FORM}, at least one of each"),
        (lambda i, t, m: (i, t[:, :0], m), f"coco_text_embeddings.pt: found torch.float32 [6, 0], {FORM}, at least one of each"),
        (
            lambda i, t, m: (i.to_sparse(), t, m),
            f"coco_image_embeddings.pt: found torch.float32 [6, 4], {FORM}, at least one of each",
        ),
        (
            lambda i, t, m: (i, t, {"captions": []}),
            'coco_metadata.json: found no list "image_ids", allowed: an object that has it, with one id for each pair',
        ),
        (
            lambda i, t, m: (i, t, IDS),
            'coco_metadata.json: found no list "image_ids", allowed: an object that has it, with one id for each pair',
        ),
        (
            break_ids({"0": 139}),
            'coco_metadata.json: found no list "image_ids", allowed: an object that has it, with one id for each pair',
        ),
        (
            break_ids([139, 139, None, 139, 632, 285]),
            "coco_metadata.json: found image_ids[2] = null, allowed: a whole number, or text that is not empty",
        ),
        (
            break_ids([139, 139, 285.0, 139, 632, 285]),
            "coco_metadata.json: found image_ids[2] = 285.0, allowed: a whole number, or text that is not empty",
        ),
        (
            break_ids([139, True, 285, 139, 632, 285]),
            "coco_metadata.json: found image_ids[1] = true, allowed: a whole number, or text that is not empty",
        ),
        (
            break_ids([139, 139, 285, 139, 632, ""]),
            'coco_metadata.json: found image_ids[5] = "", allowed: a whole number, or text that is not empty',
        ),
        (
            break_ids(IDS[:5]),
            "coco_text_embeddings.pt: found 6 rows, allowed: 5, one for each of image_ids in coco_metadata.json",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(change: Changed, expected: str, tmp_path: Path) -> None:
    images = rows(3, 4)[torch.tensor(OWN)]
    save(tmp_path, "coco", *change(images, rows(6, 3, 1), {"image_ids": IDS}))

    assert refused(tmp_path) == expected


@pytest.mark.parametrize("what", ["images", "texts", "metadata"])
def test_a_file_that_is_missing_is_named(what: str, tmp_path: Path) -> None:
    save_seed(tmp_path)
    path: Path = getattr(paths_of(tmp_path, "coco"), what)
    path.unlink()

    assert refused(tmp_path).startswith(f"{path.name}: cannot be read (No such file or directory); put it there")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of torch",
        b"PK\x03\x04",
        b"\x80\x02.",
        pickle.dumps([1.0]),
        pickle.dumps(Path("x")),
        b"\x93NUMPY\x01\x00",
    ],
)
def test_a_file_that_torch_did_not_write_is_named(content: bytes, tmp_path: Path) -> None:
    save_seed(tmp_path)
    paths_of(tmp_path, "coco").texts.write_bytes(content)

    assert refused(tmp_path).startswith("coco_text_embeddings.pt: found what torch.load cannot map (")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_named(share: float, tmp_path: Path) -> None:
    save_seed(tmp_path)
    path = paths_of(tmp_path, "coco").images
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    assert refused(tmp_path).startswith("coco_image_embeddings.pt: found what torch.load cannot map (")


class Maker:
    """What, read back by pickle, makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    save_seed(tmp_path)
    torch.save(Maker(tmp_path / "made"), paths_of(tmp_path, "coco").texts)

    assert refused(tmp_path).startswith("coco_text_embeddings.pt: found what torch.load cannot map (")
    assert not (tmp_path / "made").exists()


def test_a_file_in_the_form_of_old_versions_is_named(tmp_path: Path) -> None:
    save_seed(tmp_path)
    torch.save(rows(6, 3, 1), paths_of(tmp_path, "coco").texts, _use_new_zipfile_serialization=False)

    assert refused(tmp_path).startswith("coco_text_embeddings.pt: found what torch.load cannot map (mmap can only be used")


@pytest.mark.parametrize("text", ["", "{", '{"image_ids": [1, 2', "\xff", "[" * 100_000])
def test_metadata_that_is_no_json_is_named(text: str, tmp_path: Path) -> None:
    save_seed(tmp_path)
    paths_of(tmp_path, "coco").metadata.write_bytes(text.encode("latin-1"))

    assert refused(tmp_path).startswith("coco_metadata.json: found no JSON (")


@pytest.mark.parametrize("name", ["", "a/b", "../coco", "a\0b"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    expected = f'a name of embeddings: found "{name}", allowed: the first part of a file name, without /'
    assert refused(tmp_path, name) == expected


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each pass over files."""
    passes: list[int] = []
    check = embedding_files._check

    def counted(*given: Any) -> embedding_files.Checked:
        passes.append(1)
        return check(*given)

    monkeypatch.setattr(embedding_files, "_check", counted)
    return passes


def test_rows_are_looked_at_once_and_again_only_when_a_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_checks(monkeypatch)
    save_seed(tmp_path)

    first, again = (read_part(tmp_path, "coco") for _ in range(2))
    assert len(passes) == 1
    assert torch.equal(first.images, again.images)
    assert again.image_of_text.tolist() == OWN

    path = paths_of(tmp_path, "coco").texts
    before = path.stat()
    torch.save(torch.full((6, 3), float("nan")), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps dates
    assert path.stat().st_size == before.st_size

    assert refused(tmp_path).startswith("coco_text_embeddings.pt: found 6 rows that are not finite")
    assert refused(tmp_path).startswith("coco_text_embeddings.pt: found 6 rows that are not finite")  # nor is that kept as right


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_record_of_a_check_that_is_broken_is_made_anew(content: bytes, tmp_path: Path) -> None:
    save_seed(tmp_path)
    before = open_set(tmp_path, "coco").checked
    record = tmp_path / ".cache" / "embeddings-coco.npz"
    record.write_bytes(content)

    after = open_set(tmp_path, "coco").checked

    assert after.digest == before.digest
    with np.load(record) as file:
        assert file["image_of_text"].tolist() == OWN


def test_where_no_record_can_be_kept_each_run_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_checks(monkeypatch)
    save_seed(tmp_path)
    (tmp_path / ".cache").write_text("a file, where a folder should be")

    for _ in range(2):
        assert read_part(tmp_path, "coco").image_of_text.tolist() == OWN
    assert len(passes) == 2


def test_every_piece_of_a_large_set_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embedding_files.PIECE
    save_seed(tmp_path)
    digest = open_set(tmp_path, "coco").checked.digest
    (tmp_path / ".cache" / "embeddings-coco.npz").unlink()
    monkeypatch.setattr(embedding_files, "PIECE", 40)  # two rows of images, three of texts
    assert open_set(tmp_path, "coco").checked.digest == digest
    assert whole >= 2**20

    images = rows(3, 4)[torch.tensor(OWN)]
    images[5] += 1
    save(tmp_path, "coco", images, rows(6, 3, 1), {"image_ids": IDS})
    assert refused(tmp_path).endswith('found row 5 other than row 2, both of image id "285", allowed: equal rows')
    images[[0, 3, 5], 0] = float("nan")
    save(tmp_path, "coco", images, rows(6, 3, 1), {"image_ids": IDS})
    assert "found 3 rows that are not finite, first 0" in refused(tmp_path)


NAMES = ("a", "b", "c")


def save_three(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        save_seed(folder, name, ids=[10 * number + place for place in (1, 2, 2)], seed=number)


def config(folder: Path, names: tuple[str, ...] = NAMES, more: str = "") -> RunConfig:
    asked = "".join(f'CONFIG_{symbol}="{name}"\n' for symbol, name in zip(embeddings.SYMBOLS, names, strict=True))
    return RunConfig(f'CONFIG_DATASET="embeddings"\nCONFIG_DATA_DIR="{folder}"\n{asked}{more}', "config.txt")


def test_three_sets_of_files_are_the_parts_of_the_set(tmp_path: Path) -> None:
    save_three(tmp_path)
    cfg = config(tmp_path)

    pairs = load_pairs(cfg)

    for name, part in zip(NAMES, PARTS, strict=True):
        assert torch.equal(pairs.part(part).texts, read_part(tmp_path, name).texts)
        assert pairs.part(part).image_of_text.tolist() == [0, 1, 1]
    assert pairs.achievable_r1 is None
    assert cfg.symbols_read.keys() == {"DATASET", "DATA_DIR", *embeddings.SYMBOLS, "TRAIN_ON_VALIDATION"}
    assert plugins(paired)["embeddings"] is embeddings


def test_the_digest_follows_the_embeddings_of_every_part(tmp_path: Path) -> None:
    save_three(tmp_path)
    digests = {read_pairs("embeddings", tmp_path, NAMES).digest, read_pairs("embeddings", tmp_path, ("c", "b", "a")).digest}
    for number, name in enumerate(NAMES):
        save_seed(tmp_path, name, ids=[10 * number + place for place in (1, 2, 2)], seed=7)
        digests.add(read_pairs("embeddings", tmp_path, NAMES).digest)

    assert len(digests) == 5


def test_with_train_on_validation_both_are_trained_on_and_captions_keep_their_image(tmp_path: Path) -> None:
    save_three(tmp_path)
    train, val = (read_part(tmp_path, name) for name in ("a", "b"))

    pairs = load_pairs(config(tmp_path, more="CONFIG_TRAIN_ON_VALIDATION=y\n"))

    assert pairs.train.image_of_text.tolist() == [0, 1, 1, 2, 3, 3]
    assert torch.equal(pairs.train.images, torch.cat([train.images, val.images]))
    assert torch.equal(pairs.train.texts, torch.cat([train.texts, val.texts]))
    assert pairs.val.texts.shape == (0, 3)
    assert pairs.val.images.shape == (0, 4)


def test_an_image_in_two_parts_is_named_also_where_one_has_it_as_text(tmp_path: Path) -> None:
    save_three(tmp_path)
    save_seed(tmp_path, "b", ids=["11", "2", "2"])

    with pytest.raises(ConfigError) as raised:
        load_pairs(config(tmp_path))

    message = str(raised.value).replace(f"{tmp_path}/", "")
    found, _, asked = message.partition("; config.txt: ")
    assert asked == "CONFIG_EMBEDDINGS_TRAIN=a CONFIG_EMBEDDINGS_VAL=b CONFIG_EMBEDDINGS_TEST=c"
    assert found.startswith('b_metadata.json: found 1 of 2 images that are in a_metadata.json as well, first "2", allowed:')


def test_parts_of_other_widths_are_named(tmp_path: Path) -> None:
    save_three(tmp_path)
    save_compact(tmp_path, "c", ids=[21, 22, 22], width=5)

    with pytest.raises(ConfigError) as raised:
        load_pairs(config(tmp_path))

    message = str(raised.value).replace(f"{tmp_path}/", "")
    assert message.startswith("c_image_embeddings.pt: found 5 dimensions, allowed: 4, as in a_image_embeddings.pt")


def test_two_images_with_the_same_embedding_stay_two(tmp_path: Path) -> None:
    save(tmp_path, "coco", torch.ones(3, 4), rows(6, 3, 1), {"image_ids": IDS})

    assert len(read_part(tmp_path, "coco").images) == 3


def test_metadata_that_is_not_unicode_text_in_ids_is_kept(tmp_path: Path) -> None:
    ids = ["猫", "a b", "猫", "\n", "x" * 300, "\ud800"]
    save(tmp_path, "coco", rows(5, 4), rows(6, 3, 1), {"image_ids": ids})

    for _ in range(2):  # the second from the record of the first
        assert open_set(tmp_path, "coco").checked.ids == ["猫", "a b", "\n", "x" * 300, "\ud800"]
