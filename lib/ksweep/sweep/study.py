"""`study.log`: the points of a search as a study of Optuna's, for optuna-dashboard. Made from the run directories."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ksweep.contract.paths import SweepDir
from ksweep.search.base import Known
from ksweep.space.axes import Axis
from ksweep.sweep.search import Search

if TYPE_CHECKING:
    from ksweep.search.optuna_samplers import StudyFile

INTERVAL_S = 10.0  # between two updates while the sweep runs
SHARE = 0.02  # of the time, that they may take


class StudyExport:
    """Keeps the file up to date. Nothing reads it here, so it may be deleted; it takes Optuna's import, hence not at once."""

    def __init__(self, dir: SweepDir, name: str, axes: tuple[Axis, ...], maximize: tuple[bool, ...]) -> None:
        self._path, self._name, self._axes, self._maximize = dir.study, name, axes, maximize
        self._file: StudyFile | None = None
        self._due = time.monotonic() + INTERVAL_S

    def tick(self, search: Search) -> None:
        """Update the file when it is time."""
        if time.monotonic() < self._due:
            return
        start = time.monotonic()
        self.update(search)
        now = time.monotonic()
        self._due = now + max(INTERVAL_S, (now - start) / SHARE)

    def update(self, search: Search) -> None:
        """Bring the file up to date; nothing is imported when it is."""
        history = search.history()
        if self._path.exists() and self._path.stat().st_mtime_ns > search.changed_ns() and self._names(history):
            return
        if self._file is None:
            from ksweep.search.optuna_samplers import StudyFile

            self._file = StudyFile(self._path, self._name, self._axes, self._maximize)
        self._file.update(history, {known.number: search.label_of(known.number) for known in history})

    def _names(self, history: Sequence[Known]) -> bool:
        """Whether the file is whole, as far as can be told without Optuna."""
        text = self._path.read_text(encoding="utf-8", errors="replace")
        return text.endswith("\n") and all(known.id in text for known in history)
