"""A sweep over the tree's own symbols as it lies there when all its runs have passed, without one having been trained."""

import textwrap
from pathlib import Path

from ksweep.cli.tree import Tree
from ksweep.contract.atomic import write_json
from ksweep.contract.outcome import Result, Status
from ksweep.contract.paths import RunDir, SweepDir
from ksweep.kconfig.resolve import Point
from ksweep.space.rangefile import parse_range_text, read_range_file
from ksweep.sweep.configs import ConfigSet, PlannedConfig
from ksweep.sweep.store import save_plan
from ksweep.sweep.sweep import config_values


class Planned:
    """A sweep over a range file of the tree, all of whose runs have passed, without one having been trained."""

    def __init__(self, tree: Tree, path: Path, text: str) -> None:
        self.tree = tree
        self.points = tree.resolver.expand(parse_range_text(textwrap.dedent(text), path / "range", Path)).points
        configs = [
            PlannedConfig(config=f"config_{i:03d}", id=p.id, values=p.values, index=p.index, text=p.text)
            for i, p in enumerate(self.points, 1)
        ]
        plan = ConfigSet(name="demo", source="range", range_text=text, axes=[], counts={}, configs=configs, plan_text="")
        self.dir = SweepDir(path / "sweep_20260101_000000")
        self.dir.path.mkdir()
        self.record = save_plan(self.dir, plan, None, config_values(configs[0].text), tree.git, tree.kconfig_hash)

    def make_best(self, best: Point) -> None:
        """Write results of which those of one setting are the best ones."""
        setting = {name: value for name, value in best.values.items() if name != "SEED"}
        for record in self.record.points:
            run = RunDir(self.dir.path / record.run_dir)
            run.path.mkdir(exist_ok=True)
            is_best = setting.items() <= record.values.items() and record.values.keys() - {"SEED"} == setting.keys()
            metrics: dict[str, float | None] = {
                "val_acc": 0.9 if is_best else 0.5,
                "test_acc": 0.8,
                "test_loss": 0.1 if is_best else 0.7,
            }
            effective = {"num_examples": {"train": 1079, "val": 359, "test": 359}}
            result = Result(
                id=record.id, config=record.config, status=Status.PASSED, metrics=metrics, wall_s=1.0, effective=effective
            )
            run.config.write_text((self.dir.configs / record.config).read_text())
            write_json(run.result, result.to_dict(), sync=False)

    def ids_of(self, path: Path) -> list[str]:
        """Of the points that a file comes to."""
        return [point.id for point in self.tree.resolver.expand(read_range_file(path, Path)).points]
