"""Where a network is wrong: what is taken for what, digit by digit and group by group."""

from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import nn

from mnistlab.analysis.intervals import Evaluation, wilson
from mnistlab.analysis.predictions import Predictions
from mnistlab.data.digits import DataError, Digits, numbered
from mnistlab.networks.inference import logits, rows

if TYPE_CHECKING:
    import pandas as pd


def evaluate(model: nn.Module, digits: Digits, *, batch_size: int = 100, precision: str = "float32") -> Evaluation:
    """How `model`, where it lies and in eval mode, does on labelled digits; its mode is given back."""
    if len(digits) == 0:
        raise DataError(f"There are no {digits.what} to score.")
    labels = digits.known_labels("be scored")
    answers = logits(model, digits.images, batch_size=batch_size, precision=precision)
    answers = rows(type(model).__name__, answers)
    if answers.shape[1] != len(digits.classes):
        raise DataError(f"The network tells {answers.shape[1]} classes apart, and here are {len(digits.classes)}.")
    return Evaluation(int((answers.argmax(1) != labels).sum()), len(digits), float(F.cross_entropy(answers, labels)))


def confusion(predictions: Predictions) -> "pd.DataFrame":
    """(C, C) counts: a row for each label, a column for each prediction, both by the number of the class."""
    import pandas as pd

    counts = np.zeros((len(predictions.classes),) * 2, int)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    return pd.DataFrame(counts).rename_axis(index="label", columns="prediction")


def confused_pairs(predictions: Predictions) -> "pd.DataFrame":
    """One row a kind of mistake, the commonest first: label, prediction, count, and share of the label's digits."""
    counts = confusion(predictions)
    table = counts.melt(value_name="count", ignore_index=False).reset_index()
    table["share"] = table["count"] / table["label"].map(counts.sum(axis=1))
    table = table[(table["label"] != table["prediction"]) & (table["count"] > 0)]
    return table.sort_values(["count", "label", "prediction"], ascending=[False, True, True], ignore_index=True)


def per_digit(predictions: Predictions) -> "pd.DataFrame":
    """One row a digit, or a class by its name: how well it is read.

    Columns: count and errors, precision, recall, F1, and low and high of the recall's Wilson 95% interval.

    recall: of the digits with this label, the share read as it.  precision: of those read as it, the share with this
    label.  F1: their harmonic mean. nan where there is nothing to take a share of.
    """
    import pandas as pd

    counts = confusion(predictions)
    right, count, read = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    table = pd.DataFrame({"count": count, "errors": count - right})
    table["precision"], table["recall"], table["F1"] = right / read, right / count, 2 * right / (count + read)
    ends = [wilson(*row) if row[1] else (np.nan, np.nan) for row in zip(right.tolist(), count.tolist(), strict=True)]
    table[["low", "high"]] = ends
    if predictions.classes != numbered(len(counts)):
        table.index = pd.Index(predictions.classes)
    return table.rename_axis("digit" if predictions.what == "digits" else "class")


def accuracies(predictions: Predictions, groups: ArrayLike) -> "pd.DataFrame":
    """One row a group, in order: count, errors, accuracy, and low and high of its Wilson 95% interval.

    groups: (N,) the name of the group that each digit belongs to.
    """
    import pandas as pd

    table = pd.DataFrame({"right": predictions.right, "group": np.asarray(groups)})
    counted = table.groupby("group")["right"].agg(["size", "sum"])
    table = pd.DataFrame({"count": counted["size"], "errors": counted["size"] - counted["sum"]})
    table["accuracy"] = counted["sum"] / counted["size"]
    ends = [wilson(*row) for row in counted[["sum", "size"]].itertuples(index=False)]
    table[["low", "high"]] = np.reshape(ends, (-1, 2))
    return table.rename_axis(None)


def slices(predictions: Predictions, values: ArrayLike, parts: int = 5) -> "pd.DataFrame":
    """The digits ordered by a measured value and cut into `parts` of equal size: one row a part, lowest first.

    values: (N,) one for each digit. Columns: start and end (a value of exactly `end` belongs to it), then those of
    `accuracies`. Where many values are equal there are fewer parts.
    """
    values = np.asarray(values, dtype=float)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)))
    return binned(predictions, values, edges if len(edges) > 1 else edges.repeat(2))


def binned(predictions: Predictions, values: np.ndarray, edges: np.ndarray) -> "pd.DataFrame":
    """`accuracies` of the bins between these edges, the upper one included; bins without digits are left out."""
    table = accuracies(predictions, np.searchsorted(edges[1:-1], values))
    table.insert(0, "start", edges[table.index])
    table.insert(1, "end", edges[table.index + 1])
    return table.reset_index(drop=True)
