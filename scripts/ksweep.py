#!/usr/bin/env python3
"""Every subcommand of ksweep; `make help` lists them as targets."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from ksweep.cli.main import main  # noqa: E402

sys.exit(main())
