"""Texts as rows of tokens: windows, parts, vocabulary, and the files that keep them."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.data import sets, text_encoding, texts
from ksweep.data.dataset import load
from ksweep.data.text import Sequences, load_sequences
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import parse_range_text
from ksweep.train.registry import plugins

ROOT = Path(__file__).resolve().parents[3]
WORDS = {  # the parts of a small WikiText
    "train": " = Ships = \n \n the cat sat on the mat and the dog sat on the cat \n the <unk> ran \n",
    "valid": " = Trees = \n the oak and the cat sat on <unk> \n",
    "test": " = Stars = \n a dog ran to the mat and sat \n",
}


def config(data_dir: Path, **symbols: object) -> RunConfig:
    """A configuration of a language model; a value of None takes a symbol out."""
    all_symbols = {
        "DATASET": "pydoc", "TEXT_LEVEL": "word", "VOCABULARY_SIZE": 4096, "SEQUENCE_LENGTH": 128, "TRAIN_TOKENS": 100000,
        "VAL_TOKENS": 8000, "TEST_TOKENS": 8000, "DATA_DIR": str(data_dir), **symbols,
    }  # fmt: skip
    lines = [f'CONFIG_{name}="{value}"' for name, value in all_symbols.items() if isinstance(value, str) and value != "y"]
    lines += [f"CONFIG_{name}={value}" for name, value in all_symbols.items() if isinstance(value, int) or value == "y"]
    return RunConfig("\n".join(lines), "config.txt")


def write_wikitext(data_dir: Path, parts: dict[str, str] = WORDS, ending: str = "tokens", folder: str = "wikitext-2") -> None:
    (data_dir / folder).mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        (data_dir / folder / f"wiki.{part}.{ending}").write_text(content)


def small(data_dir: Path, **symbols: object) -> Sequences:
    """The small WikiText in rows of 4."""
    lengths = {"SEQUENCE_LENGTH": 4, "TRAIN_TOKENS": 20, "VAL_TOKENS": 10, "TEST_TOKENS": 8}
    return load_sequences(config(data_dir, DATASET="wikitext-2", **{**lengths, **symbols}))


def words(sequences: Sequences, rows: torch.Tensor) -> list[str]:
    return [sequences.vocabulary[token] for token in rows.flatten().tolist()]


def split_by_hand(content: str) -> list[str]:
    return [word for line in content.splitlines() for word in [*line.split(), "<eos>"]]


def test_a_row_is_a_window_of_its_part_and_asks_for_the_token_after_each(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    sequences = small(tmp_path)

    counted = set(split_by_hand(WORDS["train"]))
    for part, rows, count in (("train", sequences.train, 20), ("valid", sequences.val, 8), ("test", sequences.test, 8)):
        published = [word if word in counted else "<unk>" for word in split_by_hand(WORDS[part])]
        assert words(sequences, sequences.inputs[rows]) == published[:count]
        assert words(sequences, sequences.targets[rows]) == published[1 : count + 1]
    assert sequences.inputs.shape[1] == sequences.length == 4
    assert sequences.num_outputs == sequences.num_tokens == len(counted)
    assert sequences.inputs.dtype == torch.int32


def test_inputs_and_targets_share_their_memory(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    sequences = small(tmp_path)

    assert sequences.targets.data_ptr() == sequences.inputs.data_ptr() + sequences.inputs.element_size()


def test_vocabulary_is_the_most_frequent_words_of_the_training_part_and_the_rest_is_unknown(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    sequences = small(tmp_path, VOCABULARY_SIZE=4)

    counts = Counter(word for word in split_by_hand(WORDS["train"]) if word != "<unk>")
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:3]
    assert sequences.vocabulary == ("<unk>", *frequent)
    expected = [word if word in frequent else "<unk>" for word in split_by_hand(WORDS["valid"])]
    assert words(sequences, sequences.inputs[sequences.val]) == expected[:8]


def test_characters_are_all_those_of_the_training_part(tmp_path: Path) -> None:
    parts = {"train": "déjà vu \U0001f40b\nabc\n" * 3, "valid": "vu zu déjà\n", "test": "a\U0001f40bbc vu\n\n"}
    write_wikitext(tmp_path, parts, ending="raw", folder="wikitext-2-raw")
    sequences = small(tmp_path, TEXT_LEVEL="char", VOCABULARY_SIZE=None)

    assert sequences.vocabulary == ("<unk>", *sorted(set(parts["train"])))
    assert "".join(words(sequences, sequences.inputs[sequences.val])) == "vu <unk>u dé"
    assert "".join(words(sequences, sequences.inputs[sequences.test])) == parts["test"][:8]


@pytest.mark.parametrize(("level", "ending"), [("word", "tokens"), ("char", "raw")])
def test_words_are_of_the_published_tokens_and_characters_of_the_raw_text(tmp_path: Path, level: str, ending: str) -> None:
    for form in ("tokens", "raw"):
        parts = {part: content.replace("sat", form) for part, content in WORDS.items()}
        write_wikitext(tmp_path / "both", parts, ending=form)
        write_wikitext(tmp_path / form, parts, ending=form)

    assert small(tmp_path / "both", TEXT_LEVEL=level).digest == small(tmp_path / ending, TEXT_LEVEL=level).digest


def test_without_wikitext_it_is_said_what_to_put_where_and_which_sets_need_nothing(tmp_path: Path) -> None:
    write_wikitext(tmp_path, {"train": "a b\n", "valid": "a b\n"})  # the test part is missing

    with pytest.raises(ConfigError) as raised:
        small(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'wikitext-2'}: found no WikiText: unpack wikitext-2-v1.zip")
    assert "wiki.test.tokens" in str(raised.value)
    assert "pydoc or graded needs no file" in str(raised.value)


def test_text_without_parts_is_cut_into_training_first_and_test_last(tmp_path: Path) -> None:
    text = plugins(texts)["pydoc"].read(RunConfig("", "config.txt")).parts[0].decode()
    parts = {"TRAIN_TOKENS": 3000, "VAL_TOKENS": 2000, "TEST_TOKENS": 1000}
    sequences = load_sequences(config(tmp_path, TEXT_LEVEL="char", SEQUENCE_LENGTH=100, **parts))
    read = {name: "".join(words(sequences, sequences.inputs[getattr(sequences, name)])) for name in ("train", "val", "test")}
    asked = "".join(words(sequences, sequences.targets[sequences.test]))

    assert read == {"train": text[:3000], "val": text[-3001:-1001], "test": text[-1001:-1]}
    assert asked == text[-1000:]


@pytest.mark.parametrize("name", ["pydoc", "graded"])
def test_fewer_training_tokens_leave_validation_test_and_vocabulary_as_they_are(tmp_path: Path, name: str) -> None:
    long, short = (load_sequences(config(tmp_path, DATASET=name, TRAIN_TOKENS=count)) for count in (50000, 20000))

    assert short.vocabulary == long.vocabulary
    assert torch.equal(short.inputs[short.train], long.inputs[long.train][: len(short.train)])
    for part in ("val", "test"):
        assert torch.equal(short.inputs[getattr(short, part)], long.inputs[getattr(long, part)])
        assert torch.equal(short.targets[getattr(short, part)], long.targets[getattr(long, part)])


@pytest.mark.parametrize("name", ["pydoc", "graded"])
def test_parts_are_without_overlap_and_validation_joins_training_when_asked(tmp_path: Path, name: str) -> None:
    apart, joined = (load_sequences(config(tmp_path, DATASET=name, TRAIN_ON_VALIDATION=value)) for value in ("n", "y"))

    rows = torch.cat([apart.train, apart.val, apart.test])
    assert len(rows.unique()) == len(rows) == 100000 // 128 + 2 * (8000 // 128)
    assert joined.train.tolist() == sorted([*apart.train.tolist(), *apart.val.tolist()])
    assert len(joined.val) == 0
    assert torch.equal(joined.test, apart.test)
    assert torch.equal(joined.inputs, apart.inputs)


def test_all_rows_move_to_a_device(tmp_path: Path) -> None:
    moved = load_sequences(config(tmp_path, DATASET="graded")).to(torch.device("meta"))

    tensors = (moved.inputs, moved.targets, moved.difficulty, moved.train, moved.val, moved.test)
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        (
            {"TRAIN_TOKENS": 400000},
            r"CONFIG_TRAIN_TOKENS: found 400000, allowed: up to 1\d{5} \(the 1\d{5} words of pydoc, less one and",
        ),
        ({"VAL_TOKENS": 100}, r"CONFIG_VAL_TOKENS: found 100, allowed: 128 or more"),
        ({"TEST_TOKENS": 400000}, r"CONFIG_TRAIN_TOKENS: found 100000, allowed: up to 0 .* CONFIG_TEST_TOKENS=400000"),
        ({"SEQUENCE_LENGTH": 0}, r"CONFIG_SEQUENCE_LENGTH: found 0, allowed: 1 or more"),
        ({"TEXT_LEVEL": "byte"}, r'CONFIG_TEXT_LEVEL: found "byte", allowed: word char'),
        ({"DATASET": "digits"}, r'CONFIG_DATASET: found "digits", allowed: bible graded .*ksweep\.data\.texts'),
        ({"DATASET": "bible"}, r"bible\.txt: not there: run `make data-bible`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_text_cannot_give_is_refused_with_what_it_can(tmp_path: Path, symbols: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_sequences(config(tmp_path, **symbols))


def test_official_part_that_is_too_short_is_refused_with_both_numbers(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    has = len(split_by_hand(WORDS["valid"]))

    with pytest.raises(
        ConfigError, match=rf"CONFIG_VAL_TOKENS: found {has}, allowed: up to {has - 1} \(the words of that part of"
    ):
        small(tmp_path, VAL_TOKENS=has)
    assert len(small(tmp_path, VAL_TOKENS=has - 1).val) == (has - 1) // 4


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").write_bytes(b"caf\xe9 \n")

    with pytest.raises(ConfigError, match="CONFIG_DATASET=wikitext-2: its text is not UTF-8"):
        small(tmp_path)


def test_image_model_that_names_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'CONFIG_DATASET: found "pydoc", allowed: cifar10 .*ksweep\.data\.sets'):
        load(config(tmp_path))
    assert not set(plugins(sets)) & set(plugins(texts))


# -- the files that keep tokens -------------------------------------------------------------------------------------


def same(first: Sequences, second: Sequences) -> bool:
    return first.vocabulary == second.vocabulary and all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("inputs", "targets", "train", "val", "test")
    )


def kept(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".cache").glob("*.npz"))


@pytest.mark.parametrize("level", ["word", "char"])
def test_kept_tokens_are_read_and_are_those_that_were_made(tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_sequences(config(tmp_path, TEXT_LEVEL=level))
    assert [path.name[:6] for path in kept(tmp_path)] == ["pydoc-"]
    monkeypatch.delattr(text_encoding, "make")  # whoever makes them anew fails

    assert same(load_sequences(config(tmp_path, TEXT_LEVEL=level)), made)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-50], lambda whole: b"", lambda whole: whole.replace(b"part0", b"part9")]
)
def test_kept_tokens_that_are_not_whole_are_made_anew(tmp_path: Path, damage) -> None:
    write_wikitext(tmp_path)
    made = small(tmp_path)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))

    assert same(small(tmp_path), made)
    assert path.read_bytes() == whole, "and kept for the next run"


def test_each_setting_and_each_text_has_its_own_file(tmp_path: Path) -> None:
    write_wikitext(tmp_path)
    small(tmp_path)
    small(tmp_path, VOCABULARY_SIZE=5)
    small(tmp_path, TEXT_LEVEL="char")
    assert len(kept(tmp_path)) == 3
    small(tmp_path, TRAIN_TOKENS=12, SEQUENCE_LENGTH=2, VAL_TOKENS=8)  # only cuts differ
    assert len(kept(tmp_path)) == 3
    write_wikitext(tmp_path, {**WORDS, "valid": WORDS["valid"] + "the cat\n"})
    small(tmp_path)
    assert len(kept(tmp_path)) == 4


def test_where_nothing_can_be_kept_it_trains_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    assert same(load_sequences(config(tmp_path / "file")), load_sequences(config(tmp_path / "data")))


def test_runs_that_start_at_once_make_the_tokens_once(tmp_path: Path) -> None:
    program = """import sys
