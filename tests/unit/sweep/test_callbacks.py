"""Callbacks are told everything, in order, and can neither stop nor delay a sweep. With real processes."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ksweep.sweep import callbacks
from ksweep.sweep.callbacks import Callbacks, Event, check_command

NOTIFIER = """
import json, sys
open("told.jsonl", "a").write(sys.stdin.read())
print("heard")
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, said: list[str]) -> Callable[..., Callbacks]:
    """`make(code)`: the callbacks of a sweep whose command runs this Python program."""

    def make(code: str = "") -> Callbacks:
        (tmp_path / "notify.py").write_text(code)
        return Callbacks(f"{sys.executable} -S notify.py" if code else "", tmp_path / "callbacks.log", tmp_path, said.append)

    return make


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`package(code, name="module:function")`: an installed package with entry points of our group."""
    folder = tmp_path / "installed"
    (folder / "told-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))

    def make(code: str, **points: str) -> Path:
        (folder / "told_package.py").write_text(code)
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (folder / "told-1.0.dist-info" / "entry_points.txt").write_text(f"[{callbacks.GROUP}]\n{lines}")
        (folder / "told-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
        sys.modules.pop("told_package", None)
        return folder

    return make


def is_running(pid: int) -> bool:
    """A killed orphan that nobody has waited for yet is over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited for 20 s"
        time.sleep(0.01)


def told(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]


def test_command_is_told_every_event_in_order(make, said, tmp_path) -> None:
    start = time.time()
    calls = make(NOTIFIER)
    calls.emit(Event.SWEEP_STARTED, sweep="s", num_runs=2)
    for number in range(5):
        calls.emit(Event.NEW_BEST, config=f"config_{number}", value=float("nan"), margin=0.5)
    calls.emit(Event.SWEEP_ENDED, counts={"passed": 2})
    calls.close()
    heard = told(tmp_path)

    assert [(line["event"], line.get("config")) for line in heard] == [
        ("sweep_started", None), *(("new_best", f"config_{number}") for number in range(5)), ("sweep_ended", None),
    ]  # fmt: skip
    assert start - 1 < heard[0].pop("time") < time.time() + 1
    assert heard[0] == {"event": "sweep_started", "sweep": "s", "num_runs": 2}
    assert heard[1]["value"] is None, "strict JSON"
    assert (tmp_path / "callbacks.log").read_text() == "heard\n" * 7
    assert said == []


def test_functions_of_installed_packages_are_called(make, package, said, tmp_path) -> None:
    folder = package(
        "import json\n"
        "def write(event, details):\n"
        "    with open(__file__ + '.told', 'a') as file: print(event, json.dumps(details), file=file)\n",
        mine="told_package:write",
    )
    calls = make(NOTIFIER)
    calls.emit(Event.RUN_STARTED, config="config_1")
    calls.emit(Event.RUN_PRUNED, config="config_1", reason="median at epoch 3")
    calls.close()
    lines = [line.split(" ", 1) for line in (folder / "told_package.py.told").read_text().splitlines()]

    assert [event for event, _ in lines] == ["run_started", "run_pruned"] == [line["event"] for line in told(tmp_path)]
    assert json.loads(lines[1][1]) | {"time": 0} == {"time": 0, "config": "config_1", "reason": "median at epoch 3"}
    assert said == []


def test_failing_ones_are_said_once_logged_always_and_hold_up_nobody(make, package, said, tmp_path) -> None:
    package(
        "import sys\n"
        "def fail(event, details): raise ValueError('on purpose')\n"
        "def leave(event, details): sys.exit(3)\n",
        broken="told_package:missing", fails="told_package:fail", leaves="told_package:leave",
    )  # fmt: skip
    calls = make("import sys; print('words of its own'); sys.exit(4)")
    for _ in range(3):
        calls.emit(Event.RUN_ENDED, config="config_1")
    calls.close()
    log = (tmp_path / "callbacks.log").read_text()

    assert sorted(line.partition(";")[0] for line in said) == [
        "callback broken: cannot be loaded from told_package:missing: AttributeError: module 'told_package' has no attribute"
        " 'missing'",
        "callback command: run_ended: exit code 4",
        "callback fails: run_ended: ValueError: on purpose",
        "callback leaves: run_ended: SystemExit: 3",
    ]
    assert log.count("command: run_ended: exit code 4") == log.count("on purpose\n") == log.count("SystemExit: 3") == 3
    assert log.count("words of its own\n") == 3


