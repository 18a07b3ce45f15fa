"""Search spaces in YAML: what they come to in the range language, and what is said of wrong ones."""

import json
import random
import re
from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.kconfig.functions import declared_aliases
from ksweep.kconfig.names import yaml_names
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.space import KconfigSpace
from ksweep.kconfig.tree import load_tree
from ksweep.space.axes import rounded
from ksweep.space.rangefile import RangeFile, parse_range_text, read_range_file
from ksweep.space.yamlspace import Names, YamlSpace, range_text_from_yaml

ROOT = Path(__file__).resolve().parents[3]
PATH = Path("study.yaml")
EXAMPLE = ROOT / "tests" / "data" / "lenet5-optuna.yaml"
HEADS = ROOT / "tests" / "data" / "heads-optuna.yaml"  # as a public tuner of projection heads has it
NAMES = Names(
    symbols={"HEAD", "LEARNING_RATE", "DROPOUT", "BATCH_SIZE", "NUM_EPOCHS", "FLAG"},
    aliases={"lr": "LEARNING_RATE", "head_type": "HEAD"},
    words={"HEAD": {"linear_head": "linear"}},
)


def no_preset(name: str) -> Path:
    raise AssertionError(name)


def convert(text: str) -> YamlSpace:
    return range_text_from_yaml(text, PATH, NAMES)


def assignments(text: str) -> dict[str, str]:
    """Symbol -> what stands behind = in the range file, without the strategy, which is there always."""
    lines = (line.partition("   #|")[0] for line in convert(text).text.splitlines() if line.startswith("CONFIG_"))
    found = dict(line.removeprefix("CONFIG_").split("=", 1) for line in lines)
    assert found.pop("SWEEP_STRATEGY") == "tpe"
    return found


def parameter(body: str) -> dict[str, str]:
    return assignments(f"search_space:\n  lr: {body}\n")


def problems(text: str) -> list[str]:
    with pytest.raises(RequestError) as caught:
        convert(text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("{type: float, low: 0.0, high: 0.3}", "uniform(0, 0.3)"),
        ("{type: float, low: 1.0e-5, high: 1.0e-2, log: true}", "loguniform(0.00001, 0.01)"),
        ("{type: float, low: 1e-8, high: 1e-4, log: True}", "loguniform(1e-8, 0.0001)"),
        ("{type: float, low: -1, high: 1, log: false}", "uniform(-1, 1)"),
        ("{type: float, low: 0.1, high: 0.3, step: 0.1}", "0.1:0.1:0.3"),
        ("{type: int, low: 1, high: 10}", "int(1, 10)"),
        ("{type: int, low: 16, high: 256, step: 16}", "int(16, 256, 16)"),
        ("{type: int, low: 1, high: 1000, log: yes}", "logint(1, 1000)"),
        ("{type: categorical, choices: [256, 512, 1024]}", "256|512|1024"),
        ("{type: categorical, choices: ['sgd', \"adamw\", lion]}", "sgd|adamw|lion"),
        ("{type: categorical, choices: [true, false]}", "y|n"),
        ("{type: categorical, choices: [1e-4, 1.0e-3]}", "1e-4|1.0e-3"),
        ("{type: categorical, choices: ['a b', 'x|y', '1:1:3', 'say \"#1\"', 'true', '']}",
         r'"a b"|"x|y"|"1:1:3"|"say \"#1\""|true|""'),
        ("{choices: [one]}", "one"),
    ],
    ids=["float", "log", "without a dot", "log off", "step", "int", "int step", "int log", "numbers", "texts", "bools",
         "numbers as written", "texts that would mean something", "type left out"],
)  # fmt: skip
def test_parameter_is_an_axis_of_the_range_language(body: str, values: str) -> None:
    assert parameter(body) == {"LEARNING_RATE": values}


def test_further_word_of_a_choice_is_the_one_that_the_tree_has() -> None:
    assert assignments("search_space: {head_type: {choices: [linear_head, deep]}}\n") == {"HEAD": "linear|deep"}
    assert assignments("search_space: {lr: {choices: [linear_head]}}\n") == {"LEARNING_RATE": "linear_head"}
    (twice,) = problems("search_space: {head_type: {choices: [linear, linear_head]}}\n")
    assert twice == 'study.yaml:1: search_space: head_type: choices: found "linear_head" twice; keep one'


def test_quoted_choices_come_out_of_the_range_parser_as_they_are() -> None:
    wanted = ["a b", "x|y", "1:1:3", 'say "#1"', "back\\slash", "log(1, 2, 3)"]
    text = convert(f"search_space: {{lr: {{choices: {json.dumps(wanted)}}}}}").text  # JSON is YAML
    file = parse_range_text(text, PATH, no_preset)

    assert file.problems == ()
    assert [value for (value,) in file.assignments[0].values] == wanted


