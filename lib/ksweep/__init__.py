"""Kernel-style experiment sweeps.

from ksweep import tune_act    # thresholds and lambdas of ACT: see its docstring
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksweep.cli.tune_act_command import tune_act

__all__ = ["tune_act"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: neither a trainer nor any other command needs it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ksweep.cli.tune_act_command import tune_act

    return tune_act