def test_command_that_hangs_is_ended_with_all_that_it_started(make, said, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(callbacks, "COMMAND_TIMEOUT_S", 1.2)
    calls = make(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'a').write(f'{os.getpid()} {child.pid} ')\n"
        "time.sleep(600)\n"
    )
    start = time.monotonic()
    calls.emit(Event.RUN_ENDED, config="config_1")
    calls.emit(Event.SWEEP_ENDED)
    assert time.monotonic() - start < 0.3, "emit waits for nothing"

    calls.close()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 4
    wait_for(lambda: not any(map(is_running, pids)))
    assert (tmp_path / "callbacks.log").read_text().count("took longer than 1 s and was ended\n") == 2
    assert len([line for line in said if "took longer" in line]) == 1


def test_end_waits_only_so_long_and_leaves_nothing(make, package, said, tmp_path, monkeypatch) -> None:
    package("import time\ndef hang(event, details): time.sleep(30)\n", hangs="told_package:hang")
    monkeypatch.setattr(callbacks, "CLOSE_PATIENCE_S", 1.3)
    calls = make("import os, time; open('pids', 'a').write(f'{os.getpid()} '); time.sleep(600)")
    for _ in range(3):
        calls.emit(Event.RUN_ENDED)
    wait_for((tmp_path / "pids").exists)
    start = time.monotonic()
    calls.close()

    assert time.monotonic() - start < 3
    assert len((tmp_path / "pids").read_text().split()) == 1, "no other one was started"
    wait_for(lambda: not is_running(int((tmp_path / "pids").read_text())))
    assert said[0] == "waiting up to 1 s for callbacks: hangs, command"
    assert [line.partition(";")[0] for line in said[1:]] == [
        f"callback {name}: 3 events were not delivered: it is too slow, or hangs" for name in ("hangs", "command")
    ]


def test_what_a_command_leaves_behind_is_ended_with_it(make, tmp_path) -> None:
    calls = make("import subprocess; open('pid', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))")
    calls.emit(Event.RUN_ENDED)
    calls.close()

    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_command_is_out_of_reach_of_the_terminals_ctrl_c(make, tmp_path) -> None:
    calls = make("import os; open('session', 'w').write(f'{os.getsid(0)} {os.getpid()}')")
    calls.emit(Event.RUN_ENDED)
    calls.close()
    session, pid = map(int, (tmp_path / "session").read_text().split())

    assert session == pid != os.getsid(0)


def test_program_that_is_gone_meanwhile_is_one_more_failure(make, said, tmp_path) -> None:
    calls = Callbacks("./gone.sh now", tmp_path / "callbacks.log", tmp_path, said.append)
    calls.emit(Event.RUN_ENDED)
    calls.close()

    assert said[0].startswith("callback command: run_ended: ./gone.sh cannot be started: No such file or directory")


def test_without_callbacks_nothing_is_started_and_nothing_written(make, said, tmp_path) -> None:
    start = time.perf_counter()
    calls = make()
    for _ in range(1000):
        calls.emit(Event.RUN_ENDED, config="config_1")
    calls.close()

    assert time.perf_counter() - start < 0.1
    assert not (tmp_path / "callbacks.log").exists()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("", ""),
        ("python3 notify.py --quiet", ""),
        ("./notify.sh 'two words'", ""),
        ("no-such-program-of-mine x", "no such program: no-such-program-of-mine; install it, or give its path from "),
        ("./missing.sh", "no such program: ./missing.sh; "),
        ("./not-executable", "no such program: ./not-executable; "),
        ("sh -c 'open", "No closing quotation"),
    ],
    ids=["none", "on the path", "in the tree", "not there", "path not there", "not executable", "quote"],
)
def test_command_is_checked_before_the_start(tmp_path, command: str, problem: str) -> None:
    (tmp_path / "notify.sh").write_text("#!/bin/sh\n")
    (tmp_path / "notify.sh").chmod(0o755)
    (tmp_path / "not-executable").write_text("#!/bin/sh\n")
    found = check_command(command, tmp_path)

    assert problem in found
    assert bool(found) == bool(problem)
    assert not found or found.startswith(f'CONFIG_SWEEP_CALLBACK: found "{command}": ')
