"""Evidence -> verdict."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ksweep.contract.outcome import Status
from ksweep.contract.paths import RunDir
from ksweep.space.objective import parse_objectives
from ksweep.sweep.judge import Verdict, judge


@pytest.fixture
def verdict(tmp_path: Path):
    def verdict(
        *,
        code: int | None = None,
        died_by: int | None = None,
        log: str = "",
        told: Any = None,
        lines: str = "",
        objective: str = "val_acc",
        constraints: str = "",
        **more: Any,
    ) -> Verdict:
        dir = RunDir(tmp_path)
        dir.log.write_text(log)
        dir.metrics.write_text(lines)
        if told is not None:
            dir.training_metrics.write_text(json.dumps({"attempt": 1, "metrics": {}} | told))
        objectives = parse_objectives(objective, "maximize", constraints)
        arguments = {"ended_because": None, "objectives": objectives, "attempt": 1} | more
        return judge(dir, exit_code=code, signal_number=died_by, **arguments)

    return verdict


def test_exit_code_0_without_the_objective_is_a_failure(verdict) -> None:
    found = verdict(code=0, told={"metrics": {"val_loss": 0.3}})

    assert found.status == Status.FAILED
    assert "val_acc was not reported; reported: val_loss" in found.reason


def test_exit_code_0_with_the_objective_passes(verdict) -> None:
    found = verdict(code=0, told={"metrics": {"val_acc": 0.9}, "symbols_read": {"A": "1"}})

    assert (found.status, found.metrics, found.symbols_read) == (Status.PASSED, {"val_acc": 0.9}, {"A": "1"})


def test_program_that_only_writes_lines_passes_by_its_last_line(verdict) -> None:
    found = verdict(code=0, lines='{"val_acc": 0.1}\n{"val_acc": 0.8, "note": "text", "epoch": 2}\n')

    assert (found.status, found.metrics, found.symbols_read) == (Status.PASSED, {"val_acc": 0.8}, None)


def test_empty_objective_asks_for_nothing_but_exit_code_0(verdict) -> None:
    assert verdict(code=0, objective="").status == Status.PASSED


@pytest.mark.parametrize("line", ['{"val_acc": NaN}\n', '{"val_acc": Infinity}\n', '{"val_acc": null}\n'])
def test_objective_that_is_not_finite_is_divergence(verdict, line: str) -> None:
    assert verdict(code=0, lines=line).status == Status.DIVERGED


@pytest.mark.parametrize(
    ("objective", "constraints", "status", "reason"),
    [
        ("val_loss + 10*layers:min", "", Status.PASSED, ""),
        ("val_loss, layers", "layers <= 2", Status.PASSED, ""),
        ("val_loss, size", "", Status.FAILED, "the objective size was not reported; reported: broken, layers, val_loss, zero"),
        (
            "val_loss + size",
            "",
            Status.FAILED,
            "the objective val_loss + size needs size, which was not reported; reported: broken",
        ),
        ("val_loss", "size <= 2", Status.FAILED, "the constraint size <= 2 needs size, which was not reported; reported: broken"),
        ("val_loss, broken", "", Status.DIVERGED, "the objective broken is not a finite number"),
        ("val_loss / zero", "", Status.DIVERGED, "the objective val_loss / zero is not a finite number"),
    ],
    ids=["expression", "several", "one missing", "missing in expression", "missing in constraint", "nan", "division by zero"],
)
def test_every_goal_must_have_a_finite_value(verdict, objective: str, constraints: str, status: Status, reason: str) -> None:
    lines = '{"val_loss": 0.3, "layers": 3, "broken": NaN, "zero": 0}\n'
    found = verdict(code=0, lines=lines, objective=objective, constraints=constraints)

    assert found.status == status
    assert reason in found.reason


AT_A_RUNG = {"paused": "epoch 3: rung 1 of asha", "lines": '{"epoch": 2, "val_acc": 0.2}\n{"epoch": 3, "val_acc": 0.3}\n'}


@pytest.mark.parametrize("code", [143, 0])
def test_run_that_stopped_at_its_rung_is_pruned_with_the_metrics_of_its_last_report(verdict, code: int) -> None:
    found = verdict(code=code, **AT_A_RUNG)

    assert (found.status, found.reason, found.metrics) == (Status.PRUNED, "epoch 3: rung 1 of asha", {"val_acc": 0.3})


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        ({"code": 0, "told": {"metrics": {"val_acc": 0.9}}}, Status.PASSED),
        ({"code": 0, "told": {"status": "diverged", "reason": "nan"}}, Status.DIVERGED),
        ({"code": 1, "log": "ValueError: no"}, Status.FAILED),
        ({"died_by": signal.SIGKILL}, Status.CRASHED),
        ({"code": 143, "ended_because": (Status.CANCELLED, "Ctrl-C")}, Status.CANCELLED),
        ({}, Status.CRASHED),
    ],
    ids=["finished", "diverged", "failed", "killed", "ended by the runner", "vanished"],
)
def test_rung_excuses_nothing_but_leaving(verdict, evidence: dict[str, Any], status: Status) -> None:
    assert verdict(**AT_A_RUNG, **evidence).status == status


def test_file_of_an_earlier_attempt_is_no_evidence(verdict) -> None:
    assert verdict(code=0, told={"attempt": 1, "metrics": {"val_acc": 0.9}}, attempt=2).status == Status.FAILED


@pytest.mark.parametrize(
    ("log", "status"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Status.OOM),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", Status.OOM),
        ("Traceback ...\nMemoryError\n", Status.OOM),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 TiB for an array", Status.OOM),
        ("RuntimeError: CUDA error: out of memory", Status.OOM),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", Status.OOM),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", Status.OOM),
        ("RuntimeError: could not create a memory object", Status.OOM),
        ("ValueError: no", Status.FAILED),
        ("", Status.FAILED),
    ],
)
def test_log_tells_out_of_memory_from_failure(verdict, log: str, status: Status) -> None:
    assert verdict(code=1, log=log).status == status


ALLOCATE = """
import resource, torch
resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
try:
    torch.zeros(1 << 40)
