"""Which layers of a model are meant: by name, pattern, part of a name, type, position, or a function of one's own.

    "fc1"                                              the layer fc1, and never fc10
    ["encoder.layers.0.linear1", "head"]               these
    r"encoder\\.layers\\.[0-5]\\.linear1"                 no layer has that name: a regular expression, found anywhere in a name
    {"pattern": r"encoder\\.", "type": "Linear"}        the keys of a dict: all must hold
    {"type": ["Linear", "Conv2d"], "range": [0, -1]}   all but the last of those that the other keys select
    lambda name, module: isinstance(module, nn.Linear) and module.in_features >= 512

Layers come in the order of the model (`named_modules`), once each: a module that is used in several places goes by its first
name, and any of its names selects it. A container is a module like others here; what can be compressed is judged in
nn/compress.py. The model itself is selectable only when it has no modules inside, as a bare nn.Linear; its name is "".
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

LayerNames = str | Sequence[str] | Mapping[str, Any] | Callable[[str, nn.Module], bool]

KEYS = ("pattern", "contains", "type", "indices", "range")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A module and the names that it is reached by; the first of them in the order of the model is its own."""

    module: nn.Module
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]


def select(model: nn.Module, layer_names: LayerNames) -> list[str]:
    """Names of the layers that are meant, in the order of the model, each once.

    ValueError, with near names, when a text or the whole selects nothing, and for whatever `check_layer_names` refuses. What a
    function of the user's own raises goes through.
    """
    check_layer_names(layer_names)
    places = _places(model)
    if isinstance(layer_names, Mapping):
        chosen = _of_dict(places, layer_names)
    elif isinstance(layer_names, str | Sequence):
        texts = [layer_names] if isinstance(layer_names, str) else layer_names
        named = {place.name for text in texts for place in _of_text(places, text)}
        chosen = [place for place in places if place.name in named]
    else:
        chosen = [place for place in places if layer_names(place.name, place.module)]
        if not chosen:
            raise ValueError(f"layer_names: the function is true for none of {len(places)} modules: {_some(places)}")
    return [place.name for place in chosen]


def check_layer_names(layer_names: object) -> None:
    """ValueError for what can select nothing in any model: a wrong type, an unknown key, a pattern that does not compile."""
    if isinstance(layer_names, nn.Module | type):
        raise ValueError(
            f'layer_names: found {_short(layer_names)}, allowed: its name; all layers of a class are {{"type": "Linear"}}'
        )
    if isinstance(layer_names, Mapping):
        _check_dict(layer_names)
    elif isinstance(layer_names, str) or callable(layer_names):
        return
    elif isinstance(layer_names, list | tuple):
        if not layer_names:
            raise ValueError("layer_names: found an empty list, allowed: one name or more")
        for item in layer_names:
            if not isinstance(item, str):
                raise ValueError(f"layer_names: found {_short(item)} in a list, allowed: names as text")
    else:
        raise ValueError(
            f"layer_names: found {_short(layer_names)}, allowed: a name or regular expression, a list of them,"
            f" a dict of {' '.join(KEYS)}, or a function of (name, module)"
        )