from pathlib import Path
from ksweep.data import text_encoding
from ksweep.data.text_source import Text
make = text_encoding.make
text_encoding.make = lambda *given: (print("made"), make(*given))[1]
encoding = text_encoding.Encoding(word=r"\\S+", vocabulary_size=50, num_uncounted=0)
encoded = text_encoding.encode(Text(parts=(b"some words of a text " * 50_000,)), encoding, "own", Path(sys.argv[1]))
print(len(encoded.parts[0]), *encoded.vocabulary)"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    runs = [subprocess.Popen(command, env={"PYTHONPATH": str(ROOT / "lib")}, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [run.communicate()[0].splitlines() for run in runs]

    assert sorted(len(lines) for lines in said) == [1, 1, 2]
    assert {lines[-1] for lines in said} == {"250000 <unk> a of some text words"}
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name != ".lock") == [".npz"]


def test_a_long_text_is_cut_into_pieces_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_sequences(config(tmp_path / "whole"))
    monkeypatch.setattr(text_encoding, "PIECE", 1000)

    assert same(load_sequences(config(tmp_path / "pieces")), whole)


def test_reading_a_text_imports_no_torch() -> None:
    program = """import sys
from ksweep.data import texts
from ksweep.train.registry import plugins
print(*plugins(texts), "torch" in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "lib")}, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [*plugins(texts), "False"]


# -- what the Kconfig says ------------------------------------------------------------------------------------------

HAS = {  # tokens of the published texts, as words and as characters: those of a text, or of the official parts
    "moby-dick": ([263_929], [1_190_317]),
    "bible": ([948_342], [4_137_850]),
    "wikitext-2": ([2_088_628, 217_646, 245_569], None),
    "wikitext-103": ([103_227_021, 217_646, 245_569], None),
}


def test_kconfig_knows_every_text_and_asks_of_each_no_more_than_it_has(tmp_path: Path) -> None:
    kconf = load_tree(ROOT)
    kconf.syms["MODEL_SELECT_TRANSFORMER"].set_value(2)
    named = set()
    for member in kconf.syms["DATASET_SELECT_PYDOC"].choice.syms:
        if not member.visibility:
            continue
        member.set_value(2)
        name = kconf.syms["DATASET"].str_value
        named.add(name)
        for number, level in enumerate(("word", "char")):
            kconf.syms[f"TEXT_LEVEL_SELECT_{level.upper()}"].set_value(2)
            asked = [int(kconf.syms[f"{part}_TOKENS"].str_value) for part in ("TRAIN", "VAL", "TEST")]
            if name in ("pydoc", "graded"):
                kconf.write_config(str(tmp_path / "config.txt"))
                cfg = RunConfig((tmp_path / "config.txt").read_text().replace('"data"', f'"{tmp_path}"'), "config.txt")
                found = load_sequences(cfg)
                assert [len(found.train), len(found.val), len(found.test)] == [count // found.length for count in asked]
            elif has := HAS[name][number]:
                asked = asked if len(has) > 1 else [sum(asked)]
                assert all(0.85 * count < wanted < count for wanted, count in zip(asked, has, strict=True))

    assert named == set(plugins(texts))


def problems(*lines: str) -> str:
    resolver = Resolver(load_tree(ROOT))
    file = parse_range_text("\n".join(f"CONFIG_{line}" for line in lines), Path("file"), Path)
    return " ".join(resolver.take(file) or resolver.broken({}, "file"))


@pytest.mark.parametrize("joined", [0, 8000])
def test_rules_count_the_rows_of_a_text_as_its_examples(joined: int) -> None:
    lines = ("MODEL=transformer", f"TRAIN_ON_VALIDATION={'y' if joined else 'n'}", "NUM_EPOCHS=10")
    rows = 100000 // 128 + joined // 128

    assert problems(*lines, f"BATCH_SIZE={rows}") == ""
    assert "a batch must not be larger than the training part" in problems(*lines, f"BATCH_SIZE={rows + 1}")
    assert "must have a sequence" in problems(*lines, "SEQUENCE_LENGTH=8001", "BATCH_SIZE=1")


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("lenet5", "DATASET=pydoc"),
        ("transformer", "DATASET=mnist"),
        ("lenet5", "TRAIN_TOKENS=5"),
        ("transformer", "IMAGE_SIZE=64"),
    ],
)
def test_what_belongs_to_the_other_kind_of_model_is_refused_before_anything_runs(model: str, line: str) -> None:
    found = problems(f"MODEL={model}", line)

    assert re.search(rf"CONFIG_{line.split('=')[0]}", found), found
