#!/usr/bin/env python3
"""Run a directory of config files: run_test_matrix.py --config-dir sweep_configs --output-dir my_results."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from ksweep.cli.main import main  # noqa: E402

sys.exit(main(["run", *sys.argv[1:]]))
