"""An evaluation by a user's function: its value, or why there is none; here, and in processes of its own, really killed."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ksweep.nn.compress import Setting, compressed
from ksweep.tuner.evaluate import Evaluation, NeverCalled, evaluate, evaluate_each

RANK_2 = Setting(params={"rank": 2}, method="svd")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


def make_model() -> nn.Module:
    return compressed(Network(), {"fc1": RANK_2}, moments={})


def accuracy(model: nn.Module) -> float:
    model(torch.ones(2, 4))
    return 0.75


def is_clean(model: nn.Module) -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# --- values ---


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor([2]), 2.0),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
    ],
    ids=str,
)
def test_numbers_of_all_kinds_are_values(returned: object, value: float) -> None:
    found = evaluate(lambda model: returned, nn.Linear(2, 2), replaced=[])
    assert found.reason == ""
    assert found.value == value
    assert type(found.value) is float


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "the function returned None, not a number"),
        (float("nan"), "the function returned nan, not a finite number"),
        (torch.tensor(float("-inf")), "the function returned -inf, not a finite number"),
        ("0.9", "the function returned '0.9' (str), not a number"),
        (True, "the function returned True (bool), not a number"),
        (np.bool_(True), "the function returned True (bool), not a number"),
        (1j, "the function returned 1j (complex), not a number"),
        ([0.5], "the function returned [0.5] (list), not a number"),
        (torch.ones(2, 3), "the function returned a tensor of shape (2, 3) and torch.float32, not a number"),
    ],
    ids=str,
)
def test_what_is_no_finite_number_is_a_reason(returned: object, reason: str) -> None:
    found = evaluate(lambda model: returned, nn.Linear(2, 2), replaced=[])
    assert (found.value, found.spread, found.values, found.reason) == (None, None, (), reason)


def test_repeats_give_the_median_and_the_spread_and_one_alone_has_no_spread() -> None:
    values = iter([0.5, 0.9, 0.6])
    found = evaluate(lambda model: next(values), nn.Linear(2, 2), replaced=[], repeats=3)
    assert (found.values, found.value, found.spread) == ((0.5, 0.9, 0.6), 0.6, pytest.approx(0.4))
    assert evaluate(lambda model: 0.5, nn.Linear(2, 2), replaced=[]).spread is None


def test_repeats_and_timeouts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats: found 0, allowed: 1 and more"):
        evaluate(accuracy, nn.Linear(2, 2), replaced=[], repeats=0)
    with pytest.raises(ValueError, match="timeout: found 0, allowed: seconds above 0, or None"):
        evaluate(accuracy, nn.Linear(2, 2), replaced=[], timeout=0)


def test_a_repeat_that_fails_ends_the_evaluation_and_keeps_what_came_before() -> None:
    values = iter([0.5, None, 0.6])
    found = evaluate(lambda model: next(values), nn.Linear(2, 2), replaced=[], repeats=3)
    assert (found.values, found.value, found.spread) == ((0.5,), None, None)
    assert next(values) == 0.6


# --- what is called ---


def test_calls_of_replaced_layers_are_counted_over_all_repeats_and_nothing_stays_attached() -> None:
    model = make_model()
    found = evaluate(accuracy, model, replaced=["fc1"], repeats=3)
    assert found.calls == {"fc1": 3}
    assert found.seconds > 0
    assert is_clean(model)


def test_a_failure_is_recorded_with_its_place_its_calls_and_nothing_stays_attached() -> None:
    model = make_model()

    def fail(model: nn.Module) -> float:
        model(torch.ones(2, 4))
        return model(torch.ones(2, 5)).mean()

    found = evaluate(fail, model, replaced=["fc1"])
    assert found.reason.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert found.reason.endswith(f" (test_evaluate.py, line {Network.forward.__code__.co_firstlineno + 1})")
    assert found.calls == {"fc1": 2}
    assert is_clean(model)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no memory"), AssertionError()])
def test_exceptions_of_all_kinds_are_recorded(error: Exception) -> None:
    def fail(model: nn.Module) -> float:
        raise error

    found = evaluate(fail, nn.Linear(2, 2), replaced=[])
    assert found.reason == f"{type(error).__name__}: {error} (test_evaluate.py, line {fail.__code__.co_firstlineno + 1})"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through_and_nothing_stays_attached(error: type[BaseException]) -> None:
    def fail(model: nn.Module) -> float:
        raise error

    model = make_model()
    with pytest.raises(error):
        evaluate(fail, model, replaced=["fc1"], timeout=60)
    assert is_clean(model)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_forward_bound_to_the_model_that_was_copied_is_found_out() -> None:
    """A deep copy keeps the closure, and the closure the old model: the copy's layers are replaced, and never run."""
    dense = Network()
    bound = dense.forward
    dense.forward = lambda x: bound(x)
    model = compressed(dense, {"fc1": RANK_2}, moments={})
    assert torch.equal(model(torch.ones(2, 4)), dense(torch.ones(2, 4)))  # as if compression cost nothing
    with pytest.raises(NeverCalled, match=r"^accuracy gave 0\.75 without calling fc1: it measured something else than the model"):
        evaluate(accuracy, model, replaced=["fc1"])
    assert is_clean(model)