except RuntimeError as error:
    raise ValueError("the batch was too large") from error
"""


def test_allocation_that_really_fails_is_out_of_memory_and_the_reason_says_what_was_asked_for(verdict) -> None:
    run = subprocess.run([sys.executable, "-c", ALLOCATE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = verdict(code=run.returncode, log=f"epoch 1\n{run.stdout}")

    assert found.status == Status.OOM, run.stdout
    assert f"tried to allocate {4 << 40} bytes" in found.reason
    assert "\n" not in found.reason


TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    raise SomeError("out of memory")
"""


@pytest.mark.parametrize(
    "earlier",
    [
        "out of memory (CUDA out of memory. Tried to allocate 2.00 GiB): going on with 2 micro-batches\n",
        f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\nepoch 1\n",
    ],
    ids=["said so", "printed its traceback"],
)
def test_run_that_was_out_of_memory_and_went_on_failed_of_something_else(verdict, earlier: str) -> None:
    found = verdict(code=1, log=f"{earlier}epoch 2\n{TRACEBACK}ValueError: no\n")

    assert (found.status, found.reason) == (Status.FAILED, "exit code 1: ValueError: no")


def test_words_of_an_earlier_attempt_are_no_evidence(verdict) -> None:
    found = verdict(died_by=signal.SIGSEGV, log="torch.OutOfMemoryError: CUDA out of memory.\n\n=== attempt 2 ===\n", attempt=2)

    assert found.status == Status.CRASHED


def test_exit_code_2_is_a_refusal_with_its_words(verdict) -> None:
    found = verdict(code=2, log="config.txt:3: CONFIG_A: found 9\n")

    assert (found.status, found.reason) == (Status.INVALID, "config.txt:3: CONFIG_A: found 9")


def test_signal_is_named(verdict) -> None:
    assert "SIGSEGV" in verdict(died_by=signal.SIGSEGV).reason
    assert verdict(died_by=signal.SIGSEGV).status == Status.CRASHED


def test_end_that_nobody_saw_is_a_crash(verdict) -> None:
    assert verdict().status == Status.CRASHED


def test_run_that_was_ended_keeps_that_reason_unless_it_finished_first(verdict) -> None:
    why = (Status.TIMEOUT, "too slow")

    assert verdict(died_by=15, ended_because=why).status == Status.TIMEOUT
    assert verdict(code=0, ended_because=why, told={"metrics": {"val_acc": 1.0}}).status == Status.PASSED
