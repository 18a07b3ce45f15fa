"""Did every swept symbol arrive? A sweep over a knob that nobody reads ranks noise."""

from collections.abc import Mapping

from ksweep.contract.outcome import Result, Status


class Delivery:
    """Watches which axes have been proven: read by the trainer of a run in which they were active.

    `selectors` maps a word symbol such as OPTIMIZER to the names of its choice's members: reading any of them counts.
    """

    def __init__(self, selectors: Mapping[str, set[str]]) -> None:
        self._selectors = selectors
        self._proven: set[str] = set()
        self._unread: dict[str, str] = {}

    def add(self, values: Mapping[str, str], result: Result) -> None:
        """Take a run that passed into account; one of a program that does not tell what it reads says nothing."""
        if result.status != Status.PASSED or result.symbols_read is None:
            return
        read = set(result.symbols_read)
        self._proven |= {name for name in values if name in read or self._selectors.get(name, set()) & read}
        for name in values:
            self._unread.setdefault(name, result.config)

    @property
    def problem(self) -> str:
        """The message about axes that were active and that no run has read; empty when there is none."""
        dead = {name: config for name, config in self._unread.items() if name not in self._proven}
        if not dead:
            return ""
        names = ", ".join(f"CONFIG_{name} (in {config})" for name, config in dead.items())
        return (
            f"dead axis: {names}: swept, but the trainer did not read it, so it cannot matter and a ranking would show noise; "
            "take it out of the range file, or make the trainer read it and start anew (FRESH=1)"
        )
