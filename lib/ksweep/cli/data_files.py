"""Before anything starts: whether the files that runs need, and that nothing brings by itself, are there."""

from collections.abc import Iterable

from ksweep.cli.tree import Tree
from ksweep.contract.errors import RequestError
from ksweep.sweep.sweep import config_values


def check_data_files(tree: Tree, texts: Iterable[str]) -> None:
    """RequestError for the files of CONFIG_SWEEP_DATA_FILES that are not there, of configurations with these texts."""
    missing: dict[str, dict[str, None]] = {}  # data set -> paths, in order
    for text in texts:
        if "CONFIG_SWEEP_DATA_FILES=" not in text:  # of most texts: reading them all would take longer
            continue
        values = config_values(text)
        for name in values["SWEEP_DATA_FILES"].split():
            path = tree.root / values["DATA_DIR"] / name.format_map(values)
            if not path.is_file():
                shown = str(path.relative_to(tree.root)) if path.is_relative_to(tree.root) else str(path)
                missing.setdefault(values["DATASET"], {})[shown] = None
    if missing:
        raise RequestError(*(_problem(tree, name, list(paths)) for name, paths in missing.items()))


def _problem(tree: Tree, name: str, paths: list[str]) -> str:
    """What is missing, and in the words of the data set's entry where it comes from."""
    entry = tree.resolver.selectors["DATASET"][name].nodes[0].prompt[0]
    more = f" and {len(paths) - 1} more are not there, which" if len(paths) > 1 else ": not there, and"
    return f'{paths[0]}{more} CONFIG_DATASET="{name}" needs{" it" * (len(paths) == 1)}; {entry}'
