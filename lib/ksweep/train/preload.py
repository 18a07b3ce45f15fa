"""The imports of a trainer, done once by a warm launcher that forks every run from itself.

Imports only. A parent that has computed on several threads, or touched CUDA, leaves its children hanging; so nothing here
computes, and no thread is started (set OPENBLAS_NUM_THREADS=1 before, else numpy starts its own).
"""

import numpy
import torch
import torch._dynamo  # what the first optimizer would import: 2 s
import torch.utils.data

import ksweep.train.main
from ksweep import optim
from ksweep.data import sets
from ksweep.train.registry import plugins

__all__ = ["ksweep", "numpy", "torch"]

plugins(optim)
plugins(sets)
