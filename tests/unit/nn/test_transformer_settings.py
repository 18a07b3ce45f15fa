"""The Transformer menu: what it lets through is a network, and only what counts is asked for."""

import re
from pathlib import Path

import pytest

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError, RequestError
from ksweep.kconfig.resolve import Resolver
from ksweep.kconfig.tree import load_tree
from ksweep.space.rangefile import parse_range_text
from models.transformer.model import Transformer
from models.transformer.settings import Experts, Halting, read_settings

ROOT = Path(__file__).resolve().parents[3]
ALWAYS = {
    *("TRANSFORMER_TASK", "TRANSFORMER_D_MODEL", "TRANSFORMER_LAYERS", "TRANSFORMER_HEADS", "TRANSFORMER_MLP_RATIO"),
    *("TRANSFORMER_POSITIONS", "TRANSFORMER_MLP", "TRANSFORMER_DROPOUT", "TRANSFORMER_HALTING", "MOE_EXPERTS"),
}


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(load_tree(ROOT))


def text_of(resolver: Resolver, *lines: str) -> str:
    text = "".join(f"CONFIG_{line}\n" for line in ("MODEL=transformer", *lines))
    (point,) = resolver.expand(parse_range_text(text, Path("ranges"), Path)).points
    return point.text


def config_of(resolver: Resolver, *lines: str) -> RunConfig:
    return RunConfig(text_of(resolver, *lines), "config.txt")


def test_the_defaults_are_a_plain_language_model_that_reads_nothing_else(resolver: Resolver) -> None:
    cfg = config_of(resolver)
    settings = read_settings(cfg)

    assert set(cfg.symbols_read) == ALWAYS | {"TRANSFORMER_TIED_HEAD"}
    assert (settings.task, settings.d_model, settings.num_layers, settings.num_heads) == ("language-model", 64, 4, 4)
    assert (settings.positions, settings.mlp, settings.dropout, settings.is_head_tied) == ("rotary", "gelu", 0.0, True)
    assert (settings.halting, settings.experts) == (None, None)


def test_a_classifier_has_no_tied_head(resolver: Resolver) -> None:
    cfg = config_of(resolver, "TRANSFORMER_TASK=classifier")

    assert not read_settings(cfg).is_head_tied
    assert set(cfg.symbols_read) == ALWAYS


@pytest.mark.parametrize(("kind", "prior", "more"), [("act", None, set()), ("pondernet", 0.25, {"PONDERNET_PRIOR"})])
def test_halting_reads_its_own_symbols(resolver: Resolver, kind: str, prior: float | None, more: set[str]) -> None:
    prior_line = ["PONDERNET_PRIOR=0.25"] if prior else []
    lines = ["ACT_THRESHOLD=0.9", "ACT_LAMBDA=0.05", "HALTING_BIAS=-2", *prior_line]
    cfg = config_of(resolver, f"TRANSFORMER_HALTING={kind}", *lines)

    assert read_settings(cfg).halting == Halting(kind=kind, threshold=0.9, ponder_weight=0.05, bias=-2.0, prior=prior)
    halting = {"TRANSFORMER_TIED_HEAD", "ACT_THRESHOLD", "ACT_LAMBDA", "HALTING_BIAS"} | more
    assert set(cfg.symbols_read) == ALWAYS | halting


def test_a_mixture_reads_its_own_symbols(resolver: Resolver) -> None:
    cfg = config_of(resolver, "MOE_EXPERTS=4", "MOE_TOP_K=2", "MOE_BALANCE=0.1")

    assert read_settings(cfg).experts == Experts(number=4, top_k=2, balance_weight=0.1)
    assert set(cfg.symbols_read) == ALWAYS | {"TRANSFORMER_TIED_HEAD", "MOE_TOP_K", "MOE_BALANCE"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["TRANSFORMER_D_MODEL=66"], "the heads share the width out evenly"),
        (["TRANSFORMER_D_MODEL=12"], "the width of a head must be even"),
        (["MOE_EXPERTS=2", "MOE_TOP_K=3"], "a token cannot have more experts than there are"),
        (["TRANSFORMER_HALTING=act", "TRANSFORMER_LAYERS=1"], "with one layer there is nothing to stop before"),
        (["TRANSFORMER_HALTING=act", "ACT_THRESHOLD=0"], 'found "0", allowed: a number > 0 and <= 1'),
        (["TRANSFORMER_HALTING=pondernet", "PONDERNET_PRIOR=1"], 'found "1", allowed: a number > 0 and < 1'),
        (["TRANSFORMER_DROPOUT=1"], 'found "1", allowed: a number >= 0 and < 1'),
        (["ACT_LAMBDA=0.1"], "TRANSFORMER_HALTING"),
        (["MOE_TOP_K=1"], "MOE_EXPERTS"),
    ],
)
def test_what_is_no_network_is_refused_with_the_reason(resolver: Resolver, lines: list[str], words: str) -> None:
    with pytest.raises(RequestError) as error:
        config_of(resolver, *lines)

    assert words in "\n".join(error.value.problems)


@pytest.mark.parametrize(
    ("symbol", "value", "words"),
    [
        ("TRANSFORMER_TASK", "classifer", "found classifer, allowed: language-model classifier"),
        ("TRANSFORMER_HALTING", "ponder", "found ponder, allowed: none act pondernet"),
        ("TRANSFORMER_POSITIONS", "none", "found none, allowed: rotary learned"),
        ("TRANSFORMER_HEADS", "3", "CONFIG_TRANSFORMER_D_MODEL: found 64, allowed: a multiple of 6 (3 heads of an even width)"),
        ("TRANSFORMER_HEADS", "0", "found 0, allowed: 1 or more"),
        ("TRANSFORMER_LAYERS", "1", "found 1, allowed: 2 or more with halting, else 1 or more"),
        ("ACT_THRESHOLD", "1.5", "found 1.5, allowed: above 0, to 1"),
        ("MOE_TOP_K", "3", "found 3, allowed: 1 to 2, MOE_EXPERTS"),
    ],
)
def test_a_trainer_refuses_what_no_kconfig_wrote(resolver: Resolver, symbol: str, value: str, words: str) -> None:
    """By hand: some of these would train, and be another network than the file says."""
    text = text_of(resolver, "TRANSFORMER_HALTING=act", "MOE_EXPERTS=2")
    text = re.sub(rf'(?m)^CONFIG_{symbol}="?[^"\n]*"?$', f'CONFIG_{symbol}="{value}"', text)

    with pytest.raises(ConfigError) as error:
        read_settings(RunConfig(text, "config.txt"))
    assert words in str(error.value)


def test_what_the_rules_let_through_can_be_built(resolver: Resolver) -> None:
    lines = ("TRANSFORMER_HEADS=4", "TRANSFORMER_POSITIONS=learned", "TRANSFORMER_D_MODEL=12")
    settings = read_settings(config_of(resolver, *lines))

    assert Transformer(settings, num_tokens=5, num_outputs=5, length=3).effective()["d_model"] == 12
