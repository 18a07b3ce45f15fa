"""Did every swept symbol arrive? A sweep over a knob that nobody reads ranks noise."""

from collections.abc import Mapping

from ksweep.contract.outcome import Result


class Delivery:
    """Watches which axes have been proven: read by the trainer of a run in which they were active.

    `selectors` maps a word symbol such as OPTIMIZER to the names of its choice's members: reading any of them counts.
    """

    def __init__(self, selectors: Mapping[str, set[str]]) -> None:
        self._selectors = selectors
        self._proven: set[str] = set()

    def dead_axes(self, values: Mapping[str, str], result: Result) -> list[str]:
        """Symbols among the run's active axes that no run has read so far. Empty for a program that does not tell."""
        if result.symbols_read is None:
            return []
        read = set(result.symbols_read)
        self._proven |= {name for name in values if name in read or self._selectors.get(name, set()) & read}
        return [name for name in values if name not in self._proven]
