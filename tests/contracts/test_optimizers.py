"""What every optimizer owes. A new file in lib/ksweep/optim is tested here by being there, with its own Kconfig symbols."""

import copy
from pathlib import Path
from typing import Any

import kconfiglib
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ksweep import optim
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.kconfig.functions import declared_bounds
from ksweep.kconfig.tree import load_tree
from ksweep.optim.build import build_optimizer, effective_settings
from ksweep.train.registry import plugins

ROOT = Path(__file__).resolve().parents[2]
NAMES = list(plugins(optim))
BASES = ("adam", "adamw", "adamwadv", "adamwspam")  # of AdamWPrune
CASES = NAMES + [f"adamwprune {base}" for base in BASES]
OTHER_VALUES = ("0.5", "0.05", "0.25")  # of a real symbol: the first that is legal and not the default


@pytest.fixture(scope="module")
def kconf() -> kconfiglib.Kconfig:
    return load_tree(ROOT)


@pytest.fixture
def config(kconf: kconfiglib.Kconfig, tmp_path: Path):
    """`config("adamw", LEARNING_RATE="0.1")`: the complete configuration, and what Kconfig itself would refuse put in by hand.

    `config("adamwprune adamwspam")` has the second for its base.
    """

    def make(case: str, **changes: str) -> RunConfig:
        name, _, base = case.partition(" ")
        kconf.unset_values()
        kconf.syms[f"OPTIMIZER_SELECT_{name.upper()}"].set_value("y")
        if base:
            kconf.syms[f"ADAMWPRUNE_BASE_SELECT_{base.upper()}"].set_value("y")
        for symbol, value in changes.items():
            kconf.syms[symbol].set_value(value)
        kconf.write_config(str(tmp_path / "config.txt"))
        return RunConfig.load(tmp_path / "config.txt")

    return make


def own_symbols(kconf: kconfiglib.Kconfig) -> list[kconfiglib.Symbol]:
    """The symbols of lib/ksweep/optim/Kconfig that can be set now, without the choices of the optimizer and of its base.

    A model may have an entry of the same name, without a prompt, for defaults of its own.
    """
    return [
        sym
        for sym in kconf.unique_defined_syms
        if sym.visibility
        and sym.choice is None
        and any(node.prompt and node.filename == "lib/ksweep/optim/Kconfig" for node in sym.nodes)
    ]


