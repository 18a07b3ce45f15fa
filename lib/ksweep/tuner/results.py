"""A tuning run's trials as a table, a summary, and files: JSON and safetensors, nothing that runs code when it is read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ksweep.contract.atomic import write_json
from ksweep.nn.compress import Setting, compress_layer, rank_of
from ksweep.nn.replacement import replace_layers
from ksweep.tuner.trials import COMBINED, DENSE, VERIFIED, Trial
from ksweep.tuner.verify import Verification

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
_KEYS = {"model", "best", "floor", "verification", "dense", "trials"}
_ENDINGS = (".json", ".safetensors", ".pkl", ".pickle", ".pt", ".pth")
_METRICS = (
    *("score", "accuracy", "speed", "status", "reason", "accuracy_spread", "speed_spread", "error", "num_stored", "num_bytes"),
    "seconds",
)


def table(dense: Trial | None, trials: Sequence[Trial], untried: Sequence[str] = ()) -> "pd.DataFrame":
    """Columns: trial, layer_name, one a parameter, score, accuracy, speed, status, reason, accuracy_spread, speed_spread, error,
    num_stored, num_bytes, seconds (see Trial), settings. Within each layer_name the dense model stands first, as a candidate with
    no parameters. Numbers that are not there are NaN: the score of rejected and failed trials. `settings` tells each replaced
    layer with its parameters; trials of several groups together have them only there. `untried`: layers without a trial."""
    import pandas as pd

    names = list(dict.fromkeys([*(trial.layer_name for trial in trials), *untried])) or [DENSE]
    rows: list[dict[str, Any]] = []
    for name in names:
        of_name = [trial for trial in trials if trial.layer_name == name]
        has_dense = any(not trial.settings for trial in of_name)
        for trial in [*([dense] if dense and not has_dense else []), *of_name]:
            record = trial.as_json()
            params = {} if name in (COMBINED, VERIFIED) else trial.params
            metrics = {metric: record[metric] for metric in _METRICS}
            settings = "; ".join(f"{layer} {of_params(of)}" for layer, of in trial.settings.items())
            rows.append({"trial": len(rows), "layer_name": name, **params, **metrics, "settings": settings})
    names_of_params = list(
        dict.fromkeys(param for trial in trials if trial.layer_name not in (COMBINED, VERIFIED) for param in trial.params)
    )
    frame = pd.DataFrame(rows, columns=["trial", "layer_name", *names_of_params, *_METRICS, "settings"])
    numbers = [metric for metric in _METRICS if metric not in ("status", "reason")]
    return frame.astype({**dict.fromkeys(numbers, float), "status": str, "num_stored": int, "num_bytes": int})


def of_params(params: Mapping[str, Any]) -> str:
    """`num_terms 1 low_rank 16`."""
    return " ".join(f"{name} {value}" for name, value in params.items())


def summary(best: Mapping[str, Mapping[str, Any]], left: Mapping[str, str], verification: Verification) -> str:
    """What was chosen and how it was verified; `left`: layers that could not be searched, and why."""
    wide = max(map(len, [*best, *left]), default=0) + 2
    lines = []
    for name in [*best, *(name for name in left if name not in best)]:
        of = best.get(name, {"params": {}})
        if of["params"]:
            is_attention = "num_random_features" in of["params"]
            told = of_params(of["params"]) + ("" if is_attention else f"  by {of['method']}")
        else:
            why = verification.rolled_back.get(name)
            told = "dense" + (f": rolled back, {why}" if why else f": {left[name]}" if name in left else "")
        lines.append(f"{name:{wide}}{told}")
    floor = "" if verification.floor is None else f", floor {verification.floor:.6g}"
    lines.append(
        f"accuracy {verification.accuracy:.6g} on {verification.on} (dense {verification.dense_accuracy:.6g}{floor})"
        + ("" if verification.is_passed else ": BELOW THE FLOOR")
    )
    timing = verification.timing
    if timing:
        lines.append(
            f"measured {timing['speedup']:.3f} times as fast as dense, 95 % interval {timing['low']:.3f} to {timing['high']:.3f}"
            f" ({timing['num_pairs']} pairs, {timing['num_threads']} threads, {timing['device']})"
            + ("" if timing["low"] > 1 else ": not shown to be faster")
        )
    if verification.speeds is not None:
        own, dense = verification.speeds
        lines.append(f"optimization_eval_func: {own:.5g}, dense {dense:.5g} (medians of interleaved calls)")
    return "\n".join(lines)


def paths(path: str | Path) -> tuple[Path, Path]:
    """The JSON file and the safetensors file beside it. An ending of such files is taken off; "run.v1" keeps its own."""
    base = Path(path)
    if base.suffix.lower() in _ENDINGS:
        base = base.with_suffix("")
    return base.with_name(f"{base.name}.json"), base.with_name(f"{base.name}.safetensors")


def save(path: str | Path, record: Mapping[str, Any], layers: Mapping[str, nn.Module]) -> tuple[Path, Path]:
    """Write what `load` reads. The tensors first: a JSON file that is there is complete."""
    from safetensors.torch import save_file

    json_path, tensor_path = paths(path)
    tensors = {
        f"{name}/{key}": tensor.detach().cpu().contiguous()
        for name, layer in layers.items()
        for key, tensor in layer.state_dict().items()
    }
    json_path.parent.mkdir(parents=True, exist_ok=True)
    beside = tensor_path.with_name(f".{tensor_path.name}.tmp")
    save_file(tensors, beside)
    beside.replace(tensor_path)
    write_json(json_path, {"schema": SCHEMA, **record})
    tensor_path.chmod(json_path.stat().st_mode)  # safetensors makes its files for their owner alone
    return json_path, tensor_path


def load(path: str | Path) -> dict[str, Any]:
    """The record of a saved tuning run. ValueError when it is none; OSError when it cannot be read."""
    json_path, _ = paths(path)
    try:
        record = json.loads(json_path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{json_path}: not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA or not record.keys() >= _KEYS:
        raise ValueError(f"{json_path}: not the results of a tuning run, or of another version of this program")
    return record


def load_layers(path: str | Path, record: Mapping[str, Any], model: nn.Module) -> dict[str, nn.Module]:
    """The compressed layers of a saved run, for a dense model like the one that was tuned. ValueError where it is not like it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _, tensor_path = paths(path)
    try:
        tensors, layers = load_file(tensor_path), dict[str, nn.Module]()
    except SafetensorError as error:
        raise ValueError(f"{tensor_path}: not a whole safetensors file: {error}") from None
    modules = dict(model.named_modules())
    for name, of in record["best"].items():
        if not of["params"]:
            continue
        if name not in modules:
            raise ValueError(f"{tensor_path}: {name}: the model has no such layer")
        setting = Setting(params=of["params"], method=of["method"], copy_weights=of["copy_weights"])
        rank = rank_of(modules[name], setting)  # without weights to copy, (num_terms, low_rank) would mean a sketch
        params = of["params"] if rank is None else {"rank": rank}
        shell = compress_layer(modules[name], Setting(params=params, method=of["method"], copy_weights=False))
        state = {key.rpartition("/")[2]: tensor for key, tensor in tensors.items() if key.rpartition("/")[0] == name}
        try:
            shell.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{tensor_path}: {name}: {str(error).splitlines()[-1].strip()}") from None
        layers[name] = shell
    return layers


def apply_saved(model: nn.Module, path: str | Path) -> nn.Module:
    """Put the compressed layers of a saved tuning run into a dense model, in place, without a tuner; the model."""
    replace_layers(model, load_layers(path, load(path), model))
    return model
