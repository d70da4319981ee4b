"""The figures that several notebooks share. Each function takes what it draws and returns a Figure."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle
from torch import Tensor

from mnistlab import analysis
from mnistlab.analysis.predictions import Predictions
from mnistlab.data.digits import TEN, Digits, called
from mnistlab.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    Sourced,
    bare,
    draw,
    draw_any,
    heading,
    log_axis,
)
from mnistlab.runs import Run


def digit_grid(digits: Digits, title: str, captions: Sequence[str] | None = None, columns: int = 10) -> Figure:
    """Digits side by side, each under its caption (default: its label, where it has one)."""
    rows = -(-len(digits) // columns)
    captions = captions or ([""] * len(digits) if digits.labels is None else digits.names)
    said = ", ".join(" ".join(caption.split()) for caption in captions[:20])
    what = "handwritten digits" if digits.what == "digits" else "small pictures"
    alt = f"{len(digits)} {what} in {rows} rows, with these captions: {said}{'' if rows < 3 else ', …'}."
    figure = Figure(columns * 0.95, rows * 1.15 + 0.6, title, alt, digits)
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        bare(axes)
        if index < len(digits):
            draw(axes, digits.images[index, 0])
            heading(axes, captions[index], fontsize=11 if len(captions[index]) < 11 else 8)
    return figure


def picture_row(pictures: dict[str, Tensor], title: str, of: Sourced | None = None, *, signed: bool = False) -> Figure:
    """A few (H, W) pictures in a row, each under its name, on one scale; any size from 2×2 up."""
    alt = f"Pictures side by side: {_listed(pictures)}."
    figure = Figure(len(pictures) * 2.5, 3.3, title, alt, of)
    limit = max(float(p.abs().max()) for p in pictures.values()) if signed else None
    for axes, (name, picture) in zip(
        figure.subplots(1, len(pictures), squeeze=False).flat, pictures.items(), strict=True
    ):
        draw(axes, picture, signed=signed, limit=limit)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_color("#bbbbbb")
        heading(axes, name, fontsize=11)
    return figure


def curves(
    table: pd.DataFrame,
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    of: Sourced | None = None,
) -> Figure:
    """One line for each column of `table` over its index; of several, the later ones dashed, so that none hides."""
    ends = {name: line.dropna().iloc[[0, -1]] for name, line in table.items()}
    told = "; ".join(f"{name} from {first:.3g} to {last:.3g}".strip() for name, (first, last) in ends.items())
    figure = Figure(8.5, 4, title, f"Curves of {y} against {x}: {told}.", of)
    axes = figure.subplots()
    for index, (name, line) in enumerate(table.items()):
        axes.plot(
            line.dropna(),
            color=(BLUE, ORANGE, GREEN, GREY)[index % 4],
            linestyle="--" if index else "-",
            linewidth=2.5,
            label=name,
            marker="o" if line.notna().sum() < 16 else None,
        )
    axes.set(xlabel=f"{x} (log scale)" if log_x else x, ylabel=f"{y} (log scale)" if log_y else y)
    axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
    for log, axis in ((log_x, axes.xaxis), (log_y, axes.yaxis)):
        if log:
            log_axis(axis)
    if len(table.columns) > 1:
        axes.legend(frameon=False, fontsize=12)
    sns.despine(figure)
    return figure


def learning(run: Run) -> Figure:
    """A run's history over the epochs: the loss in training and, where it was measured, on the validation digits."""
    history = run.history
    losses = history["train_loss"]
    alt = f"The training loss over the epochs: it falls from {losses.iloc[0]:.3g} to {losses.iloc[-1]:.3g}."
    figure = Figure(11, 4, f"{type(run.model).__name__}: {history['step'].iloc[-1]:,} steps", alt)
    measured = "val_loss" in history
    panels = figure.subplots(1, 1 + measured, squeeze=False)[0]
    panels[0].plot(history["epoch"], history["train_loss"], color=BLUE, lw=2, label="training")
    panels[0].set(xlabel="epoch", ylabel="loss (log scale)", yscale="log")
    if measured:
        ends = history.dropna(subset="val_loss")
        panels[0].plot(ends["epoch"], ends["val_loss"], color=ORANGE, marker="o", lw=2, label="validation")
        panels[1].plot(ends["epoch"], 100 * ends["val_accuracy"], color=ORANGE, marker="o", lw=2)
        panels[1].set(xlabel="epoch", ylabel="accuracy on the validation digits (%)", xlim=panels[0].get_xlim())
    log_axis(panels[0].yaxis)
    panels[0].legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def confusion(predictions: Predictions) -> Figure:
    """A row for each label, a column for each prediction: mistakes orange, what is right on grey."""
    counts, names = analysis.confusion(predictions).to_numpy(), predictions.classes
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    title = f"All {len(predictions):,} {predictions.what} are read correctly"
    if wrong.any():
        label, answer = divmod(int(wrong.argmax()), len(wrong))
        title = f"{wrong.max():,} of {wrong.sum():,} errors: {names[label]} read as {names[answer]}"
        if predictions.what == "digits":
            title = f"Of {wrong.sum():,} errors, {wrong.max():,} are a {names[label]} read as a {names[answer]}"
    alt = "A table of labels by answers: what is right stands on the diagonal, the mistakes beside it."
    larger = max(1.0, len(counts) / 20)
    figure = Figure(7.4 * larger, 6.6 * larger, title, alt, predictions)
    axes = figure.subplots()
    small = 11 if len(counts) <= 26 else 8
    draw(axes, wrong, signed=True)
    for (row, column), count in np.ndenumerate(counts):
        if row == column:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#e4e4e4", lw=0))
        if count:
            dark = count > 0.7 * wrong.max() and row != column
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", fontsize=small, color="white" if dark else "black"
            )
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel="read as", ylabel="label")
    axes.xaxis.label.set_fontsize(12)
    axes.yaxis.label.set_fontsize(12)
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", lw=0.6)
    axes.set_xticklabels(names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)
    axes.set_yticklabels(names, parse_math=False)
    axes.tick_params(which="both", length=0, labelsize=small + 1)
    axes.spines[:].set_visible(False)
    return figure


