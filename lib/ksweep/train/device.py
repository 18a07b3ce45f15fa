"""Where a run computes, how wide, and in which number format."""

import gc
import os
import resource
from dataclasses import dataclass

import torch

from ksweep.contract.config import RunConfig
from ksweep.contract.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where a run computes, and in which number format the forward pass does: `autocast`, None: as the weights are."""

    device: torch.device
    autocast: torch.dtype | None

    def forward_format(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None)


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


def autocast_type(cfg: RunConfig, device: torch.device) -> torch.dtype | None:
    """Number format of the forward pass that PRECISION names; None: as the weights. auto: bf16 on a GPU that computes in it."""
    name = cfg.str("PRECISION")
    if name not in ("auto", "fp32", "bf16"):
        raise ConfigError(f'{cfg.source}: CONFIG_PRECISION: found "{name}", allowed: auto bf16 fp32')
    if name == "fp32" and device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # torch's default computes convolutions with 10 bits of 23
    if name == "auto":
        name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return torch.bfloat16 if name == "bf16" else None


def use_deterministic_algorithms(cfg: RunConfig, device: torch.device) -> None:
    """On a GPU: the same algorithms each time for DETERMINISTIC, else the fastest, which cuDNN finds by trying.

    A CPU repeats itself to the last bit either way. Comes before the GPU is first used.
    """
    wanted = cfg.bool("DETERMINISTIC")
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted
    if wanted and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)  # a warning in output.log where an operation has none


def peak_memory_mib(device: torch.device) -> float:
    """Most memory at a time so far, MiB: allocated by torch on a GPU; on a CPU, the largest resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when an allocation fails, on a GPU or on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Of torch on a CPU, oneDNN, the CUDA driver, cuBLAS and cuDNN, where several runs share a card.
    words = ("DefaultCPUAllocator", "could not create a memory object", "out of memory", "_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in words)


def release_memory() -> None:
    """Give back what is no longer referred to, so that a smaller attempt finds it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
