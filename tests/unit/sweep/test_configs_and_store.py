"""Directories of numbered configs, and sweep directories."""

import json
from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.contract.paths import SweepDir
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import read_range_file
from ksweep.sweep.configs import ConfigSet, known_labels, label_number, owned_configs, read_configs, write_configs
from ksweep.sweep.store import ANOTHER_SWEEP, SweepLock, new_sweep_dir, run_dir_name

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(load_tree(ROOT, "tests/fake/Kconfig"))


@pytest.fixture
def generate(resolver: Resolver, tmp_path: Path):
    def generate(text: str) -> list[str]:
        path = tmp_path / "ranges"
        path.write_text(text)
        file = read_range_file(path, Path)
        with owned_configs(tmp_path / "configs"):
            return write_configs(resolver.expand(file), file, tmp_path / "configs", known_labels(tmp_path / "configs", str(path)))

    return generate


def values(plan: ConfigSet) -> dict[str, str]:
    return {config.config: config.values["X"] for config in plan.configs}


def test_written_configs_read_back_as_they_were_planned(generate, resolver: Resolver, tmp_path: Path) -> None:
    generate("CONFIG_X=5|6\nCONFIG_SEED=1|2\n")

    plan = read_configs(tmp_path / "configs", resolver)

    assert [config.values for config in plan.configs] == [{"X": x, "SEED": s} for x in "56" for s in "12"]
    assert plan.axes == [{"symbols": ["X"], "values": [["5"], ["6"]]}, {"symbols": ["SEED"], "values": [["1"], ["2"]]}]
    assert all(resolver.point_id(config.text) == config.id for config in plan.configs)


def test_changed_plan_keeps_labels_removes_stale_files_and_never_reuses_a_number(
    generate, resolver: Resolver, tmp_path: Path
) -> None:
    generate("CONFIG_X=1|2|3\n")
    generate("CONFIG_X=0|2|4\n")

    assert values(read_configs(tmp_path / "configs", resolver)) == {"config_002": "2", "config_004": "0", "config_005": "4"}
    assert not (tmp_path / "configs" / "config_001").exists()
    generate("CONFIG_X=1|2|3\n")
    assert values(read_configs(tmp_path / "configs", resolver)) == {"config_001": "1", "config_002": "2", "config_003": "3"}


def test_file_edited_by_hand_is_kept_aside(generate, tmp_path: Path) -> None:
    generate("CONFIG_X=1|2\n")
    (tmp_path / "configs" / "config_001").write_text("CONFIG_X=77\n")

    notes = generate("CONFIG_X=1|2\n")

    assert "edited by hand" in notes[0]
    assert (tmp_path / "configs" / "config_001.edited").read_text() == "CONFIG_X=77\n"
    assert "CONFIG_X=1\n" in (tmp_path / "configs" / "config_001").read_text()


def test_edited_config_runs_as_the_point_that_it_is_now(generate, resolver: Resolver, tmp_path: Path) -> None:
    generate("CONFIG_X=1|2\n")
    (tmp_path / "configs" / "config_001").write_text("CONFIG_X=77\n")

    assert values(read_configs(tmp_path / "configs", resolver)) == {"config_001": "77", "config_002": "2"}


def test_half_written_directory_is_refused(generate, resolver: Resolver, tmp_path: Path) -> None:
    generate("CONFIG_X=1|2\n")
    summary = tmp_path / "configs" / "combinations_summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"complete": False}))

    with pytest.raises(RequestError, match="was interrupted"):
        read_configs(tmp_path / "configs", resolver)


def test_numbers_are_padded_to_the_size_of_the_plan(generate, resolver: Resolver, tmp_path: Path) -> None:
    generate("CONFIG_X=1:1:1200\n")

    labels = [config.config for config in read_configs(tmp_path / "configs", resolver).configs]
    assert labels[0] == "config_0001"
    assert labels == sorted(labels)
    assert [label_number(label) for label in labels] == list(range(1, 1201))


def test_run_directory_name_tells_the_swept_values() -> None:
    values = {"OPTIMIZER": "sgd", "LEARNING_RATE": "0.05", "AMSGRAD": "y", "NAME": "a b/../c", "SEED": "1"}

    assert run_dir_name("config_007", values) == "config_007_sgd_lr0.05_ay_a-b-..-c_s1"
    assert len(run_dir_name("config_007", {"A": "x" * 500})) <= 90


def test_two_sweeps_of_one_second_get_two_directories(tmp_path: Path) -> None:
    assert len({new_sweep_dir(tmp_path).path for _ in range(3)}) == 3


@pytest.mark.parametrize("way_out", ["", ANOTHER_SWEEP], ids=["without FRESH", "with FRESH"])
def test_a_second_runner_is_told_of_FRESH_only_where_there_is_one(tmp_path: Path, way_out: str) -> None:
    lock = SweepLock(SweepDir(tmp_path))
    with pytest.raises(RequestError) as refused:
        SweepLock(SweepDir(tmp_path), way_out)
    lock.release()

    assert str(refused.value).endswith("stop it (Ctrl-C there); FRESH=1 starts another sweep beside it" if way_out else "there)")
