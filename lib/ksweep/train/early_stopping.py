"""Ends a run whose validation does not get better any more."""

from dataclasses import dataclass

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """After `patience` epochs in a row that do not improve, a run is over.

    An epoch improves when it beats, as the best epoch is chosen, the last one that improved, and that by `min_delta` or more in
    the metric by which epochs are selected. So small steps that add up count as soon as they have added up.
    """

    patience: int
    min_delta: float

    def reason(self, *, epoch: int, improved_epoch: int, shown: str) -> str:
        """Why a run is over after `epoch`; empty while it is not. `improved_epoch` 0: none that counts yet. `shown`: its metric,
        as text."""
        if not improved_epoch or epoch - improved_epoch < self.patience:
            return ""
        by = f" by {self.min_delta} or more" if self.min_delta else ""
        return f"no improvement{by} in {self.patience} epochs since epoch {improved_epoch}, {shown}"


def read_early_stopping(cfg: RunConfig) -> EarlyStopping | None:
    """What EARLY_STOPPING_PATIENCE and EARLY_STOPPING_MIN_DELTA ask for; None for a patience of 0."""
    patience = cfg.int("EARLY_STOPPING_PATIENCE")
    if patience == 0:
        return None
    if cfg.bool("TRAIN_ON_VALIDATION"):
        raise ConfigError(
            f"{cfg.source}: CONFIG_EARLY_STOPPING_PATIENCE: found {patience}, allowed: 0 with CONFIG_TRAIN_ON_VALIDATION=y, "
            "which leaves nothing to validate on"
        )
    min_delta = cfg.float("EARLY_STOPPING_MIN_DELTA")
    for name, value in (("PATIENCE", patience), ("MIN_DELTA", min_delta)):
        if value < 0:
            raise ConfigError(f"{cfg.source}: CONFIG_EARLY_STOPPING_{name}: found {value}, allowed: 0 or more")
    return EarlyStopping(patience=patience, min_delta=min_delta)
