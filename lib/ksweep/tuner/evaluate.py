"""One evaluation of a model by a user's function: its value, or why there is none, and the proof that the new layers ran."""

import ctypes
import json
import math
import os
import signal
import statistics
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import nn

from ksweep.nn.replacement import copied, count_calls

Function = Callable[[nn.Module], Any]

PR_SET_PDEATHSIG = 1
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_POLL_SECONDS = 0.01
_MAX_REASON = 500  # characters
_GRACE_SECONDS = 1.0  # after which a function that swallowed the end of its time is told again


class NeverCalled(RuntimeError):
    """A function came to a value without running a layer that was replaced: it measured another model than it was given."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of a function's calls on one model."""

    values: tuple[float, ...] = ()
    """One a repeat, all finite; those before a failure."""
    reason: str = ""
    """Why there is no value; empty when all went well."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """How often each replaced layer ran, over all repeats."""
    seconds: float = 0.0
    """Of all repeats together."""

    @property
    def value(self) -> float | None:
        """The median of the repeats; None after a failure."""
        return None if self.reason or not self.values else statistics.median(self.values)

    @property
    def spread(self) -> float | None:
        """Largest less smallest value; None after a failure, and for a single repeat, which has none."""
        return None if self.reason or len(self.values) < 2 else max(self.values) - min(self.values)


def evaluate(
    function: Function, model: nn.Module, *, replaced: Sequence[str], repeats: int = 1, timeout: float | None = None
) -> Evaluation:
    """Calls `function(model)` `repeats` times, with a copy of the model each time where there are several: one that trains its
    model starts from the same weights in each. An exception, a value that is no finite number, and more than `timeout` seconds in
    all give an Evaluation with its reason; KeyboardInterrupt and SystemExit go through. What a failed function did to the model
    stays done. Nothing is left attached to the model.

    Raises NeverCalled when there is a value and a layer of `replaced` was not called once; ValueError for `repeats` below 1, a
    timeout that is not above 0, and one outside of the main thread, where it could not be kept.
    """
    _check(repeats, timeout)
    if timeout is not None and threading.current_thread() is not threading.main_thread():
        raise ValueError("timeout: can be kept in the main thread only; evaluate there, or without one")
    values: list[float] = []
    reason, start = "", time.monotonic()
    with count_calls(model, replaced) as counted:
        try:
            with _time_limit(timeout):
                for _ in range(repeats):
                    values.append(_number(function(model if repeats == 1 else copied(model))))
        except _OutOfTime:
            reason = f"timeout: not through after {timeout:g} s"
        except Exception as error:
            reason = _text(error)
        seconds = time.monotonic() - start
        calls = dict(counted)
    if timeout is not None and not reason and seconds > timeout:  # what ended it was caught by the function itself
        reason = f"timeout: not through after {timeout:g} s"
    result = Evaluation(values=tuple(values), reason=reason, calls=calls, seconds=seconds)
    if result.value is not None and (unused := [name for name in replaced if not calls[name]]):
        raise NeverCalled(_never_called(result.value, unused, function))
    return result


def evaluate_each(
    function: Function,
    builders: Sequence[Callable[[], nn.Module]],
    *,
    replaced: Sequence[Sequence[str]],
    repeats: int = 1,
    timeout: float | None = None,
    num_workers: int = 2,
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluates what each builder builds, `num_workers` at a time, each in a forked process of its own with one torch thread:
    function and builders need no pickling, start from the state of this process, its random state included, and change nothing in
    it. Gives (index of the builder, evaluation) as they come.

    `replaced`: the names, for each builder. `timeout`: seconds for building and all repeats; then the process is killed with all
    that it started. A process that dies is an Evaluation with the signal or exit status as its reason. Ending the iteration
    early, or an exception in it, kills what still runs.

    Raises NeverCalled as evaluate does; ValueError for a number of workers or repeats below 1 and for lists of different lengths;
    RuntimeError when CUDA is in use, which does not survive a fork.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers: found {num_workers}, allowed: 1 and more")
    if len(replaced) != len(builders):
        raise ValueError(f"replaced: found {len(replaced)}, allowed: {len(builders)}, one for each builder")
    _check(repeats, timeout)
    if torch.cuda.is_initialized():
        raise RuntimeError("parallel evaluations: CUDA is in use, and does not survive a fork; evaluate one at a time")

    def work(index: int) -> Evaluation:
        return evaluate(function, builders[index](), replaced=replaced[index], repeats=repeats)

    return _each(work, len(builders), timeout, num_workers)


def _check(repeats: int, timeout: float | None) -> None:
    if repeats < 1:
        raise ValueError(f"repeats: found {repeats}, allowed: 1 and more")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout: found {timeout}, allowed: seconds above 0, or None")


def _each(
    work: Callable[[int], Evaluation], num_jobs: int, timeout: float | None, num_workers: int
) -> Iterator[tuple[int, Evaluation]]:
    waiting = list(range(num_jobs))
    running: list[_Child] = []
    try:
        while waiting or running:
            while waiting and len(running) < num_workers:
                running.append(_Child(waiting.pop(0), work, timeout))
            over = [child for child in running if child.is_over()]
            for child in over:
                running.remove(child)
            for child in over:
                yield child.index, child.result()
            if not over:
                time.sleep(_POLL_SECONDS)
    finally:
        for child in running:
            child.kill()


class _Child:
    """A forked process that evaluates one model, and its end."""

    def __init__(self, index: int, work: Callable[[int], Evaluation], timeout: float | None) -> None:
        self.index, self._timeout = index, timeout
        self._start = time.monotonic()
        self._received = bytearray()
        self._status: int | None = None
        self._is_late = False
        self._pipe, writing = os.pipe()
        os.set_blocking(self._pipe, False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of forks while threads run; the child uses none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _live(work, index, writing, parent)
        os.close(writing)

    def is_over(self) -> bool:
        """Takes what has arrived; true when the process has ended, by itself or for its lateness."""
        self._receive()
        if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if self._timeout is None or time.monotonic() - self._start < self._timeout:
                return False
            self._is_late = True
        self.kill()
        return True

    def kill(self) -> None:
        """Ends the process and all that it started, which share its session; takes what it had sent."""
        try:
            os.killpg(self._pid, signal.SIGKILL)  # before it is waited for: until then the number is no other's
        except ProcessLookupError:  # not yet a session of its own
            os.kill(self._pid, signal.SIGKILL)
        self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._receive()
        os.close(self._pipe)

    def result(self) -> Evaluation:
        seconds = time.monotonic() - self._start
        if self._is_late:
            return Evaluation(reason=f"timeout: not through after {self._timeout:g} s", seconds=seconds)
        try:
            sent = json.loads(self._received)
        except ValueError:
            return Evaluation(reason=self._death(), seconds=seconds)
        if "never_called" in sent:
            raise NeverCalled(sent["never_called"])
        return Evaluation(**(sent | {"values": tuple(sent["values"])}))

    def _death(self) -> str:
        assert self._status is not None
        if self._status < 0:
            name = signal.Signals(-self._status).name if -self._status in set(signal.Signals) else f"signal {-self._status}"
            return f"the evaluation's process was killed by {name}"
        return f"the evaluation's process ended with exit status {self._status}"

    def _receive(self) -> None:
        try:
            while part := os.read(self._pipe, 1 << 16):
                self._received += part
        except BlockingIOError:
            pass


def _live(work: Callable[[int], Evaluation], index: int, writing: int, parent: int) -> None:
    """The whole life of a forked process. Never returns."""
    status = 1
    try:
        os.setsid()  # what it starts can be killed with it, and the terminal's Ctrl-C is the parent's to handle
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)  # the threads of the parent's OpenMP are not here: waiting for them would never end
        if os.getppid() == parent:  # it may have died before it could take this one with it
            _send(writing, _report(work, index))
            status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _report(work: Callable[[int], Evaluation], index: int) -> dict[str, Any]:
    try:
        return asdict(work(index))
    except NeverCalled as error:
        return {"never_called": str(error)}
    except Exception as error:  # of the builder
        return asdict(Evaluation(reason=_text(error)))


def _send(writing: int, report: Mapping[str, Any]) -> None:
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(report).encode())


class _OutOfTime(BaseException):
    """No Exception: a function that catches those does not catch its end."""


@contextmanager
def _time_limit(timeout: float | None) -> Iterator[None]:
    """Raises _OutOfTime in the block after `timeout` seconds, and again each second that it goes on. A single call into compiled
    code is not cut short. The former handler and timer are put back."""
    if timeout is None:
        yield
        return

    def end(_number: int, _frame: object) -> None:
        raise _OutOfTime

    start = time.monotonic()
    former = signal.signal(signal.SIGALRM, end)
    former_delay, former_interval = signal.setitimer(signal.ITIMER_REAL, timeout, _GRACE_SECONDS)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # also when the time was over just before that line
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        if former_delay:
            signal.setitimer(signal.ITIMER_REAL, max(former_delay - (time.monotonic() - start), 1e-3), former_interval)


def _number(value: object) -> float:
    """The value as a float. ValueError for what is no finite number."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool:
        number = float(value.detach())
    elif hasattr(value, "item") and getattr(value, "size", 0) == 1:  # of numpy
        return _number(value.item())
    elif isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ValueError(f"the function returned {_shown(value)}, not a number")
    if not math.isfinite(number):
        raise ValueError(f"the function returned {number}, not a finite number")
    return number


def _shown(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    return f"{repr(value)[:40]} ({type(value).__name__})"


def _text(error: Exception) -> str:
    """`RuntimeError: mat1 and mat2 cannot be multiplied (train.py, line 12)`: of the innermost frame that is neither torch's nor
    this package's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    message = " ".join(str(error).split())
    if not frames:  # said here of what was returned
        return message
    own = [one for one in frames if f"{os.sep}torch{os.sep}" not in one.filename and not one.filename.startswith(_PACKAGE)]
    last = (own or frames)[-1]
    where = f" ({os.path.basename(last.filename)}, line {last.lineno})"
    return f"{type(error).__name__}: {message[:_MAX_REASON]}{where}"


def _never_called(value: float, unused: Sequence[str], function: Function) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return (
        f"{name} gave {value:g} without calling {', '.join(unused)}: it measured something else than the model that it was "
        "given. It must run its argument, and the forward of that must be no closure and no bound method of the model that it "
        "was copied from. Leave out a layer that the data never reaches"
    )
