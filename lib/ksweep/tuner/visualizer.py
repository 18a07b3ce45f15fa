"""A network as a tree: what each layer is called, what it stores, and what it costs."""

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from ksweep.nn.modes import evaluation_mode
from ksweep.nn.sizes import Sizes, counting_flops, sizes_of_layers

_MAX_WIDTH = 120  # columns; a wider table loses the sizes behind the classes of its layers
_NUM_PASSES = 9
_PLAIN = str.maketrans({"├": "|", "└": "`", "│": "|", "─": "-", "→": ">"})  # for a terminal that has no such letters


class ModelVisualizer:
    """Prints networks."""

    @staticmethod
    def print_module_tree(
        model: nn.Module, root_name: str = "model", *, inputs: tuple[Any, ...] | Tensor | None = None, file: TextIO | None = None
    ) -> str:
        """Print every module of `model` in its own order to `file` (None: standard output), and return what was printed.

        A layer's name for a selector is the names from below the root to it, with dots between. Numbers of a module are with
        those of the modules in it: parameters, buffers, bytes, share of the model's bytes; what several layers share counts at
        the first of them, and the others say so ("= name of the first"). A compressed layer says what share of its dense layer's
        numbers it stores.

        `inputs`: arguments of a call of the model (one tensor is taken as the only one). Then the model is called a few times, in
        evaluation mode without gradients, and its modules get their shares of the operations and of the time (from medians; on
        CUDA each module waits for its results), and a layer that was not called says so. The model is afterwards as it was.
        """
        cost = None if inputs is None else _measure(model, (inputs,) if isinstance(inputs, Tensor) else tuple(inputs))
        rows = list(_rows(model, root_name, sizes_of_layers(model), cost))
        text = _table(rows)
        if cost is not None:
            text += f"\n{cost.summary}"
        stream = sys.stdout if file is None else file
        try:
            print(text, file=stream)
        except UnicodeEncodeError:
            print(text.translate(_PLAIN), file=stream)
        return text


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Of one call: by name, with what is in it; "" is the model."""

    calls: dict[nn.Module, int]
    flops: dict[str, float]
    seconds: dict[str, float]
    summary: str

    def is_called(self, module: nn.Module) -> bool:
        """It or something in it."""
        return any(part in self.calls for part in module.modules())

    def cells(self, name: str) -> tuple[str, ...]:
        shares = ((amounts[name], amounts[""]) for amounts in (self.flops, self.seconds))
        return tuple(_percent(amount, total) if amount else "" for amount, total in shares)


@dataclass(frozen=True, kw_only=True)
class _Row:
    tree: str
    kind: tuple[str, str]  # class, sizes
    cells: tuple[str, ...]
    notes: list[str]


_HEADINGS = ("params", "buffers", "bytes", "of bytes", "of FLOPs", "of time")


def _rows(model: nn.Module, root_name: str, found: dict[str, Sizes], cost: _Cost | None) -> Iterator[_Row]:
    total = found[""].num_bytes
    first_names = _FirstNames()

    def walk(module: nn.Module, name: str, own: str, below: str, label: str) -> Iterator[_Row]:
        first = first_names.of_module(module, name)
        if first is not None:
            yield _Row(tree=own + label, kind=_kind(module), cells=("",) * len(_HEADINGS), notes=[f"= {first or root_name}"])
            return
        cells = _cells(found[name], total) + (cost.cells(name) if cost else ("", ""))
        notes = [*first_names.of_tensors(module, name), *_notes(module, cost)]
        yield _Row(tree=own + label, kind=_kind(module), cells=cells, notes=notes)
        children = [(part, child) for part, child in module._modules.items() if child is not None]
        for number, (part, child) in enumerate(children, 1):
            is_last = number == len(children)
            branch, trunk = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            yield from walk(child, f"{name}.{part}".lstrip("."), below + branch, below + trunk, part)

    yield from walk(model, "", "", "", root_name)


class _FirstNames:
    """Under which name a module or tensor was met first."""

    def __init__(self) -> None:
        self._modules: dict[nn.Module, str] = {}
        self._tensors: dict[Any, str] = {}

    def of_module(self, module: nn.Module, name: str) -> str | None:
        """None: here."""
        return None if self._modules.setdefault(module, name) == name else self._modules[module]

    def of_tensors(self, module: nn.Module, name: str) -> list[str]:
        """A note for each tensor of the module itself that an earlier one has too."""
        notes = []
        for part, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if tensor.layout != torch.strided or not tensor.numel():
                continue
            place = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride())
            first = self._tensors.setdefault(place, f"{name}.{part}".lstrip("."))
            if first != f"{name}.{part}".lstrip("."):
                notes.append(f"{part} = {first}")
        return notes


def _cells(size: Sizes, total: int) -> tuple[str, ...]:
    if not size.num_bytes:
        return ("",) * 4
    params, buffers = (f"{number:,}" if number else "" for number in (size.num_params, size.num_buffers))
    return params, buffers, _with_unit(size.num_bytes, "B"), _percent(size.num_bytes, total)


def _notes(module: nn.Module, cost: _Cost | None) -> Iterator[str]:
    share = re.search(r"\(([^()]*) of dense\)", module.extra_repr())  # what compressed layers print of themselves
    if share:
        yield f"{share[1].replace('%', ' %')} of dense"
    if cost is None:
        return
    if not cost.is_called(module) and not isinstance(module, nn.ModuleList | nn.ModuleDict):
        yield "not called"
    elif cost.calls.get(module, 0) > 1:
        yield f"called {cost.calls[module]} times"


def _kind(module: nn.Module) -> tuple[str, str]:
    """Class and, of what is widely used, sizes in brackets."""

    def get(*names: str) -> tuple[Any, ...] | None:
        found = tuple(getattr(module, name, None) for name in names)
        return None if None in found or any(isinstance(one, Tensor | nn.Module) for one in found) else found

    parts = []
    if sides := get("in_features", "out_features") or get("in_channels", "out_channels"):
        parts.append(f"{sides[0]} → {sides[1]}")
    elif sides := get("num_embeddings", "embedding_dim"):
        parts.append(f"{sides[0]} x {sides[1]}")
    elif sides := get("embed_dim", "num_heads"):
        parts.append(f"{sides[0]}, {sides[1]} heads")
    elif width := get("num_features"):
        parts.append(str(width[0]))
    elif width := get("normalized_shape"):
        parts.append("x".join(map(str, width[0])))
    if kernel := get("kernel_size", "in_channels"):
        parts.append("x".join(map(str, kernel[0])))
    if (groups := get("groups")) and groups[0] != 1:
        parts.append(f"{groups[0]} groups")
    for name, short in (("rank", "rank "), ("num_terms", "l="), ("low_rank", "k="), ("num_random_features", "m=")):
        if number := get(name):
            parts.append(f"{short}{number[0]}")
    return type(module).__name__, f"({', '.join(parts)})" if parts else ""


def _table(rows: list[_Row]) -> str:
    """Columns without any entry are left out."""
    is_shown = [any(row.cells[number] for row in rows) for number in range(len(_HEADINGS))]
    for num_parts in (2, 1):
        lines = [("layer", "kind", *_shown(_HEADINGS, is_shown), "")]
        for row in rows:
            lines.append((row.tree, "".join(row.kind[:num_parts]), *_shown(row.cells, is_shown), "; ".join(row.notes)))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = "\n".join(_line(line, widths) for line in lines)
        if max(map(len, text.splitlines())) <= _MAX_WIDTH:
            break
    return text


def _shown(cells: tuple[str, ...], is_shown: list[bool]) -> list[str]:
    return [cell for cell, is_one in zip(cells, is_shown, strict=True) if is_one]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    tree, kind, *numbers, notes = cells
    columns = [tree.ljust(widths[0]), kind.ljust(widths[1])]
    columns += [number.rjust(width) for number, width in zip(numbers, widths[2:-1], strict=True)]
    return "  ".join([*columns, notes]).rstrip()


def _measure(model: nn.Module, inputs: tuple[Any, ...]) -> _Cost:
    tensors = [*model.parameters(), *model.buffers(), *(one for one in inputs if isinstance(one, Tensor))]
    is_cuda = any(tensor.is_cuda for tensor in tensors)

    def clock() -> float:
        if is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    with evaluation_mode(model), torch.no_grad():
        with counting_flops() as counter:
            calls, flops = _read_around(model, inputs, lambda: float(counter.get_total_flops()))
        passes = [_read_around(model, inputs, clock)[1] for _ in range(1 + _NUM_PASSES)][1:]
    # Of what a module does itself, so that a pause of the machine, which falls into another module each time, is in none.
    own_seconds = {module: statistics.median(one.get(module, 0.0) for one in passes) for module in calls}
    total_flops, seconds = _with_inner(model, flops), _with_inner(model, own_seconds)
    num_threads = torch.get_num_threads()
    where = "CUDA" if is_cuda else f"CPU, {num_threads} thread{'s' if num_threads > 1 else ''}"
    summary = (
        f"one call: {_with_unit(total_flops[''], 'FLOPs')} (2 a multiply-add), {1000 * seconds['']:.3g} ms "
        f"(medians of {_NUM_PASSES}, with a clock on each layer; {where})"
    )
    if any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules()):
        summary += "\nnn.TransformerEncoderLayer runs layer by layer here: torch's fused form of it has no parts to time"
    return _Cost(calls=calls, flops=total_flops, seconds=seconds, summary=summary)


def _with_inner(model: nn.Module, own: dict[nn.Module, float]) -> dict[str, float]:
    """By every name of a module, the sum over it and what is in it; a module with several names counts at the first."""
    total = {name: 0.0 for name, _ in model.named_modules(remove_duplicate=False)}
    for name, module in model.named_modules():
        for around in _names_around(name):
            total[around] += own.get(module, 0.0)
    return total


def _names_around(name: str) -> Iterator[str]:
    """`name` and those of the modules that it is in; "" last."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _read_around(
    model: nn.Module, inputs: tuple[Any, ...], read: Callable[[], float]
) -> tuple[dict[nn.Module, int], dict[nn.Module, float]]:
    """Of a call of `model`: how often each module is called, and by how much `read()` grows in it, outside of those it calls."""
    calls: dict[nn.Module, int] = {}
    own: dict[nn.Module, float] = {}
    last = [0.0]
    running: list[nn.Module] = []

    def turn() -> None:
        """What has grown since the last turn is the running module's."""
        now = read()
        if running:
            own[running[-1]] = own.get(running[-1], 0.0) + now - last[0]
        last[0] = now

    def enter(module: nn.Module, _: Any) -> None:
        turn()
        running.append(module)

    def leave(module: nn.Module, *_: Any) -> None:
        turn()
        running.pop()
        calls[module] = calls.get(module, 0) + 1

    handles = []
    try:
        for module in model.modules():
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, own


def _percent(amount: float, total: float) -> str:
    return f"{100 * amount / total:.1f} %"


def _with_unit(number: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} T{unit}"