def test_study_settings_are_symbols_of_the_sweep() -> None:
    text = """\
study_name: mine
n_trials: 100
n_jobs: 3
storage: "sqlite:///optuna_study.db"
timeout: 90.5
max_epochs: 9
max_patience: 2
base_data_dir: /data
data: {train_text: a.pt, val_text: b.pt}
pruner: {min_resource: 2, reduction_factor: 4, min_early_stopping_rate: 1}
search_space: {dropout: {type: float, low: 0, high: 0.3}}
"""

    assert assignments(text) == {
        "SWEEP_TRIALS": "100",
        "SWEEP_PARALLEL_JOBS": "3",
        "SWEEP_MAX_WALL_TIME": "91",
        "NUM_EPOCHS": "9",
        "EARLY_STOPPING_PATIENCE": "2",
        "SWEEP_PRUNER": "asha",
        "SWEEP_ETA": "4",
        "SWEEP_MIN_RESOURCE": "8",
        "DROPOUT": "uniform(0, 0.3)",
    }
    assert [note.partition(" has no effect here: ")[0] for note in convert(text).notes] == [
        "study.yaml:1: study_name", "study.yaml:4: storage", "study.yaml:8: base_data_dir", "study.yaml:9: data",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("max_epochs", "pruner", "note"),
    [
        (8, "{min_resource: 2, reduction_factor: 4, min_early_stopping_rate: 1}",
         "is epoch 8, and max_epochs is 8, so no run is stopped; min_early_stopping_rate: 0 puts it at 2"),
        (7, "{min_resource: 7, reduction_factor: 2}",
         "is epoch 7, and max_epochs is 7, so no run is stopped; take a lower min_resource"),
    ],
)  # fmt: skip
def test_pruner_whose_first_rung_is_not_before_the_last_epoch_is_left_out_with_a_note(
    max_epochs: int, pruner: str, note: str
) -> None:
    text = f"max_epochs: {max_epochs}\npruner: {pruner}\nsearch_space: {{flag: {{choices: [true]}}}}\n"

    assert assignments(text) == {"NUM_EPOCHS": str(max_epochs), "FLAG": "y"}
    (found,) = convert(text).notes
    assert found.startswith("study.yaml:2: pruner has no effect here: ")
    assert found.endswith(note)
    longer = text.replace(f"max_epochs: {max_epochs}", f"max_epochs: {max_epochs + 1}")
    assert assignments(longer)["SWEEP_MIN_RESOURCE"] == str(max_epochs)
    assert convert(longer).notes == ()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("timeout: null", {"SWEEP_MAX_WALL_TIME": "0"}),
        ("n_jobs: -1", {"SWEEP_PARALLEL_JOBS": "0"}),
        ("pruner: null", {}),
        ("pruner: {}", {"SWEEP_PRUNER": "asha", "SWEEP_ETA": "4", "SWEEP_MIN_RESOURCE": "1"}),
        ("pruner: {type: SuccessiveHalvingPruner}", {"SWEEP_PRUNER": "asha", "SWEEP_ETA": "4", "SWEEP_MIN_RESOURCE": "1"}),
    ],
    ids=["no time limit", "as many as there are", "no pruner", "Optuna's pruner", "Optuna's pruner by its name"],
)
def test_what_optuna_means_by_little(line: str, found: dict[str, str]) -> None:
    assert assignments(f"{line}\nsearch_space: {{flag: {{choices: [true]}}}}\n") == {**found, "FLAG": "y"}


def test_every_assignment_stands_on_the_line_of_its_key() -> None:
    text = EXAMPLE.read_text()
    tree = load_tree(ROOT)
    file = parse_range_text(range_text_from_yaml(text, PATH, yaml_names(tree)).text, PATH, no_preset)
    rows = text.splitlines()
    keys = {a.symbols[0]: rows[int(a.where.split(":")[1]) - 1].strip().partition(":")[0] for a in file.assignments}

    assert file.problems == ()
    assert keys.pop("SWEEP_STRATEGY").startswith("#"), "a line that has nothing else to say"
    assert keys == {
        "SWEEP_TRIALS": "n_trials",
        "SWEEP_PARALLEL_JOBS": "n_jobs",
        "SWEEP_MAX_WALL_TIME": "timeout",
        "NUM_EPOCHS": "max_epochs",
        "EARLY_STOPPING_PATIENCE": "max_patience",
        "SWEEP_PRUNER": "pruner",
        "SWEEP_MIN_RESOURCE": "min_resource",
        "SWEEP_ETA": "reduction_factor",
        "MODEL": "model",
        "OPTIMIZER": "optimizer",
        "LEARNING_RATE": "lr",
        "WEIGHT_DECAY": "weight_decay",
        "BATCH_SIZE": "batch_size",
        "SGD_MOMENTUM": "momentum",
        "SGD_NESTEROV": "sgd_nesterov",
    }


