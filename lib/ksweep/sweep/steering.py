"""The SWEEP_ symbols of a complete configuration, read: what a sweep is ranked by, what limits it, how it searches."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ksweep.contract.errors import RequestError
from ksweep.contract.metrics import is_reported_each_epoch
from ksweep.search.base import Pruner, SearchSettings
from ksweep.search.pruners import PrunerSettings
from ksweep.search.registry import build_pruner
from ksweep.space.objective import Objectives, check_objectives, parse_objectives
from ksweep.space.values import ValueProblem, parse_decimal
from ksweep.sweep.callbacks import check_command
from ksweep.sweep.runner import Settings
from ksweep.sweep.stop import StopRules

Values = Mapping[str, str]
DEFAULT_POINTS = 50  # of a space that has an axis without a list of values


def objectives_from(values: Values) -> Objectives:
    """What a configuration's sweep is ranked by. RequestError when it cannot be understood."""
    try:
        return parse_objectives(
            values.get("SWEEP_OBJECTIVE", ""), values.get("SWEEP_DIRECTION", "maximize"), values.get("SWEEP_CONSTRAINTS", "")
        )
    except ValueProblem as problem:
        raise RequestError(str(problem)) from None


def resource_key(values: Values) -> str:
    """What reports count of the resource: `epoch`, or `step` where SWEEP_RESOURCE names steps."""
    return "step" if values.get("SWEEP_RESOURCE", "").endswith("STEPS") else "epoch"


def max_resource(values: Values) -> int:
    """The resource of a complete run. RequestError when SWEEP_RESOURCE names nothing that says it."""
    name = values.get("SWEEP_RESOURCE", "")
    text = values.get(name, "")
    if not name.endswith(("EPOCHS", "STEPS")) or not text.isdecimal() or int(text) < 1:
        raise RequestError(
            f'CONFIG_SWEEP_RESOURCE: found "{name}"'
            + (f", which is {text}" if text else ", which this configuration does not have")
            + ", allowed: a whole-number symbol that ends in EPOCHS or STEPS, such as NUM_EPOCHS"
        )
    return int(text)


def settings_from(values: Values) -> Settings:
    """The runner's settings in a complete configuration."""
    target = values.get("SWEEP_TARGET", "").strip()
    number = parse_decimal(target)
    if target and number is None:
        raise RequestError(f'CONFIG_SWEEP_TARGET: found "{target}", allowed: a number, or nothing for no such rule')
    return Settings(
        objectives=objectives_from(values),
        resource=resource_key(values),
        stop_rules=StopRules(
            max_wall_s=float(values.get("SWEEP_MAX_WALL_TIME", "0")),
            max_slot_s=3600 * float(values.get("SWEEP_MAX_GPU_HOURS", "0")),
            max_total=int(values.get("SWEEP_MAX_TOTAL_RESOURCE", "0")),
            target=None if number is None else float(number),
            max_stale=int(values.get("SWEEP_MAX_STALE_TRIALS", "0")),
            num_repeats=int(values.get("SWEEP_REPEATS", "1")),
        ),
        run_timeout_s=int(values.get("SWEEP_RUN_TIMEOUT", "0")),
        silence_timeout_s=int(values.get("SWEEP_SILENCE_TIMEOUT", "0")),
        retries=int(values.get("SWEEP_RETRIES", "0")),
        keep_checkpoints=values.get("SWEEP_KEEP_CHECKPOINTS") == "y",
    )


def pruner_from(values: Values, settings: SearchSettings) -> Pruner | None:
    """The pruner that is asked for, if any. RequestError when it could never stop a run."""
    name = values.get("SWEEP_PRUNER") or "none"
    if name == "none":
        return None
    pruner = build_pruner(
        name,
        PrunerSettings(
            maximize=settings.maximize[0],
            max_resource=settings.max_resource,
            num_points=None if settings.num_points is None else settings.num_points * int(values.get("SWEEP_REPEATS") or "1"),
            unit=settings.unit,
            interval=int(values.get("SWEEP_PRUNER_INTERVAL") or "1"),
            warmup=int(values.get("SWEEP_PRUNER_WARMUP") or "0"),
            min_others=int(values.get("SWEEP_PRUNER_MIN_TRIALS") or "1"),
            keep=float(values.get("SWEEP_PRUNER_PERCENTILE") or "25"),
            min_resource=settings.min_resource,
            eta=settings.eta,
            patience=int(values.get("SWEEP_PRUNER_PATIENCE") or "1"),
            min_delta=float(values.get("SWEEP_PRUNER_MIN_DELTA") or "0"),
            threshold=float(values.get("SWEEP_PRUNER_THRESHOLD") or "0"),
        ),
    )
    if problem := pruner.problem():
        raise RequestError(f"CONFIG_SWEEP_PRUNER={name}: {problem}")
    return pruner


