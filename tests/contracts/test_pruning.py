"""What every pruning method owes. A new file in lib/ksweep/prune with a NAME, or a new variant, is tested here by being there."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ksweep import optim, prune
from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from ksweep.kconfig.tree import load_tree
from ksweep.optim.build import build_optimizer
from ksweep.prune.allocation import ALLOCATIONS
from ksweep.prune.build import build_pruner
from ksweep.prune.schedule import ONE_SHOT, RAMPS
from ksweep.prune.weights import share_of_zeros
from ksweep.train.registry import plugins

ROOT = Path(__file__).resolve().parents[2]
KCONF = load_tree(ROOT)
STEPS_PER_EPOCH, NUM_STEPS = 5, 45  # the ramp ends at step 30
NUM_WEIGHTS = 8 * 9 + 40 * 288 + 10 * 40  # above 10,000: one weight is less than one in ten thousand
SETTINGS = {
    "TARGET_SPARSITY": "0.7",
    "NUM_EPOCHS": "10",
    "PRUNING_RAMP_END_EPOCH": "6",
    "PRUNING_WARMUP": "4",
    "PRUNING_FREQUENCY": "5",
}


def members(symbol: str) -> list[str]:
    """The words of the choice whose value is `symbol`."""
    return [word.str_value for word, _ in KCONF.syms[symbol].defaults]


def methods() -> list[dict[str, str]]:
    """Every method, and every variant of each that has some."""
    plain = [{"PRUNING_METHOD": name} for name in plugins(prune) if name != "state"]
    return plain + [{"PRUNING_METHOD": "state", "PRUNING_VARIANT": variant} for variant in members("PRUNING_VARIANT")]


def choose(**words: str) -> bool:
    """Set choices by their words and other symbols by their values, in order; False where Kconfig does not take one."""
    KCONF.unset_values()
    for symbol, value in words.items():
        member = KCONF.syms.get(f"{symbol.replace('PRUNING_METHOD', 'PRUNING')}_SELECT_{value.upper()}")
        if member is None:
            KCONF.syms[symbol].set_value(value)
        else:
            member.set_value("y")
    return all(KCONF.syms[symbol].str_value == value for symbol, value in words.items())


def optimizer_for(method: str) -> str:
    return "adamwprune" if method == "state" else "adamw"


def is_legal(**words: str) -> bool:
    return choose(**{"OPTIMIZER": optimizer_for(words["PRUNING_METHOD"]), **words})


def name_of(words: dict[str, str]) -> str:
    return " ".join(words.values())


METHODS = methods()
SIGNED = [{"PRUNING_METHOD": "movement"}, {"PRUNING_METHOD": "state", "PRUNING_VARIANT": "bitter5"}]
ALLOCATED = [
    {**method, "PRUNING_ALLOCATION": allocation}
    for method, allocation in itertools.product(METHODS, members("PRUNING_ALLOCATION"))
    if is_legal(**method, PRUNING_ALLOCATION=allocation)
]
SCHEDULED = [
    {"PRUNING_METHOD": name, "PRUNING_SCHEDULE": shape}
    for name, shape in itertools.product(plugins(prune), members("PRUNING_SCHEDULE"))
]
OPTIMIZED = [
    {"OPTIMIZER": name, "PRUNING_METHOD": method}
    for name, method in itertools.product(plugins(optim), plugins(prune))
    if choose(OPTIMIZER=name, PRUNING_METHOD=method)
] + [
    {"OPTIMIZER": "adamwprune", "ADAMWPRUNE_BASE": base, "PRUNING_METHOD": "state"}
    for base in (members("ADAMWPRUNE_BASE") if "ADAMWPRUNE_BASE" in KCONF.syms else [])
]
KCONF.unset_values()


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., RunConfig]:
    """`config(PRUNING_METHOD="state", ...)`: the complete configuration; `text` is put over it by hand, whatever Kconfig says."""

    def make(text: str = "", **words: str) -> RunConfig:
        asked = {"OPTIMIZER": optimizer_for(words["PRUNING_METHOD"]), **words}
        assert choose(**asked), f"Kconfig did not take {asked}"
        for symbol in set(SETTINGS) - set(words):
            KCONF.syms[symbol].set_value(SETTINGS[symbol])  # not taken where it is inactive
        KCONF.write_config(str(tmp_path / "config.txt"))
        with open(tmp_path / "config.txt", "a") as file:
            file.write(text)
        return RunConfig.load(tmp_path / "config.txt")

    return make


class Net:
    """A small convolutional network that trains as a configuration says."""

    def __init__(self, cfg: RunConfig) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 40), nn.ReLU(), nn.Linear(40, 10)
        ).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(cfg, self.model)
        pruner = build_pruner(cfg, self.model, self.optimizer, STEPS_PER_EPOCH)
        assert pruner is not None
        self.pruner = pruner
        self.data = torch.Generator().manual_seed(1)

    def step(self) -> None:
        images = torch.randn(16, 1, 8, 8, generator=self.data)
        labels = torch.randint(0, 10, (16,), generator=self.data)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images), labels).backward()
        self.pruner.before_step()
        self.optimizer.step()
        self.pruner.after_step()

    def train(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.step()

    def pruned(self) -> list[Tensor]:
        return [mask == 0 for mask in self.pruner.masks]

    def at_pruned(self) -> Tensor:
        """Weights and all that the optimizer remembers of them, at the places that are pruned."""
        found = []
        for weight, places in zip(self.pruner.weights, self.pruned(), strict=True):
            kept = self.optimizer.state[weight].values()
            state = [value for value in kept if isinstance(value, Tensor) and value.shape == weight.shape]
            found += [tensor[places] for tensor in (weight, *state)]
        return torch.cat(found)

    def save(self) -> bytes:
        file = io.BytesIO()
        state = {"model": self.model, "optimizer": self.optimizer, "pruner": self.pruner}
        torch.save({"data": self.data.get_state(), **{name: part.state_dict() for name, part in state.items()}}, file)
        return file.getvalue()

    def load(self, saved: bytes) -> None:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pruner.load_state_dict(state["pruner"])
        self.data.set_state(state["data"])


def all_tensors(net: Net) -> list[Tensor]:
    return [*net.model.state_dict().values(), *net.pruner.masks]


def test_every_word_of_the_menu_has_its_code() -> None:
    assert sorted(members("PRUNING_METHOD")) == sorted(["none", *plugins(prune)])
    assert sorted(members("PRUNING_ALLOCATION")) == sorted(ALLOCATIONS)
    assert sorted(members("PRUNING_SCHEDULE")) == sorted([*RAMPS, ONE_SHOT])


@pytest.mark.parametrize("words", ALLOCATED + SCHEDULED, ids=name_of)
def test_target_is_met_and_nothing_comes_back_on_the_way(config: Callable[..., RunConfig], words: dict[str, str]) -> None:
    net = Net(config(**words))
    schedule, before = net.pruner.schedule, net.pruned()
    for step in range(1, NUM_STEPS + 1):
        net.step()
        share, now = share_of_zeros(net.pruner.weights), net.pruned()

        assert share <= schedule.sparsity(step)
        assert share_of_zeros(net.pruner.masks) == share
        assert all((later | ~earlier).all() for earlier, later in zip(before, now, strict=True))
        if schedule.is_due(step):
            assert share == pytest.approx(schedule.sparsity(step), abs=1e-4)
        before = now
    assert share_of_zeros(net.pruner.weights) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize("words", OPTIMIZED, ids=name_of)
def test_pruned_weights_and_their_state_stay_zero_under_every_optimizer(
    config: Callable[..., RunConfig], words: dict[str, str]
) -> None:
    net = Net(config(**words))
    for _ in range(NUM_STEPS):
        net.step()

        assert not net.at_pruned().any()
    assert share_of_zeros(net.pruner.weights) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("words", METHODS + OPTIMIZED, ids=name_of)
def test_run_resumed_on_the_ramp_agrees_to_the_last_bit(config: Callable[..., RunConfig], words: dict[str, str]) -> None:
    cfg = config(**words)
    whole, resumed = Net(cfg), Net(cfg)
    whole.train(17)
    saved = whole.save()
    whole.train(NUM_STEPS - 17)
    resumed.load(saved)
    restored = torch.load(io.BytesIO(resumed.save()), weights_only=True)
    resumed.train(NUM_STEPS - 17)

    torch.testing.assert_close(restored, torch.load(io.BytesIO(saved), weights_only=True), rtol=0, atol=0)
    assert all(torch.equal(one, other) for one, other in zip(all_tensors(whole), all_tensors(resumed), strict=True))


@pytest.mark.parametrize("words", METHODS, ids=name_of)
def test_every_symbol_of_its_menu_arrives(config: Callable[..., RunConfig], words: dict[str, str]) -> None:
    """Each symbol that can be set for this method is read, and changes what the constructed object reports of itself."""
    changes = {
        "TARGET_SPARSITY": "0.25",
        "PRUNING_DENSE_LAYERS": "0",
        "PRUNING_WARMUP": "7",
        "PRUNING_RAMP_END_STEP": "33",
        "PRUNING_RAMP_END_EPOCH": "7",
        "PRUNING_FREQUENCY": "3",
        "PRUNING_EXACT_LIMIT": "77",
        "PRUNING_SCHEDULE": "linear",
        "PRUNING_ALLOCATION": "per_layer",
    }
    plain = config(**words)
    own = [sym for sym in KCONF.unique_defined_syms if sym.nodes[0].filename == "lib/ksweep/prune/Kconfig" and sym.visibility]
    assert {sym.name for sym in own if sym.choice is None} <= set(changes)
    before = Net(plain).pruner.effective()
    assert {f"PRUNING_{name.upper()}": before[name] for name in ("method", "variant") if before[name]} == words
    for symbol, value in changes.items():
        changed = config(**words, **{symbol: value})

        assert Net(changed).pruner.effective() != before
        assert changed.symbols_read[symbol] == value


@pytest.mark.parametrize("method", plugins(prune))
@pytest.mark.parametrize(
    ("symbol", "value"),
    [
        *(("TARGET_SPARSITY", value) for value in ("-0.1", "1", "nan", "inf", "much", "")),
        *(("PRUNING_WARMUP", value) for value in ("-1", "30", "soon")),
        *(("PRUNING_RAMP_END_EPOCH", value) for value in ("10", "0", "-3")),
        *(("PRUNING_RAMP_END_STEP", value) for value in ("50", "3", "-1")),
        *(("PRUNING_FREQUENCY", value) for value in ("0", "-5", "often")),
        *(("PRUNING_EXACT_LIMIT", value) for value in ("0", "-5")),
        *((symbol, "fair") for symbol in ("PRUNING_SCHEDULE", "PRUNING_ALLOCATION", "PRUNING_DENSE_LAYERS", "PRUNING_METHOD")),
    ],
)
def test_bad_values_are_refused(config: Callable[..., RunConfig], method: str, symbol: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"config\.txt.*{symbol}"):
        Net(config(f'CONFIG_{symbol}="{value}"\n', PRUNING_METHOD=method))


@pytest.mark.parametrize("words", SIGNED, ids=name_of)
def test_layer_adaptive_allocation_of_signed_scores_is_refused(config: Callable[..., RunConfig], words: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match='PRUNING_ALLOCATION: found "layer_adaptive", allowed: global per_layer depth'):
        Net(config('CONFIG_PRUNING_ALLOCATION="layer_adaptive"\n', **words))
    assert not is_legal(**words, PRUNING_ALLOCATION="layer_adaptive")


def test_layers_left_dense_are_dense_and_do_not_count(config: Callable[..., RunConfig]) -> None:
    net = Net(config(PRUNING_METHOD="magnitude", PRUNING_DENSE_LAYERS="0,6"))
    net.train(NUM_STEPS)

    assert [share_of_zeros([net.model[i].weight]) for i in (0, 6)] == [0.0, 0.0]
    assert share_of_zeros([net.model[4].weight]) == pytest.approx(0.7, abs=1e-4)
    assert net.pruner.effective()["dense_layers"] == ["0", "6"]


def test_no_method_is_no_pruner(config: Callable[..., RunConfig]) -> None:
    cfg = config(PRUNING_METHOD="none")
    model = nn.Linear(2, 2)

    assert build_pruner(cfg, model, build_optimizer(cfg, model), STEPS_PER_EPOCH) is None


def test_defaults_are_those_of_the_help() -> None:
    choose(OPTIMIZER="adamwprune")
    symbols = ("PRUNING_METHOD", "PRUNING_VARIANT", "PRUNING_ALLOCATION", "PRUNING_SCHEDULE", "PRUNING_FREQUENCY")
    assert [KCONF.syms[symbol].str_value for symbol in symbols] == ["state", "bitter7", "global", "cubic", "50"]
    choose(OPTIMIZER="adamwprune", PRUNING_VARIANT="bitter4")
    assert KCONF.syms["PRUNING_ALLOCATION"].str_value == "depth"
    choose(OPTIMIZER="adamw")
    assert KCONF.syms["PRUNING_METHOD"].str_value == "none"


@pytest.mark.parametrize("num_epochs", [2, 3, 4, 5, 9, 10, 29, 30, 49, 50, 99, 100, 300])
def test_ramp_ends_before_training_by_default(num_epochs: int) -> None:
    assert choose(PRUNING_METHOD="magnitude", NUM_EPOCHS=str(num_epochs))

    assert 1 <= int(KCONF.syms["PRUNING_RAMP_END_EPOCH"].str_value) < num_epochs