def test_a_function_that_uses_a_global_model_is_found_out_and_every_layer_that_did_not_run_is_named() -> None:
    dense = Network()
    model = compressed(dense, {"fc1": RANK_2, "fc2": RANK_2}, moments={})
    with pytest.raises(NeverCalled, match="without calling fc1, fc2"):
        evaluate(lambda _: accuracy(dense), model, replaced=["fc1", "fc2"])
    with pytest.raises(NeverCalled, match="without calling fc2"):
        evaluate(lambda model: model.fc1(torch.ones(4)).sum(), model, replaced=["fc1", "fc2"])


def test_a_function_that_fails_before_it_calls_anything_is_a_failure_and_not_a_proof() -> None:
    assert evaluate(lambda model: None, make_model(), replaced=["fc1"]).calls == {"fc1": 0}


def test_a_function_that_works_on_a_copy_of_its_model_is_right() -> None:
    assert evaluate(lambda model: accuracy(copy.deepcopy(model)), make_model(), replaced=["fc1"]).calls == {"fc1": 1}


# --- the time limit ---


def test_a_function_that_takes_too_long_is_ended_and_signals_are_as_before() -> None:
    former = signal.getsignal(signal.SIGALRM)
    start = time.monotonic()
    found = evaluate(lambda model: time.sleep(30), nn.Linear(2, 2), replaced=[], timeout=0.1)
    assert time.monotonic() - start < 5
    assert found.reason == "timeout: not through after 0.1 s"
    assert found.value is None
    assert signal.getsignal(signal.SIGALRM) is former
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_function_that_catches_everything_is_ended_all_the_same() -> None:
    def stubborn(model: nn.Module) -> float:
        try:
            time.sleep(30)
        except BaseException:
            pass
        return 1.0

    found = evaluate(stubborn, nn.Linear(2, 2), replaced=[], timeout=0.1)
    assert (found.value, found.reason) == (None, "timeout: not through after 0.1 s")


