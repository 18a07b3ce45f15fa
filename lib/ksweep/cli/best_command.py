"""Write the best configuration of a sweep, with the evidence for it, ready to train.

  best_config     the complete configuration: of the best setting's first run that counts
  best_defconfig  the same as a minimal defconfig: what differs from the defaults

With several goals the best setting is the knee of the front or, where it has none, that of the front which is best in the first
goal.

Both files lie in the sweep directory, or in --out, and say at their head what the sweep found. What steered the sweep (strategy,
repeats, limits) is not in them; objective and constraints are. A different file of that name is put aside, not replaced.
Exit code 2 when nothing can be ranked, 1 when that is because runs failed.
"""

import argparse
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from ksweep.analysis.evidence import best_of, evidence, from_here
from ksweep.analysis.findings import Findings, find
from ksweep.analysis.load import RunRecord
from ksweep.analysis.ranking import Group
from ksweep.cli.put_file import put_file
from ksweep.cli.results_argument import add_results_argument, sweep_of
from ksweep.cli.tree import Tree, say
from ksweep.contract.errors import RequestError
from ksweep.contract.paths import SweepDir
from ksweep.kconfig.tree import STEERING_PREFIX
from ksweep.space.rangefile import parse_range_text
from ksweep.sweep.sweep import config_values

# Of the symbols that steer a sweep: by what it is ranked, whether it is drawn, and how runs are started. All others are about
# many runs.
KEPT = (
    *("SWEEP_OBJECTIVE", "SWEEP_DIRECTION", "SWEEP_CONSTRAINTS", "SWEEP_AGGREGATE", "SWEEP_CALLBACK", "SWEEP_PARALLEL_JOBS"),
    "SWEEP_THREADS",
    *("SWEEP_RUN_TIMEOUT", "SWEEP_SILENCE_TIMEOUT", "SWEEP_RETRIES", "SWEEP_KEEP_CHECKPOINTS", "SWEEP_LAUNCH", "SWEEP_REPORT"),
)
WIDTH = 110  # of the lines at the head of the files


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best setting of a sweep, and its configuration as the tree resolves it now. `notes`: what people must be told."""

    findings: Findings
    group: Group
    run: RunRecord
    config: str
    defconfig: str
    notes: list[str]

    @property
    def seed(self) -> str:
        """Its SEED; empty where the tree has none."""
        return config_values(self.config).get("SEED", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring."""
    add_results_argument(parser)
    parser.add_argument("--out", metavar="D", type=Path, help="directory to write to (default: that of the sweep)")


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    choice = choose(Tree(), sweep_of(args))
    sweep = choice.findings.state.dir
    place = SweepDir(args.out or sweep.path)
    facts = [*evidence(choice.findings, choice.group), *choice.notes]
    usage = [
        f"This is {choice.run.config}" + (f", with SEED={choice.seed}." if choice.seed else "."),
        f"train it:              make train CONFIG={from_here(place.best_config)}",
        f"test it, 5 new seeds:  make final RESULTS={from_here(sweep.path)}",
    ]
    head = _comment([*facts, "", *usage])
    say("\n".join([*facts, ""]))
    for path, text in ((place.best_config, choice.config), (place.best_defconfig, choice.defconfig)):
        say(put_file(path, f"{head}\n{text}"))
    say("\n".join(usage[1:]))
    return 0


def choose(tree: Tree, dir: SweepDir) -> Choice:
    """The best setting of a sweep. RequestError, or KsweepError when runs failed, where there is none."""
    findings = find(dir)
    group = best_of(findings)
    run = group.counted[0]
    path, text = _config_of(dir, run, tree)
    file = parse_range_text(text, path, tree.find_preset)
    own = tuple(a for a in file.assignments if not _is_steering(a.symbols[0]))
    if problems := tree.resolver.take(replace(file, assignments=own)):
        raise RequestError(*problems, f"{path}: no configuration of this tree any more, which has changed since the sweep")
    config, notes = tree.resolver.text(), []
    if tree.resolver.point_id(config) != run.point.id:
        notes.append("The tree has changed since the sweep: its new symbols have their defaults here.")
    if "parent" in run.point.search:
        notes.append("The run went on from the weights of another one: this configuration alone does not make its numbers.")
    return Choice(
        findings=findings, group=group, run=run, config=config, defconfig=tree.kconf._min_config_contents(None), notes=notes
    )


def _config_of(dir: SweepDir, run: RunRecord, tree: Tree) -> tuple[Path, str]:
    """The configuration that a run was planned with: neither edited since nor torn."""
    paths = [dir.configs / run.config, run.dir.config]
    for path in (path for path in paths if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        if tree.resolver.point_id(text) == run.point.id:
            return path, text
    raise RequestError(f"{paths[0]}: missing, or changed since the sweep, and so is {paths[1]}; put one of them back")


def _is_steering(name: str) -> bool:
    return name.startswith(STEERING_PREFIX) and not name.startswith(KEPT)


def _comment(lines: list[str]) -> str:
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).wrap
    return "".join(f"# {piece}".rstrip() + "\n" for line in lines for piece in wrap(line) or [""])
