"""The layer autotuner: a trained model in, a smaller and faster one out, its accuracy above a floor.

from ksweep.tuner import SKAutoTuner, LayerConfig, TuningConfigs, Categorical, Int, Float, OptunaSearch, ModelVisualizer
"""

from ksweep.tuner.layer_config import LayerConfig, TuningConfigs
from ksweep.tuner.optuna_search import OptunaSearch
from ksweep.tuner.results import apply_saved
from ksweep.tuner.specs import Categorical, Float, Int
from ksweep.tuner.tuner import SKAutoTuner
from ksweep.tuner.visualizer import ModelVisualizer

__all__ = [
    "Categorical",
    "Float",
    "Int",
    "LayerConfig",
    "ModelVisualizer",
    "OptunaSearch",
    "SKAutoTuner",
    "TuningConfigs",
    "apply_saved",
]