def test_a_timer_that_ran_before_still_rings() -> None:
    rang = list[int]()
    former = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        assert evaluate(lambda model: 1.0, nn.Linear(2, 2), replaced=[], timeout=60).value == 1.0
        time.sleep(0.6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert rang == [signal.SIGALRM]


def test_a_timeout_outside_of_the_main_thread_is_refused() -> None:
    caught = list[Exception]()

    def work() -> None:
        try:
            evaluate(lambda model: 1.0, nn.Linear(2, 2), replaced=[], timeout=1)
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert str(caught[0]) == "timeout: can be kept in the main thread only; evaluate there, or without one"


# --- processes ---


def each(function: Callable[[nn.Module], Any], num: int = 1, **options: Any) -> dict[int, Evaluation]:
    options = {"replaced": [["fc1"]] * num, "num_workers": 2} | options
    return dict(evaluate_each(function, [make_model] * num, **options))


def is_alive(pid: int) -> bool:
    """Not gone, and not a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


@pytest.fixture
def no_child_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def children() -> set[str]:
    """Of this process, zombies too: other tests may have left helpers of torch's behind."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@pytest.mark.usefixtures("no_child_stays")
def test_each_model_is_evaluated_in_a_process_of_its_own_with_one_thread_and_this_one_is_untouched() -> None:
    touched = list[int]()
    former = torch.get_num_threads()

    def function(model: nn.Module) -> float:
        touched.append(1)
        torch.rand(1)
        accuracy(model)
        return os.getpid() + torch.get_num_threads() / 8 + model.number / 128

    def build(number: int) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            model = make_model()
            model.number = number
            return model

        return build

    state = torch.get_rng_state()
    builders = [build(number) for number in range(5)]
    found = dict(evaluate_each(function, builders, replaced=[["fc1"]] * 5, repeats=2, num_workers=2))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert [one.value % 1 for _, one in sorted(found.items())] == [1 / 8 + number / 128 for number in range(5)]
    assert len({int(one.value) for one in found.values()} - {os.getpid()}) == 5
    assert all(
        one.calls == {"fc1": 2} and one.reason == "" and len(one.values) == 2 and one.seconds > 0 for one in found.values()
    )
    assert touched == []
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == former


@pytest.mark.usefixtures("no_child_stays")
def test_results_come_as_they_are_ready_and_no_more_run_than_there_are_workers(tmp_path: Path) -> None:
    def function(model: nn.Module) -> float:
        mark = tmp_path / str(os.getpid())
        mark.touch()
        running = len(list(tmp_path.iterdir()))
        time.sleep(model.seconds)
        mark.unlink()
        accuracy(model)
        return running

    def build(seconds: float) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            model = make_model()
            model.seconds = seconds
            return model

        return build

    builders = [build(seconds) for seconds in (1.0, 0.05, 0.05, 0.05)]
    order = list(evaluate_each(function, builders, replaced=[["fc1"]] * 4, num_workers=2))
    assert [index for index, _ in order][-1] == 0
    assert max(one.value for _, one in order) == 2


@pytest.mark.usefixtures("no_child_stays")
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the evaluation's process was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "the evaluation's process was killed by SIGTERM"),
        (lambda: os._exit(7), "the evaluation's process ended with exit status 7"),
        (lambda: os._exit(0), "the evaluation's process ended with exit status 0"),
        (lambda: sys.exit(3), "the evaluation's process ended with exit status 3"),
    ],
    ids=["sigkill", "sigterm", "_exit 7", "_exit 0", "sys.exit 3"],
)
def test_a_process_that_dies_is_recorded_with_how_it_died_and_the_others_go_on(end: Callable[[], None], reason: str) -> None:
    parent = os.getpid()

    def function(model: nn.Module) -> float:
        if model.dies:
            assert os.getpid() != parent
            end()
        return accuracy(model)

    def build(dies: bool) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            model = make_model()
            model.dies = dies
            return model

        return build

    found = dict(evaluate_each(function, [build(True), build(False)], replaced=[["fc1"]] * 2, num_workers=1))
    assert (found[0].value, found[0].reason) == (None, reason)
    assert found[1].value == 0.75


@pytest.mark.usefixtures("no_child_stays")
def test_at_the_timeout_a_process_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    def function(model: nn.Module) -> float:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process = subprocess.Popen(["sleep", "60"])
        (tmp_path / "pids").write_text(f"{os.getpid()} {process.pid}")
        process.wait()
        return accuracy(model)

    start = time.monotonic()
    found = each(function, timeout=0.7)[0]
    assert time.monotonic() - start < 10
    assert (found.value, found.reason) == (None, "timeout: not through after 0.7 s")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.usefixtures("no_child_stays")
