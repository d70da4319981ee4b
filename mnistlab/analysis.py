"""Where and why a network is wrong, and how far its probabilities can be believed: arrays in, tables out.

Labels are (N,) integers, predictions (N,) integers, probabilities and logits (N, 10): NumPy arrays, pandas columns and
tensors on the CPU are taken alike. Images are (N, 1, 28, 28) uint8 tensors.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

from mnistlab.corruptions import strokes
from mnistlab.data import centre_of_mass, normalise
from mnistlab.tracing import evaluating
from mnistlab.training import wilson

# Of 100 test digits that five people each were shown, these fifteen got fewer than three votes for their label.
# They chose between the label, what a program had guessed, and neither.  Source: Northcutt, Athalye & Mueller, 2021
# (cleanlab/label-errors, mnist_mturk.json).
DISPUTED = pd.DataFrame(
    [
        (947, 8, 9, 0, 5, 0),
        (1621, 0, 6, 2, 3, 0),
        (1901, 9, 4, 2, 3, 0),
        (2130, 4, 9, 2, 2, 1),
        (2462, 2, 0, 0, 4, 1),
        (2597, 5, 3, 0, 4, 1),
        (2654, 6, 1, 0, 2, 3),
        (3520, 6, 4, 2, 0, 3),
        (3558, 5, 0, 1, 4, 0),
        (5937, 5, 3, 1, 3, 1),
        (6651, 0, 6, 0, 5, 0),
        (6783, 1, 6, 2, 3, 0),
        (8527, 4, 9, 2, 2, 1),
        (9679, 6, 3, 2, 0, 3),
        (9729, 5, 6, 2, 3, 0),
    ],
    columns=["test digit", "label", "guess", "for the label", "for the guess", "for neither"],
)


def confusion(labels: ArrayLike, predictions: ArrayLike) -> pd.DataFrame:
    """(10, 10) counts: a row for each label, a column for each prediction."""
    counts = confusion_matrix(_integers(labels), _integers(predictions), labels=range(10))
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
    return _binned(right, values, edges if len(edges) > 1 else edges.repeat(2))


def measures(images: Tensor) -> pd.DataFrame:
    """What can be measured on a digit without reading it, one row a digit; nan for empty paper.

    slant: how far it leans to the right, in degrees: of the straight line along which its rows of ink shift best.
    stroke_width: in pixels: twice the area of the ink by the length of its outline, as for a long stroke.
    ink: its area, in pixels of full ink.
    """
    ink = F.pad(images.float() / 255, (1, 1, 1, 1))[:, 0]
    area, centre = ink.sum((1, 2)), centre_of_mass(ink)
    up = centre[:, :1] - torch.arange(ink.shape[-2])
    right = torch.arange(ink.shape[-1]) - centre[:, 1:]
    both = torch.einsum("nhw,nh,nw->n", ink, up, right)
    slant = torch.rad2deg(torch.atan(both / torch.einsum("nhw,nh->n", ink, up.square())))
    # Summed over all pixels, the steps from each to its neighbours come to the outline's length.
    down, along = ink.diff(dim=1)[:, :, :-1], ink.diff(dim=2)[:, :-1]
    width = 2 * area / torch.hypot(down, along).sum((1, 2))
    return pd.DataFrame({"slant": slant.numpy(), "stroke_width": width.numpy(), "ink": area.numpy()})


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


def one_pixel(model: nn.Module, digit: Tensor, label: int) -> pd.DataFrame:
    """What every change of a single pixel, to paper or to full ink, would do to the answer, one row a change.

    Columns: row, column, value (0 or 255), prediction, and margin: the label's logit minus the largest other one,
    below zero where the answer is wrong.  digit: (1, 28, 28) uint8.
    """
    inked, row, column = (digit != torch.tensor([0, 255])[:, None, None]).nonzero().T
    table = pd.DataFrame({"row": row, "column": column, "value": inked * 255})
    return table.assign(**_answers(model, with_pixels(digit, table), label))


def with_pixels(digit: Tensor, table: pd.DataFrame) -> Tensor:
    """(N, 1, 28, 28) uint8: the digit with each of the pixels that N rows of `one_pixel` tell of."""
    row, column, value = torch.tensor(table[["row", "column", "value"]].to_numpy()).T
    changed = digit.repeat(len(table), 1, 1, 1)
    changed[range(len(table)), 0, row, column] = value.to(torch.uint8)
    return changed


def one_stroke(
    model: nn.Module, digit: Tensor, label: int, length: float = 7.0, width: float = 2.0, apart: int = 2
) -> pd.DataFrame:
    """What one straight stroke of full ink more would do to the answer: every `apart` pixels, in eight directions.

    Columns: row and column of its middle, degrees (0 lies flat, 90 stands), prediction and margin as in `one_pixel`.
    length and width are in pixels.  digit: (1, 28, 28) uint8.
    """
    line, angles = range(apart // 2, digit.shape[-1], apart), np.arange(8) * 22.5
    table = pd.MultiIndex.from_product([line, line, angles], names=["row", "column", "degrees"]).to_frame(index=False)
    return table.assign(**_answers(model, with_strokes(digit, table, length, width), label))


def with_strokes(digit: Tensor, table: pd.DataFrame, length: float = 7.0, width: float = 2.0) -> Tensor:
    """(N, 1, 28, 28) uint8: the digit with each of the strokes that N rows of `one_stroke` tell of."""
    middles = torch.tensor(table[["row", "column"]].to_numpy(), dtype=torch.float32)
    angles = torch.deg2rad(torch.tensor(table["degrees"].to_numpy(), dtype=torch.float32))
    half = torch.stack([-angles.sin(), angles.cos()], 1) * (length - width) / 2  # round ends add half a width each
    drawn = (strokes(middles - half, middles + half, width, digit.shape[-1]) * 255).round().to(torch.uint8)
    return torch.maximum(digit, drawn)


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """(N, 1, 28, 28) uint8: every pixel `step` grey levels up or down, whichever makes the loss larger.

    One step along the sign of the gradient, kept within 0…255.  Source: Goodfellow, Shlens & Szegedy, 2015.
    """
    pixels = normalise(images).requires_grad_(True)
    with evaluating(model), torch.enable_grad():
        gradient = torch.autograd.grad(F.cross_entropy(model(pixels), labels, reduction="sum"), pixels)[0]
    return (images + step * gradient.sign()).clamp(0, 255).to(torch.uint8)


def _answers(model: nn.Module, images: Tensor, label: int, batch_size: int = 256) -> dict[str, np.ndarray]:
    pixels = normalise(images).contiguous(memory_format=torch.channels_last)
    with evaluating(model), torch.inference_mode():
        logits = torch.cat([model(part) for part in pixels.split(batch_size)])
    others = logits.clone()
    others[:, label] = -torch.inf
    return {"prediction": logits.argmax(1).numpy(), "margin": (logits[:, label] - others.amax(1)).numpy()}


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> pd.DataFrame:
    """One row for each bin of confidence that is not empty: what was promised there, and what was kept.

    Columns: start and end of the bin (a confidence of exactly `end` belongs to it), count, errors, accuracy, low and
    high of its Wilson 95% interval, confidence (the mean).  Source: Guo et al., 2017.
    """
    if bins < 1:
        raise ValueError(f"At least one bin is needed, not {bins}; the default is 15.")
    probabilities, labels = _rows_and_labels(probabilities, labels)
    confidence, edges = probabilities.max(1), np.linspace(0, 1, bins + 1)
    table = _binned(probabilities.argmax(1) == labels, confidence, edges)
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


def _binned(right: ArrayLike, values: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    """`accuracies` of the bins between these edges, the upper one included; bins without digits are left out."""
    table = accuracies(right, np.searchsorted(edges[1:-1], values))
    table.insert(0, "start", edges[table.index])
    table.insert(1, "end", edges[table.index + 1])
    return table.reset_index(drop=True)


def _integers(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


def _rows_and_labels(rows: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(rows, dtype=float), _integers(labels)
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not len(rows):
        raise ValueError(f"(N, 10) and (N,) are needed, N above 0; these are {rows.shape} and {labels.shape}.")
    return rows, labels
