"""What expansion costs: 10,000 points of the real tree, expanded, checked and written; then compared with
kconfiglib's own load and write.

make bench-expand
"""

import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from ksweep.cli.tree import Tree  # noqa: E402
from ksweep.kconfig.tree import load_tree  # noqa: E402
from ksweep.sweep.configs import owned_configs, write_configs  # noqa: E402

RANGE = """\
CONFIG_OPTIMIZER=sgd|adamw
CONFIG_LEARNING_RATE=log(1e-4, 1e-1, 10)
CONFIG_WEIGHT_DECAY=0:0.01:0.09
CONFIG_BATCH_SIZE=16|32|64|128|256
CONFIG_SEED=1:1:10
"""


def main() -> None:
    """Print the seconds, and whether every file is what kconfiglib writes."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ROOT / "test_matrix_results")) as scratch:
        path = Path(scratch, "ranges")
        path.write_text(RANGE)
        start = time.perf_counter()
        tree = Tree()
        file = tree.read_range(str(path))
        expansion = tree.resolver.expand(file)
        expanded = time.perf_counter()
        with owned_configs(Path(scratch, "configs")):
            write_configs(expansion, file, Path(scratch, "configs"), {})
        written = time.perf_counter()
        print(
            f"{len(expansion.points):,} points: {written - start:.2f} s "
            f"({expanded - start:.2f} s to expand and check, rest to write)"
        )
        different = _differing(Path(scratch))
        print(
            f"byte-identical to kconfiglib's own load and write: "
            f"{len(expansion.points) - different:,} of {len(expansion.points):,}"
        )
        sys.exit(1 if different else 0)


def _differing(scratch: Path) -> int:
    kconf = load_tree(ROOT)
    different = 0
    again = str(scratch / "again")
    for config in (scratch / "configs").glob("config_*"):
        kconf.load_config(str(config))
        kconf.write_config(again, save_old=False)
        different += Path(again).read_bytes() != config.read_bytes()
    return different


if __name__ == "__main__":
    main()
