"""Where a run computes, how wide, and in which number format."""

import os

import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16}


def use_device(cfg: RunConfig) -> torch.device:
    """The device that DEVICE names; auto: a GPU when this process sees one. ConfigError for cuda without one."""
    wanted = cfg.str("DEVICE")
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f'{cfg.source}: CONFIG_DEVICE: found "{wanted}", allowed: auto cpu cuda')
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "cuda":
        raise ConfigError(
            f"{cfg.source}: CONFIG_DEVICE=cuda, but this process sees no GPU (torch {torch.__version__},"
            f" CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); allowed here: auto cpu"
        )
    return torch.device("cpu")


def autocast_type(cfg: RunConfig) -> torch.dtype | None:
    """Number format of the forward pass that PRECISION names; None: as the weights."""
    name = cfg.str("PRECISION")
    if name not in AUTOCAST:
        raise ConfigError(f'{cfg.source}: CONFIG_PRECISION: found "{name}", allowed: {" ".join(AUTOCAST)}')
    return AUTOCAST[name]
