"""How a neural network reads a handwritten digit: the thin library behind the notebooks.

Importing it does not import matplotlib; the figures live in `mnistlab.plots`.
"""

__version__ = "0.1.0"

from mnistlab import analysis, corruptions, films
from mnistlab.attribution import favourite, grad_cam, integrated_gradients, occlusion
from mnistlab.augment import Augmentation, augment
from mnistlab.checkpoints import CheckpointError, Run, load
from mnistlab.config import TrainConfig
from mnistlab.data import DataError, Digits, load_digits, normalise, writers
from mnistlab.networks import (
    CNN,
    MLP,
    Compact,
    Ensemble,
    Improved,
    LeNet,
    Simple,
    folded,
    layer_table,
    output_size,
    receptive_field,
)
from mnistlab.paths import home
from mnistlab.picture import PictureError, Preparation, prepare, to_mnist
from mnistlab.prediction import Prediction, Predictor
from mnistlab.predictions import Predictions
from mnistlab.tracing import Ledger, Trace, activation_statistics, recording, silenced, top_digits, trace
from mnistlab.training import Evaluation, TrainingError, evaluate, fit

__all__ = [
    "CNN",
    "MLP",
    "Augmentation",
    "CheckpointError",
    "Compact",
    "DataError",
    "Digits",
    "Ensemble",
    "Evaluation",
    "Improved",
    "LeNet",
    "Ledger",
    "PictureError",
    "Prediction",
    "Predictions",
    "Predictor",
    "Preparation",
    "Run",
    "Simple",
    "Trace",
    "TrainConfig",
    "TrainingError",
    "activation_statistics",
    "analysis",
    "augment",
    "corruptions",
    "evaluate",
    "favourite",
    "films",
    "fit",
    "folded",
    "grad_cam",
    "home",
    "integrated_gradients",
    "layer_table",
    "load",
    "load_digits",
    "normalise",
    "occlusion",
    "output_size",
    "prepare",
    "receptive_field",
    "recording",
    "silenced",
    "to_mnist",
    "top_digits",
    "trace",
    "writers",
]
