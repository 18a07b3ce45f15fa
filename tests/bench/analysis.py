"""What reading and ranking a large sweep costs, against what one would write with json and pandas over the same directories.

  first       the leaderboard of 10,000 runs in a new process, nothing of it having been read before
  refreshed   the same in a new process after 100 more runs have ended
  watched     the same in a process that looks again and again, as `watch` does: paired with json + pandas, which reads them all,
              interleaved and in alternating order, after 100 more runs each; both must find the same best setting
  analyze     the whole analysis of 1,000 runs in a new process: text, tables, pictures and report.html

make bench-analysis
"""

import gc
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

import pandas  # noqa: E402

from ksweep.analysis.load import SweepReader  # noqa: E402
from ksweep.analysis.ranking import rank  # noqa: E402
from ksweep.analysis.text import leaderboard  # noqa: E402
from ksweep.contract.atomic import read_json, write_json  # noqa: E402
from ksweep.contract.paths import SweepDir  # noqa: E402
from tests.simulated import simulate  # noqa: E402

NUM_SEEDS, NUM_EPOCHS, NUM_NEW, NUM_PAIRS, NUM_PROCESSES = 5, 10, 100, 7, 5
FIRST_S, REFRESHED_S, TIMES_FASTER, ANALYZE_S = 2.0, 0.5, 15.0, 15.0
# As much as lenet5-sweep writes into a result.json: 2.2 kB.
SYMBOLS = {
    "DATASET": "digits", "DETERMINISTIC": "n", "DEVICE": "auto", "EARLY_STOPPING_PATIENCE": "0", "GRAD_ACCUMULATION": "1",
    "IMAGE_SIZE": "32", "LABEL_SMOOTHING": "0", "LR_SCHEDULE": "cosine", "LR_WARMUP_EPOCHS": "0", "MODEL": "lenet5",
    "NUM_EPOCHS": "12", "NUM_WORKERS": "0", "OOM_ACCUMULATE": "n", "PRECISION": "auto", "PRUNING_METHOD": "none",
    "RANDOM_CROP": "0", "RANDOM_FLIP": "n", "SGD_MOMENTUM": "0.9", "SGD_NESTEROV": "n", "TORCH_COMPILE": "n",
    "TRAIN_EXAMPLES": "1079",
}  # fmt: skip
PARAMETERS = {
    "num_parameters": 61470, "lr": 0.05, "momentum": 0.9, "dampening": 0, "weight_decay": 0.01, "nesterov": False,
    "maximize": False, "foreach": None, "differentiable": False, "fused": True,
}  # fmt: skip
EFFECTIVE = {
    "optimizer": {"class": "SGD", "param_groups": [PARAMETERS, PARAMETERS | {"weight_decay": 0.0}]}, "pruning": None,
    "model": "LeNet5", "num_parameters": 61750, "dataset": "digits", "num_examples": {"train": 1079, "val": 359, "test": 359},
    "image_size": 32, "random_crop": 0, "random_flip": False, "batch_size": 64, "steps_per_epoch": 17, "label_smoothing": 0.0,
    "device": "cpu", "precision": "float32", "compiled": False, "deterministic": False, "num_threads": 1, "seed": 2,
    "torch": "2.13.0+cpu", "lr_schedule": {"name": "cosine", "warmup_steps": 0, "num_steps": 204}, "num_micro_batches": 1,
}  # fmt: skip
FINAL = {
    "val_loss": 0.039901032089190894, "train_loss": 0.01719332801953193, "test_acc": 0.9749303621169917,
    "test_loss": 0.06288815872914943, "best_epoch": 8, "final_sparsity": 0.0, "train_time_s": 14.26373814499675,
    "epoch_time_s": 1.1886448454163958, "peak_memory_mib": 302.1796875, "pruning_mib": 0.0,
    "step_time_s": 0.06450924441185849, "images_per_s": 983.8991111113769,
}  # fmt: skip
SETTING = ["LEARNING_RATE", "WEIGHT_DECAY", "BATCH_SIZE", "OPTIMIZER"]


