"""Tunes two layers of the trained network, as a program: `program.py LOG [STORAGE] [DIE_AFTER]`.

Each evaluation of the search appends the ranks that it was given to LOG; with DIE_AFTER the process kills itself in the middle of
the one after so many. Prints the best parameters.
"""

import os
import signal
import sys
from pathlib import Path

from torch import nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.tuner import LayerConfig, OptunaSearch, SKAutoTuner, TuningConfigs
from tests.unit.tuner.trained import accuracy_on, smallness, trained


def main(log: Path, storage: str, die_after: int) -> None:
    accuracy = accuracy_on("search")

    def logged(model: nn.Module) -> float:
        ranks = [layer.rank if isinstance(layer, LowRankLinear) else 0 for layer in (model[0], model[2])]
        num_done = len(log.read_text().splitlines()) if log.exists() else 0
        if die_after and num_done >= die_after and any(ranks):
            os.kill(os.getpid(), signal.SIGKILL)
        value = accuracy(model)
        if any(ranks):
            with log.open("a") as file:
                file.write(f"{ranks}\n")
        return value

    search = OptunaSearch(n_trials=6, seed=3, study_name="two", storage=storage or None, load_if_exists=True)
    configs = TuningConfigs([LayerConfig({"type": "Linear", "indices": [0, 1]}, {"rank": list(range(2, 26, 2))})])
    tuner = SKAutoTuner(trained(), configs, logged, 0.97, smallness, search, relative_threshold=True)
    print({name: of["params"] for name, of in tuner.tune().items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "", int(sys.argv[3]) if len(sys.argv) > 3 else 0)
