"""What every tracker that comes with the tree must keep to, read back from what it wrote. `read` is its own reader."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ksweep.contract.atomic import to_json, write_json
from ksweep.contract.outcome import Status, read_result
from ksweep.contract.paths import RunDir, SweepDir
from tests.simulated import SweepMaker

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = 'a"b\n<script>alert(1)</script> $x^2$ \x1b[31m\u202e%s{0}'
SHOWN = 'a"b <script>alert(1)</script> $x^2$ ?[31m?%s{0}'
AXES = [{"symbols": ["LEARNING_RATE"], "values": [["0.1"], ["1e-3"]]}, {"symbols": ["NOTE"], "values": [["plain"], [HOSTILE]]}]


@dataclass(kw_only=True)
class Read:
    """A run, as a tracker has it. `values`: symbol -> as text, a number's shortest; `reports`: metric -> step -> value."""

    values: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[int, float]] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    status: str = ""
    text: str = ""  # all tags, in any form
    num_points: int = 0  # of all metrics, reports and final ones together: shows what is doubled


def make_sweep(path: Path) -> SweepDir:
    """Passed, failed without a report, passed with text that is not to be trusted, running, planned."""
    maker = SweepMaker(path, axes=AXES)
    history = [{"step": 10 * n, "epoch": n, "time_s": float(n), "val_acc": 0.5 + n / 8, "val_loss": 1 / n} for n in (1, 2, 3)]
    history[1]["val_loss"] = None
    maker.add({"LEARNING_RATE": "0.1", "NOTE": "plain"}, history=history, test_acc=0.75, val_acc=None)
    maker.add({"LEARNING_RATE": "1e-3", "NOTE": "plain"}, status=Status.FAILED, reason="exit code 1\x1b[2J")
    odd = [{"step": 5, "odd name %s <b>": 0.25}, {"step": 7, "odd name %s <b>": 0.5}]
    maker.add({"LEARNING_RATE": "0.1", "NOTE": HOSTILE}, history=odd, test_acc=0.5)
    maker.add({"LEARNING_RATE": "1e-3", "NOTE": HOSTILE}, status=Status.RUNNING, history=history[:1])
    maker.add({"LEARNING_RATE": "1e-3"}, status=Status.PLANNED)
    for number in (1, 2, 3, 4):
        run = RunDir(path / f"config_00{number}_x")
        run.config.write_text(run.config.read_text() + "CONFIG_SEED=7\n")
    dir = maker.save()
    record = json.loads(dir.sweep.read_text())
    write_json(dir.sweep, record | {"git": {"commit": "c0ffee", "dirty": True, "diff": ""}})
    return dir


def export(dir: SweepDir, tracker: str) -> str:
    """`ksweep track`, in a process of its own; what it says."""
    command = [sys.executable, ROOT / "scripts" / "ksweep.py", "track", "--results", dir.path, "--tracker", tracker]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


