"""Every file name below `test_matrix_results/`, spelt once. What each file holds: test_matrix_results/README.md."""

from pathlib import Path


class _In:
    """A path below that of its owner, made when it is asked for: an analysis has thousands of owners and asks few of them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: "RunDir", kind: type) -> Path:
        return owner.path / self._name


class RunDir:
    """The files of one run."""

    config = _In("config.txt")
    log = _In("output.log")
    metrics = _In("metrics.jsonl")
    training_metrics = _In("training_metrics.json")
    gpu_stats = _In("gpu_stats.json")
    provenance = _In("provenance.json")
    checkpoints = _In("checkpoints")
    parent = _In("checkpoints/parent")
    parent_name = _In("checkpoints/parent/name.txt")
    result = _In("result.json")

    def __init__(self, path: Path) -> None:
        self.path = path


class SweepDir:
    """The files of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sweep = path / "sweep.json"
        self.plan = path / "plan.txt"
        self.journal = path / "journal.jsonl"
        self.lock = path / "runner.lock"
        self.configs = path / "configs"
        self.runner_log = path / "runner.log"
        self.study = path / "study.log"
        self.callbacks_log = path / "callbacks.log"
        self.summary = path / "sweep_summary.json"
        self.summary_csv = path / "sweep_summary.csv"
        self.analysis = path / "sweep_analysis.txt"
        self.summary_parquet = path / "sweep_summary.parquet"
        self.report = path / "report.html"
        self.plots = path / "plots"
        self.index = path / "index.jsonl"
        self.best_config = path / "best_config"
        self.best_defconfig = path / "best_defconfig"
        self.final = path / "final.json"
        self.final_report = path / "final_report.txt"
        self.trackers = path / "trackers"
