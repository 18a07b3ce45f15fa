"""Everything that is drawn at random, seeded by one number, and its state for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch (all devices). `seed` is 0 to 2^31-1."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def data_generator(seed: int) -> torch.Generator:
    """The generator of the order of examples: its own, so that the order does not depend on what else is drawn."""
    return torch.Generator().manual_seed(seed)


def random_state(data: torch.Generator) -> dict[str, Any]:
    """State of all generators, of types that a checkpoint may hold."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "data": data.get_state(),
    }


def restore_random_state(state: dict[str, Any], data: torch.Generator) -> None:
    """Go on drawing from where `random_state` was taken."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    data.set_state(state["data"])
