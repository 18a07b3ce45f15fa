"""The whole analysis of a sweep, written into the sweep directory; each file appears whole, at any moment of the sweep."""

from dataclasses import dataclass
from pathlib import Path

from ksweep.analysis.findings import Findings, find
from ksweep.analysis.plots import draw_plots
from ksweep.analysis.report import report_html
from ksweep.analysis.summary import Row, csv_text, parquet_bytes, summary_rows
from ksweep.analysis.text import analysis_text
from ksweep.contract.atomic import write_bytes, write_json, write_text
from ksweep.contract.errors import RequestError
from ksweep.contract.paths import SweepDir


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What was found, and the files that tell it. `text` is that of sweep_analysis.txt."""

    findings: Findings
    text: str
    files: list[Path]


def analyze(dir: SweepDir, *, draws: bool = True) -> Analysis:
    """Rank a sweep and write its summary and analysis and, unless `draws` is False, its pictures, report and Parquet table.

    A picture of which there is nothing to show is not there. RequestError when `dir` is no sweep or cannot be written to.
    """
    findings = find(dir)
    text = analysis_text(findings)
    rows = summary_rows(findings.state)
    try:
        write_json(dir.summary, rows)
        write_text(dir.summary_csv, csv_text(rows))
        drawn = _draw(findings, rows) if draws else []
        write_text(dir.analysis, text)  # last: the mark that all of it is written
    except OSError as error:
        raise RequestError(f"{dir.path}: the analysis cannot be written ({error})") from error
    return Analysis(findings=findings, text=text, files=[dir.analysis, dir.summary, dir.summary_csv, *drawn])


def _draw(findings: Findings, rows: list[Row]) -> list[Path]:
    dir = findings.state.dir
    images = {name: image for name, image in draw_plots(findings).items() if image is not None}
    write_bytes(dir.summary_parquet, parquet_bytes(rows), sync=False)
    dir.plots.mkdir(exist_ok=True)
    for stale in [path for path in dir.plots.glob("*.png") if path.name not in images]:
        stale.unlink()  # of an earlier state of the sweep
    for name, image in images.items():
        write_bytes(dir.plots / name, image, sync=False)
    write_text(dir.report, report_html(findings, images))
    return [dir.summary_parquet, dir.report, *(dir.plots / name for name in images)]
