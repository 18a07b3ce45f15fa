"""Kernel-style experiment sweeps."""
