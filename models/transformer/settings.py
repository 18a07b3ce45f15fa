"""The sizes and kinds of a transformer, as a configuration gives them."""

from collections.abc import Iterator
from dataclasses import dataclass

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Halting:
    """How deep a token goes. `kind`: act or pondernet; `threshold`, above 0 to 1: the halting mass at which a token stops.

    `ponder_weight`: the weight of the cost of depth in the loss, 0 or more; `bias`: the halting units' first bias; `prior`: the
    chance to stop at each layer that PonderNet is drawn towards, between 0 and 1 (None for act).
    """

    kind: str
    threshold: float
    ponder_weight: float
    bias: float
    prior: float | None


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture: `number` of experts, of which `top_k` compute each token; `balance_weight` of their balance in the loss."""

    number: int
    top_k: int
    balance_weight: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the constructor of `Transformer` needs to know beside the sizes of the data.

    `task`: language-model or classifier; `positions`: rotary or learned; `mlp`: gelu or swiglu. `mlp_ratio`: hidden units of the
    MLP as a multiple of `d_model`. `halting` None: every token goes through all layers; `experts` None: a plain MLP.
    """

    task: str
    d_model: int
    num_layers: int
    num_heads: int
    mlp_ratio: int
    positions: str
    mlp: str
    dropout: float
    is_head_tied: bool
    halting: Halting | None
    experts: Experts | None

    @property
    def is_language_model(self) -> bool:
        """One prediction a token, and no token sees a later one; else one prediction a sequence."""
        return self.task == "language-model"


def read_settings(cfg: RunConfig) -> Settings:
    """The symbols of the Transformer menu. Those that a choice leaves without effect are not read.

    ConfigError for what is no network, or would be another one than is asked for.
    """
    task = cfg.str("TRANSFORMER_TASK")
    settings = Settings(
        task=task,
        d_model=cfg.int("TRANSFORMER_D_MODEL"),
        num_layers=cfg.int("TRANSFORMER_LAYERS"),
        num_heads=cfg.int("TRANSFORMER_HEADS"),
        mlp_ratio=cfg.int("TRANSFORMER_MLP_RATIO"),
        positions=cfg.str("TRANSFORMER_POSITIONS"),
        mlp=cfg.str("TRANSFORMER_MLP"),
        dropout=cfg.float("TRANSFORMER_DROPOUT"),
        is_head_tied=task == "language-model" and cfg.bool("TRANSFORMER_TIED_HEAD"),
        halting=_read_halting(cfg),
        experts=_read_experts(cfg),
    )
    wrong = [(symbol, allowed) for symbol, is_right, allowed in _demands(settings) if not is_right]
    if wrong:
        raise ConfigError(
            "\n".join(f"{cfg.source}: CONFIG_{symbol}: found {cfg.str(symbol)}, allowed: {allowed}" for symbol, allowed in wrong)
        )
    return settings


def _demands(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """Symbol, whether its value is right, what is allowed. The Kconfig has the same; a config.txt can be of other making."""
    heads, halting, experts = max(settings.num_heads, 1), settings.halting, settings.experts
    is_rotary, least = settings.positions == "rotary", 2 if halting else 1
    yield "TRANSFORMER_TASK", settings.task in ("language-model", "classifier"), "language-model classifier"
    yield "TRANSFORMER_POSITIONS", settings.positions in ("rotary", "learned"), "rotary learned"
    yield "TRANSFORMER_MLP", settings.mlp in ("gelu", "swiglu"), "gelu swiglu"
    yield "TRANSFORMER_LAYERS", settings.num_layers >= least, "2 or more with halting, else 1 or more"
    yield "TRANSFORMER_HEADS", settings.num_heads >= 1, "1 or more"
    multiple = heads * (2 if is_rotary else 1)
    what = f"a multiple of {multiple} ({heads} heads{' of an even width' if is_rotary else ''})"
    yield "TRANSFORMER_D_MODEL", settings.d_model >= 1 and settings.d_model % multiple == 0, what
    yield "TRANSFORMER_MLP_RATIO", settings.mlp_ratio >= 1, "1 or more"
    yield "TRANSFORMER_DROPOUT", 0 <= settings.dropout < 1, "0 to below 1"
    if halting:
        yield "TRANSFORMER_HALTING", halting.kind in ("act", "pondernet"), "none act pondernet"
        yield "ACT_THRESHOLD", 0 < halting.threshold <= 1, "above 0, to 1"
        yield "ACT_LAMBDA", halting.ponder_weight >= 0, "0 or more"
        yield "PONDERNET_PRIOR", halting.prior is None or 0 < halting.prior < 1, "above 0, below 1"
    if experts:
        yield "MOE_EXPERTS", experts.number >= 1, "1 or more"
        yield "MOE_TOP_K", 1 <= experts.top_k <= experts.number, f"1 to {experts.number}, MOE_EXPERTS"
        yield "MOE_BALANCE", experts.balance_weight >= 0, "0 or more"


def _read_halting(cfg: RunConfig) -> Halting | None:
    kind = cfg.str("TRANSFORMER_HALTING")
    if kind == "none":
        return None
    return Halting(
        kind=kind,
        threshold=cfg.float("ACT_THRESHOLD"),
        ponder_weight=cfg.float("ACT_LAMBDA"),
        bias=cfg.float("HALTING_BIAS"),
        prior=cfg.float("PONDERNET_PRIOR") if kind == "pondernet" else None,
    )


def _read_experts(cfg: RunConfig) -> Experts | None:
    number = cfg.int("MOE_EXPERTS")
    if number == 1:
        return None
    return Experts(number=number, top_k=cfg.int("MOE_TOP_K"), balance_weight=cfg.float("MOE_BALANCE"))
