"""Compressed networks as processes and through the command line: the dense network is trained once, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ksweep.contract.metrics import is_measured
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from tests.command import ksweep, sweep

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("MODEL=sketched", "SKETCHED_MODEL=lenet5", "DATASET=digits", "SKETCHED_TIMED_BATCH=4", "SKETCHED_CALIBRATION_BATCHES=2")
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ENVIRONMENT = {**os.environ, **THREADS, "PYTHONPATH": "lib:.", "CUDA_VISIBLE_DEVICES": ""}
# Forks of a process that has imported the trainer, which saves each its cold start.
SERVER = """
import os, sys, traceback
import ksweep.train.preload, models.lenet5.train, models.sketched.train as sketched
for line in sys.stdin:
    word, what = line.split()
    if word == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(int(what), 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ["KSWEEP_RUN_DIR"] = what
            log = os.open(what + "/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            code = sketched.main()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
"""


@dataclass
class Place:
    """A directory of runs that share what dense networks they can."""

    path: Path
    server: subprocess.Popen[str]

    def make(self, name: str, *assignments: str) -> Path:
        """A run directory with the configuration of these symbols."""
        dir = self.path / name
        dir.mkdir(parents=True)
        (dir / "asked").write_text("".join(f"CONFIG_{assignment}\n" for assignment in (*SMALL, *assignments)))
        resolver = Resolver(load_tree(ROOT))
        assert resolver.load(dir / "asked") == []
        (dir / "config.txt").write_text(resolver.text())
        return dir

    def start(self, dir: Path) -> int:
        return self._ask(f"start {dir}")

    def wait(self, pid: int) -> int:
        """The exit code, negative for a signal."""
        return self._ask(f"wait {pid}")

    def run(self, dir: Path) -> int:
        return self.wait(self.start(dir))

    def dense(self) -> Path:
        (dir,) = self.path.glob("dense_*")
        return dir

    def wait_for_epochs(self, number: int) -> None:
        """Until the dense network has reported so many."""
        self.wait_for(lambda: sum(path.read_bytes().count(b"\n") for path in self.path.glob("dense_*/metrics.jsonl")) >= number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < 60
            time.sleep(0.005)

    def _ask(self, line: str) -> int:
        assert self.server.stdin
        assert self.server.stdout
        print(line, file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", SERVER]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.send_signal(signal.SIGTERM)


@pytest.fixture
def place(tmp_path: Path, server: subprocess.Popen[str]) -> Place:
    return Place(tmp_path, server)


def numbers(dir: Path) -> dict[str, float]:
    """The final metrics, without those of the machine."""
    metrics = json.loads((dir / "training_metrics.json").read_text())["metrics"]
    return {name: value for name, value in metrics.items() if not is_measured(name)}


def log(dir: Path) -> str:
    """What it has printed so far."""
    path = dir / "output.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_stopped_while_the_dense_network_is_trained_it_goes_on_from_there(place: Place) -> None:
    symbols = ("NUM_EPOCHS=6", "SKETCHED_GROUP1_RANK=8")
    whole, stopped = place.make("whole/config_001", *symbols), place.make("config_001", *symbols)
    assert place.run(whole) == 0, log(whole)
    for by, code, number in ((signal.SIGKILL, -signal.SIGKILL, 2), (signal.SIGTERM, 143, 4)):
        pid = place.start(stopped)
        place.wait_for_epochs(number)
        os.kill(pid, by)
        assert place.wait(pid) == code
        assert not (stopped / "training_metrics.json").exists()

    assert place.run(stopped) == 0, log(stopped)
    assert log(stopped).count("going on after epoch ") == 2
    assert numbers(stopped) == numbers(whole)


@pytest.mark.slow
def test_two_at_once_train_the_dense_network_once(place: Place) -> None:
    dirs = [place.make(f"config_00{rank}", "NUM_EPOCHS=4", f"SKETCHED_GROUP1_RANK={rank}") for rank in (4, 8)]
    pids = [place.start(dir) for dir in dirs]
    assert [place.wait(pid) for pid in pids] == [0, 0]

    logs = sorted((log(dir) for dir in dirs), key=lambda text: "trained before" in text)
    assert ["epoch 4/4" in text for text in logs] == [True, False]
    assert "waiting for the dense network, which another run trains" in logs[1]
    assert len((place.dense() / "metrics.jsonl").read_text().splitlines()) == 4
    assert numbers(dirs[0])["bytes"] < numbers(dirs[1])["bytes"]


@pytest.mark.slow
def test_one_that_waits_stops_when_it_is_told_to_and_trains_when_the_other_is_killed(place: Place) -> None:
    dirs = [place.make(f"config_00{number}", "NUM_EPOCHS=6", f"SKETCHED_GROUP1_RANK={number}") for number in (1, 2, 3)]
    first = place.start(dirs[0])
    place.wait_for_epochs(2)  # the first one is saved by then
    os.kill(first, signal.SIGSTOP)
    second, third = place.start(dirs[1]), place.start(dirs[2])
    place.wait_for(lambda: all("waiting for" in log(dir) for dir in dirs[1:]))
    os.kill(second, signal.SIGTERM)

    assert place.wait(second) == 143
    assert log(dirs[1]).endswith("told to stop\n")
    os.kill(first, signal.SIGKILL)
    assert place.wait(first) == -signal.SIGKILL
    assert place.wait(third) == 0, log(dirs[2])
    assert "going on after epoch " in log(dirs[2])


@pytest.mark.slow
def test_damaged_weights_of_the_dense_network_are_trained_again(place: Place) -> None:
    first, second = (place.make(name, "NUM_EPOCHS=2", "SKETCHED_GROUP1_RANK=8") for name in ("config_001", "config_002"))
    assert place.run(first) == 0, log(first)
    best = place.dense() / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:1000])

    assert place.run(second) == 0, log(second)
    assert f"training the dense network again: {best} is damaged" in log(second)
    assert numbers(second) == numbers(first)


def test_what_cannot_be_done_is_a_message_and_exit_code_2(place: Place) -> None:
    dir = place.make("config_001", 'SKETCHED_GROUP1_LAYERS="^clasifier"')

    assert place.run(dir) == 2
    assert log(dir) == (
        f'{dir}/config.txt: CONFIG_SKETCHED_GROUP1_LAYERS: "^clasifier" finds none of the linear and convolutional layers:'
        " features.0 features.4 classifier.1 classifier.3 classifier.5\n"
    )
    assert list(place.path.glob("dense_*")) == []


# -- sweeps -----------------------------------------------------------------------------------------------------------------


def rows(dir: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((dir / "sweep_summary.json").read_text())
    return found


@pytest.mark.slow
def test_sweep_has_a_front_of_accuracy_and_bytes_and_the_dense_network_is_no_point_of_it(tmp_path: Path) -> None:
    range_file = tmp_path / "range"
    range_file.write_text(
        "include sketched-lenet5-range-smoke\nCONFIG_NUM_EPOCHS=2\n"
        "CONFIG_SKETCHED_METHOD=none|svd\nCONFIG_SKETCHED_GROUP1_LOW_RANK=8\n"
    )
    dir = sweep(tmp_path, range_file)[0]

    assert [row["status"] for row in rows(dir)] == ["passed"] * 2
    assert [row["bytes"] for row in rows(dir)] == [247_192, 61_208]
    assert len({row["dense_val_acc"] for row in rows(dir)} | {rows(dir)[0]["val_acc"]}) == 1
    assert (dir / "plots" / "pareto.png").stat().st_size > 10_000
    assert len(list(dir.glob("dense_*"))) == 1
    assert "2 passed" in ksweep("status", "--results", dir)


@pytest.mark.slow
def test_smoke_of_the_transformer_search_finds_faster_networks_that_keep_the_constraint(tmp_path: Path) -> None:
    dir = sweep(tmp_path, "sketched-transformer-tpe-smoke")[0]

    kept = [row for row in rows(dir) if row["val_acc"] >= 0.98 * row["dense_val_acc"]]
    assert max(row["speedup_low"] for row in kept) > 1
    assert all(row["bytes"] < 811_560 for row in kept)
    assert (dir / "plots" / "pareto.png").exists()
