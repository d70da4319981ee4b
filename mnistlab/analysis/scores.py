"""How good a network is, and where it is wrong: counts, shares and the intervals around them."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix
from torch import nn

from mnistlab.data.digits import DataError, Digits, normalise
from mnistlab.hardware import autocast, keep_freed_memory
from mnistlab.networks.hooks import evaluating


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share of `right` out of `count`."""
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    return float(low), float(high)


class Evaluation(NamedTuple):
    """How a network does on labelled digits: `errors` wrong of `count`, and the mean cross-entropy `loss`."""

    errors: int
    count: int
    loss: float

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval for the accuracy: what other digits of the same kind might have given."""
        return wilson(self.count - self.errors, self.count)

    def card(self) -> dict:
        """The figures as a checkpoint's card keeps them."""
        return {**self._asdict(), "accuracy": self.accuracy, "wilson_95": list(self.interval)}


def evaluate(model: nn.Module, digits: Digits, *, batch_size: int = 1000, precision: str = "float32") -> Evaluation:
    """How `model`, where it lies and in eval mode, does on labelled digits; its mode is given back."""
    if digits.labels is None:
        raise DataError("Digits without labels cannot be scored; take a split that has them.")
    if len(digits) == 0:
        raise DataError("There are no digits to score.")
    weights = next(model.parameters())
    device = weights.device
    errors, loss = torch.zeros((), device=device), torch.zeros((), device=device)
    with evaluating(model), torch.inference_mode(), autocast(precision, device):
        for images, labels in digits.to(device).batches(batch_size):
            logits = model(normalise(images).to(weights.dtype, memory_format=torch.channels_last)).float()
            errors += (logits.argmax(1) != labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum")
    return Evaluation(int(errors), len(digits), float(loss) / len(digits))


def confusion(labels: ArrayLike, predictions: ArrayLike) -> pd.DataFrame:
    """(10, 10) counts: a row for each label, a column for each prediction."""
    counts = confusion_matrix(integers(labels), integers(predictions), labels=range(10))
    return pd.DataFrame(counts).rename_axis(index="label", columns="prediction")


def confused_pairs(labels: ArrayLike, predictions: ArrayLike) -> pd.DataFrame:
    """One row a kind of mistake, the commonest first: label, prediction, count, and share of the label's digits."""
    counts = confusion(labels, predictions)
    table = counts.melt(value_name="count", ignore_index=False).reset_index()
    table["share"] = table["count"] / table["label"].map(counts.sum(axis=1))
    table = table[(table["label"] != table["prediction"]) & (table["count"] > 0)]
    return table.sort_values(["count", "label", "prediction"], ascending=[False, True, True], ignore_index=True)


def per_digit(labels: ArrayLike, predictions: ArrayLike) -> pd.DataFrame:
    """One row a digit: count and errors, precision, recall, F1, and low and high of the recall's Wilson 95% interval.

    recall: of the digits with this label, the share read as it.  precision: of those read as it, the share with this
    label.  F1: their harmonic mean. nan where there is nothing to take a share of.
    """
    counts = confusion(labels, predictions)
    right, count, read = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    table = pd.DataFrame({"count": count, "errors": count - right})
    table["precision"], table["recall"], table["F1"] = right / read, right / count, 2 * right / (count + read)
    ends = [wilson(*row) if row[1] else (np.nan, np.nan) for row in zip(right.tolist(), count.tolist(), strict=True)]
    table[["low", "high"]] = ends
    return table.rename_axis("digit")


def in_words(errors: int, count: int) -> str:
    """An accuracy as it should be told: with the errors, the digits and Wilson's 95% interval."""
    low, high = wilson(count - errors, count)
    return f"{errors} wrong of {count:,}: {1 - errors / count:.2%} right (95% interval {low:.2%} to {high:.2%})"


def accuracies(right: ArrayLike, groups: ArrayLike) -> pd.DataFrame:
    """One row a group, in order: count, errors, accuracy, and low and high of its Wilson 95% interval.

    right: (N,) True where a digit was read rightly.  groups: (N,) the name of the group that it belongs to.
    """
    table = pd.DataFrame({"right": np.asarray(right, dtype=bool), "group": np.asarray(groups)})
    counted = table.groupby("group")["right"].agg(["size", "sum"])
    table = pd.DataFrame({"count": counted["size"], "errors": counted["size"] - counted["sum"]})
    table["accuracy"] = counted["sum"] / counted["size"]
    ends = [wilson(*row) for row in counted[["sum", "size"]].itertuples(index=False)]
    table[["low", "high"]] = np.reshape(ends, (-1, 2))
    return table.rename_axis(None)


def slices(right: ArrayLike, values: ArrayLike, parts: int = 5) -> pd.DataFrame:
    """The digits ordered by a measured value and cut into `parts` of equal size: one row a part, lowest first.

    Columns: start and end (a value of exactly `end` belongs to it), then those of `accuracies`. Where many values
    are equal there are fewer parts.
    """
    values = np.asarray(values, dtype=float)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)))
    return binned(right, values, edges if len(edges) > 1 else edges.repeat(2))


def binned(right: ArrayLike, values: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    """`accuracies` of the bins between these edges, the upper one included; bins without digits are left out."""
    table = accuracies(right, np.searchsorted(edges[1:-1], values))
    table.insert(0, "start", edges[table.index])
    table.insert(1, "end", edges[table.index + 1])
    return table.reset_index(drop=True)


def integers(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)
