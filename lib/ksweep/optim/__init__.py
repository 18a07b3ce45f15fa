"""Optimizers, one file each: NAME and `build(cfg, param_groups) -> Optimizer`; a new file is found by its NAME.

A module reads its own Kconfig symbols where it hands them to the optimizer, and nothing else does.
"""