def test_what_a_process_leaves_behind_is_ended_with_it_and_does_not_delay_its_result(tmp_path: Path) -> None:
    def function(model: nn.Module) -> float:
        process = subprocess.Popen(["sleep", "60"], close_fds=False)  # it holds all pipes open
        (tmp_path / "pid").write_text(str(process.pid))
        return accuracy(model)

    start = time.monotonic()
    assert each(function)[0].value == 0.75
    assert time.monotonic() - start < 10
    assert wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


@pytest.mark.usefixtures("no_child_stays")
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "exception"])
def test_an_iteration_that_is_left_kills_what_still_runs(tmp_path: Path, is_closed: bool) -> None:
    def function(model: nn.Module) -> float:
        (tmp_path / str(os.getpid())).touch()
        if len(list(tmp_path.iterdir())) > 1:
            time.sleep(60)
        return accuracy(model)

    results = evaluate_each(function, [make_model] * 3, replaced=[["fc1"]] * 3, num_workers=2)
    next(results)
    assert wait_until(lambda: len(list(tmp_path.iterdir())) >= 2)
    if is_closed:
        results.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
    assert wait_until(lambda: not any(is_alive(int(path.name)) for path in tmp_path.iterdir()))


def test_processes_end_with_the_one_that_started_them_when_that_is_killed(tmp_path: Path) -> None:
    def function(model: nn.Module) -> None:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(60)

    parent = os.fork()
    if parent == 0:
        each(function, num=2)
        os._exit(0)
    try:
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
    assert wait_until(lambda: not any(is_alive(int(path.name)) for path in tmp_path.iterdir()))


@pytest.mark.usefixtures("no_child_stays")
def test_failures_in_a_process_are_reasons_and_a_builder_may_fail_too() -> None:
    def fail_to_build() -> nn.Module:
        raise RuntimeError("no such layer")

    found = dict(evaluate_each(lambda model: None, [make_model, fail_to_build], replaced=[["fc1"], []], num_workers=2))
    assert found[0].reason == "the function returned None, not a number"
    assert found[1].reason.startswith("RuntimeError: no such layer (test_evaluate.py, line ")


@pytest.mark.usefixtures("no_child_stays")
def test_a_layer_that_never_ran_is_an_error_from_a_process_too() -> None:
    dense = Network()
    with pytest.raises(NeverCalled, match="without calling fc1"):
        each(lambda _: accuracy(dense), num=3)


@pytest.mark.usefixtures("no_child_stays")
def test_a_long_answer_of_a_process_comes_whole() -> None:
    names = [str(number) for number in range(8000)]
    shared = nn.Identity()
    model = nn.ModuleDict({name: shared for name in names})
    found = dict(evaluate_each(lambda model: float(shared(1.0)), [lambda: model], replaced=[names], num_workers=1))
    assert len(found[0].calls) == 8000


def test_training_in_a_process_works_after_this_one_has_used_its_threads() -> None:
    former = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (torch.rand(600, 600) @ torch.rand(600, 600)).sum()

        def train(model: nn.Module) -> float:
            loss = model(torch.rand(400, 4)).square().mean()
            loss.backward()
            (torch.rand(600, 600) @ torch.rand(600, 600)).sum()
            return float(loss.detach())

        assert each(train, timeout=60)[0].reason == ""
    finally:
        torch.set_num_threads(former)


def test_what_cannot_be_done_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="num_workers: found 0, allowed: 1 and more"):
        evaluate_each(accuracy, [make_model], replaced=[["fc1"]], num_workers=0)
    with pytest.raises(ValueError, match="replaced: found 2, allowed: 1, one for each builder"):
        evaluate_each(accuracy, [make_model], replaced=[["fc1"], []], num_workers=1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="CUDA is in use, and does not survive a fork"):
        evaluate_each(accuracy, [make_model], replaced=[["fc1"]], num_workers=1)
