"""How far a network's probabilities can be believed, and when it had better not answer."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mnistlab.analysis.predictions import Predictions
from mnistlab.analysis.scores import binned

if TYPE_CHECKING:
    import pandas as pd


def coverage(predictions: Predictions) -> "pd.DataFrame":
    """What you get if you answer only from a threshold of confidence on: one row a threshold, highest first.

    Columns: threshold, answered (how many digits have at least that confidence) and coverage (their share of all),
    errors among them and accuracy.
    """
    import pandas as pd

    table = pd.DataFrame({"threshold": predictions.confidence, "wrong": ~predictions.right})
    table = table.groupby("threshold")["wrong"].agg(["size", "sum"])[::-1].cumsum().reset_index()
    table.columns = pd.Index(["threshold", "answered", "errors"])
    table.insert(2, "coverage", table["answered"] / table["answered"].iloc[-1])
    table["accuracy"] = 1 - table["errors"] / table["answered"]
    return table


def threshold(predictions: Predictions, accuracy: float = 0.999) -> float:
    """The lowest confidence from which on at least this share of the answers is right; inf where there is none.

    Choose it on other digits than those on which its promise is to be checked.
    """
    table = coverage(predictions)
    kept = table.loc[table["accuracy"] >= accuracy, "threshold"]
    return float(kept.min()) if len(kept) else float("inf")


def reliability(predictions: Predictions, bins: int = 15) -> "pd.DataFrame":
    """One row for each bin of confidence that is not empty: what was promised there, and what was kept.

    Columns: start and end of the bin (a confidence of exactly `end` belongs to it), count, errors, accuracy, low and
    high of its Wilson 95% interval, confidence (the mean).  Source: Guo et al., 2017.
    """
    import pandas as pd

    if bins < 1:
        raise ValueError(f"At least one bin is needed, not {bins}; the default is 15.")
    confidence, edges = predictions.confidence, np.linspace(0, 1, bins + 1)
    table = binned(predictions, confidence, edges)
    table["confidence"] = pd.Series(confidence).groupby(np.searchsorted(edges[1:-1], confidence)).mean().to_numpy()
    return table


def calibration_error(predictions: Predictions, bins: int = 15) -> float:
    """Expected calibration error, 0…1: the mean gap between confidence and accuracy over the bins of `reliability`.

    Each bin counts by its number of digits. 0 means that 80% of the digits read with 80% confidence are right.
    """
    table = reliability(predictions, bins)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["count"]))


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The number T, 0.01…100, for which softmax(logits / T) has the smallest mean loss on these labels.

    logits: (N, 10).  labels: (N,) integers. Above 1 the network was too sure of itself, below 1 not sure enough; no
    prediction changes. Fit it on digits that the network did not learn from. Where every digit is right there is no
    best T, and you get some small number.  Source: Guo et al., 2017.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows, truth = np.asarray(logits, dtype=float), np.asarray(labels, dtype=np.int64)
    if rows.ndim != 2 or truth.shape != rows.shape[:1] or not len(rows):
        raise ValueError(f"(N, 10) and (N,) are needed, N above 0; these are {rows.shape} and {truth.shape}.")

    def loss(log_t: float) -> float:
        return -float(log_softmax(rows / np.exp(log_t), axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
