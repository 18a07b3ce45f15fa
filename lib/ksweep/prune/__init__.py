"""Pruning while training: when and how much (schedule.py), which weights (state.py), chosen by the configuration (build.py)."""
