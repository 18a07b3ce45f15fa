"""Which layers of a network are replaced by what, as the configuration says, and the network with them replaced."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.nn.calibration import Moments
from ksweep.nn.compress import METHODS, Setting, compressed, max_rank, num_stored, rank_of, why_not
from ksweep.nn.replacement import shared_names

GROUPS = (1, 2, 3)
NONE = "none"  # the method that leaves all layers as they are


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers whose names `pattern` finds, and what they are replaced by; empty `params`: they stay dense."""

    number: int
    pattern: str
    params: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One layer of a group. `setting` None: it stays dense, and `why_dense` says why. `num_stored`: numbers of the new layer."""

    name: str
    group: int
    num_dense: int
    setting: Setting | None = None
    rank: int | None = None
    num_stored: int
    why_dense: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All layers of all groups, in the order of the network; `others`: those that no group has; `own_forward`: linear and
    convolutional ones that no group can have, since they compute something of their own."""

    layers: tuple[Planned, ...]
    others: tuple[str, ...] = field(default=())
    own_forward: tuple[str, ...] = field(default=())

    @property
    def settings(self) -> dict[str, Setting]:
        """Of the layers that are replaced."""
        return {layer.name: layer.setting for layer in self.layers if layer.setting}


def read_method(cfg: RunConfig) -> str:
    """SKETCHED_METHOD: one of nn/compress, or none. ConfigError for any other."""
    method = cfg.str("SKETCHED_METHOD")
    if method not in (NONE, *METHODS):
        raise ConfigError(f'{cfg.source}: CONFIG_SKETCHED_METHOD: found "{method}", allowed: {NONE} {" ".join(METHODS)}')
    return method


def read_groups(cfg: RunConfig) -> list[Group]:
    """The groups that have a pattern. ConfigError for one that is no regular expression, or when there is no group at all."""
    groups = []
    by_rank = cfg.str("SKETCHED_SIZE") == "rank"
    for number in GROUPS:
        symbol = f"SKETCHED_GROUP{number}"
        if pattern := cfg.str(f"{symbol}_LAYERS"):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f'{cfg.source}: CONFIG_{symbol}_LAYERS: found "{pattern}", allowed: a regular expression: {error}'
                ) from None
            groups.append(Group(number=number, pattern=pattern, params=_read_size(cfg, symbol, by_rank=by_rank)))
    if not groups:
        raise ConfigError(f"{cfg.source}: CONFIG_SKETCHED_GROUP1_LAYERS: found nothing, allowed: a group of layers at least")
    return groups


def _read_size(cfg: RunConfig, symbol: str, *, by_rank: bool) -> dict[str, int]:
    if by_rank:
        rank = cfg.int(f"{symbol}_RANK")
        return {"rank": rank} if rank else {}
    low_rank = cfg.int(f"{symbol}_LOW_RANK")
    return {"num_terms": cfg.int(f"{symbol}_NUM_TERMS"), "low_rank": low_rank} if low_rank else {}


def make_plan(model: nn.Module, groups: Sequence[Group], method: str, source: str) -> Plan:
    """What becomes of each layer. ConfigError for a group without layers, a layer of two groups, a size that cannot be built,
    tied weights, and when something is asked for and no layer would store less than dense; `source` is the file that asks."""
    names, own_forward = _compressible(model)
    found = {group.number: [name for name in names if re.search(group.pattern, name)] for group in groups}
    for group in groups:
        where = f"{source}: CONFIG_SKETCHED_GROUP{group.number}_LAYERS"
        if not found[group.number]:
            raise ConfigError(f'{where}: "{group.pattern}" finds none of the linear and convolutional layers: {" ".join(names)}')
        for other in groups[: groups.index(group)]:
            if both := [name for name in found[group.number] if name in found[other.number]]:
                raise ConfigError(f"{where}: found {' '.join(both)}, which group {other.number} has too; a layer is in one group")
    of_group = {name: group for group in groups for name in found[group.number]}
    tied = shared_names(model)
    layers = tuple(_planned(model, name, of_group[name], method, tied, source) for name in names if name in of_group)
    if any(group.params for group in groups) and not any(layer.setting for layer in layers):
        reasons = "; ".join(f"{layer.name}: {layer.why_dense}" for layer in layers if layer.why_dense)
        raise ConfigError(f"{source}: nothing would be compressed, take a smaller size or 0 for the dense network: {reasons}")
    others = tuple(name for name in names if name not in of_group)
    return Plan(layers=layers, others=others, own_forward=tuple(own_forward))


def _compressible(model: nn.Module) -> tuple[list[str], list[str]]:
    """Linear and convolutional layers and subclasses that compute as these do; and those that compute something else."""
    kinds = (nn.Linear, nn.Conv2d)
    found = {name: module for name, module in model.named_modules() if name and isinstance(module, kinds)}
    names = [name for name, module in found.items() if type(module).forward in [kind.forward for kind in kinds]]
    return names, [name for name in found if name not in names]


def _planned(model: nn.Module, name: str, group: Group, method: str, tied: Mapping[str, tuple[str, ...]], source: str) -> Planned:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    num_dense = sum(param.numel() for param in layer.parameters())
    if not group.params:
        return Planned(name=name, group=group.number, num_dense=num_dense, num_stored=num_dense)
    if name in tied:
        raise ConfigError(
            f"{source}: CONFIG_SKETCHED_GROUP{group.number}_LAYERS: found {name}, whose weights are those of"
            f" {' '.join(tied[name])} too; leave it out"
        )
    setting = Setting(params=group.params, method=method)
    rank = rank_of(layer, setting)
    if rank is not None and rank > (most := max_rank(layer)):
        why = f"its weight has no higher rank than {most}"
    elif problem := why_not(layer, setting):
        raise ConfigError(f"{source}: CONFIG_SKETCHED_GROUP{group.number}: {name}: {problem}")
    elif (wanted := num_stored(layer, setting)) < num_dense:
        return Planned(name=name, group=group.number, num_dense=num_dense, setting=setting, rank=rank, num_stored=wanted)
    else:
        why = f"it would store {wanted:,} numbers, and dense it stores {num_dense:,}"
    return Planned(name=name, group=group.number, num_dense=num_dense, num_stored=num_dense, why_dense=why)


def compress(model: nn.Module, plan: Plan, moments: Mapping[str, Moments], *, seed: int, source: str) -> nn.Module:
    """A copy of `model` with the layers of the plan replaced. ConfigError for one that calibration has never called."""
    if missing := [name for name in plan.settings if name not in moments]:
        raise ConfigError(
            f"{source}: {' '.join(missing)}: not called on any calibration batch; take more batches"
            " (CONFIG_SKETCHED_CALIBRATION_BATCHES), or leave it out"
        )
    return compressed(model, plan.settings, moments=moments, seed=seed)
