"""The symbols of the Heads menu, as records."""

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError
from models.heads.heads import HeadSettings
from models.heads.losses import LossSettings

HEADS, LOSSES = ("siglip", "clip", "mlp", "attention"), ("sigmoid", "softmax", "queue")


def read_head(cfg: RunConfig) -> HeadSettings:
    """Those that the kind of head leaves without effect are not read. ConfigError for an unknown kind."""
    kind = _one_of(cfg, "HEAD", HEADS)
    is_attention = kind == "attention"
    return HeadSettings(
        kind=kind,
        output_dim=cfg.int("OUTPUT_DIM"),
        dropout=cfg.float("DROPOUT"),
        hidden_dim=0 if kind == "siglip" else cfg.int("HIDDEN_DIM"),
        num_tokens=cfg.int("NUM_TOKENS") if is_attention else 0,
        num_heads=cfg.int("NUM_HEADS") if is_attention else 0,
        num_layers=cfg.int("NUM_LAYERS") if is_attention else 0,
    )


def read_loss(cfg: RunConfig) -> LossSettings:
    """As read_head, of the loss."""
    kind = _one_of(cfg, "HEAD_LOSS", LOSSES)
    return LossSettings(
        kind=kind,
        temperature=cfg.float("TEMPERATURE"),
        is_temperature_learned=cfg.bool("LEARNABLE_TEMP"),
        queue_size=cfg.int("QUEUE_SIZE") if kind == "queue" else 0,
    )


def _one_of(cfg: RunConfig, symbol: str, allowed: tuple[str, ...]) -> str:
    found = cfg.str(symbol)
    if found not in allowed:
        raise ConfigError(f'{cfg.source}: CONFIG_{symbol}: found "{found}", allowed: {" ".join(allowed)}')
    return found