def _places(model: nn.Module) -> list[_Place]:
    """Each module once. Without the model itself, unless that is all there is."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if module is not model or next(model.children(), None) is None:
            names.setdefault(module, []).append(name)
    return [_Place(module=module, names=tuple(reached_by)) for module, reached_by in names.items()]


# A text -----------------------------------------------------------------------------------------------------------------------


def _of_text(places: Sequence[_Place], text: str) -> list[_Place]:
    """The layer of that name. Only without one, those whose name the regular expression is found in."""
    if exact := [place for place in places if text in place.names]:
        return exact
    if not text:
        raise ValueError(f'layer_names: "" is the model itself, which has modules inside: name one; {_some(places)}')
    try:
        found, what = _by_pattern(places, [text]), "found in one as a regular expression"
    except re.error as error:
        found, what = [], f"a regular expression ({error})"
    if not found:
        raise ValueError(f'layer_names: "{text}" is neither the name of a layer nor {what}; {_near_names(text, places)}')
    return found


# A dict -----------------------------------------------------------------------------------------------------------------------


def _check_dict(keys: Mapping[Any, Any]) -> None:
    if not keys:
        raise ValueError(f"layer_names: found an empty dict, allowed: one or more of {' '.join(KEYS)}")
    for key in keys:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            raise ValueError(
                f"layer_names: unknown key {key!r} in {_short(keys)}, allowed: {' '.join(KEYS)}"
                + (f"; near it: {near[0]}" if near else "")
            )
    for key in ("pattern", "contains"):
        if key in keys:
            _check_texts(key, keys[key])
    if "type" in keys:
        _check_types(keys["type"])
    _check_positions(keys)


def _check_texts(key: str, value: object) -> None:
    for text in _alternatives(value):
        if not isinstance(text, str) or not text:
            raise ValueError(f'layer_names: "{key}": found {text!r}, allowed: a text, or a list of one or more')
        try:
            re.compile(text if key == "pattern" else "")
        except re.error as error:
            raise ValueError(f'layer_names: "pattern": "{text}" is not a regular expression: {error}') from error


def _check_types(value: object) -> None:
    for kind in _alternatives(value):
        is_class = isinstance(kind, type) and issubclass(kind, nn.Module) and kind is not nn.Module
        if not is_class and not (isinstance(kind, str) and kind):
            raise ValueError(
                f'layer_names: "type": found {kind!r}, allowed: the name of a layer class, the class, or a list of them'
            )


def _check_positions(keys: Mapping[str, Any]) -> None:
    if "indices" in keys and "range" in keys:
        raise ValueError(f'layer_names: "indices" and "range" exclude each other; found both in {_short(keys)}')
    if "indices" in keys:
        for index in _alternatives(keys["indices"]):
            if not _is_whole(index):
                raise ValueError(f'layer_names: "indices": found {index!r}, allowed: a whole number, or a list of one or more')
    if "range" in keys:
        found = keys["range"]
        is_triple = isinstance(found, list | tuple) and len(found) in (2, 3) and all(map(_is_whole, found))
        if not is_triple or (len(found) == 3 and found[2] < 1):
            raise ValueError(
                f'layer_names: "range": found {found!r}, allowed: whole numbers [start, end] or [start, end, step above 0]'
            )


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _alternatives(value: Any) -> Sequence[Any]:
    """What any one of is enough. Nothing at all stands for itself, so that a message can name it."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return value if is_list and len(value) else [value]


def _of_dict(places: Sequence[_Place], keys: Mapping[str, Any]) -> list[_Place]:
    """What all keys hold for; then the positions among those."""
    chosen, told = list(places), []
    for key, holding in (("pattern", _by_pattern), ("contains", _by_contained), ("type", _by_type)):
        if key in keys:
            before, held = chosen, {place.name for place in holding(places, _alternatives(keys[key]))}
            chosen = [place for place in before if place.name in held]
            told.append(f'"{key}" takes {len(held)}')
            if not chosen:
                took = f"of {len(places)} modules {', '.join(told)}"
                raise ValueError(f"layer_names: {_short(keys)} selects nothing: {took}; {_why(keys, key, before)}")
    return [chosen[at] for at in _positions(keys, len(chosen))]


def _by_pattern(places: Sequence[_Place], patterns: Sequence[str]) -> list[_Place]:
    compiled = [re.compile(pattern) for pattern in patterns]
    return [place for place in places if any(pattern.search(name) for pattern in compiled for name in place.names)]


def _by_contained(places: Sequence[_Place], parts: Sequence[str]) -> list[_Place]:
    return [place for place in places if any(part in name for part in parts for name in place.names)]