def check_steering(values: Values, objectives: Objectives, root: Path, *, num_points: int | None = None) -> None:
    """RequestError with what is wrong with the SWEEP_ symbols, before anything starts. `root`: top of the tree. `num_points`:
    that there are, at most; None: not known."""
    declared = values.get("SWEEP_METRICS", "").split()
    problems = check_objectives(objectives, declared or None)
    strategy, pruner = values.get("SWEEP_STRATEGY", "grid"), values.get("SWEEP_PRUNER") or "none"
    if not objectives.goals and (strategy not in ("grid", "random", "qmc") or pruner != "none"):
        what = f"strategy {strategy}" if pruner == "none" else f"pruner {pruner}"
        problems.append(f"CONFIG_SWEEP_OBJECTIVE: is empty, and {what} has nothing to go by; name a metric, such as val_acc")
    if (has_rungs(values) or pruner != "none") and objectives.goals:
        finals = [name for name in objectives.goals[0].names if not is_reported_each_epoch(name)]
        problems += [
            f"CONFIG_SWEEP_OBJECTIVE: {name} is known only when a run has ended, and runs are to be compared before; "
            "take one that is reported after each epoch, such as val_acc"
            for name in finals
        ]
    if problem := check_command(values.get("SWEEP_CALLBACK", ""), root):
        problems.append(problem)
    if problems:
        raise RequestError(*problems)
    settings_from(values)
    settings = search_settings(values, objectives, is_finite=True, num_parallel=1)
    numbers = [number for number in (settings.num_points, num_points) if number is not None]
    pruner_from(values, replace(settings, num_points=min(numbers, default=None)))


def check_one_length(values: Values, where: str) -> None:
    """RequestError for a pruner over runs of several lengths. `where`: their axis stands."""
    name, pruner = values.get("SWEEP_RESOURCE", ""), values.get("SWEEP_PRUNER") or "none"
    if pruner != "none":
        raise RequestError(
            f"{where}: CONFIG_{name}: is swept, but the pruner {pruner} looks at runs of one length; give it one value, or take "
            "no pruner (CONFIG_SWEEP_PRUNER=none)"
        )


def has_rungs(values: Values) -> bool:
    """Whether the strategy runs points part of the way."""
    return values.get("SWEEP_STRATEGY_HAS_RUNGS") == "y"


def search_settings(values: Values, objectives: Objectives, *, is_finite: bool, num_parallel: int) -> SearchSettings:
    """What the strategy is asked for. `is_finite`: every axis has a list of values."""
    strategy, trials = values.get("SWEEP_STRATEGY"), int(values.get("SWEEP_TRIALS") or "0")
    longest = max_resource(values) if has_rungs(values) or (values.get("SWEEP_PRUNER") or "none") != "none" else 1
    least = int(values.get("SWEEP_MIN_RESOURCE") or "1")
    if strategy == "pbt":
        least = int(values.get("SWEEP_PBT_INTERVAL") or "0") or max(1, longest // 10)
    return SearchSettings(
        seed=int(values.get("SWEEP_SEED", "1")),
        num_points=trials or (None if is_finite or strategy in ("hyperband", "pbt") else DEFAULT_POINTS),
        maximize=tuple(goal.is_maximized for goal in objectives.goals),
        num_constraints=len(objectives.constraints),
        min_resource=least,
        max_resource=longest,
        eta=int(values.get("SWEEP_ETA") or "3"),
        num_parallel=num_parallel,
        unit=resource_key(values),
    )
