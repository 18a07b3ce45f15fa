"""Which layers are searched together, and what a point of their parameters makes of each of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from ksweep.nn.calibration import Moments
from ksweep.nn.compress import Setting, allowed_params, max_rank, num_stored, rank_of, why_not
from ksweep.nn.random_feature_attention import RandomFeatureAttention
from ksweep.nn.replacement import shared_names
from ksweep.tuner.auto import auto_choices, why_no_choices
from ksweep.tuner.layer_config import LayerConfig, TuningConfigs
from ksweep.tuner.selectors import select
from ksweep.tuner.specs import Categorical, Float, Int, Spec, to_spec
from ksweep.tuner.trials import Params

Settings = Mapping[str, Setting]  # of the layers that are replaced; all others are dense


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers that share one point of `specs`: a single one with separate=True, all that were selected without.

    A layer that would store no less than it does stays dense under that point.
    """

    name: str
    """The layer, or all of them joined by "_", as results name it; by " + " where another layer or group has that name."""
    layers: Mapping[str, nn.Module]
    specs: Mapping[str, Spec]
    method: str
    copy_weights: bool

    def settings(self, params: Params) -> Settings:
        """What the layers are replaced by at a point. ValueError where one cannot be built."""
        made = {}
        for name, layer in self.layers.items():
            setting = Setting(params=params, method=self.method, copy_weights=self.copy_weights)
            try:
                if saves(layer, setting):
                    made[name] = setting
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return made


def saves(layer: nn.Module, setting: Setting) -> bool:
    """Whether the layer would store fewer numbers than it does. Attention keeps its weights and only computes less: always.
    ValueError for a setting that makes no sense."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return True
    rank = rank_of(layer, setting)
    if rank is not None and rank > max_rank(layer):
        return False
    return num_stored(layer, setting) < sum(tensor.numel() for tensor in layer.parameters(recurse=False))


def identity(layers: Mapping[str, nn.Module], settings: Settings) -> str:
    """The same for points that come to the same model, as num_terms=1, low_rank=64 and num_terms=2, low_rank=32 do by SVD."""
    said = []
    for name in sorted(settings):
        setting, rank = settings[name], rank_of(layers[name], settings[name])
        what = sorted(setting.params.items()) if rank is None else rank
        said.append((name, setting.method, setting.copy_weights, what))
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A LayerConfig with the layers that it selects, checked as far as can be without data."""

    config: LayerConfig
    layers: Mapping[str, nn.Module]

    def without(self, names: Mapping[str, str]) -> "Selected":
        """Without some of its layers."""
        return replace(self, layers={name: layer for name, layer in self.layers.items() if name not in names})

    @property
    def method(self) -> str:
        """See `_method`."""
        return _method(self.config)


def _method(config: LayerConfig) -> str:
    """The config's own, or what suits: the seed's estimator where weights are not kept, else activation-aware SVD."""
    return config.method or ("activation-svd" if config.copy_weights else "sketch")


def select_layers(model: nn.Module, configs: TuningConfigs) -> tuple[list[Selected], dict[str, str]]:
    """The layers of each config, and why some that are selected are left as they are (tied to others, a forward of their own).

    ValueError, naming config and layer, for a kind of layer that cannot be compressed, a parameter that it does not have, a value
    that makes no sense in any layer, a layer of two configs.
    """
    modules, shared = dict(model.named_modules()), shared_names(model)
    selected, left, owner = [], {}, dict[str, int]()
    for number, config in enumerate(configs, 1):
        layers = {}
        for name in select(model, config.layer_names):
            if not name:
                raise ValueError(
                    f"config {number}: the model itself is the layer; give nn.Sequential(model), so that it has a place"
                )
            where = f'config {number}: layer "{name}" ({type(modules[name]).__name__})'
            if name in owner:
                raise ValueError(f"{where} is selected by config {owner[name]} too: a layer has one config")
            owner[name] = number
            _check(where, modules[name], config)
            if name in shared:
                left[name] = f"its weights are those of {', '.join(shared[name])} too, and stay so"
                continue
            if config.params != "auto" and (why := why_not(modules[name], _least(modules[name], config))):
                left[name] = why
                continue
            # Of a TransformerEncoderLayer it is the attention that is searched.
            called = f"{name}.self_attn" if isinstance(modules[name], nn.TransformerEncoderLayer) else name
            layers[called] = modules[called]
        selected.append(Selected(config=config, layers=layers))
    return selected, left