def example(old: str = "", new: str = "") -> tuple[Resolver, RangeFile]:
    """The example, with one piece of its text replaced, as a request to Kconfig."""
    tree = load_tree(ROOT)
    space = range_text_from_yaml(EXAMPLE.read_text().replace(old, new, 1), EXAMPLE, yaml_names(tree))
    return Resolver(tree), parse_range_text(space.text, EXAMPLE, no_preset)


def test_example_can_be_drawn_from_and_asks_for_momentum_where_there_is_one() -> None:
    resolver, file = example()
    space = KconfigSpace(resolver, resolver.request(file, for_grid=False))
    draw = random.Random(1)

    def choose(axis):
        if axis.sampled:
            return (rounded(axis, draw.uniform(float(axis.sampled.low), float(axis.sampled.high))),)
        return draw.choice(axis.values)

    drafts = [space.draw(choose) for _ in range(20)]
    assert [draft.reason for draft in drafts if draft.reason] == []
    assert {draft.values["OPTIMIZER"] for draft in drafts} == {"sgd", "adamw"}
    assert all(("SGD_MOMENTUM" in draft.values) == (draft.values["OPTIMIZER"] == "sgd") for draft in drafts)
    for line in ("NUM_EPOCHS=9", "EARLY_STOPPING_PATIENCE=3", 'SWEEP_PRUNER="asha"', "SWEEP_TRIALS=20"):
        assert f"CONFIG_{line}\n" in space.base_text


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("['sgd', 'adamw']", "['sgd', 'lion']", '20: CONFIG_OPTIMIZER: found "lion", allowed: sgd | adam'),
        ("high: 1.0e-1", "high: 20", '23: CONFIG_LEARNING_RATE: found "20", allowed: a number > 0 and <= 10'),
    ],
    ids=["choice", "bound"],
)
def test_what_kconfig_has_against_it_names_the_line_of_the_yaml(old: str, new: str, problem: str) -> None:
    resolver, file = example(old, new)
    with pytest.raises(RequestError) as caught:
        resolver.request(file, for_grid=False)

    assert caught.value.problems[0].startswith(f"{EXAMPLE}:{problem}")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{type: flaot, low: 0, high: 1}", 'type: found "flaot", allowed: categorical float int; near it: float'),
        ("{low: 0, high: 1}", "type is missing; allowed: categorical float int"),
        ("{type: float, low: 1, high: 1}", "low: found 1, which is not below high, 1; swap them or write choices"),
        ("{type: int, low: 9, high: 1}", "low: found 9, which is not below high, 1; swap them or write choices"),
        ("{type: float, low: 0, high: 1, log: true}",
         "low: found 0, allowed above 0 with log: true; raise it, or remove log"),
        ("{type: float, low: '1e-5', high: 1}", "low: found the text '1e-5', allowed: a number; write it without quotes"),
        ("{type: float, low: small, high: 1}", 'low: found "small", allowed: a number'),
        ("{type: float, low: .nan, high: 1}", 'low: found ".nan", allowed: a number'),
        ("{type: float, low: , high: 1}", "low: found nothing, allowed: a number"),
        ("{type: float, low: [0], high: 1}", "low: found a list, allowed: a number"),
        ("{type: int, low: 0.5, high: 2}", 'low: found "0.5", allowed: a whole number'),
        ("{type: float, low: 0, high: 1, log: 1}", 'log: found "1", allowed: true or false'),
        ("{type: float, low: 0, high: 1, step: 0}", "step: found 0, allowed: above 0"),
        ("{type: float, low: 0, high: 1, step: 2}", "step: found 2, allowed: up to 1, from low to high"),
        ("{type: int, low: 1, high: 9, step: 2, log: true}", "step: not together with log: true; remove one of them"),
        ("{type: float, low: 0}", "high is missing; a float parameter has low and high"),
        ("{type: categorical}", "choices is missing; a categorical parameter has choices"),
        ("{type: categorical, choices: []}", "choices: found an empty list, allowed: a list of values: [a, b]"),
        ("{type: categorical, choices: a|b}", 'choices: found "a|b", allowed: a list of values: [a, b]'),
        ("{type: categorical, choices: [a, null]}", "choices: found nothing, allowed: a text, a number, true or false"),
        ("{type: categorical, choices: [a, [b]]}", "choices: found a list, allowed: a text, a number, true or false"),
        ("{type: categorical, choices: [a, b, a]}", 'choices: found "a" twice; keep one'),
        ("{type: categorical, choices: [a, \"b\\nc\"]}", "choices: found 'b\\nc', allowed: a text of one line"),
        ("{choices: [1, 2], low: 1}", "low: not of a categorical parameter, which has choices; remove it"),
        ("{type: float, low: 0, high: 1, choices: [1]}",
         "choices: not of a float parameter, which has low, high; remove it"),
        ("{type: float, low: 0, hihg: 1, high: 1}",
         "hihg: no such key; allowed: type choices low high log step; near it: high"),
        ("{type: float, low: 0, high: 1, low: 0}", "low: stands twice, first on line 2; keep one"),
        ("[1, 2]", "found a list, allowed: a mapping with type, choices, low, high, log, step"),
    ],
)  # fmt: skip
def test_wrong_parameter_is_named_with_what_is_allowed(body: str, problem: str) -> None:
    assert problems(f"search_space:\n  lr: {body}\n") == [f"study.yaml:2: search_space: lr: {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{n_trails: 3, S}", "1: n_trails: no such key; allowed: study_name storage"),
        ("{n_trials: 0, S}", '1: n_trials: found "0", allowed: a whole number, 1 or more'),
        ("{n_trials: many, S}", '1: n_trials: found "many", allowed: a whole number, 1 or more'),
        ("{n_jobs: -2, S}", '1: n_jobs: found "-2", allowed: a whole number, 1 or more'),
        ("{timeout: -1, S}", '1: timeout: found "-1", allowed: a number of seconds, or null, 0 or more'),
        ("{pruner: asha, S}", '1: pruner: found "asha", allowed: a mapping with min_resource, reduction_factor'),
        ("{pruner: {reduction_factor: 1}, S}", '1: pruner: reduction_factor: found "1", allowed: a whole number, 2 or more'),
        ("{pruner: {type: MedianPruner}, S}", '1: pruner: type: found "MedianPruner", allowed: SuccessiveHalvingPruner'),
        ("{pruner: {eta: 3}, S}", "1: pruner: eta: no such key; allowed: min_resource reduction_factor"),
        ("{n_trials: 3}", "1: search_space: found none, allowed: search_space: {<name>: {type: ...}}; write one"),
        ("{search_space: {}}", "1: search_space: found nothing in it"),
        ("", "1: found nothing, allowed: a mapping with study_name"),
        ("- 1\n- 2\n", "1: found a list, allowed: a mapping with study_name"),
        ("n_trials: 3\n  n_jobs: [\n", "2: not YAML: mapping values are not allowed here"),
        ("{S, S}", "1: search_space: stands twice, first on line 1; keep one"),
    ],
)
def test_wrong_study_is_named_with_what_is_allowed(text: str, problem: str) -> None:
    (found,) = problems(text.replace("S", "search_space: {flag: {choices: [true]}}"))

    assert found.startswith(f"study.yaml:{problem}")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["batch_sise"], "search_space: batch_sise: no symbol has this name or alias; near it: batch_size"),
        (["qqq"], "search_space: qqq: no symbol has this name or alias; aliases: head_type, lr"),
        (["lr", "learning_rate"], "search_space: learning_rate: means LEARNING_RATE, as lr does; keep one of them"),
    ],
    ids=["near", "far", "twice"],
)
def test_names_are_symbols_or_aliases(names: list[str], problem: str) -> None:
    text = "search_space:\n" + "".join(f"  {name}: {{choices: [1]}}\n" for name in names)

    assert problems(text) == [f"study.yaml:{len(names) + 1}: {problem}"]


