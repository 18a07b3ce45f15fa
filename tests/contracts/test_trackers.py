"""All trackers by the suite where their packages are among the requirements; what holds of trackers as such."""

import fcntl
import json
import struct
from pathlib import Path

import pytest

from ksweep.contract.errors import RequestError
from ksweep.contract.outcome import Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.track import registry
from ksweep.track.export import Export
from ksweep.track.mlflow import MLflow
from ksweep.track.registry import TRACKERS, check_trackers, tracker_class
from tests.contracts.tracker_suite import Read, TrackerSuite, export, go_on, shortest
from tests.simulated import SweepMaker
from tests.tracker_plugins import install

PACKAGE = Path(registry.__file__).parent
OF_ALL = {"__init__", "base", "registry", "export", "companions"}


def events(folder: Path) -> list:
    """The events of a run's only event file, decoded with the protocol buffers of tensorboardX."""
    from ksweep.track.tensorboard import import_without_torch

    import_without_torch()
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events.out.tfevents.*")
    data, found, position = path.read_bytes(), [], 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        found.append(Event.FromString(data[position + 12 : position + 12 + length]))
        position += 12 + length + 4
    return found


def hparams(value) -> object:
    """The hparams plugin's data of a summary value."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    return HParamsPluginData.FromString(value.metadata.plugin_data.content)


class TestTensorBoard(TrackerSuite):
    NAME = "tensorboard"

    @staticmethod
    def read(folder: Path) -> dict[str, Read]:
        runs = {}
        for path in sorted(folder.glob("config_*")):
            run = runs[path.name] = Read()
            for event in events(path):
                for value in event.summary.value:
                    if value.tag == "_hparams_/session_start_info":
                        found = hparams(value).session_start_info.hparams
                        run.values = {name: shortest(getattr(one, one.WhichOneof("kind"))) for name, one in sorted(found.items())}
                    elif value.tag == "_hparams_/session_end_info":
                        status = hparams(value).session_end_info.status
                        run.status = {1: "passed", 2: "failed", 3: "running"}[status]
                    elif value.HasField("tensor"):
                        run.text += value.tensor.string_val[0].decode()
                    elif value.tag.startswith("final/"):
                        run.final[value.tag.removeprefix("final/")] = value.simple_value
                        run.num_points += 1
                    else:
                        run.reports.setdefault(value.tag, {})[event.step] = value.simple_value
                        run.num_points += 1
        return runs

    def test_columns_of_the_hparams_tab_stand_at_the_top_also_after_an_export_of_few(self, dir) -> None:
        export(dir, self.NAME)
        (value,) = events(dir.trackers / self.NAME)[-1].summary.value
        found = hparams(value).experiment

        assert value.tag == "_hparams_/experiment"
        assert [(info.name, info.type) for info in found.hparam_infos] == [("LEARNING_RATE", 3), ("NOTE", 1), ("SEED", 3)]
        assert [(info.name.tag, info.display_name) for info in found.metric_infos] == [("final/test_acc", "test_acc")]

    def test_times_are_those_of_the_run(self, dir) -> None:
        times = [event.wall_time for event in events(dir.trackers / self.NAME / "config_001_x") if event.step]

        assert times == [1_700_000_001.0, 1_700_000_002.0, 1_700_000_003.0, 1_700_000_010.0]


def test_each_tracker_is_a_module_and_each_module_a_tracker() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} - OF_ALL == set(TRACKERS)
    for name in TRACKERS:
        assert tracker_class(name).HOW_TO_SEE, name
        assert tracker_class(name).PACKAGES, name


def test_every_package_that_a_tracker_needs_is_pinned() -> None:
    root = PACKAGE.parents[2]
    lines = (root / "requirements.txt").read_text() + (root / "requirements-trackers.txt").read_text()
    pinned = {line.partition("==")[0] for line in lines.splitlines() if "==" in line}

    assert {package for name in TRACKERS for package in tracker_class(name).PACKAGES.values()} <= pinned


def test_tracker_whose_package_is_missing_is_refused_with_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setattr(MLflow, "PACKAGES", {"json": "python", "no_such_module": "no-such-package"})
    with pytest.raises(RequestError) as caught:
        check_trackers("tensorboard mlflow")

    assert str(caught.value).startswith("CONFIG_SWEEP_TRACKERS: mlflow needs no-such-package; install with: ")
    assert str(caught.value).endswith("-m pip install -c requirements-trackers.txt no-such-package")


def test_unknown_tracker_is_refused_with_those_that_there_are(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path / "installed", records="tests.fake.trackers:Records")))
    with pytest.raises(RequestError) as caught:
        check_trackers("tensorbord records")

    assert str(caught.value) == (
        'CONFIG_SWEEP_TRACKERS: found "tensorbord", allowed: tensorboard mlflow wandb trackio records; '
        "others by entry points of group ksweep.trackers"
    )
    assert check_trackers(" tensorboard  records tensorboard ") == ["tensorboard", "records"]
    assert check_trackers("") == []


def test_tracker_of_an_installed_package_that_is_none_is_refused(tmp_path, monkeypatch) -> None:
    points = {"gone": "tests.fake.trackers:Gone", "other": "tests.fake.trackers:Report"}
    monkeypatch.syspath_prepend(str(install(tmp_path / "installed", **points)))

    with pytest.raises(RequestError, match=r"tracker gone cannot be loaded from tests.fake.trackers:Gone: AttributeError"):
        tracker_class("gone")
    with pytest.raises(RequestError, match=r"tests.fake.trackers:Report is not a subclass of ksweep.track.base.Tracker"):
        tracker_class("other")


# -- what a tracker is told, and when ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path / "plugins", records="tests.fake.trackers:Records")))


def told(dir: SweepDir) -> list[tuple[str, str]]:
    return [(line["what"], line["run"]) for line in lines(dir)]


def lines(dir: SweepDir) -> list[dict]:
    return [json.loads(line) for line in (dir.trackers / "records" / "records.jsonl").read_text().splitlines()]


@pytest.fixture
def running(tmp_path: Path) -> SweepDir:
    """A run that passed, and one that has reported once."""
    maker = SweepMaker(tmp_path / "sweep", axes=[{"symbols": ["X"], "values": [["1"], ["2"]]}])
    maker.add({"X": "1"}, history=[{"step": 1, "val_acc": 0.5}], val_acc=0.5)
    maker.add({"X": "2"}, status=Status.RUNNING, history=[{"step": 10, "epoch": 1, "val_acc": 0.5}])
    return maker.save()


def test_look_hands_over_what_is_new_and_no_more(running) -> None:
    exported = Export(running, "records")
    exported.look()
    exported.look()
    run = RunDir(running.path / "config_002_x")
    go_on(run, [{"epoch": 2, "val_acc": 0.75}], val_acc=0.75)
    exported.look()
    exported.look()
    exported.close()

    assert told(running) == [
        ("open", "config_001_x"), ("log", "config_001_x"), ("close", "config_001_x"),
        ("open", "config_002_x"), ("log", "config_002_x"), ("log", "config_002_x"), ("close", "config_002_x"),
        ("end", ""),
    ]  # fmt: skip
    assert [[step for step, _, _ in line["reports"]] for line in lines(running) if line["what"] == "log"] == [[1], [1], [2]]


def test_run_whose_reports_were_replaced_meanwhile_is_begun_again(running) -> None:
    exported = Export(running, "records")
    exported.look()
    with open(running.path / "config_002_x" / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "epoch": 1, "val_acc": 0.25}\n{"step": 20, "epoch": 2, "val_acc": 0.75}\n{"step": 30, "ep')
    exported.look()
    exported.close()

    assert told(running)[3:7] == [(what, "config_002_x") for what in ("open", "log", "open", "log")]
    assert [metrics for _, _, metrics in lines(running)[6]["reports"]] == [{"val_acc": 0.25}, {"val_acc": 0.75}]


def test_run_that_is_left_open_is_closed_as_it_stands_and_handed_over_again(running) -> None:
    for _ in range(2):
        exported = Export(running, "records")
        exported.look()
        exported.close()

    assert [line["status"] for line in lines(running) if line["what"] == "close"] == ["passed", "cancelled", "cancelled"]
    assert told(running).count(("open", "config_001_x")) == 1


def test_two_exports_to_one_tracker_at_a_time_are_refused(running) -> None:
    running.trackers.mkdir()
    with open(running.trackers / "records.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match=r"records.lock: another export to this tracker is running"):
            Export(running, "records")

    Export(running, "records").close()


def test_what_cannot_be_told_is_left_out(tmp_path) -> None:
    maker = SweepMaker(tmp_path / "sweep")
    run = maker.add({"X": "1"}, val_acc=float("nan"), test_acc=1e400, wall_s=0.0)
    run.metrics.write_text(
        '{"step": NaN, "val_acc": 1}\n{"step": -1, "val_acc": 1}\n{"step": 1e300, "val_acc": 1}\n'
        '{"step": 3, "val_acc": "high", "ok": true, "val_loss": Infinity}\n[1]\nnot json\n'
    )
    maker.add({"X": "2"}, status=Status.CRASHED).result.write_text('{"id": "id2", "status": "no such"}')
    maker.add({"X": "3"}, val_acc=1.0).config.unlink()
    dir = maker.save()
    exported = Export(dir, "records")
    exported.look()
    exported.close()

    assert [line for line in lines(dir) if line["what"] == "log"] == []
    assert [(line["status"], line["metrics"]) for line in lines(dir) if line["what"] == "close"] == [
        ("passed", {}), ("crashed", {}), ("passed", {"val_acc": 1.0}),
    ]  # fmt: skip


def test_run_directory_of_a_foreign_name_leads_nowhere_else(tmp_path) -> None:
    maker = SweepMaker(tmp_path / "sweep")
    maker.add({"X": "1"}, val_acc=1.0)
    dir = maker.save()
    dir.sweep.write_text(dir.sweep.read_text().replace("config_001_x", "../victim"))
    (dir.path / "config_001_x").rename(tmp_path / "victim")
    exported = Export(dir, "tensorboard")
    exported.look()
    exported.close()

    assert (tmp_path / "victim" / "result.json").exists()
    assert [path.name for path in (dir.trackers / "tensorboard").iterdir() if path.is_dir()] == ["__victim"]