def _check(where: str, layer: nn.Module, config: LayerConfig) -> None:
    allowed = allowed_params(layer)
    if not allowed:
        raise ValueError(
            f"{where} cannot be compressed; what can: Linear, Conv2d, MultiheadAttention, TransformerEncoderLayer;"
            ' {"type": "Linear"} beside a pattern selects one kind'
        )
    if config.params == "auto":
        if not config.copy_weights or config.method == "sketch":
            raise ValueError(f'{where}: params="auto" finds ranks for trained weights; list the parameters of a sketch')
        return
    if unknown := [name for name in config.params if name not in allowed]:
        raise ValueError(
            f'{where} has no parameter {", ".join(map(repr, unknown))}; allowed: {", ".join(allowed)}, or params="auto"'
        )
    if why := _why_no_values(layer, config):
        raise ValueError(f"{where}: {why}")


def _least(layer: nn.Module, config: LayerConfig) -> Setting:
    """One that every layer of its kind can have which can be replaced at all."""
    name = "rank" if "rank" in allowed_params(layer) else "num_random_features"
    return Setting(params={name: 1}, method="svd", copy_weights=config.copy_weights)


def _why_no_values(layer: nn.Module, config: LayerConfig) -> str:
    """Why the config has a value that no layer of this kind can have; "" for a rank that is too high for this one, which stays
    dense under it."""
    assert config.params != "auto"
    specs = {name: to_spec(spec) for name, spec in config.params.items()}
    for name, spec in specs.items():
        values = [spec.low] if isinstance(spec, Int) else [spec] if isinstance(spec, Float) else spec.values()
        kernels = RandomFeatureAttention.kernels if name == "kernel_fn" else None
        if bad := [value for value in values if not (value in kernels if kernels else _is_count(value))]:
            return f"{name}: found {bad[0]!r}, allowed: {' '.join(kernels) if kernels else 'whole numbers from 1'}"
    if "num_random_features" in allowed_params(layer):
        return "" if "num_random_features" in specs else "num_random_features: missing, allowed: whole numbers from 1"
    if "rank" in specs and len(specs) > 1:
        return "rank: found together with num_terms or low_rank; give one of the two"
    if "rank" in specs and _method(config) == "sketch" and config.copy_weights:
        return "rank: not a parameter of the method sketch; allowed: num_terms low_rank"
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def make_groups(selected: Sequence[Selected], moments: Mapping[str, Moments]) -> tuple[list[Group], dict[str, str]]:
    """The groups of all configs, in their order and the model's; and why layers have none for which "auto" finds nothing."""
    groups, left = [], dict[str, str]()
    taken = {name for of in selected for name in of.layers}
    for of in selected:
        choices = {}
        if of.config.params == "auto":
            choices = {name: auto_choices(layer, moments=moments.get(name)) for name, layer in of.layers.items()}
            left |= {name: why_no_choices(of.layers[name]) for name in choices if not choices[name]}
        layers = of.without(left).layers
        parts = [{name: layer} for name, layer in layers.items()] if of.config.separate else [layers] if layers else []
        for part in parts:
            joined, is_single = "_".join(part), len(part) == 1
            name = joined if is_single or joined not in taken else " + ".join(part)
            taken.add(name)
            specs, copy_weights = _specs(of.config, part, choices), of.config.copy_weights
            groups.append(Group(name=name, layers=part, specs=specs, method=of.method, copy_weights=copy_weights))
    return groups, left


def _clipped(spec: Spec, layers: Mapping[str, nn.Module]) -> Spec:
    """Without whole numbers above the rank of all the layers, with which none would store less: a search is not to draw them."""
    dense = [layer for layer in layers.values() if isinstance(layer, nn.Linear | nn.Conv2d)]
    most = max((max_rank(layer) for layer in dense), default=0)
    return replace(spec, high=min(spec.high, most)) if isinstance(spec, Int) and spec.low <= most else spec


def _specs(
    config: LayerConfig, layers: Mapping[str, nn.Module], choices: Mapping[str, Sequence[Mapping[str, int]]]
) -> dict[str, Spec]:
    """`choices`: what "auto" offers for each layer; layers of one group take any of theirs."""
    if config.params != "auto":
        return {name: _clipped(to_spec(spec), layers) for name, spec in config.params.items()}
    offered = [choice for name in layers for choice in choices[name]]
    names = sorted({name for choice in offered for name in choice})
    return {name: Categorical(sorted({choice[name] for choice in offered if name in choice})) for name in names}
