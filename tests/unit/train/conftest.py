"""Real training runs, of LeNet-5 on digits by default: forks of a process that has imported the trainer (a cold start: 5 s)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ksweep.contract.metrics import is_measured
from ksweep.kconfig.tree import load_tree

ROOT = Path(__file__).resolve().parents[3]
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ENVIRONMENT = {**os.environ, **THREADS, "PYTHONPATH": "lib:.", "CUDA_VISIBLE_DEVICES": ""}  # on the CPU also where there is a GPU
SERVER = """
import json, os, sys, traceback
from pathlib import Path
import ksweep.train.preload
import models.lenet5.train as lenet5, models.transformer.train as transformer
from ksweep.contract.config import RunConfig
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ.update(json.loads(line))
            log = os.open(os.environ["KSWEEP_RUN_DIR"] + "/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            config = RunConfig.load(Path(os.environ["KSWEEP_RUN_DIR"], "config.txt"))
            code = (transformer if config.bool("MODEL_SELECT_TRANSFORMER") else lenet5).main()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Place:
    """A run directory, and the attempts in it."""

    path: Path
    server: subprocess.Popen[str]

    def start(self, until: int | None = None) -> int:
        """Start an attempt, that is to stop `until` an epoch; its process id. `wait` must follow."""
        assert self.server.stdin
        assert self.server.stdout
        env = {"KSWEEP_RUN_DIR": str(self.path)} | ({"KSWEEP_UNTIL": str(until)} if until else {})
        self.server.stdin.write(json.dumps(env) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def wait(self) -> int:
        """Exit code of the attempt, negative for a signal."""
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def run(self, until: int | None = None) -> int:
        self.start(until)
        return self.wait()

    def run_cold(self) -> int:
        """An attempt in an interpreter of its own."""
        command = [sys.executable, "-W", "error", "-m", "models.lenet5.train"]
        with open(self.log, "a") as log:
            return subprocess.run(
                command, cwd=ROOT, env={**ENVIRONMENT, "KSWEEP_RUN_DIR": str(self.path)}, stdout=log, stderr=log, timeout=120
            ).returncode

    def copy(self) -> "Place":
        """A finished run once more, killed just before it wrote its result."""
        path = self.path.with_name(f"{self.path.name}-{uuid.uuid4().hex}")
        shutil.copytree(self.path, path)
        (path / "training_metrics.json").unlink()
        return Place(path, self.server)

    @property
    def log(self) -> Path:
        return self.path / "output.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def num_reports(self) -> int:
        path = self.path / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.path / "training_metrics.json").read_text())

    def numbers(self) -> dict[str, Any]:
        """All that must be equal between two runs of one configuration: final metrics and history, without times."""
        result = self.result
        history = [{name: value for name, value in record.items() if not is_measured(name)} for record in result["history"]]
        final = {name: value for name, value in result["metrics"].items() if not is_measured(name)}
        return {"final": final, "history": history, "effective": result["effective"], "symbols_read": result["symbols_read"]}


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", SERVER]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="session")
def make_place(server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Place]:
    """`make_place("NUM_EPOCHS=3", ...)`: a run directory with the complete configuration of these symbols."""
    kconf = load_tree(ROOT)

    def make(*assignments: str) -> Place:
        path = tmp_path_factory.mktemp("run")
        (path / "fragment").write_text("".join(f"CONFIG_{assignment}\n" for assignment in assignments))
        kconf.load_config(str(path / "fragment"))
        kconf.write_config(str(path / "config.txt"))
        text = (path / "config.txt").read_text()
        assert all(f"CONFIG_{assignment}\n" in text for assignment in assignments), "Kconfig did not take what the test asked for"
        return Place(path, server)

    return make
