"""Networks that are compressed: what they keep at equal storage, and how fast one is that keeps a floor.

  bytes       LeNet-5 on Fashion-MNIST (make data-fashion-mnist) at 12 % and 25 % of the bytes of its linear layers, shared out as
              is best on the validation part: test accuracy with activation-aware SVD, plain SVD, the seed's sketch (5 draws); and
              activation-aware SVD with 200 steps of distillation, without labels. Of a network trained by the recipe, and of
              one that a large weight decay has made flatter, of which the limits are asked
  floor       the transformer, a classifier of digits as tokens: SKAutoTuner at 0.98 of the dense accuracy, its own timing; the
              search sees the validation part, the verification the test part

Networks are trained first, in some minutes; with KEEP=<directory> they are kept there, and found the next time. One thread.

make bench-sketched
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402
from torch import nn  # noqa: E402

from ksweep.contract.config import RunConfig  # noqa: E402
from ksweep.kconfig.tree import load_tree  # noqa: E402
from ksweep.nn.calibration import Moments, collect_moments  # noqa: E402
from ksweep.nn.compress import Setting, compressed, max_rank  # noqa: E402
from ksweep.nn.distillation import distill  # noqa: E402
from ksweep.train.device import Compute  # noqa: E402
from ksweep.train.task import Part, Task  # noqa: E402
from ksweep.tuner import LayerConfig, OptunaSearch, SKAutoTuner, TuningConfigs  # noqa: E402
from models.lenet5.train import build_task as build_images  # noqa: E402
from models.transformer.train import build_task as build_tokens  # noqa: E402

KEPT, LOST, FLOOR = 0.95, 0.80, 0.98
NUM_DRAWS = 5
LENET5 = """
CONFIG_MODEL_SELECT_LENET5=y
CONFIG_DATASET_SELECT_FASHION_MNIST=y
CONFIG_NUM_EPOCHS=6
"""
DECAYED = """
CONFIG_MODEL_SELECT_LENET5=y
CONFIG_DATASET_SELECT_FASHION_MNIST=y
CONFIG_OPTIMIZER_SELECT_SGD=y
CONFIG_WEIGHT_DECAY="0.01"
CONFIG_NUM_EPOCHS=8
"""
TRANSFORMER = """
CONFIG_MODEL_SELECT_TRANSFORMER=y
CONFIG_TRANSFORMER_TASK_SELECT_CLASSIFIER=y
CONFIG_TRANSFORMER_POSITIONS_SELECT_LEARNED=y
CONFIG_TRANSFORMER_D_MODEL=256
CONFIG_TRANSFORMER_LAYERS=2
CONFIG_BATCH_SIZE=16
CONFIG_LEARNING_RATE="0.001"
CONFIG_NUM_EPOCHS=12
"""


def trained(name: str, symbols: str, build_task: Any, words: str) -> Task:
    """The task of a network with the weights that its own program selected."""
    place = Path(os.environ.get("KEEP") or tempfile.mkdtemp()) / f"{name} {words}"
    if not (place / "training_metrics.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        kconf = load_tree(ROOT)
        (place / "preset").write_text(symbols)
        kconf.load_config(str(place / "preset"))
        assert not kconf.warnings, kconf.warnings
        kconf.write_config(str(place / "config.txt"))
        print(f"training {place}", flush=True)
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}", "KSWEEP_RUN_DIR": str(place)}
        subprocess.run([sys.executable, "-m", f"models.{name}.train"], cwd=ROOT, env=env, check=True)
    task: Task = build_task(
        RunConfig.load(place / "config.txt"), Compute(device=torch.device("cpu"), autocast=None), torch.Generator().manual_seed(0)
    )
    task.model.load_state_dict(torch.load(place / "checkpoints" / "best.pt", weights_only=True)["model"])
    task.model.eval()
    return task


def accuracy(task: Task, part: Part, model: nn.Module) -> float:
    """Of any network in the place of the task's own."""
    own, task.model = task.model, model
    try:
        return task.score(part, 128)[f"{part}_acc"]
    finally:
        task.model = own


def stored(layers: Mapping[str, nn.Module]) -> int:
    """Weights of the layers; their biases stay as they are."""
    return sum(layer.get_parameter("weight").numel() for layer in layers.values())


def rank_pairs(layers: Mapping[str, nn.Linear], share: float) -> list[dict[str, int]]:
    """Even ranks, so that a sketch of half of each stores as much, of the two layers that hold nearly all weights; the second
    gets what the first leaves of the budget. All other layers stay dense, and count."""
    first, second = sorted(layers, key=lambda name: -layers[name].weight.numel())[:2]
    sides = {name: layer.in_features + layer.out_features for name, layer in layers.items()}
    budget = share * stored(layers) - sum(layers[name].weight.numel() for name in layers if name not in (first, second))
    pairs = []
    for rank in range(2, int(budget / sides[first]), 2):
        left = min(int((budget - rank * sides[first]) / sides[second]), max_rank(layers[second])) // 2 * 2
        pairs += [{first: rank, second: left}] if left else []
    return pairs