def test_all_problems_are_told_at_once_in_order_of_lines() -> None:
    text = "n_jobs: x\nsearch_space:\n  lr: {type: flot}\n  dropout:\n    type: float\n    low: 2\n    high: 1\nbudget: 3\n"

    assert [problem.split(": ")[0] for problem in problems(text)] == [f"study.yaml:{line}" for line in (1, 3, 6, 8)]


def test_alias_is_declared_beside_its_symbol_and_means_one(tmp_path: Path) -> None:
    def load(*lines: str):
        body = "".join(f"\t{line}\n" for line in lines)
        (tmp_path / "Kconfig").write_text(f'config A\n\tint "a"\n\tdefault 1\n{body}config B\n\tint "b"\n\tdefault 1\n')
        return load_tree(tmp_path)

    assert declared_aliases(load("$(alias,A,a1,a2)")) == {"a1": "A", "a2": "A"}
    with pytest.raises(RequestError, match="x means A already; choose another"):
        load("$(alias,A,x)", "$(alias,B,x)")
    with pytest.raises(RequestError, match="found C, allowed: a symbol of this tree"):
        load("$(alias,C,x)")


def heads(text: str) -> tuple[Resolver, RangeFile]:
    tree = load_tree(ROOT)
    return Resolver(tree), parse_range_text(range_text_from_yaml(text, PATH, yaml_names(tree)).text, PATH, no_preset)


