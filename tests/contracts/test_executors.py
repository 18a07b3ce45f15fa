"""What every execution backend keeps to; a new one runs this suite by existing."""

import importlib
import pkgutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ksweep.execute
from ksweep.execute.base import Ended, Executor, Started, Task
from ksweep.execute.local import LocalExecutor, base_environment

ROOT = Path(__file__).resolve().parents[2]


def backends() -> list[type[Executor]]:
    for module in pkgutil.iter_modules(ksweep.execute.__path__, "ksweep.execute."):
        importlib.import_module(module.name)
    return Executor.__subclasses__()


def make(backend: type[Executor], tmp_path: Path) -> Executor:
    if backend is LocalExecutor:
        return LocalExecutor(preload=(), env=base_environment(ROOT, 1), log=tmp_path / "launcher.log")
    raise AssertionError(f"{backend.__name__}: say here how it is made")


@pytest.fixture(params=backends(), ids=lambda backend: backend.__name__)
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    executor = make(request.param, tmp_path)
    yield executor
    executor.close()


def task(tmp_path: Path, script: str, key: str = "one") -> Task:
    env = base_environment(ROOT, 1) | {"GIVEN": "a value", "KSWEEP_RUN_DIR": str(tmp_path)}
    return Task(key=key, argv=("sh", "-c", script), env=env, cwd=tmp_path, log=tmp_path / f"{key}.log", threads=1)


def ends_of(executor: Executor, count: int, timeout_s: float = 15) -> list[Ended]:
    deadline = time.monotonic() + timeout_s
    ends: list[Ended] = []
    while len(ends) < count:
        assert time.monotonic() < deadline, f"{len(ends)} of {count} ends were reported"
        ends += [event for event in executor.poll(0.1) if isinstance(event, Ended)]
    return ends


def end_of(executor: Executor) -> Ended:
    (end,) = ends_of(executor, 1)
    return end


def test_exit_code_and_both_outputs_are_kept(executor: Executor, tmp_path: Path) -> None:
    executor.submit(task(tmp_path, 'echo "out $GIVEN"; echo err >&2; pwd; exit 7'))

    end = end_of(executor)

    assert (end.key, end.exit_code, end.signal) == ("one", 7, None)
    assert (tmp_path / "one.log").read_text() == f"out a value\nerr\n{tmp_path}\n"


def test_output_goes_behind_what_the_log_has(executor: Executor, tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("before\n")
    executor.submit(task(tmp_path, "echo after"))
    end_of(executor)

    assert (tmp_path / "one.log").read_text() == "before\nafter\n"


def test_start_comes_before_end(executor: Executor, tmp_path: Path) -> None:
    executor.submit(task(tmp_path, "sleep 0.2"))
    events: list[Started | Ended] = []
    while not events or not isinstance(events[-1], Ended):
        events += executor.poll(1)

    assert [type(event) for event in events] == [Started, Ended]
    assert events[0].at <= events[1].at


def test_death_by_a_signal_is_told_from_an_exit_code(executor: Executor, tmp_path: Path) -> None:
    executor.submit(task(tmp_path, "kill -9 $$"))

    end = end_of(executor)

    assert (end.exit_code, end.signal) == (None, signal.SIGKILL)


def test_command_that_does_not_exist_ends_with_127(executor: Executor, tmp_path: Path) -> None:
    wrong = Task(key="one", argv=("/no/such/command",), env={}, cwd=tmp_path, log=tmp_path / "log", threads=1)
    executor.submit(wrong)

    assert end_of(executor).exit_code == 127
    assert "/no/such/command" in (tmp_path / "log").read_text()


def test_cancel_asks_and_force_ends_the_children_too(executor: Executor, tmp_path: Path) -> None:
    executor.submit(task(tmp_path, "trap 'echo asked' TERM; sleep 60 & sleep 60; sleep 60", "stubborn"))
    time.sleep(0.5)
    executor.cancel("stubborn")
    time.sleep(0.3)
    executor.cancel("stubborn", force=True)

    end = end_of(executor)

    assert end.signal == signal.SIGKILL
    time.sleep(0.2)
    assert living_in(tmp_path) == 0


def test_close_leaves_nothing_running(executor: Executor, tmp_path: Path) -> None:
    executor.submit(task(tmp_path, "sleep 60 & setsid sleep 60 & sleep 60"))
    while not any(isinstance(event, Started) for event in executor.poll(1)):
        pass
    time.sleep(0.3)
    assert living_in(tmp_path) >= 2

    executor.close()

    assert living_in(tmp_path) == 0


def test_many_at_once_each_end_once(executor: Executor, tmp_path: Path) -> None:
    for number in range(30):
        executor.submit(task(tmp_path, f"exit {number}", f"task{number}"))

    ends = ends_of(executor, 30)

    assert {end.key: end.exit_code for end in ends} == {f"task{number}": number for number in range(30)}
    assert executor.poll(0.2) == []


def living_in(tmp_path: Path) -> int:
    """Living processes whose run directory is `tmp_path`."""
    count = 0
    for process in Path("/proc").iterdir():
        try:
            count += process.name.isdigit() and f"KSWEEP_RUN_DIR={tmp_path}".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
    return count


def test_warm_launch_runs_a_module_as_python_m_does(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(
        "import sys, json, os\n"
        "print(json.dumps([__name__, sys.argv[1:], 'fractions' in sys.modules, os.getcwd()]))\n"
        "sys.exit(5)\n"
    )
    results = {}
    for name, preload in (("cold", ()), ("warm", ("fractions",))):
        executor = LocalExecutor(preload=preload, env=base_environment(ROOT, 1), log=tmp_path / "launcher.log")
        env = base_environment(ROOT, 1) | {"PYTHONPATH": str(tmp_path)}
        argv = (sys.executable, "-m", "shown", "a", "b")
        executor.submit(Task(key=name, argv=argv, env=env, cwd=tmp_path, log=tmp_path / f"{name}.log", threads=1))
        results[name] = end_of(executor).exit_code, (tmp_path / f"{name}.log").read_text()
        executor.close()

    assert results["cold"] == (5, f'["__main__", ["a", "b"], false, "{tmp_path}"]\n')
    assert results["warm"] == (5, f'["__main__", ["a", "b"], true, "{tmp_path}"]\n')


def test_preload_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    executor = LocalExecutor(preload=("no_such_module_here",), env=base_environment(ROOT, 1), log=tmp_path / "launcher.log")

    with pytest.raises(Exception, match="no_such_module_here"):
        executor.wait_ready()
    executor.close()