def compress(task: Task, ranks: Mapping[str, int], method: str, moments: Mapping[str, Moments], seed: int = 0) -> nn.Module:
    """The task's network with these layers at the storage of these ranks."""
    settings = {name: Setting(params={"num_terms": 1, "low_rank": rank // 2}, method=method) for name, rank in ranks.items()}
    return compressed(task.model, settings, moments=moments, seed=seed)


def bench_bytes() -> bool:
    """Prints the tables; whether the limits hold of the network with weight decay."""
    equal_bytes("lenet5", LENET5, "recipe")
    return equal_bytes("lenet5", DECAYED, "weight decay 0.01")


def equal_bytes(model: str, symbols: str, words: str) -> bool:
    """Prints the table of one network; whether the limits hold."""
    task = trained(model, symbols, build_images, words)
    layers = {name: layer for name, layer in task.model.named_modules() if isinstance(layer, nn.Linear)}
    batches = [inputs for inputs, _ in task.examples("train", 128, generator=torch.Generator().manual_seed(1), num_batches=16)]

    def run() -> None:
        with torch.no_grad():
            for inputs in batches:
                task.model(inputs)

    moments, dense, good = collect_moments(task.model, list(layers), run), accuracy(task, "test", task.model), True
    print(f"LeNet-5 on Fashion-MNIST, {words}: dense test accuracy {dense:.4f}; share of it that is kept:")
    for share in (0.12, 0.25):
        ranks = max(
            rank_pairs(layers, share), key=lambda ranks: accuracy(task, "val", compress(task, ranks, "activation-svd", moments))
        )
        of = {}
        for method in ("activation-svd", "svd", "sketch"):
            draws = range(NUM_DRAWS if method == "sketch" else 1)
            networks = [compress(task, ranks, method, moments, seed) for seed in draws]
            of[method] = [accuracy(task, "test", network) / dense for network in networks]
        polished = compress(task, ranks, "activation-svd", moments)
        distill(polished, task.model, list(ranks), [((inputs,), {}) for inputs in batches], num_steps=200, learning_rate=1e-3)
        of["distilled"] = [accuracy(task, "test", polished) / dense]
        shown = "  ".join(f"{method} {statistics.mean(kept):.3f}" for method, kept in of.items())
        print(
            f"  {share:.0%} of the bytes, ranks {ranks}: {shown}  (sketches {min(of['sketch']):.3f} to {max(of['sketch']):.3f})"
        )
        good &= of["activation-svd"][0] >= KEPT and statistics.mean(of["sketch"]) < LOST
    return good


def bench_floor() -> bool:
    """Prints what the tuner found; whether it passes and is measured faster."""
    task = trained("transformer", TRANSFORMER, build_tokens, "classifier")
    before = repr(task.model)
    configs = TuningConfigs(
        [
            LayerConfig({"pattern": r"attention\.", "type": "Linear"}, {"rank": [8, 16, 32, 64]}),
            LayerConfig({"pattern": r"mlp\.", "type": "Linear"}, {"rank": [8, 16, 32, 64]}),
        ]
    )
    tuner = SKAutoTuner(
        task.model,
        configs,
        lambda model: accuracy(task, "val", model),
        FLOOR,
        search_algorithm=OptunaSearch(n_trials=12, seed=1),
        relative_threshold=True,
        holdout_eval_func=lambda model: accuracy(task, "test", model),
        verbose=True,
    )
    tuner.tune()
    verification, tuned = tuner.verification, tuner.apply_best_params()
    assert verification is not None
    chosen = [name for name, of in tuner.get_best_params().items() if of["params"]]
    changed = [
        name
        for name, layer in task.model.named_modules()
        if not list(layer.children()) and type(dict(tuned.named_modules()).get(name)) is not type(layer)
    ]
    print(f"chosen: {len(chosen)} layers; changed in print(model): {sorted(chosen) == sorted(changed)}")
    return (
        verification.is_passed
        and verification.timing is not None
        and verification.timing["low"] > 1
        and sorted(chosen) == sorted(changed)
        and repr(task.model) == before
    )


if __name__ == "__main__":
    parts = {"bytes": bench_bytes, "floor": bench_floor}
    wanted = sys.argv[1:] or list(parts)
    results = {name: parts[name]() for name in wanted}
    print({name: "holds" if good else "DOES NOT HOLD" for name, good in results.items()})
    sys.exit(0 if all(results.values()) else 1)
