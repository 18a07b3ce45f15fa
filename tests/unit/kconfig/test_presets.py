"""Presets are found by every name that people use for them."""

from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.presets import find_preset, list_presets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "defconfigs"
    directory.mkdir()
    (directory / "lenet5-sgd").write_text("# SGD, as a start.\n# More.\nCONFIG_OPTIMIZER=sgd\n")
    (directory / "lenet5-sweep").write_text("# Over the batch size.\nCONFIG_BATCH_SIZE=32|64\n")
    (directory / "bare").write_text("# CONFIG_X is not set\n")
    (directory / "broken").write_text("CONFIG_X=a|\n")
    (directory / "README.md").write_text("# The range language\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["lenet5-sgd", "defconfigs/lenet5-sgd", "lenet5/defconfigs/lenet5-sgd", "{root}/defconfigs/lenet5-sgd"]
)
def test_a_preset_is_found_by_its_name_its_path_and_the_older_form(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "elsewhere").mkdir()
    monkeypatch.chdir(root / "elsewhere")  # not at the top of a tree with presets of its own

    assert find_preset(root, name.format(root=root)) == root / "defconfigs" / "lenet5-sgd"


def test_a_path_outside_of_the_tree_is_found_and_shown_as_it_is_typed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("CONFIG_SEED=2\n")
    monkeypatch.chdir(tmp_path)

    assert find_preset(root, "mine") == Path("mine")
    assert find_preset(root, "lenet5-sgd") == Path("defconfigs/lenet5-sgd")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet5-sgdd", "near it: lenet5-sgd"),
        ("qqq", "make list-defconfigs"),
        ("", "make list-defconfigs"),
        ("defconfigs", "no such"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(root: Path, name: str, expected: str) -> None:
    with pytest.raises(RequestError, match=expected) as error:
        find_preset(root, name)

    assert f'"{name}"' in str(error.value)


def test_the_list_has_kind_and_first_comment_of_each(root: Path) -> None:
    listed = {preset.name: (preset.kind, preset.summary) for preset in list_presets(root)}

    assert listed.pop("broken")[0] == "broken"
    assert listed == {
        "bare": ("preset", ""),
        "lenet5-sgd": ("preset", "SGD, as a start."),
        "lenet5-sweep": ("range file", "Over the batch size."),
    }
