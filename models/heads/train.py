"""Train projection heads as config.txt in KSWEEP_RUN_DIR says: python -m models.heads.train"""

import sys

from ksweep.train.main import run_trainer
from models.heads.task import build_task


def main() -> int:
    """Train; the exit code."""
    return run_trainer("heads", build_task)


if __name__ == "__main__":
    sys.exit(main())
