"""Every file name below `test_matrix_results/`, spelt once. What each file holds: test_matrix_results/README.md."""

from pathlib import Path


class RunDir:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.txt"
        self.log = path / "output.log"
        self.metrics = path / "metrics.jsonl"
        self.training_metrics = path / "training_metrics.json"
        self.gpu_stats = path / "gpu_stats.json"
        self.provenance = path / "provenance.json"
        self.checkpoints = path / "checkpoints"
        self.parent = self.checkpoints / "parent"
        self.parent_name = self.parent / "name.txt"
        self.result = path / "result.json"


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
        self.ranking_plot = path / "ranking.png"
        self.curves_plot = path / "learning_curves.png"
        self.search_plot = path / "search.png"
