"""Before anything starts: whether the files that runs need, and that nothing brings by itself, are there."""

from collections.abc import Iterable
from pathlib import Path

from ksweep.cli.tree import Tree
from ksweep.contract.errors import RequestError
from ksweep.sweep.sweep import config_values


def check_data_files(tree: Tree, texts: Iterable[str]) -> None:
    """RequestError for the files of CONFIG_SWEEP_DATA_FILES that are not there, of configurations with these texts."""
    needed: dict[tuple[str, Path], None] = {}  # data set and file, each once, in order
    for text in texts:
        if "CONFIG_SWEEP_DATA_FILES=" in text:  # in few: reading all of them would take longer
            values = config_values(text)
            for name in values["SWEEP_DATA_FILES"].split():
                needed[values["DATASET"], Path(values["DATA_DIR"]) / name.format_map(values)] = None
    missing: dict[str, list[Path]] = {}
    for dataset, path in needed:
        if not (tree.root / path).is_file():
            missing.setdefault(dataset, []).append(path)
    if missing:
        raise RequestError(*(_problem(tree, dataset, paths) for dataset, paths in missing.items()))


def _problem(tree: Tree, dataset: str, paths: list[Path]) -> str:
    """What is missing, and in the words of the data set's entry where it comes from."""
    entry = tree.resolver.selectors["DATASET"][dataset].nodes[0].prompt[0]
    asked = f'CONFIG_DATASET="{dataset}"'
    if len(paths) == 1:
        return f"{paths[0]}: not there, and {asked} needs it; {entry}"
    return f"{paths[0]} and {len(paths) - 1} more are not there, which {asked} needs; {entry}"
