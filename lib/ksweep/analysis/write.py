"""The whole analysis of a sweep, written into the sweep directory; each file appears whole, at any moment of the sweep."""

import os
from dataclasses import dataclass
from pathlib import Path

from ksweep.analysis import plots, search_plot
from ksweep.analysis.load import SweepState, load_sweep
from ksweep.analysis.ranking import Ranking, rank
from ksweep.analysis.summary import csv_text, summary_rows
from ksweep.analysis.text import analysis_text
from ksweep.contract.atomic import write_json, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.paths import SweepDir


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What was found, and the files that tell it. `text` is that of sweep_analysis.txt."""

    state: SweepState
    ranking: Ranking
    text: str
    files: list[Path]


def analyze(dir: SweepDir) -> Analysis:
    """Rank a sweep and write its summary, analysis and plots. A plot of which there is nothing to show is not there.

    RequestError when `dir` is no sweep or cannot be written to.
    """
    state = load_sweep(dir)
    ranking = rank(state)
    text = analysis_text(state, ranking)
    rows = summary_rows(state)
    images = {
        dir.ranking_plot: plots.ranking_png(state, ranking),
        dir.curves_plot: plots.learning_curves_png(state, ranking),
        dir.search_plot: search_plot.search_png(state, ranking),
    }
    try:
        write_json(dir.summary, rows)
        write_text(dir.summary_csv, csv_text(rows))
        for path, image in images.items():
            _write_image(path, image)
        write_text(dir.analysis, text)  # last: the mark that all of it is written
    except OSError as error:
        raise RequestError(f"{dir.path}: the analysis cannot be written ({error})") from error
    drawn = [path for path, image in images.items() if image is not None]
    return Analysis(state=state, ranking=ranking, text=text, files=[dir.analysis, dir.summary, dir.summary_csv, *drawn])


def _write_image(path: Path, image: bytes | None) -> None:
    if image is None:
        path.unlink(missing_ok=True)  # one from an earlier state of the sweep
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(image)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