def _by_type(places: Sequence[_Place], kinds: Sequence[str | type]) -> list[_Place]:
    """Of these classes or of classes derived from them.

    ValueError for a name that neither torch.nn nor a module of the model has: that is a slip, also where others of a list hold.
    """
    known = {name for place in places for name in _class_names(place.module)}
    for kind in kinds:
        if isinstance(kind, str) and kind not in known and not isinstance(getattr(nn, kind, None), type):
            near = difflib.get_close_matches(kind, sorted(known | set(nn.modules.__all__)), n=3)
            raise ValueError(
                f'layer_names: "type": no module of the model is a "{kind}", nor is there one in torch.nn; '
                + (f"near it: {', '.join(near)}" if near else f"the model has {' '.join(sorted(known))}")
            )
    return [place for place in places if any(_is_kind(place.module, kind) for kind in kinds)]


def _is_kind(module: nn.Module, kind: str | type) -> bool:
    # nn.MultiheadAttention reads weight and bias of its out_proj and never calls it, so that a layer in its place would not run,
    # or be read for a weight that it does not have. Whoever asks for all Linear layers does not mean it; its own name selects it.
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return kind in (type(module), type(module).__name__)
    return isinstance(module, kind) if isinstance(kind, type) else kind in _class_names(module)


def _class_names(module: nn.Module) -> list[str]:
    """Its class and those that it is derived from, below nn.Module."""
    return [kind.__name__ for kind in type(module).__mro__ if issubclass(kind, nn.Module) and kind is not nn.Module]


def _positions(keys: Mapping[str, Any], count: int) -> list[int]:
    """Positions among `count` selected layers, ascending; below 0 they count from the end and a range leaves out its end, both as
    Python does. Unlike Python, a range that goes past the end is an error."""
    among = f"{_short(keys)} has {count} layers to count among"
    if "indices" in keys:
        indices = _alternatives(keys["indices"])
        if outside := [index for index in indices if not -count <= index < count]:
            raise ValueError(f'layer_names: "indices": found {outside[0]}, allowed: {-count} to {count - 1}; {among}')
        return sorted({index % count for index in indices})
    if "range" in keys:
        start, end, step = (*keys["range"], 1)[:3]
        first, last = (bound + count if bound < 0 else bound for bound in (start, end))
        if not 0 <= first < last <= count:
            raise ValueError(
                f'layer_names: "range": found [{start}, {end}], allowed: a start below its end, within 0 to {count}; {among}'
            )
        return list(range(first, last, step))
    return list(range(count))


# Messages ---------------------------------------------------------------------------------------------------------------------


def _why(keys: Mapping[str, Any], key: str, before: Sequence[_Place]) -> str:
    """What helps when `key` left nothing of the places `before` it."""
    if key != "type":
        return _near_names(_alternatives(keys[key])[0], before)
    if any(isinstance(place.module, NonDynamicallyQuantizableLinear) for place in before):
        return (
            "the projections of nn.MultiheadAttention are not layers that it calls:"
            ' select it by {"type": "MultiheadAttention"}, with num_random_features'
        )
    kinds = {type(place.module).__name__: None for place in before}  # a dict: in the order of the model
    return f'"type" was to choose from {" ".join(kinds)}'


def _near_names(text: str, places: Sequence[_Place]) -> str:
    """Names that may have been meant: like the text, or with a last part like its last part."""
    names, plain = [name for place in places for name in place.names], text.replace("\\", "")
    near = difflib.get_close_matches(plain, names, n=3)
    last = plain.rpartition(".")[2]
    lasts = difflib.get_close_matches(last, sorted({name.rpartition(".")[2] for name in names}), n=2, cutoff=0.7)
    near += [name for name in names if name.rpartition(".")[2] in lasts and name not in near]
    return f"near it: {', '.join(near[:4])}" if near else _some(places)


def _some(places: Sequence[_Place]) -> str:
    """The first few names."""
    shown = [place.name or '""' for place in places[:6]]
    return f"the modules are {', '.join(shown)}" + (f" and {len(places) - len(shown)} more" if len(places) > len(shown) else "")


def _short(value: object) -> str:
    """As one line of a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 160 else text[:157] + "..."
