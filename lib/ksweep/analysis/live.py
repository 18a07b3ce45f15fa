"""The screen of a sweep, drawn again and again on a terminal: no scrolling, no flicker, whatever size it has."""

import time
from collections.abc import Callable
from types import TracebackType

from ksweep.analysis.standing import Standing
from ksweep.analysis.status import Line, screen

_LOOK_S = 0.2  # how often the size of the terminal is looked at


class LiveScreen:
    """The whole terminal, for as long as the `with` lasts; what stood there before comes back, also after Ctrl-C."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> "LiveScreen":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._live.stop()

    def draw(self, standing: Standing) -> None:
        """Show it."""
        from rich.text import Text

        width, height = self._console.size
        lines = screen(standing, width=width, height=height - 1, fill="#." if self._console.options.ascii_only else "█░")
        text = Text(no_wrap=True, overflow="crop")
        for line in [*lines, *self._blank(height - 1 - len(lines)), _footer(standing)]:
            text.append_text(Text.assemble(*line))
            text.append("\n")
        text.right_crop(1)
        self._live.update(text, refresh=True)

    @staticmethod
    def _blank(count: int) -> list[Line]:
        return [[("", "")]] * count

    def wait(self, seconds: float, draw: Callable[[], None]) -> None:
        """Let time pass; `draw` is called where the terminal gets another size."""
        deadline, size = time.monotonic() + seconds, self._console.size
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
            if self._console.size != size:
                size = self._console.size
                draw()


def _footer(standing: Standing) -> Line:
    at = time.strftime("%H:%M:%S", time.localtime(standing.now))
    return [(f"{at}  Ctrl-C stops watching, not the sweep", "dim")]
