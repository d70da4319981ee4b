from . import analysis, films
from .analysis.intervals import Evaluation
from .analysis.predictions import Predictions, predict
from .analysis.scores import evaluate
from .data.augmentation import Augmentation, augment
from .data.digits import DataError, Digits, normalise
from .data.images import load_images
from .data.sources import load_digits, writers
from .inspection.activations import activation_statistics, top_digits
from .inspection.attribution import favourite, grad_cam, integrated_gradients, occlusion
from .inspection.trace import Ledger, Trace, trace
from .networks.hooks import recording, silenced
from .networks.inference import NetworkError, logits
from .networks.layers import folded, layer_table, output_size, receptive_field
from .networks.models import CNN, MLP, Compact, Ensemble, Improved, LeNet, Repeat, Simple
from .paths import home, shipped
from .reading.picture import PictureError, Preparation, prepare, to_mnist
from .reading.predictor import Prediction, Predictor
from .runs import CheckpointError, Run, load
from .training.config import TrainConfig
from .training.loop import fit
from .training.state import TrainingError

__version__: str
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
    "NetworkError",
    "PictureError",
    "Prediction",
    "Predictions",
    "Predictor",
    "Preparation",
    "Repeat",
    "Run",
    "Simple",
    "Trace",
    "TrainConfig",
    "TrainingError",
    "activation_statistics",
    "analysis",
    "augment",
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
    "load_images",
    "logits",
    "normalise",
    "occlusion",
    "output_size",
    "predict",
    "prepare",
    "receptive_field",
    "recording",
    "shipped",
    "silenced",
    "to_mnist",
    "top_digits",
    "trace",
    "writers",
]
