"""What is searched for which layers: LayerConfig, and TuningConfigs, a list of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, overload

from ksweep.nn.compress import METHODS
from ksweep.tuner.selectors import LayerNames, check_layer_names
from ksweep.tuner.specs import Spec, to_spec


@dataclass(frozen=True)
class LayerConfig:
    """The layers that `layer_names` selects (see selectors.py) and the values that their parameters may take.

    `params`: name of a parameter -> Categorical, Int, Float, a list of values or one value; kept as specs. "auto": ranks that
    suit each layer (see auto.py). `separate`: each layer has its own search; otherwise all of them share one setting.
    `copy_weights`: the new layers compute what the trained ones do, as near as they can; otherwise they have fresh initial
    weights. `method`: "activation-svd" (needs calibration), "svd" or "sketch"; None: the tuner takes what suits.

    ValueError for what no model and no layer could take. Which parameters a kind of layer has is judged with the model.
    """

    layer_names: LayerNames
    params: Any  # "auto", or a mapping; after construction "auto" or dict[str, Spec]
    separate: bool = True
    copy_weights: bool = True
    method: str | None = None

    def __post_init__(self) -> None:
        try:
            check_layer_names(self.layer_names)
        except ValueError as error:
            raise ValueError(f"LayerConfig: {error}") from None
        for name in ("separate", "copy_weights"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"LayerConfig: {name}: found {getattr(self, name)!r}, allowed: True and False")
        if self.method is not None and self.method not in METHODS:
            raise ValueError(f"LayerConfig: method: found {self.method!r}, allowed: {' '.join(METHODS)}, or None")
        if not self.copy_weights and self.method in ("activation-svd", "svd"):
            raise ValueError(
                f"LayerConfig: method: {self.method!r} keeps the trained weights, copy_weights=False does not; leave one away"
            )
        object.__setattr__(self, "layer_names", _copied(self.layer_names))
        object.__setattr__(self, "params", _specs(self.params))

    def clone(self, **changes: Any) -> "LayerConfig":
        """A copy, with `changes` of its fields."""
        return replace(self, **changes)


class TuningConfigs:
    """An unchangeable list of LayerConfig: len, iteration, [index], [slice], ==. Its methods give new ones.

    ValueError, naming its place, for an entry that is no LayerConfig.
    """

    def __init__(self, configs: Iterable[LayerConfig] = ()) -> None:
        if isinstance(configs, LayerConfig | str | Mapping) or not isinstance(configs, Iterable):
            raise ValueError(f"TuningConfigs: found {configs!r}, allowed: a list of LayerConfig")
        self._configs = tuple(configs)
        for number, config in enumerate(self._configs, 1):
            if not isinstance(config, LayerConfig):
                raise ValueError(f"TuningConfigs: config {number}: found {config!r}, allowed: a LayerConfig")

    def __len__(self) -> int:
        return len(self._configs)

    def __iter__(self) -> Iterator[LayerConfig]:
        return iter(self._configs)

    @overload
    def __getitem__(self, index: int) -> LayerConfig: ...
    @overload
    def __getitem__(self, index: slice) -> "TuningConfigs": ...
    def __getitem__(self, index: int | slice) -> "LayerConfig | TuningConfigs":
        return TuningConfigs(self._configs[index]) if isinstance(index, slice) else self._configs[self._place(index)]

    def __eq__(self, other: object) -> bool:
        return self._configs == other._configs if isinstance(other, TuningConfigs) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # the dicts inside cannot be hashed

    def __repr__(self) -> str:
        return f"TuningConfigs({list(self._configs)})"

    def add(self, config: LayerConfig) -> "TuningConfigs":
        """With `config` at the end."""
        return TuningConfigs((*self._configs, config))

    def remove(self, index: int) -> "TuningConfigs":
        """Without the one at `index`. IndexError when there is none."""
        place = self._place(index)
        return TuningConfigs(self._configs[:place] + self._configs[place + 1 :])

    def replace(self, index: int, config: LayerConfig) -> "TuningConfigs":
        """With `config` in place of the one at `index`. IndexError when there is none."""
        place = self._place(index)
        return TuningConfigs((*self._configs[:place], config, *self._configs[place + 1 :]))

    def clone(self) -> "TuningConfigs":
        """A copy."""
        return TuningConfigs(config.clone() for config in self)

    def merge(self, other: "TuningConfigs | Iterable[LayerConfig]") -> "TuningConfigs":
        """These, then those of `other`."""
        return TuningConfigs((*self, *TuningConfigs(other)))

    def filter(self, keeps: Callable[[LayerConfig], bool]) -> "TuningConfigs":
        """Those for which `keeps` is true."""
        return TuningConfigs(config for config in self if keeps(config))

    def map(self, change: Callable[[LayerConfig], LayerConfig]) -> "TuningConfigs":
        """What `change` makes of each."""
        return TuningConfigs(change(config) for config in self)

    def _place(self, index: int) -> int:
        """From the start; below 0 `index` counts from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"TuningConfigs: index {index}, of {len(self)} configs")
        return index % len(self)


def _copied(layer_names: LayerNames) -> LayerNames:
    """So that what the caller changes afterwards changes nothing here."""
    if isinstance(layer_names, Mapping):
        return {key: list(value) if isinstance(value, list | tuple) else value for key, value in layer_names.items()}
    return list(layer_names) if isinstance(layer_names, list | tuple) else layer_names


def _specs(params: Any) -> Any:
    """ "auto", or each parameter's spec."""
    if isinstance(params, str) and params == "auto":
        return params
    if not isinstance(params, Mapping) or not params:
        raise ValueError(
            f'LayerConfig: params: found {params!r}, allowed: "auto", or a dict of one or more parameters to their values'
        )
    specs: dict[str, Spec] = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"LayerConfig: params: found the name {name!r}, allowed: a text")
        try:
            specs[name] = to_spec(value)
        except ValueError as error:
            raise ValueError(f'LayerConfig: params: "{name}": {error}') from None
    return specs
