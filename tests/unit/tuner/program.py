"""Tunes two layers of the trained network, as a program: `program.py LOG [STORAGE] [DIE_AFTER]`.

Each evaluation of a compressed model appends its part of the data and the ranks that it was given to LOG; with DIE_AFTER the
process kills itself in the middle of the one after so many. Prints the best parameters and what was rolled back.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.tuner import LayerConfig, OptunaSearch, SKAutoTuner, TuningConfigs
from tests.unit.tuner.trained import accuracy_on, smallness, trained


def main(log: Path, storage: str, die_after: int) -> None:
    def logging(part: str, loss_a_layer: float) -> Callable[[nn.Module], float]:
        accuracy = accuracy_on(part)

        def logged(model: nn.Module) -> float:
            ranks = [layer.rank if isinstance(layer, LowRankLinear) else 0 for layer in (model[0], model[2])]
            num_done = len(log.read_text().splitlines()) if log.exists() else 0
            if die_after and num_done >= die_after and any(ranks):
                os.kill(os.getpid(), signal.SIGKILL)
            value = accuracy(model) - loss_a_layer * sum(map(bool, ranks))
            if any(ranks):
                with log.open("a") as file:
                    file.write(f"{part} {ranks}\n")
            return value

        return logged

    search = OptunaSearch(n_trials=6, seed=3, study_name="two", storage=storage or None, load_if_exists=True)
    configs = TuningConfigs([LayerConfig({"type": "Linear", "indices": [0, 1]}, {"rank": list(range(2, 26, 2))})])
    on_search, on_held = logging("search", 0.0), logging("held", 0.02)  # the loss: so that both layers together do not pass there
    tuner = SKAutoTuner(
        trained(), configs, on_search, 0.97, smallness, search, relative_threshold=True, holdout_eval_func=on_held
    )
    print({name: of["params"] for name, of in tuner.tune().items()})
    print(tuner.verification.rolled_back, [(trial.layer_name, trial.params, trial.accuracy) for trial in tuner.trials])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "", int(sys.argv[3]) if len(sys.argv) > 3 else 0)
