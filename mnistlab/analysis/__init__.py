"""How good a network is, where it is wrong, and how far its probabilities can be believed: nouns in, tables out."""

from mnistlab.analysis.calibration import calibration_error, coverage, reliability, temperature, threshold
from mnistlab.analysis.intervals import in_words, wilson
from mnistlab.analysis.scores import accuracies, confused_pairs, confusion, per_digit, slices

__all__ = [
    "accuracies",
    "calibration_error",
    "confused_pairs",
    "confusion",
    "coverage",
    "in_words",
    "per_digit",
    "reliability",
    "slices",
    "temperature",
    "threshold",
    "wilson",
]
