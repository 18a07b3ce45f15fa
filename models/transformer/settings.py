"""The sizes and kinds of a transformer, as a configuration gives them."""

from dataclasses import dataclass

from ksweep.contract.config import RunConfig


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
    """The symbols of the Transformer menu. Those that a choice leaves without effect are not read."""
    task = cfg.str("TRANSFORMER_TASK")
    return Settings(
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
