"""The back ends of make's configuration targets, on a small tree: nothing that was asked for is lost without a word."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.resolve import load_config
from ksweep.kconfig.targets import Job, run_target
from ksweep.kconfig.tree import load_tree

KCONFIG = """
config FANCY
    bool "Fancy"

choice
    prompt "Colour"

config COLOUR_SELECT_RED
    bool "Red"

config COLOUR_SELECT_BLUE
    bool "Blue"

config COLOUR_SELECT_GOLD
    bool "Gold"
    depends on FANCY

endchoice

config COLOUR
    string
    default "red" if COLOUR_SELECT_RED
    default "blue" if COLOUR_SELECT_BLUE
    default "gold" if COLOUR_SELECT_GOLD

config DEPTH
    int "Depth"
    depends on COLOUR_SELECT_BLUE
    default 4
    range 1 9

config RATE
    string "Rate"
    default "0.1"
    $(real,RATE,>0,<1)
    help
      How fast.

config NAME
    string "Name"
    default "it"
"""


@dataclass
class Tree:
    """The tree, its .config, and what a target told or asked."""

    root: Path
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.root / "out" / ".config"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def make(self, target: str, *files: Path, preset: str | None = None, answers: str = "") -> None:
        self.said.clear()
        self.warned.clear()
        typed: Iterator[str] = iter(answers.split("\n")) if answers else iter(())

        def ask(prompt: str) -> str:
            self.said.append(prompt)
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        run_target(
            target,
            Job(
                root=self.root,
                config=self.config,
                preset=preset,
                files=tuple(map(str, files)),
                environ=self.environ,
                say=self.said.append,
                warn=self.warned.append,
                ask=ask,
            ),
            load_tree(self.root),
        )

    def values(self) -> dict[str, str]:
        lines = [line.removeprefix("CONFIG_").split("=", 1) for line in self.config.read_text().splitlines() if line[:1] == "C"]
        return {name: value.strip('"') for name, value in lines}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    return Tree(tmp_path)


DEFAULTS = {"COLOUR_SELECT_RED": "y", "COLOUR": "red", "RATE": "0.1", "NAME": "it"}


def test_defconfig_without_a_preset_writes_all_defaults_and_makes_the_directory(tree: Tree) -> None:
    tree.make("defconfig")

    assert tree.values() == DEFAULTS


def test_the_configuration_before_is_kept_and_an_equal_one_is_not_written(tree: Tree) -> None:
    tree.make("defconfig")
    first = tree.config.read_text()
    tree.write("p", 'CONFIG_NAME="that"\n')
    tree.make("defconfig", preset=str(tree.root / "p"))
    stamp = tree.config.stat().st_mtime_ns
    tree.make("olddefconfig")

    assert tree.config.with_name(".config.old").read_text() == first
    assert tree.config.stat().st_mtime_ns == stamp
    assert "No change" in tree.said[0]


def test_a_configuration_that_is_a_link_stays_one(tree: Tree) -> None:
    real = tree.write("real", "")
    tree.config.parent.mkdir()
    tree.config.symlink_to(real)
    tree.make("olddefconfig")

    assert tree.config.is_symlink()
    assert 'CONFIG_RATE="0.1"' in real.read_text()


def test_presets_are_laid_over_each_other_choices_too(tree: Tree) -> None:
    tree.write("defconfigs/blue", "CONFIG_COLOUR=blue\nCONFIG_NAME=sky\n")
    tree.write("defconfigs/gold", "CONFIG_FANCY=y\nCONFIG_COLOUR_SELECT_GOLD=y\nCONFIG_RATE=0.5  # half\n")
    tree.make("defconfig", preset="blue+gold")

    assert tree.values() == {"FANCY": "y", "COLOUR_SELECT_GOLD": "y", "COLOUR": "gold", "RATE": "0.5", "NAME": "sky"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CONFIG_NAMEE=x", "p:1: CONFIG_NAMEE: no such symbol"),
        ("\nCONFIG_RATE=1", "p:2: CONFIG_RATE: found"),
        ("CONFIG_FANCY=maybe", "p:1: CONFIG_FANCY: found"),
        ("CONFIG_COLOUR=gold", "FANCY"),
        ("CONFIG_COLOUR=red\nCONFIG_DEPTH=2", "p:2: CONFIG_DEPTH=2: needs COLOUR_SELECT_BLUE"),
        ("CONFIG_COLOUR=blue\nCONFIG_DEPTH=10", "p:2: CONFIG_DEPTH=10: allowed: 1 to 9"),
        ("CONFIG_COLOUR=red|blue\nCONFIG_RATE=0.1", "p:1: CONFIG_COLOUR: several values\n.*make sweep RANGE_CONFIG="),
    ],
    ids=["unknown", "bounds", "type", "choice", "dependency", "range", "axes"],
)
@pytest.mark.parametrize("target", ["defconfig", "mergeconfig"])
def test_a_preset_that_does_not_survive_is_refused_and_nothing_is_written(
    tree: Tree, target: str, text: str, expected: str
) -> None:
    path = tree.write("p", text + "\n")
    with pytest.raises(RequestError, match=expected):
        tree.make(target, path, preset=str(path))

    assert not tree.config.exists()


def test_editing_a_configuration_warns_of_what_did_not_survive(tree: Tree) -> None:
    tree.write("out/.config", 'CONFIG_GONE=y\nCONFIG_RATE="7"\nCONFIG_DEPTH=2\nCONFIG_FANCY=y|n\nCONFIG_NAME="kept"\n')
    tree.make("olddefconfig")

    assert sorted(line.split(": ")[0].rpartition("/")[2] for line in tree.warned) == [f".config:{n}" for n in (1, 2, 3, 4)]
    assert tree.values() == DEFAULTS | {"NAME": "kept"}


def test_a_configuration_that_cannot_be_read_is_refused_and_left_as_it_is(tree: Tree) -> None:
    text = 'CONFIG_NAME="kept"\nCONFIG_RATE=0.2|\nwhat is this\n'
    path = tree.write("out/.config", text)
    with pytest.raises(RequestError) as error:
        tree.make("olddefconfig")

    assert [problem.rpartition("/")[2][:10] for problem in error.value.problems] == [".config:2:", ".config:3:"]
    assert path.read_text() == text


def test_mergeconfig_lets_later_files_win_and_tells_what_they_override(tree: Tree) -> None:
    tree.write("p", "CONFIG_COLOUR=blue\nCONFIG_DEPTH=7\nCONFIG_NAME=sea\n")
    tree.make("defconfig", preset=str(tree.root / "p"))
    gold = tree.write("gold", "CONFIG_FANCY=y\nCONFIG_COLOUR_SELECT_GOLD=y\nCONFIG_RATE=0.2\n")
    rate = tree.write("rate", "CONFIG_RATE=0.3\n")
    tree.make("mergeconfig", gold, rate)

    assert tree.values() == {"FANCY": "y", "COLOUR_SELECT_GOLD": "y", "COLOUR": "gold", "RATE": "0.3", "NAME": "sea"}
    assert [line.replace(f"{tree.root}/", "") for line in tree.said[:-1]] == [
        "gold:1: CONFIG_FANCY=y overrides CONFIG_FANCY=n (out/.config:1)",
        "gold:2: CONFIG_COLOUR_SELECT_GOLD=y overrides CONFIG_COLOUR_SELECT_BLUE=y (out/.config:3)",
        "gold:3: CONFIG_RATE=0.2 overrides CONFIG_RATE=0.1 (out/.config:6)",
        "rate:1: CONFIG_RATE=0.3 overrides CONFIG_RATE=0.2 (gold:3)",
    ]
    assert [line.replace(f"{tree.root}/", "")[:60] for line in tree.warned] == [
        "out/.config:5: CONFIG_DEPTH=7: needs COLOUR_SELECT_BLUE (COL"
    ]


def test_mergeconfig_holds_to_what_a_file_requires(tree: Tree) -> None:
    tree.make("defconfig")
    fragment = tree.write("f", "CONFIG_NAME=x\nrequire RATE > 0.5\n")
    with pytest.raises(RequestError, match=r"f:2: require RATE > 0\.5: does not hold"):
        tree.make("mergeconfig", fragment)


def test_saved_configuration_that_breaks_a_rule_is_warned_of(tree: Tree) -> None:
    (tree.root / "Kconfig").write_text(KCONFIG + "$(rule,RATE < DEPTH * 0.05,too fast for its depth)\n")
    tree.write("out/.config", "CONFIG_COLOUR_SELECT_BLUE=y\nCONFIG_DEPTH=2\n")
    tree.make("olddefconfig")

    assert tree.values()["DEPTH"] == "2"
    assert [line.replace(f"{tree.root}/", "").partition("; Kconfig")[0] for line in tree.warned] == [
        "out/.config: CONFIG_RATE=0.1: too fast for its depth: RATE < DEPTH * 0.05: 0.1 < 0.10 does not hold (DEPTH=2)"
    ]


def test_mergeconfig_and_defconfig_refuse_what_breaks_a_rule(tree: Tree) -> None:
    (tree.root / "Kconfig").write_text(KCONFIG + "$(rule,RATE < DEPTH * 0.05,too fast for its depth)\n")
    tree.write("out/.config", "CONFIG_COLOUR_SELECT_BLUE=y\nCONFIG_DEPTH=4\n")
    fragment = tree.write("f", "CONFIG_NAME=x\nCONFIG_DEPTH=1\n")
    before = tree.config.read_text()

    with pytest.raises(RequestError, match=r"f:2: CONFIG_DEPTH=1: too fast for its depth: .* 0\.1 < 0\.05 does not hold"):
        tree.make("mergeconfig", fragment)
    with pytest.raises(RequestError, match=r"f:3: CONFIG_DEPTH=1: too fast"):
        tree.make("defconfig", preset=str(tree.write("f", "CONFIG_NAME=x\nCONFIG_COLOUR=blue\nCONFIG_DEPTH=1\n")))
    assert tree.config.read_text() == before


def test_savedefconfig_leads_back_to_the_same_configuration(tree: Tree) -> None:
    tree.write("out/.config", 'CONFIG_COLOUR_SELECT_BLUE=y\nCONFIG_DEPTH=2\nCONFIG_NAME="a \\"b\\" \\\\"\n')
    tree.make("olddefconfig")
    before = tree.config.read_text()
    tree.make("savedefconfig", tree.root / "defconfig")
    saved = (tree.root / "defconfig").read_text()
    tree.make("alldefconfig")
    tree.make("defconfig", preset=str(tree.root / "defconfig"))

    assert saved == 'CONFIG_COLOUR_SELECT_BLUE=y\nCONFIG_DEPTH=2\nCONFIG_NAME="a \\"b\\" \\\\"\n'
    assert tree.config.read_text() == before


def test_savedefconfig_without_a_configuration_is_refused(tree: Tree) -> None:
    with pytest.raises(RequestError, match="no such file"):
        tree.make("savedefconfig")


def test_listnewconfig_lists_what_the_configuration_does_not_set(tree: Tree) -> None:
    tree.write("out/.config", 'CONFIG_COLOUR_SELECT_RED=y\n# CONFIG_COLOUR_SELECT_BLUE is not set\nCONFIG_NAME="x"\n')
    tree.make("listnewconfig")

    assert tree.said == ["CONFIG_FANCY=n", 'CONFIG_RATE="0.1"']


def test_config_asks_everything_and_keeps_what_is_not_answered(tree: Tree) -> None:
    tree.write("out/.config", 'CONFIG_NAME="kept"\n')
    tree.make("config", answers="y\n3\n0.7\n\n")

    assert tree.values() == {"FANCY": "y", "COLOUR_SELECT_GOLD": "y", "COLOUR": "gold", "RATE": "0.7", "NAME": "kept"}


def test_oldconfig_asks_only_what_is_new_and_then_nothing_more(tree: Tree) -> None:
    tree.make("defconfig")
    kept = [line for line in tree.config.read_text().splitlines() if "RATE" not in line]
    tree.config.write_text("\n".join(kept) + "\n")
    tree.make("oldconfig", answers="0.25")
    asked = [line for line in tree.said if "NEW" in line]
    tree.make("oldconfig")

    assert asked == ["Rate (RATE) [0.1] (NEW) "]
    assert tree.values() == DEFAULTS | {"RATE": "0.25"}
    assert "No change" in tree.said[-1]


def test_a_question_opened_by_an_answer_is_asked(tree: Tree) -> None:
    tree.make("oldconfig", answers="n\n2\n10\nx\n9\n\n\n")

    assert tree.said.count("Depth (DEPTH) [4] (NEW) ") == 3
    assert 'found "10", allowed: 1 to 9 while COLOUR_SELECT_BLUE' in tree.said
    assert 'found "x", allowed: 1 to 9 while COLOUR_SELECT_BLUE' in tree.said
    assert tree.values()["DEPTH"] == "9"


def test_a_question_mark_shows_the_help_text(tree: Tree) -> None:
    tree.make("config", answers="\n\n?\n\n\n")

    assert "How fast." in "\n".join(tree.said)


def test_input_that_ends_saves_nothing(tree: Tree) -> None:
    with pytest.raises(RequestError, match='question "Rate"; nothing was saved'):
        tree.make("config", answers="y\n1")

    assert not tree.config.exists()


@pytest.mark.parametrize(
    ("target", "fancy"), [("allyesconfig", "y"), ("allnoconfig", None), ("alldefconfig", None)], ids=lambda value: str(value)
)
def test_all_alike(tree: Tree, target: str, fancy: str | None) -> None:
    tree.make(target)

    assert tree.values() == DEFAULTS | ({"FANCY": fancy} if fancy else {})


@pytest.mark.parametrize("target", ["allyesconfig", "allnoconfig", "alldefconfig", "randconfig"])
def test_allconfig_values_are_kept(tree: Tree, target: str) -> None:
    tree.environ = {"KCONFIG_ALLCONFIG": str(tree.write("all", "CONFIG_COLOUR=blue\nCONFIG_DEPTH=2\nCONFIG_NAME=x\n"))}
    tree.make(target)

    assert {"COLOUR": "blue", "DEPTH": "2", "NAME": "x"}.items() <= tree.values().items()


def test_allconfig_that_does_not_survive_is_refused(tree: Tree) -> None:
    tree.environ = {"KCONFIG_ALLCONFIG": str(tree.write("all", "CONFIG_COLOUR=red\nCONFIG_DEPTH=2\n"))}
    with pytest.raises(RequestError, match="all:2: CONFIG_DEPTH=2: needs COLOUR_SELECT_BLUE"):
        tree.make("allyesconfig")


def test_allconfig_is_found_by_the_kernels_names(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.root)
    tree.environ = {"KCONFIG_ALLCONFIG": "1"}
    with pytest.raises(RequestError, match=r"allno.config or all.config"):
        tree.make("allnoconfig")
    tree.write("all.config", "CONFIG_NAME=general\n")
    tree.make("allnoconfig")
    general = tree.values()["NAME"]
    tree.write("allno.config", "CONFIG_NAME=own\n")
    tree.make("allnoconfig")

    assert (general, tree.values()["NAME"]) == ("general", "own")


def test_randconfig_reaches_all_that_is_legal_and_nothing_else(tree: Tree) -> None:
    kconf = load_tree(tree.root)
    drawn = []
    for seed in range(60):
        tree.environ = {"KCONFIG_SEED": str(seed)}
        tree.make("randconfig")
        drawn.append(tree.values())
        assert load_config(kconf, tree.config) == []

    assert {values["COLOUR"] for values in drawn} == {"red", "blue", "gold"}
    assert {values.get("FANCY", "n") for values in drawn} == {"y", "n"}
    assert {int(values["DEPTH"]) > 4 for values in drawn if "DEPTH" in values} == {True, False}
    assert len({values["RATE"] for values in drawn}) > 50


def test_randconfig_repeats_by_its_seed_and_tells_it(tree: Tree) -> None:
    tree.environ = {"KCONFIG_SEED": "0x2A"}
    tree.make("randconfig")
    first, told = tree.values(), tree.said[0]
    tree.config.unlink()
    tree.environ = dict([told.split("=")])
    tree.make("randconfig")

    assert told == "KCONFIG_SEED=0x2A"
    assert tree.values() == first


@pytest.mark.parametrize(("percent", "expected"), [("0", False), ("100", True)])
def test_randconfig_holds_to_the_probability(tree: Tree, percent: str, expected: bool) -> None:
    for seed in range(8):
        tree.environ = {"KCONFIG_SEED": str(seed), "KCONFIG_PROBABILITY": percent}
        tree.make("randconfig")

        assert ("FANCY" in tree.values()) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("KCONFIG_SEED", "x"), ("KCONFIG_SEED", "-1"), ("KCONFIG_PROBABILITY", "101"), ("KCONFIG_ALLCONFIG", "nofile")],
)
def test_a_bad_variable_is_refused(tree: Tree, name: str, value: str) -> None:
    tree.environ = {name: value}
    with pytest.raises(RequestError, match=f'{name}.*"?{value}"?'):
        tree.make("randconfig")


def test_a_place_that_cannot_be_written_is_a_message(tree: Tree) -> None:
    tree.write("out", "a file where the directory should be")
    with pytest.raises(RequestError, match="out"):
        tree.make("defconfig")


@pytest.mark.parametrize(("editor", "expected"), [("menuconfig", "needs a terminal"), ("guiconfig", "take make menuconfig")])
def test_an_editor_without_a_screen_is_a_message(tree: Tree, editor: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(RequestError, match=expected):
        tree.make(editor)