class Quadratic(nn.Module):
    """A bowl with its lowest point, 0, at weight = 3 and bias = -2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))  # not 0: Adafactor's steps are relative to it
        self.bias = nn.Parameter(-torch.ones(4))

    def forward(self) -> Tensor:
        return (self.weight - 3).square().sum() + (self.bias + 2).square().sum()


def steps(model: Quadratic, optimizer: torch.optim.Optimizer, count: int) -> float:
    for _ in range(count):
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
    return model().item()


def test_every_optimizer_of_the_menu_has_its_file(kconf: kconfiglib.Kconfig) -> None:
    assert members(kconf, "OPTIMIZER_SELECT") == NAMES


def test_every_base_of_adamwprune_is_tested_here(kconf: kconfiglib.Kconfig) -> None:
    assert members(kconf, "ADAMWPRUNE_BASE_SELECT") == list(BASES)


def members(kconf: kconfiglib.Kconfig, choice: str) -> list[str]:
    return sorted(sym.name.removeprefix(f"{choice}_").lower() for sym in kconf.named_choices[choice].syms)


@pytest.mark.parametrize("name", CASES)
def test_lowers_a_quadratic(config, name: str) -> None:
    model = Quadratic()
    start = model().item()

    assert steps(model, build_optimizer(config(name, LEARNING_RATE="0.03"), model), 300) < start / 100


@pytest.mark.parametrize("name", CASES)
def test_state_survives_a_checkpoint(config, name: str) -> None:
    whole, resumed = Quadratic(), Quadratic()
    optimizer = build_optimizer(config(name), whole)
    steps(whole, optimizer, 5)
    resumed.load_state_dict(whole.state_dict())
    other = build_optimizer(config(name), resumed)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    assert steps(whole, optimizer, 5) == steps(resumed, other, 5)
    assert torch.equal(whole.weight, resumed.weight)


@pytest.mark.parametrize("name", CASES)
def test_no_step_reads_from_the_device(config, name: str) -> None:
    """The tensors have no values and refuse to be read, as a GPU would be waited for."""
    with FakeTensorMode():
        model = Quadratic()
        optimizer = build_optimizer(config(name), model)
        for _ in range(3):
            model().backward()
            optimizer.step()


@pytest.mark.parametrize("name", CASES)
def test_biases_and_normalisation_never_decay(config, name: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    decaying, others = build_optimizer(config(name, **decay_of(name, "0.25")), model).param_groups

    assert [param.ndim for param in decaying["params"]] == [4, 2]
    assert [param.ndim for param in others["params"]] == [1, 1, 1, 1]
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.25, 0.0)


def decay_of(name: str, value: str) -> dict[str, str]:
    return {"ADAMWPRUNE_WEIGHT_DECAY" if name.startswith("adamwprune") else "WEIGHT_DECAY": value}


@pytest.mark.parametrize("name", CASES)
def test_every_symbol_of_its_menu_arrives(kconf: kconfiglib.Kconfig, config, name: str) -> None:
    """Each symbol that can be set for this optimizer is read, and changes what the constructed object reports of itself."""
    plain = config(name)
    before = effective_settings(build_optimizer(plain, Quadratic()))
    symbols = own_symbols(kconf)
    assert {"LEARNING_RATE"} < {sym.name for sym in symbols} <= set(plain.symbols_read)

    for sym in symbols:
        value = another_value(kconf, sym)
        changed = config(name, **{sym.name: value})
        after = effective_settings(build_optimizer(changed, Quadratic()))

        assert changed.symbols_read[sym.name] == value, f"Kconfig did not take {sym.name}={value}"
        assert arrived(before, after, value), f"{sym.name}={value} is not in the parameter groups"
        kconf.unset_values()
        config(name)  # own symbols are those visible with this optimizer


def another_value(kconf: kconfiglib.Kconfig, sym: kconfiglib.Symbol) -> str:
    if sym.type is kconfiglib.BOOL:
        return "n" if sym.str_value == "y" else "y"
    if sym.type is kconfiglib.INT:
        return str(int(sym.str_value) + 1)
    bounds = declared_bounds(kconf)[sym.name]
    return next(value for value in OTHER_VALUES if not bounds.problem(value) and value != sym.str_value)


def arrived(before: dict[str, Any], after: dict[str, Any], value: str) -> bool:
    """True when exactly one setting of the first group has changed, and to `value`."""
    old, new = (settings["param_groups"][0] for settings in (before, after))
    changed = [(old[key], new[key]) for key in old if old[key] != new[key]]
    if len(changed) != 1:
        return False
    ((was, now),) = changed
    if isinstance(now, tuple):
        (now,) = set(now) - set(was)
    return now == (value == "y" if value in ("y", "n") else float(value))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", ["-0.1", "nan", "inf", "fast", ""])
def test_bad_learning_rate_is_refused(config, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.txt"):
        build_optimizer(config(name, LEARNING_RATE=value), Quadratic())


@pytest.mark.parametrize("name", CASES)
def test_bad_scalars_of_its_own_are_refused(kconf: kconfiglib.Kconfig, config, name: str) -> None:
    config(name)
    for symbol in [sym.name for sym in own_symbols(kconf) if sym.type is kconfiglib.STRING]:
        with pytest.raises(ConfigError, match=r"config\.txt"):
            build_optimizer(config(name, **{symbol: "-0.5"}), Quadratic())


def test_unknown_optimizer_is_refused_with_the_list() -> None:
    with pytest.raises(
        ConfigError,
        match='CONFIG_OPTIMIZER: found "lion", allowed: adafactor adam adamw adamwadv adamwprune adamwspam rmsprop sgd',
    ):
        build_optimizer(RunConfig('CONFIG_OPTIMIZER="lion"\n', "config.txt"), Quadratic())


def test_unknown_base_of_adamwprune_is_refused_with_the_list() -> None:
    text = 'CONFIG_OPTIMIZER="adamwprune"\nCONFIG_ADAMWPRUNE_BASE="sgd"\n'

    with pytest.raises(ConfigError, match='CONFIG_ADAMWPRUNE_BASE: found "sgd", allowed: adam adamw adamwadv adamwspam'):
        build_optimizer(RunConfig(text, "config.txt"), Quadratic())