class Seconds(NamedTuple):
    """The clock on the wall, and the CPU time, which other work on the machine changes less."""

    wall: float
    cpu: float


Found = tuple[dict[str, str], float]  # the best setting, and its mean


class HeldBack:
    """The results of the last `number` runs, put aside: as if these had not ended yet."""

    def __init__(self, dir: SweepDir, number: int) -> None:
        self._results = sorted(dir.path.glob("config_*/result.json"))[-number:]
        for path in self._results:
            path.rename(_aside(path))

    def end_some(self) -> None:
        """NUM_NEW of them end."""
        for _ in range(NUM_NEW):
            path = self._results.pop()
            _aside(path).rename(path)


def _aside(result: Path) -> Path:
    return result.with_name("held_back")


def make_sweep(path: Path, num_rates: int, num_decays: int) -> SweepDir:
    """A finished sweep of num_rates * num_decays * 50 runs, five seeds a setting, each with ten reports and a log of results."""
    axes = {
        "LEARNING_RATE": [f"{number}e-4" for number in range(1, num_rates + 1)],
        "WEIGHT_DECAY": [f"{number}e-3" for number in range(num_decays)],
        "BATCH_SIZE": ["16", "32", "64", "128", "256"],
        "OPTIMIZER": ["sgd", "adamw"],
    }
    sweep = simulate(path, axes, _metrics, seeds=NUM_SEEDS, epochs=NUM_EPOCHS)
    for result in path.glob("config_*/result.json"):
        record = read_json(result)
        symbols, metrics = dict(sorted((SYMBOLS | record["symbols_read"]).items())), FINAL | record["metrics"]
        write_json(result, record | {"metrics": metrics, "symbols_read": symbols, "effective": EFFECTIVE}, sync=False)
    return sweep


def _metrics(values: dict[str, str], seed: int, epoch: int) -> dict[str, float | None]:
    quality = 0.98 - 0.02 * abs(math.log10(float(values["LEARNING_RATE"]) / 1e-3)) - 5 * float(values["WEIGHT_DECAY"])
    noise = random.Random(f"{values} {seed} {epoch}").gauss(0, 0.003)
    return {"val_acc": quality * (1 - math.exp(-epoch / 2)) + noise, "train_loss": 2 / epoch, "val_loss": 2 / epoch - noise}


