"""What people read in output.log: each layer with what became of it, and both networks in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ksweep.nn.compress import describe
from ksweep.nn.sizes import sizes
from models.sketched.model import Plan

COLUMNS = {  # of layers.json, printed: heading
    "name": "layer",
    "kind": "dense layer",
    "group": "group",
    "rank": "rank",
    "num_stored": "stored",
    "share": "of dense",
    "bytes": "bytes",
    "error": "error",
}


def layer_rows(
    dense: nn.Module, new: nn.Module, plan: Plan, errors: Mapping[str, float], calls: Mapping[str, int]
) -> list[dict[str, Any]]:
    """One item a layer of the groups, in the order of the network: layers.json."""
    rows = []
    for layer in plan.layers:
        before, after = sizes(dense.get_submodule(layer.name)), sizes(new.get_submodule(layer.name))
        rows.append(
            {
                "name": layer.name,
                "kind": describe(dense.get_submodule(layer.name)),
                "group": layer.group,
                "is_replaced": layer.setting is not None,
                "why_dense": layer.why_dense,
                "method": layer.setting.method if layer.setting else None,
                "params": dict(layer.setting.params) if layer.setting else None,
                "rank": layer.rank,
                "num_stored": after.num_stored,
                "num_dense": before.num_stored,
                "share": after.num_stored / before.num_stored,
                "bytes": after.num_bytes,
                "dense_bytes": before.num_bytes,
                "error": errors.get(layer.name, 0.0),
                "calls": calls.get(layer.name),
            }
        )
    return rows


def print_layers(rows: Sequence[dict[str, Any]], plan: Plan) -> None:
    """The layers of the groups; below them why some stay dense, and which layers no group has."""
    table = [list(COLUMNS.values())]
    for row in rows:
        size = "dense" if not row["is_replaced"] else row["rank"] or " x ".join(str(value) for value in row["params"].values())
        values = row | {"rank": size, "share": f"{row['share']:.1%}", "error": f"{row['error']:.4f}"}
        table.append([f"{values[name]:,}" if isinstance(values[name], int) else values[name] for name in COLUMNS])
    _print(table, num_texts=2)
    for row in rows:
        if row["why_dense"]:
            print(f"{row['name']} stays dense: {row['why_dense']}")
    if plan.others:
        print(f"in no group, dense: {' '.join(plan.others)}")
    if plan.own_forward:
        print(f"with a forward of their own, which nothing here stands for, dense: {' '.join(plan.own_forward)}")


def print_networks(metrics: Mapping[str, float], dense: Mapping[str, float]) -> None:
    """The dense network and the compressed one, a row each: metrics that both have."""
    names = [name for name in dense if name in metrics]
    table = [["", *names]]
    table += [[word, *(_shown(row[name]) for name in names)] for word, row in (("dense", dense), ("compressed", metrics))]
    _print(table, num_texts=1)


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}"


def _print(table: Sequence[Sequence[str]], num_texts: int) -> None:
    """Texts to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        aligned = [f"{text:<{width}}" for text, width in zip(row, widths, strict=True)][:num_texts]
        aligned += [f"{text:>{width}}" for text, width in zip(row, widths, strict=True)][num_texts:]
        print("  ".join(aligned).rstrip())
    print(flush=True)