class TrackerSuite:
    """Subclassed by each adapter's tests."""

    NAME: str

    @staticmethod
    def read(folder: Path) -> dict[str, Read]:
        """The runs below a tracker's folder, by name."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def dir(cls, tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
        dir = make_sweep(tmp_path_factory.mktemp(cls.NAME) / "sweep_20260101_000000")
        export(dir, cls.NAME)
        return dir

    @pytest.fixture
    def runs(self, dir: SweepDir) -> dict[str, Read]:
        return self.read(dir.trackers / self.NAME)

    def test_each_run_that_has_started_is_there_once(self, runs) -> None:
        assert sorted(runs) == [f"config_00{number}_x" for number in (1, 2, 3, 4)]

    def test_swept_values_and_seed_arrive(self, runs) -> None:
        assert runs["config_001_x"].values == {"LEARNING_RATE": "0.1", "NOTE": "plain", "SEED": "7"}
        assert float(runs["config_002_x"].values["LEARNING_RATE"]) == 0.001

    def test_reports_arrive_by_epoch_and_missing_numbers_stay_missing(self, runs) -> None:
        assert runs["config_001_x"].reports == {
            "val_acc": pytest.approx({1: 0.625, 2: 0.75, 3: 0.875}),
            "val_loss": pytest.approx({1: 1.0, 3: 1 / 3}),
        }
        assert runs["config_004_x"].reports == {"val_acc": {1: 0.625}, "val_loss": {1: 1.0}}
        assert runs["config_002_x"].reports == {}

    def test_steps_count_where_there_are_no_epochs(self, runs) -> None:
        ((_, points),) = runs["config_003_x"].reports.items()
        assert points == {5: 0.25, 7: 0.5}

    def test_final_metrics_and_status_arrive(self, runs) -> None:
        assert [runs[name].final for name in sorted(runs)] == [{"test_acc": 0.75}, {}, {"test_acc": 0.5}, {}]
        assert [runs[name].status for name in sorted(runs)][:3] == ["passed", "failed", "passed"]
        assert runs["config_004_x"].status != "passed"

    def test_tags_say_where_a_run_comes_from_and_how_it_ended(self, dir, runs) -> None:
        text = runs["config_002_x"].text

        for word in ("demo", str(dir.path / "config_002_x"), "c0ffee with uncommitted changes", "exit code 1", "config_002"):
            assert word in text, word

    def test_text_from_files_arrives_on_one_line_without_control_characters(self, runs) -> None:
        assert runs["config_003_x"].values["NOTE"] == SHOWN
        assert "\x1b" not in runs["config_002_x"].text

    def test_what_is_there_whole_is_not_handed_over_again(self, dir, runs) -> None:
        said = export(dir, self.NAME)

        assert said.startswith(f"{self.NAME}: 0 runs handed over, 3 there in all: ")
        assert self.read(dir.trackers / self.NAME) == runs

    def test_run_that_went_on_is_there_as_it_is_now_and_once(self, tmp_path) -> None:
        dir = make_sweep(tmp_path / "sweep")
        export(dir, self.NAME)
        before = self.read(dir.trackers / self.NAME)
        go_on(RunDir(dir.path / "config_001_x"), [{"epoch": 3, "val_acc": 0.5}, {"epoch": 4, "val_acc": 1.0}], test_acc=1.0)
        go_on(RunDir(dir.path / "config_004_x"), [{"epoch": 2, "val_acc": 0.25}], test_acc=0.25)
        said = export(dir, self.NAME)
        runs = self.read(dir.trackers / self.NAME)

        assert said.startswith(f"{self.NAME}: 2 runs handed over, 4 there in all: ")
        assert runs["config_001_x"].reports["val_acc"] == {1: 0.625, 2: 0.75, 3: 0.5, 4: 1.0}
        assert runs["config_001_x"].reports["val_loss"] == {1: 1.0}
        assert runs["config_001_x"].final == {"test_acc": 1.0}
        assert runs["config_001_x"].num_points == 6
        assert runs["config_004_x"].reports["val_acc"] == {1: 0.625, 2: 0.25}
        assert (runs["config_004_x"].status, runs["config_004_x"].num_points) == ("passed", 4)
        assert {name: runs[name] for name in ("config_002_x", "config_003_x")} == {
            name: before[name] for name in ("config_002_x", "config_003_x")
        }


def go_on(run: RunDir, reports: list[dict[str, float]], **metrics: float) -> None:
    """A further attempt of a run, which has ended well: it reports from where it went on."""
    with open(run.metrics, "a") as file:
        for report in reports:
            file.write(to_json({"step": 10 * report["epoch"], "time_s": 1.0, **report}) + "\n")
    before = read_result(run)
    record = before.to_dict() if before else {"id": f"id{int(run.path.name[7:10])}", "config": run.path.name[:10]}
    write_json(run.result, record | {"status": "passed", "metrics": metrics, "attempt": 2, "started_at": 1_700_000_000.0})


def shortest(value: object) -> str:
    """A value as text: numbers as `0.1` and `7`."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
