"""What people see while a sweep runs: a live table on a terminal, plain lines in a pipe."""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from ksweep.contract.outcome import Result, Status

LINE_INTERVAL_S = 30.0  # in a pipe: a sign of life at least this often


def duration_text(seconds: float) -> str:
    """Two units at most: 0.7 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    for unit, size, lower, lower_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // lower_size
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"


@dataclass
class Board:
    """What there is to show, kept by the runner. `running`: config -> (slot, start on the monotonic clock, last report).

    `value_of`: the first objective of a run, whatever became of it."""

    total: int
    objective: str
    done: Counter[Status] = field(default_factory=Counter)
    running: dict[str, tuple[int, float, str]] = field(default_factory=dict)
    eta_s: Callable[[], float | None] = lambda: None
    value_of: Callable[[Result], float | None] = lambda result: None
    best: tuple[str, float] | None = None
    notice: str = ""

    @property
    def headline(self) -> str:
        """`12/36 done (11 passed, 1 failed), 2 running, 3 min left, best val_acc 0.9916 (config_004)`."""
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.done.items()) if count)
        parts = [f"{self.done.total()}/{self.total} done" + (f" ({counts})" if counts else "")]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if (eta := self.eta_s()) is not None and self.done.total() < self.total:
            parts.append(f"about {duration_text(eta)} left")
        if self.best:
            parts.append(f"best {self.objective} {self.best[1]:.4f} ({self.best[0]})")
        return ", ".join(parts)


class Progress(ABC):
    """Shows a Board while the sweep runs; `with` it."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def ended(self, config: str, values: Mapping[str, str], result: Result) -> None:
        """A run has ended."""

    @abstractmethod
    def say(self, message: str) -> None:
        """Something that people must read."""

    def tick(self) -> None:
        """Time has passed; called several times a second."""
        return


def _ended_line(board: Board, config: str, values: Mapping[str, str], result: Result) -> str:
    value = board.value_of(result)
    what = result.reason if result.status.is_bad or value is None else f"{board.objective} {value:.4f}"
    if result.status == Status.PRUNED and value is not None:
        what += f"; {result.reason}"
    again = f", attempt {result.attempt}" if result.attempt > 1 else ""
    shown = " ".join(f"{name}={text}" for name, text in values.items())
    return f"{config} {result.status} in {duration_text(result.wall_s)}{again}: {what}" + (f"   [{shown}]" if shown else "")


class LineProgress(Progress):
    """Plain lines."""

    def __init__(self, board: Board, out: TextIO | None = None) -> None:
        super().__init__(board)
        self._out = out or sys.stdout
        self._last = time.monotonic()

    def say(self, message: str) -> None:
        """See Progress."""
        try:
            print(message, file=self._out, flush=True)
        except BrokenPipeError:  # whoever read along has gone (head, a closed pager): the sweep goes on
            self._out = open(os.devnull, "w")  # noqa: SIM115  # for as long as this object
        self._last = time.monotonic()

    def ended(self, config: str, values: Mapping[str, str], result: Result) -> None:
        """See Progress."""
        self.say(f"[{self.board.done.total()}/{self.board.total}] {_ended_line(self.board, config, values, result)}")

    def tick(self) -> None:
        """See Progress."""
        if time.monotonic() - self._last > LINE_INTERVAL_S:
            self.say(self.board.headline)


class LiveProgress(Progress):
    """A bar and one line for each running config, redrawn in place; what ended scrolls by above it."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, message: str) -> None:
        """See Progress."""
        self._console.print(message, style="bold yellow", highlight=False, markup=False)

    def ended(self, config: str, values: Mapping[str, str], result: Result) -> None:
        """See Progress."""
        style = "red" if result.status.is_bad else "green" if result.status == Status.PASSED else "yellow"
        self._console.print(_ended_line(self.board, config, values, result), style=style, highlight=False, markup=False)

    def _draw(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        board = self.board
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for config, (slot, since, last) in list(board.running.items()):
            table.add_row(f"slot {slot}", config, duration_text(now - since), Text(last, style="cyan"))
        lines = Table.grid()
        lines.add_row(Text(board.headline, style="bold"))
        lines.add_row(ProgressBar(total=max(1, board.total), completed=board.done.total(), width=min(60, self._console.width)))
        lines.add_row(table)
        lines.add_row(Text(board.notice, style="bold yellow"))
        return lines


def make_progress(board: Board) -> Progress:
    """Live on a terminal, lines elsewhere."""
    return LiveProgress(board) if sys.stdout.isatty() else LineProgress(board)