def seconds_of_process(command: str, dir: SweepDir) -> Seconds:
    """Of a whole process."""
    arguments = [sys.executable, str(ROOT / "scripts" / "ksweep.py"), command, "--results", str(dir.path)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def with_pandas(dir: SweepDir) -> Found:
    """The table as one writes it by hand, printed to a string; of a result.json only what is asked for is put into the frame."""
    rows = []
    for path in dir.path.glob("config_*/result.json"):
        with open(path) as file:
            result = json.load(file)
        kept = {name: result[name] for name in ("config", "status", "wall_s", "metrics")}
        rows.append(kept | {"values": {name: result["symbols_read"][name] for name in SETTING}})
    frame = pandas.json_normalize(rows)
    symbols = [f"values.{name}" for name in SETTING]
    settings = frame[frame["status"] == "passed"].groupby(symbols)
    table = settings.agg(
        val_acc=("metrics.val_acc", "mean"),
        sd=("metrics.val_acc", "std"),
        n=("metrics.val_acc", "count"),
        test_acc=("metrics.test_acc", "mean"),
        wall_s=("wall_s", "mean"),
    ).sort_values("val_acc", ascending=False)
    assert table.head(10).to_string()
    return dict(zip(SETTING, table.index[0], strict=True)), float(table["val_acc"].iloc[0])


def with_ksweep(reader: SweepReader) -> Found:
    """The leaderboard, printed to a string."""
    state = reader.read()
    ranking = rank(state)
    assert leaderboard(state, ranking, top=10)
    assert ranking.best
    return ranking.best.values, ranking.best.score.mean or math.nan


def in_pairs(dir: SweepDir, held: HeldBack) -> tuple[list[Seconds], list[Seconds]]:
    """Seconds of ours and of pandas', each after NUM_NEW more runs have ended; the order alternates. Without the collector of
    cycles while the clock runs, as timeit does it: the one would pay for what the other has left."""
    reader = SweepReader(dir)
    seconds: tuple[list[Seconds], list[Seconds]] = ([], [])
    ways: list[Callable[[], Found]] = [lambda: with_ksweep(reader), lambda: with_pandas(dir)]
    for pair in range(-1, NUM_PAIRS):
        if pair >= 0:  # the first look of each is none of a refreshed table
            held.end_some()
        found: dict[int, Found] = {}
        for way in (0, 1) if pair % 2 else (1, 0):
            gc.collect()
            gc.disable()
            start, cpu = time.perf_counter(), time.process_time()
            found[way] = ways[way]()
            if pair >= 0:
                seconds[way].append(Seconds(time.perf_counter() - start, time.process_time() - cpu))
            gc.enable()
        assert found[0][0] == found[1][0], f"they disagree: {found}"
        assert math.isclose(found[0][1], found[1][1]), f"they disagree: {found}"
    return seconds


def lines(scratch: Path) -> Iterator[tuple[str, bool]]:
    """A line for each measurement, and whether its limit holds."""
    large = make_sweep(scratch / "sweep_large", num_rates=20, num_decays=10)
    first = []
    for _ in range(NUM_PROCESSES):
        large.index.unlink(missing_ok=True)
        first.append(seconds_of_process("leaderboard", large))
    yield _line("first", first, FIRST_S)
    large.index.unlink()
    held = HeldBack(large, NUM_NEW * (NUM_PROCESSES + NUM_PAIRS))
    seconds_of_process("leaderboard", large)
    refreshed = []
    for _ in range(NUM_PROCESSES):
        held.end_some()
        refreshed.append(seconds_of_process("leaderboard", large))
    yield _line("refreshed", refreshed, REFRESHED_S)
    watched, by_hand = in_pairs(large, held)
    times = statistics.median(slow.cpu / fast.cpu for fast, slow in zip(watched, by_hand, strict=True))
    yield _line("json + pandas", by_hand)
    yield _line("watched", watched)
    holds = times >= TIMES_FASTER
    against = f"median of {NUM_PAIRS} pairs  limit {TIMES_FASTER:g}: {_verdict(holds)}"
    yield f"  {'':14} {times:7.1f} times as fast by CPU time, {against}", holds
    small = make_sweep(scratch / "sweep_small", num_rates=4, num_decays=5)
    yield _line("analyze", [seconds_of_process("analyze", small)], ANALYZE_S)


def _line(name: str, seconds: list[Seconds], limit: float = math.inf) -> tuple[str, bool]:
    walls = sorted(measured.wall for measured in seconds)
    holds = statistics.median(walls) < limit
    against = f"  limit {limit:g}: {_verdict(holds)}" if limit < math.inf else ""
    cpu = statistics.median(measured.cpu for measured in seconds)
    return f"  {name:14} {statistics.median(walls):7.3f} ({walls[0]:.3f}-{walls[-1]:.3f}) s, CPU {cpu:.3f} s{against}", holds


def _verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def main() -> None:
    """Print what was measured; exit code 1 when a limit does not hold."""
    all_hold = True
    print("10,000 runs (analyze: 1,000), five seeds a setting: median (range) of wall seconds")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ROOT / "test_matrix_results")) as scratch:
        for line, holds in lines(Path(scratch)):
            print(line, flush=True)
            all_hold &= holds
    sys.exit(0 if all_hold else 1)


if __name__ == "__main__":
    main()