def answer_counts(predictions: Predictions) -> Figure:
    """How often each class was answered, whether or not anybody knows the truth: blue sure, orange doubtful."""
    table = predictions.summary()
    total = int(table.loc["all", "count"])
    counts = table.drop(index="all").reindex(predictions.classes).fillna(0)
    doubtful = counts["doubtful"].to_numpy()
    most = counts["count"].idxmax()
    title = f"{most} is the commonest of {total:,} answers; {table.loc['all', 'doubtful']:,.0f} are doubtful"
    alt = f"A bar for each of {len(counts)} classes: how many of {total:,} {predictions.what} were read as it."
    figure = Figure(max(8.5, 0.45 * len(counts)), 4, title, alt, predictions)
    axes = figure.subplots()
    axes.bar(range(len(counts)), counts["count"] - doubtful, color=BLUE, label="confidence of 90% or more")
    axes.bar(range(len(counts)), doubtful, bottom=counts["count"] - doubtful, color=ORANGE, label="doubtful")
    axes.axhline(total / len(counts), color=GREY, lw=1.5, linestyle="--", label="all equally often")
    long = max(map(len, predictions.classes)) > 4
    axes.set_xticks(
        range(len(counts)), predictions.classes, rotation=30 if long else 0, ha="right" if long else "center"
    )
    axes.set(ylabel=f"{predictions.what} given this answer", ylim=(0, 1.3 * counts["count"].max()))
    axes.legend(frameon=False, fontsize=11, ncols=3, loc="upper right")
    sns.despine(figure)
    return figure


def answers(
    pictures: dict[str, Tensor | np.ndarray],
    numbers: dict[str, Tensor],
    title: str,
    of: Sourced | None = None,
    classes: Sequence[str] = TEN,
) -> Figure:
    """One line for each named picture, (H, W) ink or (H, W, 3) colours; beside it, a number for each class.

    numbers: kind → (N, C), a row for each picture; the largest bar is orange.
    """
    each = "ten" if len(classes) == 10 else str(len(classes))
    alt = f"Pictures ({_listed(pictures)}), and beside each its {each} {' and '.join(numbers)} as bars."
    figure = Figure(3 + 3.6 * len(numbers), 2.2 * len(pictures) + 0.7, title, alt, of)
    grid = figure.subplots(len(pictures), 1 + len(numbers), width_ratios=[1] + [2] * len(numbers), squeeze=False)
    for row, (line, (name, picture)) in enumerate(zip(grid, pictures.items(), strict=True)):
        draw_any(line[0], picture)
        heading(line[0], name, fontsize=11)
        for axes, (kind, values) in zip(line[1:], numbers.items(), strict=True):
            found, most = values[row].numpy(), int(values[row].argmax())
            axes.bar(range(len(found)), found, color=[ORANGE if k == most else BLUE for k in range(len(found))])
            axes.axhline(0, color="black", lw=0.8)
            low, high = float(values.min()), float(values.max())
            long = max(map(len, classes)) > 2
            axes.set_xticks(range(len(found)), classes, rotation=90 if long else 0, fontsize=8 if long else None)
            axes.set(ylim=(min(0, 1.15 * low), 1.2 * high))
            axes.text(most, found[most], f"{found[most]:.2f}", ha="center", va="bottom", fontsize=11, color=ORANGE)
            if row == 0:
                heading(axes, kind, fontsize=12)
            if row == len(pictures) - 1:
                axes.set_xlabel(called(classes)[:-1] if called(classes) == "digits" else "class")
            sns.despine(ax=axes)
    return figure


def readings(
    rows: dict[str, Sequence[tuple[Tensor | np.ndarray, str, bool]]], title: str, of: Sourced | None = None
) -> Figure:
    """Named lines of pictures, each with what was said of it and whether to mark that, in orange."""
    count = max(map(len, rows.values()))
    tall = [max(picture.shape[0] / picture.shape[1] for picture, *_ in found) for found in rows.values()]
    alt = f"Rows of pictures ({_listed(rows)}), each picture with what was said of it."
    figure = Figure(1.5 * count + 0.9, sum(1.4 * share + 0.4 for share in tall) + 0.6, title, alt, of)
    grid = figure.subplots(len(rows), count, squeeze=False, height_ratios=tall)
    for line, (name, found) in zip(grid, rows.items(), strict=True):
        for axes in line[len(found) :]:
            axes.remove()
        for axes, (picture, said, marked) in zip(line, found, strict=False):
            draw_any(axes, picture)
            heading(axes, said, fontsize=11, color=ORANGE if marked else "black")
            axes.spines[:].set(color=ORANGE if marked else "#bbbbbb", linewidth=3 if marked else 1)
        line[0].set_ylabel(name, parse_math=False, fontsize=12)
    return figure


def _listed(names: Iterable[str]) -> str:
    """The names in one line, where some of them are written in two."""
    return "; ".join(" ".join(name.split()) for name in names)
