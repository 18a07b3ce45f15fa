"""A model's entry: `return run_trainer("lenet5", image_classification(build_model))` is all that a train.py has to say."""

import sys
from collections.abc import Callable

from ksweep.contract.errors import ConfigError, KsweepError
from ksweep.contract.run import Run
from ksweep.train.loop import train
from ksweep.train.task import TaskBuilder


def run_trainer(model: str, build_task: TaskBuilder) -> int:
    """Train the configuration in KSWEEP_RUN_DIR, which must name `model`; the exit code, see run_program."""
    return run_program(model, lambda run: train(run, build_task))


def run_program(model: str, work: Callable[[Run], int]) -> int:
    """Do `work` with the configuration in KSWEEP_RUN_DIR, which must name `model`; the exit code.

    0: a result is written (passed or diverged); 143: told to stop, and saved; 2: the configuration is refused, with its
    message on standard error. Anything unexpected keeps its traceback.
    """
    try:
        run = Run.open()
        named = run.config.str("MODEL")
        if named != model:
            raise ConfigError(f'{run.config.source}: CONFIG_MODEL: found "{named}", but this program trains {model}')
        return work(run)
    except KsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