def axes_of(resolver: Resolver, file: RangeFile) -> tuple[dict[str, object], str]:
    """Symbol -> what it may be; and the configuration with each axis at its default, without what only the file names."""
    space = KconfigSpace(resolver, resolver.request(file, for_grid=False))
    sampled = {axis.name: axis.sampled and (axis.sampled.low, axis.sampled.high, axis.sampled.is_log) for axis in space.axes}
    return {axis.name: sampled[axis.name] or sorted(axis.values) for axis in space.axes}, space.base_text


def test_study_of_a_public_tuner_of_heads_loads_as_it_is() -> None:
    text = HEADS.read_text()
    notes = range_text_from_yaml(text, PATH, yaml_names(load_tree(ROOT))).notes
    axes, base = axes_of(*heads(text))

    assert [note.split(":", 2)[2].split(" has no effect here")[0].strip() for note in notes] == [
        "study_name", "storage", "base_data_dir", "data", "pruner",
    ]  # fmt: skip
    assert axes["HEAD_LOSS"] == [("queue",), ("sigmoid",), ("softmax",)]
    assert axes["LEARNABLE_TEMP"] == [("n",), ("y",)]
    for line in ('MODEL="heads"', "NUM_EPOCHS=8", "EARLY_STOPPING_PATIENCE=2", 'SWEEP_PRUNER="none"', "SWEEP_TRIALS=150"):
        assert f"CONFIG_{line}\n" in base


def test_study_of_a_public_tuner_searches_what_our_preset_for_files_of_ones_own_does() -> None:
    resolver, _ = heads(HEADS.read_text())
    preset = read_range_file(ROOT / "defconfigs" / "heads-embeddings-study", no_preset)

    assert axes_of(*heads(HEADS.read_text()))[0] == axes_of(resolver, preset)[0]


def test_default_study_has_the_same_space_and_runs_in_yaml_and_as_a_range_file() -> None:
    resolver, file = heads((ROOT / "models" / "heads" / "study.yaml").read_text())
    preset = read_range_file(ROOT / "defconfigs" / "heads-study", lambda name: ROOT / "defconfigs" / name)
    (axes, base), (preset_axes, preset_base) = axes_of(resolver, file), axes_of(resolver, preset)

    assert axes == preset_axes
    differing = set(base.splitlines()) ^ set(preset_base.splitlines())
    assert {'CONFIG_SWEEP_PRUNER="asha"', 'CONFIG_SWEEP_STRATEGY="asha"'} <= differing  # who stops runs; nothing else does
    assert [line for line in differing if not re.search("CONFIG_SWEEP_(STRATEGY|SAMPLER|PRUNER|MAX_RESOURCE)", line)] == []


def test_focused_study_without_types_drops_the_head_counts_that_cannot_share_the_width() -> None:
    resolver, file = heads("""\
study_name: "attention_focused_tuning"
search_space:
  head_type:
    choices: ['attention']
  output_dim:
    choices: [768, 1024, 1536]
  num_heads:
    choices: [8, 12, 16, 20]
""")
    expansion = resolver.walk(resolver.request(file, for_grid=False))

    assert expansion.counts == {"cartesian": 12, "legal": 6, "distinct": 6}
    assert {point.values["NUM_HEADS"] for point in expansion.points} == {"8", "16"}
    assert all("the heads share the width of a token out evenly" in dropped.reason for dropped in expansion.illegal)
    assert all('CONFIG_HEAD="attention"\n' in point.text for point in expansion.points)


def test_alias_of_a_member_is_a_word_for_it_and_names_no_symbol() -> None:
    names = yaml_names(load_tree(ROOT))

    assert names.words["HEAD_LOSS"] == {f"{loss}_infonce": loss for loss in ("sigmoid", "softmax", "queue")}
    assert names.aliases["loss_type"] == "HEAD_LOSS"
    assert "softmax_infonce" not in names.aliases
