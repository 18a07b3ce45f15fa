"""What the optimizers of the Adam family have in common: their knobs, read in one place."""

from typing import Any

from ksweep.contract.config import RunConfig


def adam_settings(cfg: RunConfig, prefix: str) -> dict[str, Any]:
    """Keyword arguments of torch's Adam and AdamW, from the symbols `<prefix>_BETA1` and so on.

    `prefix` is ADAM, or ADAMWPRUNE, whose weight decay is its own symbol too. The step is torch's fused kernel.
    """
    return {
        "lr": cfg.float("LEARNING_RATE"),
        "betas": (cfg.float(f"{prefix}_BETA1"), cfg.float(f"{prefix}_BETA2")),
        "eps": cfg.float(f"{prefix}_EPSILON"),
        "weight_decay": cfg.float("WEIGHT_DECAY" if prefix == "ADAM" else f"{prefix}_WEIGHT_DECAY"),
        "amsgrad": cfg.bool(f"{prefix}_AMSGRAD"),
        "fused": True,
    }
