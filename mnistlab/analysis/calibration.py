"""How far a network's probabilities can be believed, and when it had better not answer."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mnistlab.analysis.scores import binned, integers


def coverage(confidence: ArrayLike, right: ArrayLike) -> pd.DataFrame:
    """What comes of answering only from a threshold of confidence on: one row for each threshold, highest first.

    Columns: threshold, answered (how many digits have at least that confidence) and coverage (their share of all),
    errors among them and accuracy.
    """
    table = pd.DataFrame({"threshold": np.asarray(confidence, dtype=float), "wrong": ~np.asarray(right, dtype=bool)})
    table = table.groupby("threshold")["wrong"].agg(["size", "sum"])[::-1].cumsum().reset_index()
    table.columns = ["threshold", "answered", "errors"]
    table.insert(2, "coverage", table["answered"] / table["answered"].iloc[-1])
    table["accuracy"] = 1 - table["errors"] / table["answered"]
    return table


def threshold(confidence: ArrayLike, right: ArrayLike, accuracy: float = 0.999) -> float:
    """The lowest confidence from which on at least this share of the answers is right; inf where there is none.

    Choose it on other digits than those on which its promise is to be checked.
    """
    table = coverage(confidence, right)
    kept = table.loc[table["accuracy"] >= accuracy, "threshold"]
    return float(kept.min()) if len(kept) else float("inf")


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """One row for each bin of confidence that is not empty: what was promised there, and what was kept.

    Columns: start and end of the bin (a confidence of exactly `end` belongs to it), count, errors, accuracy, low and
    high of its Wilson 95% interval, confidence (the mean).  Source: Guo et al., 2017.
    """
    if bins < 1:
        raise ValueError(f"At least one bin is needed, not {bins}; the default is 15.")
    probabilities, labels = _rows_and_labels(probabilities, labels)
    confidence, edges = probabilities.max(1), np.linspace(0, 1, bins + 1)
    table = binned(probabilities.argmax(1) == labels, confidence, edges)
    table["confidence"] = pd.Series(confidence).groupby(np.searchsorted(edges[1:-1], confidence)).mean().to_numpy()
    return table


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error, 0…1: the mean gap between confidence and accuracy over the bins of `reliability`.

    Each bin counts by its number of digits. 0 means that of the digits read with 80% confidence 80% are right.
    """
    table = reliability(probabilities, labels, bins)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["count"]))


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The number T, 0.01…100, for which softmax(logits / T) has the smallest mean loss on these labels.

    Above 1 the network was too sure of itself, below 1 not sure enough; no prediction changes. Fit it on digits that
    the network did not learn from. Where every digit is right there is no best T; it is then some small number.
    Source: Guo et al., 2017.
    """
    logits, labels = _rows_and_labels(logits, labels)
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _rows_and_labels(rows: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(rows, dtype=float), integers(labels)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not len(rows):
        raise ValueError(f"(N, 10) and (N,) are needed, N above 0; these are {rows.shape} and {labels.shape}.")
    return rows, labels
