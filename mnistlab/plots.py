"""Every still figure. Each function takes what it draws and returns a Figure; none shows or saves anything.

Ink is dark on light paper, as on a page. Signed values run from blue over white (exactly zero) to orange, on
a scale as long on one side as on the other.
"""

import base64
import io
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module

from mnistlab.data import Digits
from mnistlab.training import wilson

INK = "gray_r"
SIGNED = LinearSegmentedColormap.from_list("signed", ["#1763a6", "#ffffff", "#d9730d"])
BLUE, ORANGE, GREEN, GREY = "#1763a6", "#d9730d", "#2e8540", "#6b6b6b"
DPI = 110


def present(figure: Figure | Image.Image, name: str, alt: str) -> None:
    """Show `figure`, or a film's still, in a notebook with a text for those who cannot see it.

    `make notebooks` also keeps it as visualizations/<name>.png.
    """
    from IPython.display import display

    png = io.BytesIO()
    if isinstance(figure, Image.Image):
        picture = figure.quantize(256, dither=Image.Dither.NONE)
    else:
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
        picture = Image.open(drawn).convert("RGB")
    picture.save(png, format="png", optimize=True)
    content = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": alt}
    display(content, raw=True, metadata={"image/png": {"alt": alt, "name": name}})


def _figure(width: float, height: float, title: str, source: str = "") -> Figure:
    figure = Figure((width, height), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", ha="left", x=0.01, parse_math=False)
    if source and source != "MNIST":
        figure.supxlabel(f"Digits: {source}", fontsize=9, color=ORANGE, parse_math=False)
    return figure


def _head(axes: Axes, text: str | int, **style: object) -> None:
    """A title as it is: the $ in a file's name begins no formula."""
    axes.set_title(text, parse_math=False, **style)


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _picture(axes: Axes, image: Tensor | np.ndarray, *, signed: bool = False, limit: float | None = None) -> None:
    image = np.asarray(image, dtype=float)
    if signed:
        limit = limit or float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap=SIGNED, vmin=-limit, vmax=limit)
    else:
        axes.imshow(image, cmap=INK, vmin=0, vmax=limit or 255)


def _write(axes: Axes, numbers: np.ndarray, form: str, *, dark: float, fontsize: float) -> None:
    """Each number into its cell, white where its size is above `dark`."""
    for (row, column), value in np.ndenumerate(numbers):
        text = f"{value + 0.0:{form}}".replace("-", "−")  # + 0.0 turns a negative zero into a plain one
        colour = "white" if abs(value) > dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=fontsize, color=colour)


def digit_grid(digits: Digits, title: str, captions: Sequence[str] | None = None, columns: int = 10) -> Figure:
    """Digits side by side, each under its caption (default: its label, where it has one)."""
    rows = -(-len(digits) // columns)
    figure = _figure(columns * 0.95, rows * 1.15 + 0.6, title, digits.source)
    labels = digits.labels.tolist() if digits.labels is not None else [""] * len(digits)
    captions = captions or [str(label) for label in labels]
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        _bare(axes)
        if index < len(digits):
            _picture(axes, digits.images[index, 0])
            _head(axes, captions[index], fontsize=11)
    return figure


def picture_row(pictures: dict[str, Tensor], title: str, source: str = "", *, signed: bool = False) -> Figure:
    """A few (H, W) pictures in a row, each under its name, on one scale; any size from 2×2 up."""
    figure = _figure(len(pictures) * 2.5, 3.3, title, source)
    limit = max(float(p.abs().max()) for p in pictures.values()) if signed else None
    for axes, (name, picture) in zip(
        figure.subplots(1, len(pictures), squeeze=False).flat, pictures.items(), strict=True
    ):
        _picture(axes, picture, signed=signed, limit=limit)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_color("#bbbbbb")
        _head(axes, name, fontsize=11)
    return figure


def pixel_values(digits: Digits, title: str) -> Figure:
    """The 784 numbers of the first digit, each written into its pixel."""
    image = digits.images[0, 0].numpy()
    figure = _figure(9.5, 9.6, title, digits.source)
    axes = figure.subplots()
    _picture(axes, image)
    for (row, column), value in np.ndenumerate(image):
        if value:
            axes.text(
                column,
                row,
                value,
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if value > 128 else "black",
            )
    axes.set(xticks=range(0, 28, 3), yticks=range(0, 28, 3), xlabel="column", ylabel="row")
    return figure


def class_shares(splits: dict[str, Digits], title: str) -> Figure:
    """How many digits of each class every split holds, in percent of the split."""
    table = pd.concat(pd.DataFrame({"digit": digits.labels.numpy(), "split": name}) for name, digits in splits.items())
    shares = table.groupby("split", sort=False)["digit"].value_counts(normalize=True).mul(100).reset_index()
    figure = _figure(9, 4, title, next(iter(splits.values())).source)
    axes = figure.subplots()
    sns.barplot(shares, x="digit", y="proportion", hue="split", palette=[BLUE, ORANGE], ax=axes)
    axes.axhline(10, color=GREY, linestyle="--", linewidth=1)
    axes.text(9.6, 10.1, "10%", color=GREY, ha="right", va="bottom", fontsize=10)
    axes.set(ylabel="% of the split", xlabel="digit")
    axes.legend(title=None, frameon=False, ncols=2, loc="upper left")
    axes.set_ylim(0, shares["proportion"].max() * 1.25)
    sns.despine(figure)
    return figure


def mean_images(digits: Digits, title: str) -> Figure:
    """For each class the mean image, and below it how much each pixel varies (standard deviation)."""
    figure = _figure(10, 2.7, title, digits.source)
    grid = figure.subplots(2, 10)
    for digit in range(10):
        images = digits.images[digits.labels == digit, 0].float()
        for axes, picture in zip(grid[:, digit], (images.mean(0), images.std(0)), strict=True):
            _picture(_bare(axes), picture, limit=255 if axes is grid[0, digit] else 128)
        _head(grid[0, digit], digit, fontsize=11)
    grid[0, 0].set_ylabel("mean", fontsize=11)
    grid[1, 0].set_ylabel("spread", fontsize=11)
    return figure


def value_histograms(values: dict[str, Tensor], title: str, source: str = "") -> Figure:
    """One histogram a named set of numbers, with its mean and standard deviation marked."""
    figure = _figure(10, 3.6, title, source)
    for axes, (name, numbers), colour in zip(
        figure.subplots(1, len(values), squeeze=False).flat, values.items(), (BLUE, ORANGE), strict=False
    ):
        numbers = numbers.flatten().numpy()
        sns.histplot(numbers, bins=50, ax=axes, color=colour, stat="percent", edgecolor=None)
        mean, std = float(numbers.mean()), float(numbers.std())
        axes.axvline(mean, color="black", linewidth=1.5)
        axes.set(xlabel=name, ylabel="% of pixels (log scale)", yscale="log")
        _log(axes.yaxis)
        _head(axes, f"mean {round(mean, 2) + 0.0:.2f}, standard deviation {std:.2f}", fontsize=11)
    sns.despine(figure)
    return figure


def centres(points: Tensor, title: str, source: str = "") -> Figure:
    """(N, 2) row and column of each digit's centre of mass, over the pixel grid around the middle."""
    figure = _figure(4.4, 4.3, title, source)
    axes = figure.subplots()
    axes.scatter(points[:, 1].numpy(), points[:, 0].numpy(), s=4, alpha=0.25, color=BLUE, linewidth=0)
    axes.add_patch(Rectangle((13.5, 13.5), 1, 1, fill=False, color=ORANGE, linewidth=2))
    axes.text(14, 13.45, "pixel (14, 14)", color=ORANGE, ha="center", va="bottom", fontsize=11)
    axes.set(
        xlim=(12.5, 15.5),
        ylim=(15.5, 12.5),
        xlabel="column of the centre of mass",
        ylabel="row",
        aspect="equal",
    )
    sns.despine(figure)
    return figure


def flat_maps(maps: dict[str, np.ndarray], labels: Tensor, title: str, source: str = "") -> Figure:
    """Named (N, 2) maps of the same digits, each digit a dot in its class's colour, each class named in place."""
    figure = _figure(11, 5.4, title, source)
    colours = sns.color_palette("tab10", 10)
    labels = labels.numpy()
    for axes, (name, points) in zip(figure.subplots(1, len(maps), squeeze=False).flat, maps.items(), strict=True):
        axes.scatter(*points.T, c=[colours[label] for label in labels], s=12, alpha=0.6, linewidth=0)
        places = _apart({digit: np.median(points[labels == digit], 0) for digit in np.unique(labels)}, points)
        for digit in places:
            axes.text(
                *places[digit],
                digit,
                fontsize=14,
                fontweight="bold",
                ha="center",
                va="center",
                bbox={
                    "boxstyle": "circle,pad=0.2",
                    "facecolor": "white",
                    "edgecolor": colours[digit],
                    "lw": 2,
                },
            )
        _head(_bare(axes), name, fontsize=12)
    return figure


def _apart(places: dict[int, np.ndarray], points: np.ndarray) -> dict[int, np.ndarray]:
    """The places, those nearer to each other than a label is wide pushed apart."""
    names, spots = list(places), np.stack(list(places.values())).astype(float)
    width = 0.075 * np.ptp(points, 0)
    for _ in range(50):
        gaps = (spots[:, None] - spots) / width
        distances = np.linalg.norm(gaps, axis=-1, keepdims=True)
        push = np.where((distances > 0) & (distances < 1), (1 - distances) * gaps / np.maximum(distances, 1e-9), 0)
        spots += 0.5 * push.sum(1) * width
    return dict(zip(names, spots, strict=True))


def accuracy_bars(right: dict[str, Tensor], title: str, source: str = "") -> Figure:
    """The share of True in each named (N,) mask, with Wilson's 95% interval as a whisker."""
    figure = _figure(9, 3.6, title, source)
    axes = figure.subplots()
    for x, mask in enumerate(right.values()):
        share = 100 * float(mask.double().mean())
        low, high = (100 * end for end in wilson(int(mask.sum()), len(mask)))
        axes.bar(x, share, color=BLUE, yerr=[[share - low], [high - share]], capsize=4, ecolor="black")
        axes.text(x, high + 0.5, f"{share:.1f}", ha="center", va="bottom", fontsize=11)
    axes.set(ylabel="accuracy (%)", ylim=(0, 109), yticks=range(0, 101, 20))
    axes.set_xticks(range(len(right)), right)
    sns.despine(figure)
    return figure


def products(window: Tensor, weights: Tensor, title: str, bias: float = 0.0, source: str = "") -> Figure:
    """One step of a convolution: (k, k) window × (k, k) weights = products, every number written out, and the sum."""
    result = window * weights
    figure = _figure(10.5, 3.5, title, source)
    parts = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.7])
    for axes, numbers, name, sign in zip(
        parts[:3],
        (window, weights, result),
        ("window (pixels)", "filter (weights)", "products"),
        ("×", "=", ""),
        strict=True,
    ):
        numbers = numbers.numpy()
        signed = name != "window (pixels)"
        _picture(axes, numbers, signed=signed, limit=None if signed else max(1.0, numbers.max()))
        _head(_bare(axes), name, fontsize=12)
        _write(axes, numbers, ".3f", dark=0.6 * max(np.abs(numbers).max(), 1e-9), fontsize=12)
        axes.text(1.1, 0.5, sign, transform=axes.transAxes, fontsize=22, ha="center", va="center")
    _bare(parts[3])
    total = float(result.sum())
    lines = [f"sum   {total:+.3f}", f"bias  {bias:+.3f}", "─" * 12, f"cell  {total + bias:+.3f}"]
    parts[3].text(0.1, 0.5, "\n".join(lines).replace("-", "−"), family="monospace", fontsize=14, va="center")
    return figure


def filter_result(image: Tensor, weights: Tensor, result: Tensor, title: str, source: str = "") -> Figure:
    """(H, W) image, (k, k) filter and the map it makes, of at most (H, W), drawn at the same size a pixel."""
    figure = _figure(9.5, 3.6, title, source)
    axes = figure.subplots(1, 3, width_ratios=[1, 0.45, 1])
    _picture(axes[0], image, limit=float(image.max()))
    _picture(axes[1], weights, signed=True)
    _picture(axes[2], result, signed=True)
    for one, name, table in zip(axes, ("input", "filter", "feature map"), (image, weights, result), strict=True):
        _head(_bare(one), f"{name}, {table.shape[0]}×{table.shape[1]}", fontsize=12)
        edge = (-0.5, -0.5), table.shape[1], table.shape[0]
        one.add_patch(Rectangle(*edge, fill=False, color="#999999", clip_on=False))
    rim = (len(image) - len(result)) / 2
    axes[2].set(xlim=(-0.5 - rim, len(result) - 0.5 + rim), ylim=(len(result) - 0.5 + rim, -0.5 - rim))
    _write(axes[1], weights.numpy(), "g", dark=0.6 * float(weights.abs().max()), fontsize=10)
    figure.colorbar(axes[2].images[0], ax=axes[2], shrink=0.8)
    return figure


def pooling(before: Tensor, after: Tensor, title: str, source: str = "") -> Figure:
    """(2k, 2k) → (k, k): the winner of every 2×2 window outlined, and the grid of winners."""
    figure = _figure(8.5, 4.4, title, source)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1.2])
    limit = float(before.abs().max())
    for axes, numbers in ((left, before), (right, after)):
        _picture(_bare(axes), numbers, signed=True, limit=limit)
        _write(axes, numbers.numpy(), ".1f", dark=0.8 * limit, fontsize=11)
    for row, column in np.ndindex(*after.shape):
        window = before[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, along = divmod(int(window.argmax()), 2)
        left.add_patch(Rectangle((2 * column - 0.5, 2 * row - 0.5), 2, 2, fill=False, color=GREY, lw=1.5))
        left.add_patch(
            Rectangle((2 * column + along - 0.46, 2 * row + down - 0.46), 0.92, 0.92, fill=False, color=GREEN, lw=3)
        )
    _head(left, f"{len(before)}×{len(before)}, the winners outlined", fontsize=12)
    _head(right, f"{len(after)}×{len(after)}, the winners only", fontsize=12)
    return figure


def network_shapes(table: pd.DataFrame, title: str) -> Figure:
    """Layers of a layer table as blocks: height is the map's side, width the number of channels (square root)."""
    shapes = table[table["kind"].isin(["Conv2d", "MaxPool2d", "Linear"])]
    blocks = [("input", "Input", (1, 28, 28))]
    blocks += list(shapes[["name", "kind", "output_shape"]].itertuples(index=False, name=None))
    colours = {"Input": GREY, "Conv2d": BLUE, "MaxPool2d": GREEN, "Linear": ORANGE}
    figure = _figure(11.5, 4.4, title)
    axes = _bare(figure.subplots())
    x = 0.0
    for index, (name, kind, shape) in enumerate(blocks):
        channels, side = (shape[0], shape[1]) if len(shape) == 3 else (shape[0], 2.0)
        width = np.sqrt(channels) * 0.55 + 0.6
        axes.add_patch(Rectangle((x, -side / 2), width, side, color=colours[kind], alpha=0.85, lw=0))
        sizes = "×".join(map(str, shape))
        low = -19.5 if index % 2 else -17
        axes.text(x + width / 2, low, sizes, ha="center", va="center", fontsize=11.5)
        axes.text(
            x + width / 2,
            16.5,
            name,
            ha="center",
            va="center",
            fontsize=11,
            color=colours[kind],
            fontweight="bold",
        )
        axes.plot([x + width / 2] * 2, [low + 1, -side / 2], color="#cccccc", lw=0.8, zorder=0)
        x += width + 2.4
    axes.set(xlim=(-2, x), ylim=(-21, 18.5))
    return figure


def costs(table: pd.DataFrame, title: str) -> Figure:
    """Share of parameters and of multiply-adds of each layer that has weights."""
    rows = table[table["multiply_adds"] > 0]
    figure = _figure(10, 3.8, title)
    for axes, column, colour in zip(
        figure.subplots(1, 2, sharey=True), ("parameters", "multiply_adds"), (ORANGE, BLUE), strict=True
    ):
        share = 100 * rows[column] / table[column].sum()
        axes.barh(rows["name"], share, color=colour)
        for y, (value, count) in enumerate(zip(share, rows[column], strict=True)):
            axes.text(value + 1, y, f"{count:,}", va="center", fontsize=10)
        axes.set(xlabel=f"% of all {column.replace('_', '-')}", xlim=(0, 95))
        _head(axes, f"{table[column].sum():,} {column.replace('_', '-')}", fontsize=12)
    axes.invert_yaxis()
    sns.despine(figure)
    return figure


def receptive_fields(digits: Digits, fields: pd.DataFrame, title: str) -> Figure:
    """On the first digit: the pixels that the middlemost cell of each layer sees, where they really lie."""
    figure = _figure(10.5, 5.6, title, digits.source)
    for axes, (name, field) in zip(figure.subplots(2, -(-len(fields) // 2)).flat, fields.iterrows(), strict=False):
        cell = round((13.5 - field["start"] - (field["size"] - 1) / 2) / field["step"])
        corner = field["start"] + cell * field["step"] - 0.5
        _picture(_bare(axes), digits.images[0, 0])
        axes.add_patch(Rectangle((corner, corner), *[field["size"]] * 2, color=GREEN, alpha=0.3, lw=0))
        axes.add_patch(Rectangle((corner, corner), *[field["size"]] * 2, fill=False, color=GREEN, lw=2.5))
        axes.add_patch(Rectangle((-0.5, -0.5), 28, 28, fill=False, color="#bbbbbb"))
        axes.set(xlim=(-3.2, 28.2), ylim=(28.2, -3.2))
        _head(axes, f"{name}: {field['size']}×{field['size']}", fontsize=12)
    return figure


def probability_bars(probabilities: Tensor, title: str, source: str = "") -> Figure:
    """(N, 10) probabilities: every digit's ten as faint lines, their mean as bars, one tenth as a dashed line."""
    figure = _figure(8.5, 3.6, title, source)
    axes = figure.subplots()
    axes.bar(range(10), probabilities.mean(0).numpy(), color=BLUE, alpha=0.8)
    axes.plot(range(10), probabilities.T.numpy(), color=GREY, alpha=min(1, 5 / len(probabilities)), linewidth=0.8)
    axes.axhline(0.1, color="black", linestyle="--", linewidth=1.2)
    axes.set(xticks=range(10), xlabel="digit", ylabel="probability", ylim=(0, max(0.2, 1.1 * probabilities.max())))
    sns.despine(figure)
    return figure


def _log(axis: Axis) -> None:
    """A logarithmic axis with plain numbers, the more to a decade the fewer decades there are."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=range(1, 10) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def curves(
    table: pd.DataFrame,
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    source: str = "",
) -> Figure:
    """One line for each column of `table` over its index; of several, the later ones dashed, so that none hides."""
    figure = _figure(8.5, 4, title, source)
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
            _log(axis)
    if len(table.columns) > 1:
        axes.legend(frameon=False, fontsize=12)
    sns.despine(figure)
    return figure


def learning(history: pd.DataFrame, title: str, source: str = "") -> Figure:
    """A run's history over the epochs: the loss in training and, where it was measured, on the validation digits."""
    figure = _figure(11, 4, title, source)
    measured = "val_loss" in history
    panels = figure.subplots(1, 1 + measured, squeeze=False)[0]
    panels[0].plot(history["epoch"], history["train_loss"], color=BLUE, lw=2, label="training")
    panels[0].set(xlabel="epoch", ylabel="loss (log scale)", yscale="log")
    if measured:
        ends = history.dropna(subset="val_loss")
        panels[0].plot(ends["epoch"], ends["val_loss"], color=ORANGE, marker="o", lw=2, label="validation")
        panels[1].plot(ends["epoch"], 100 * ends["val_accuracy"], color=ORANGE, marker="o", lw=2)
        panels[1].set(xlabel="epoch", ylabel="accuracy on the validation digits (%)", xlim=panels[0].get_xlim())
    _log(panels[0].yaxis)
    panels[0].legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def growth(panels: dict[str, pd.Series], title: str) -> Figure:
    """What grows with what: one panel for each series, over its index, on logarithmic axes.

    Keys are "x → y". The dashed line is exact proportion through the last point: twice as much of x, twice of y.
    """
    figure = _figure(11, 4, title)
    for axes, (name, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        x, y = name.split(" → ")
        share = values.iloc[-1] / values.index[-1]
        axes.plot(values.index, values.index * share, color=GREY, linestyle="--", lw=1.5, label="in proportion")
        axes.plot(values, color=BLUE, marker="o", lw=2.5, label="measured")
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.set_ylim(min(values.min(), values.index[0] * share) * 0.8, values.max() * 1.5)
        _log(axes.yaxis)
        axes.set_xticks(values.index, [f"{x:,.3g}" if x < 100 else f"{x:,.0f}" for x in values.index], fontsize=10)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def seed_spread(accuracies: Sequence[float], intervals: Sequence[tuple[float, float]], title: str) -> Figure:
    """Accuracy of each seed with its own interval, and the mean ± one standard deviation over the seeds as a band."""
    values = 100 * np.asarray(accuracies)
    ends = 100 * np.asarray(intervals).T
    mean, std = values.mean(), values.std(ddof=1)
    figure = _figure(8.5, 4, title)
    axes = figure.subplots()
    axes.axhspan(mean - std, mean + std, color=ORANGE, alpha=0.25, lw=0, label=f"{mean:.2f} ± {std:.2f} over the seeds")
    axes.axhline(mean, color=ORANGE, lw=1.5)
    axes.errorbar(
        range(len(values)),
        values,
        yerr=np.abs(ends - values),
        fmt="o",
        color=BLUE,
        capsize=5,
        label="one run, with the 95% interval of its own 10,000 digits",
    )
    axes.set(xlabel="run, each from a seed of its own", ylabel="test accuracy (%)", xticks=range(len(values)))
    axes.set_ylim(ends.min() - 0.03, ends.max() + 0.12)
    axes.legend(frameon=False, fontsize=10, loc="upper center", ncols=2)
    sns.despine(figure)
    return figure


def _mosaic(axes: Axes, tiles: Tensor, columns: int, *, limit: float) -> int:
    """(K, h, w) signed tables as one picture, in reading order, grey lines between; returns the tiles' pitch."""
    tiles = np.asarray(tiles, dtype=float)
    scale = max(1, 28 // tiles.shape[-1])
    tiles = np.pad(tiles.repeat(scale, 1).repeat(scale, 2), [(0, 0), (1, 0), (1, 0)], constant_values=np.nan)
    rows = -(-len(tiles) // columns)
    high, wide = tiles.shape[1:]
    table = np.full((rows * columns, high, wide), np.nan)
    table[: len(tiles)] = tiles
    table = table.reshape(rows, columns, high, wide).swapaxes(1, 2).reshape(rows * high, columns * wide)
    table = np.pad(table, [(0, 1), (0, 1)], constant_values=np.nan)
    _picture(_bare(axes), table, signed=True, limit=limit)
    axes.images[0].set(interpolation="nearest", cmap=SIGNED.resampled(65))  # fewer shades make a smaller file
    axes.set_facecolor("#cccccc")
    return wide


def filters(after: Tensor, before: Tensor, title: str) -> Figure:
    """(K, 3, 3) filters of one slice with their weights written in, and, smaller, what they were before training."""
    figure = _figure(9.8, 3.9, title)
    parts = figure.subplots(1, 2, width_ratios=[2, 1])
    limit = float(max(after.abs().max(), before.abs().max()))
    for axes, weights, name in zip(parts, (after, before), ("after training", "the same, before"), strict=True):
        pitch = _mosaic(axes, weights, 8, limit=limit)
        _head(axes, f"{name}: full colour ±{limit:.2f}", fontsize=11)
    for (index, row, column), weight in np.ndenumerate(after.numpy()):
        x, y = index % 8 * pitch + 9 * column + 5, index // 8 * pitch + 9 * row + 5
        colour = "white" if abs(weight) > 0.65 * limit else "black"
        text = re.sub(r"^(−?)0\.", r"\1.", f"{round(float(weight), 1) + 0.0:.1f}".replace("-", "−"))
        parts[0].text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    return figure


def filter_stacks(weights: dict[str, Tensor], title: str) -> Figure:
    """Four named (out, in, 3, 3) layers, a column for each filter, a cell for each slice: its mean absolute weight.

    Of the first layer, the filter with the strongest slice is framed in green and shown slice by slice.
    """
    figure = _figure(9.5, 5.4, title)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.75])
    sizes = [w.shape[0] for w in weights.values()]
    above = grid[0].subgridspec(1, 3, width_ratios=[sizes[0], sizes[1], 68])
    below = grid[1].subgridspec(1, 2, width_ratios=sizes[2:])
    places = [figure.add_subplot(spot) for spot in (above[0], above[1], below[0], below[1])]
    for axes, (name, layer) in zip(places, weights.items(), strict=True):
        strengths = layer.abs().mean((2, 3)).T
        _picture(axes, strengths, signed=True)
        axes.images[0].set(interpolation="nearest", cmap=SIGNED.resampled(33))  # fewer shades make a smaller file
        axes.set(xticks=[], yticks=[], ylabel=f"{layer.shape[1]} slices")
        _head(axes, f"{name}: {layer.shape[0]} filters, up to {float(strengths.max()):.1f}", fontsize=11)
    first = next(iter(weights))
    opened = int(weights[first].abs().mean((2, 3)).amax(1).argmax())
    edge = (opened - 0.5, -0.5), 1, weights[first].shape[1]
    places[0].add_patch(Rectangle(*edge, fill=False, color=GREEN, lw=2, clip_on=False))
    slices = weights[first][opened]
    axes = figure.add_subplot(above[2])
    limit = float(slices.abs().max())
    _mosaic(axes, slices, 8, limit=limit)
    _head(axes, f"{first}, filter {opened}: its {len(slices)} slices, ±{limit:.1f}", fontsize=11, color=GREEN)
    return figure


def feature_maps(maps: dict[str, Tensor], title: str, source: str = "") -> Figure:
    """Every map of each named (C, H, W) layer after its ReLU, in the order of the channels, on one scale a layer."""
    columns = [16 if layer.shape[-1] >= 28 else 32 for layer in maps.values()]
    shares = [-(-len(layer) // wide) / wide for layer, wide in zip(maps.values(), columns, strict=True)]
    figure = _figure(9.6, 9.8 * sum(shares) + 0.3 * len(maps) + 0.6, title, source)
    parts = figure.subplots(len(maps), 1, height_ratios=shares, squeeze=False).flat
    for axes, wide, (name, layer) in zip(parts, columns, maps.items(), strict=True):
        limit, blank = float(layer.max()) or 1.0, int((layer.amax((1, 2)) == 0).sum())
        _mosaic(axes, layer, wide, limit=limit)
        size = f"{len(layer)} maps of {layer.shape[1]}×{layer.shape[2]}"
        _head(axes, f"{name}: {size}, white 0, full colour {limit:.1f}, {blank} blank", fontsize=11, loc="left")
    return figure


def views(rows: dict[str, Tensor], captions: dict[str, Sequence[str]], title: str, source: str = "") -> Figure:
    """Each named row of (K, s, s) cut-outs, grey levels, NaN, drawn bluish, beyond the picture's edge."""
    count = len(next(iter(captions.values())))
    figure = _figure(0.86 * count + 1.2, 1.08 * len(rows) + 0.6, title, source)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, cuts) in zip(grid, rows.items(), strict=True):
        for axes, cut, caption in zip(line, cuts, captions[name], strict=True):
            _picture(axes, cut)
            axes.set(xticks=[], yticks=[], facecolor="#c8d3de")
            axes.spines[:].set_color("#bbbbbb")
            _head(axes, caption, fontsize=10, pad=3)
        line[0].set_ylabel(name, parse_math=False, fontsize=11, rotation=0, ha="right", va="center")
    return figure


def zero_shares(tables: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of activation statistics: each channel's share of zeros, by layer, dead ones orange."""
    figure = _figure(9.2, 3.7, title, source)
    places = figure.subplots(1, len(tables), sharey=True, squeeze=False).flat
    for axes, (name, table) in zip(places, tables.items(), strict=True):
        for x, (_, layer) in enumerate(table.groupby("name", sort=False)):
            dead = (layer["largest"] <= 0).to_numpy()
            spread, zeros = x + np.linspace(-0.32, 0.32, len(layer)), 100 * layer["zeros"].to_numpy()
            axes.scatter(spread[~dead], zeros[~dead], s=9, color=BLUE, alpha=0.6, lw=0)
            axes.scatter(spread[dead], zeros[dead], s=20, color=ORANGE, lw=0)
            axes.plot([x - 0.36, x + 0.36], [zeros.mean()] * 2, color="black", lw=2)
            if dead.any():
                axes.text(x, 103, f"{dead.sum()} dead", color=ORANGE, ha="center", va="bottom", fontsize=11)
        axes.set_xticks(range(table["name"].nunique()), table["name"].unique())
        axes.set(ylim=(0, 112), yticks=range(0, 101, 20))
        _head(axes, name, fontsize=12)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("% of the cells that are zero")
    sns.despine(figure)
    return figure


def attributions(image: Tensor, rows: dict[str, dict[str, Tensor]], title: str, source: str = "") -> Figure:
    """The (28, 28) digit, and for each named row its named maps of any size, each on its own scale, over its outline.

    Orange speaks for the answer, blue against it.
    """
    count = len(next(iter(rows.values())))
    figure = _figure(2 * (count + 1) + 0.9, 2.4 * len(rows) + 0.6, title, source)
    grid = figure.subplots(len(rows), count + 1, squeeze=False)
    for line, (name, maps) in zip(grid, rows.items(), strict=True):
        _picture(line[0], image)
        line[0].set_ylabel(name, parse_math=False, fontsize=12)
        for axes, (method, values) in zip(line[1:], maps.items(), strict=True):
            limit = float(values.abs().max()) or 1.0
            extent = (-0.5, 27.5, 27.5, -0.5)
            axes.imshow(values.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
            axes.contour(image.float().numpy(), levels=[128], colors=GREY, linewidths=0.8)
            _head(axes, f"{method}\n±{limit:.2g}" if values.any() else f"{method}\nall zero", fontsize=10)
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
    return figure


def errors_without(errors: Sequence[int], whole: int, count: int, title: str, source: str = "") -> Figure:
    """How many of `count` digits are read wrong when each one channel is removed, sorted; dashed: with all of them."""
    values = np.sort(np.asarray(errors))
    figure = _figure(9, 3.8, title, source)
    axes = figure.subplots()
    axes.bar(range(len(values)), values, width=1, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.axhline(whole, color="black", linestyle="--", lw=1.5, label=f"{whole} with all channels")
    axes.set(xlabel=f"which of the {len(values)} channels is removed, sorted by errors", ylabel=f"errors in {count:,}")
    axes.set(xlim=(-1, len(values)), ylim=(0, 1.35 * max(values.max(), whole, 1)), xticks=[])
    axes.legend(frameon=False, fontsize=11, loc="upper left")
    sns.despine(figure)
    return figure


def confusion(table: pd.DataFrame, title: str, source: str = "") -> Figure:
    """(10, 10) counts, a row for each label, a column for each prediction: mistakes orange, what was right on grey."""
    counts = table.to_numpy()
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    figure = _figure(7.4, 6.6, title, source)
    axes = figure.subplots()
    _picture(axes, wrong, signed=True)
    for (row, column), count in np.ndenumerate(counts):
        if row == column:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#e4e4e4", lw=0))
        if count:
            dark = count > 0.7 * wrong.max() and row != column
            axes.text(
                column, row, f"{count:,}", ha="center", va="center", fontsize=11, color="white" if dark else "black"
            )
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel="read as", ylabel="label")
    axes.xaxis.label.set_size(12)
    axes.yaxis.label.set_size(12)
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", lw=0.6)
    axes.tick_params(which="both", length=0, labelsize=12)
    axes.spines[:].set_visible(False)
    return figure


def margins(margin: np.ndarray, right: np.ndarray, title: str, source: str = "") -> Figure:
    """How many digits have which margin, 0…1, on a logarithmic axis: those read rightly, and those read wrong."""
    figure = _figure(9, 3.8, title, source)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 26)
    for mask, name, colour, width in ((right, "read rightly", BLUE, 0.9), (~right, "read wrong", ORANGE, 0.4)):
        axes.hist(margin[mask], edges, color=colour, rwidth=width, label=f"{name}: {mask.sum():,}")
    axes.set(xlabel="margin: first minus second probability", ylabel="digits (log scale)", yscale="log", xlim=(0, 1))
    axes.set_ylim(0.7)
    _log(axes.yaxis)
    axes.legend(frameon=False, fontsize=12, loc="upper left")
    sns.despine(figure)
    return figure


def error_rates(panels: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of accuracies or slices: each row's errors in percent, with Wilson's 95% interval."""
    sizes = [max(len(table), 3) for table in panels.values()]
    figure = _figure(1.2 + 0.6 * sum(sizes), 4, title, source)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=sizes).flat
    for axes, (name, table) in zip(places, panels.items(), strict=True):
        wrong = 100 * (1 - table["accuracy"].to_numpy())
        ends = np.abs(100 * (1 - table[["high", "low"]].to_numpy().T) - wrong)
        axes.bar(range(len(table)), wrong, color=BLUE, yerr=ends, capsize=4, ecolor="black")
        for x, count in enumerate(table["errors"]):
            axes.text(x + 0.08, wrong[x], f"{count}", ha="left", va="bottom", fontsize=10, color=ORANGE)
        names = list(table.index)
        if "start" in table:
            form = ".0f" if table["end"].max() - table["start"].min() > 20 else ".1f"
            names = [f"{row.start:{form}} to\n{row.end:{form}}".replace("-", "−") for row in table.itertuples()]
        axes.set_xticks(range(len(table)), names, fontsize=10)
        axes.set(xlabel=name, xlim=(-0.6, len(table) - 0.4))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("wrong (%)")
    sns.despine(figure)
    return figure


def paired(table: pd.DataFrame, title: str, y: str) -> Figure:
    """A dot for each number of `table`, its columns side by side, rows joined; diamonds: mean and standard error."""
    figure = _figure(9, 4, title)
    axes = figure.subplots()
    axes.plot(
        range(table.shape[1]), table.to_numpy().T, color="#cccccc", lw=1, marker="o", markersize=5, mfc=BLUE, mec=BLUE
    )
    axes.errorbar(
        np.arange(table.shape[1]) + 0.12, table.mean(), table.sem(), fmt="D", color=ORANGE, capsize=6, lw=2, zorder=3
    )
    axes.set_xticks(range(table.shape[1]), table.columns, fontsize=11)
    axes.set(ylabel=y, xlim=(-0.5, table.shape[1] - 0.5), ylim=(0, None))
    sns.despine(figure)
    return figure


def how_many_fail(counts: Sequence[int], digits: Digits, captions: Sequence[str], title: str) -> Figure:
    """`counts`: how many digits none, one, two, … of the networks read wrong; beside it those that all of them do."""
    rows = max(2, -(-len(digits) // 6))
    figure = _figure(11, 1.25 * rows + 1.1, title, digits.source)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    right.suptitle("read wrong by all of them: label → answer", fontsize=12)
    axes = left.subplots()
    axes.bar(range(1, len(counts)), counts[1:], color=[BLUE] * (len(counts) - 2) + [ORANGE])
    for x, count in enumerate(counts[1:], start=1):
        axes.text(x, count, f"{count}", ha="center", va="bottom", fontsize=12)
    axes.set(xticks=range(1, len(counts)), xlabel=f"read wrong by so many of {len(counts) - 1}", ylabel="digits")
    axes.set_ylim(0, 1.15 * max(counts[1:]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    sns.despine(left)
    for index, axes in enumerate(right.subplots(rows, 6).flat):
        _bare(axes)
        if index < len(digits):
            _picture(axes, digits.images[index, 0])
            _head(axes, captions[index], fontsize=11)
    return figure


def spoiled(pictures: dict[str, Tensor], accuracies: pd.DataFrame, title: str, source: str = "") -> Figure:
    """For each named kind, five strengths of one digit, (5, 28, 28), each over its accuracy in percent; blue is high.

    accuracies: a row for each kind, a column for each strength.
    """
    shades = LinearSegmentedColormap.from_list("shades", [ORANGE, "#cccccc", BLUE])
    columns = np.array_split(list(pictures), 3)
    figure = _figure(11.5, 1.25 * len(columns[0]) + 0.6, title, source)
    for block, names in zip(figure.subfigures(1, 3), columns, strict=True):
        for line, name in zip(block.subplots(len(names), 5, squeeze=False), names, strict=True):
            _head(line[0], name, loc="left", fontsize=11, fontweight="bold")
            for axes, picture, accuracy in zip(line, pictures[name], accuracies.loc[name], strict=True):
                _picture(axes, picture)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=shades(accuracy), linewidth=2.5)
                axes.set_xlabel(f"{100 * accuracy:.0f}", fontsize=11, labelpad=3)
    return figure


def changes(rows: Sequence[tuple[str, Tensor, Tensor, int, int]], title: str, source: str = "") -> Figure:
    """Before and after: for each (name, picture, changed picture, answer, answer then), both (28, 28), one column.

    Where few pixels changed, they are outlined in orange.
    """
    figure = _figure(2 * len(rows) + 0.4, 5.1, title, source)
    grid = figure.subplots(2, len(rows), squeeze=False)
    for column, (name, before, after, *answers) in zip(grid.T, rows, strict=True):
        for axes, picture, answer in zip(column, (before, after), answers, strict=True):
            _picture(axes, picture)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
            axes.set_xlabel(f"read as {answer}", fontsize=12, color="black" if answer == answers[0] else ORANGE)
        _head(column[0], name, fontsize=12)
        changed = (before != after).nonzero().tolist()
        for row, place in changed if len(changed) < 40 else []:
            column[1].add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, color=ORANGE, lw=1.2))
    return figure


def coverage(table: pd.DataFrame, chosen: float, title: str, source: str = "") -> Figure:
    """Errors among the digits answered, with Wilson's 95% band, over the share refused; a dot at threshold `chosen`."""
    dot = table[table["threshold"] >= chosen].tail(1)
    least = min(0.8, 0.9 * dot["coverage"].sum() or 0.8)
    few = table[table["coverage"] >= least]
    rows = few.iloc[np.unique(np.linspace(0, len(few) - 1, 100).astype(int))]
    ends = [wilson(int(row.answered - row.errors), int(row.answered)) for row in rows.itertuples()]
    high, low = 100 * (1 - np.array(ends).T)
    figure = _figure(9, 3.8, title, source)
    axes = figure.subplots()
    axes.fill_between(100 * (1 - rows["coverage"]), low, high, color=BLUE, alpha=0.2, lw=0, label="95% interval")
    axes.plot(100 * (1 - rows["coverage"]), 100 * (1 - rows["accuracy"]), color=BLUE, lw=2.5)
    axes.plot(100 * (1 - dot["coverage"]), 100 * (1 - dot["accuracy"]), "o", color=ORANGE, markersize=10)
    axes.set(xlabel="share refused (%), the least sure first", ylabel="wrong among the rest (%)")
    axes.set(xlim=(-0.3, 100 * (1 - least)), ylim=(0, None))
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def answers(
    pictures: dict[str, Tensor | np.ndarray], numbers: dict[str, Tensor], title: str, source: str = ""
) -> Figure:
    """One line for each named picture, (H, W) ink or (H, W, 3) colours; beside it, its ten numbers of each kind.

    numbers: kind → (N, 10), a row for each picture; the largest bar is orange.
    """
    figure = _figure(3 + 3.6 * len(numbers), 2.2 * len(pictures) + 0.7, title, source)
    grid = figure.subplots(len(pictures), 1 + len(numbers), width_ratios=[1] + [2] * len(numbers), squeeze=False)
    for row, (line, (name, picture)) in enumerate(zip(grid, pictures.items(), strict=True)):
        _any_picture(line[0], picture)
        _head(line[0], name, fontsize=11)
        for axes, (kind, values) in zip(line[1:], numbers.items(), strict=True):
            found, most = values[row].numpy(), int(values[row].argmax())
            axes.bar(range(10), found, color=[ORANGE if k == most else BLUE for k in range(10)])
            axes.axhline(0, color="black", lw=0.8)
            low, high = float(values.min()), float(values.max())
            axes.set(xticks=range(10), ylim=(min(0, 1.15 * low), 1.2 * high))
            axes.text(most, found[most], f"{found[most]:.2f}", ha="center", va="bottom", fontsize=11, color=ORANGE)
            if row == 0:
                _head(axes, kind, fontsize=12)
            if row == len(pictures) - 1:
                axes.set_xlabel("digit")
            sns.despine(ax=axes)
    return figure


def _any_picture(axes: Axes, picture: Tensor | np.ndarray) -> None:
    """Colours as they are, (H, W, 3) uint8; (H, W) as ink, 0…255 where it is uint8, else 0…1."""
    picture = np.asarray(picture)
    if picture.ndim == 3:  # fewer pixels and shades make a smaller file
        small = Image.fromarray(picture)
        small.thumbnail((84, 84))
        axes.imshow((np.asarray(small) / 5).round().astype(np.uint8) * 5, interpolation="nearest")
    else:
        limit = 255 if picture.dtype == np.uint8 else 1
        _picture(axes, (picture * (16 / limit)).round(), limit=16)
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_color("#bbbbbb")


def preparations(strips: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Each named picture's way to MNIST's form, a line each: the steps of `prepare`."""
    count = max(map(len, strips.values()))
    figure = _figure(1.95 * count + 0.6, 2.2 * len(strips) + 0.6, title)
    for line, (name, steps) in zip(figure.subplots(len(strips), count, squeeze=False), strips.items(), strict=True):
        for axes in line[len(steps) :]:
            axes.remove()
        for axes, (step, picture) in zip(line, steps.items(), strict=False):
            _any_picture(axes, picture)
            _head(axes, step, fontsize=11)
        line[0].set_ylabel(name, parse_math=False, fontsize=11)
    return figure


def readings(rows: dict[str, Sequence[tuple[Tensor | np.ndarray, str, bool]]], title: str, source: str = "") -> Figure:
    """Named lines of pictures, each with what was said of it and whether to mark that, in orange."""
    count = max(map(len, rows.values()))
    tall = [max(picture.shape[0] / picture.shape[1] for picture, *_ in found) for found in rows.values()]
    figure = _figure(1.5 * count + 0.9, sum(1.4 * share + 0.4 for share in tall) + 0.6, title, source)
    grid = figure.subplots(len(rows), count, squeeze=False, height_ratios=tall)
    for line, (name, found) in zip(grid, rows.items(), strict=True):
        for axes in line[len(found) :]:
            axes.remove()
        for axes, (picture, said, marked) in zip(line, found, strict=False):
            _any_picture(axes, picture)
            _head(axes, said, fontsize=11, color=ORANGE if marked else "black")
            axes.spines[:].set(color=ORANGE if marked else "#bbbbbb", linewidth=3 if marked else 1)
        line[0].set_ylabel(name, parse_math=False, fontsize=12)
    return figure


def reliability(panels: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of `reliability`: accuracy by confidence, with Wilson's 95% interval, in percent.

    The dashed line is what was promised; the larger a dot, the more digits it stands for.
    """
    figure = _figure(4.6 * len(panels), 4.7, title, source)
    for axes, (name, table) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        x, y = 100 * table["confidence"], 100 * table["accuracy"]
        ends = np.abs(100 * table[["low", "high"]].to_numpy().T - y.to_numpy())
        axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", lw=1.5)
        axes.errorbar(x, y, ends, fmt="none", ecolor=BLUE, lw=1.2)
        axes.scatter(x, y, s=15 + 200 * table["count"] / table["count"].max(), color=BLUE, zorder=3)
        axes.set(xlim=(0, 104), ylim=(0, 104), aspect="equal", xlabel="confidence (%)")
        _head(axes, name, fontsize=12)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("of these, right (%)")
    sns.despine(figure)
    return figure


def sizes(table: pd.DataFrame, title: str) -> Figure:
    """Networks by their columns `parameters` and `multiply_adds`, each on a logarithmic axis."""
    figure = _figure(11, 0.42 * len(table) + 1.6, title)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (column, colour) in zip(panels, (("parameters", ORANGE), ("multiply_adds", BLUE)), strict=True):
        axes.barh(table.index, table[column], color=colour)
        for place, count in enumerate(table[column]):
            axes.text(count * 1.15, place, f"{count:,}", va="center", fontsize=11)
        axes.set(xscale="log", xlim=(table[column].min() / 3, table[column].max() * 12))
        axes.set_xlabel(f"{column.replace('_', '-')} (log scale)", fontsize=11)
        axes.tick_params(axis="y", labelsize=12, length=0)
    panels[0].invert_yaxis()
    sns.despine(figure)
    return figure


OPERATIONS = {
    "Convolution": "convolution",
    "MaxPool2DWithIndices": "max pooling",
    "Relu": "ReLU",
    "View": "flatten",
    "Addmm": "multiply, add",
    "LogSoftmax": "log softmax",
    "NllLoss": "loss",
}


def computation_graph(loss: Tensor, model: Module, title: str, columns: int = 7) -> Figure:
    """What PyTorch remembers of how `loss` came about: its operations in order, and the parameters that go into each.

    For networks without branches, whose layers form one chain.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    chain, node = [], loss.grad_fn
    while node is not None:
        leaves = [leaf for following, _ in node.next_functions if (leaf := _leaf(following)) is not None]
        chain.insert(0, (node.name().split("Backward")[0], [(names[id(leaf)], tuple(leaf.shape)) for leaf in leaves]))
        node = next((following for following, _ in node.next_functions if following and _leaf(following) is None), None)
    rows = -(-len(chain) // columns)
    figure = _figure(1.75 * columns, 2.3 * rows + 0.5, title)
    axes = _bare(figure.subplots())
    for place, (operation, leaves) in enumerate(chain):
        row, column = divmod(place, columns)
        x, y = 1.75 * column, -2.3 * row
        said = {"ha": "center", "va": "center", "fontsize": 10.5}
        look = {"boxstyle": "round,pad=0.45", "edgecolor": BLUE, "facecolor": "#e8f0f8"}
        axes.text(x, y, OPERATIONS.get(operation, operation), bbox=look, **said)
        if place:
            start = (x - 0.95, y) if column else (x - 1.0, y)
            axes.annotate("", (x - 0.72, y), start, arrowprops={"arrowstyle": "->", "color": GREY, "lw": 1.5})
        for line, (name, shape) in enumerate(sorted(leaves, reverse=True)):  # weights, then biases
            text = f"{name}\n{' × '.join(map(str, shape))}"
            axes.text(x, y - 0.68 - 0.55 * line, text, color=ORANGE, **{**said, "fontsize": 9.5})
        if leaves:
            axes.annotate("", (x, y - 0.22), (x, y - 0.45), arrowprops={"arrowstyle": "->", "color": ORANGE})
    axes.set(xlim=(-1, 1.75 * columns - 0.75), ylim=(-2.3 * rows + 0.65, 0.5))
    return figure


def _leaf(node: Node | None) -> Tensor | None:
    """The parameter behind a node of PyTorch's graph, where there is no more than a transposition before it."""
    while node is not None and node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return getattr(node, "variable", None)


def costs_and_errors(table: pd.DataFrame, title: str, source: str = "") -> Figure:
    """One named dot for each row: its `multiply_adds` against its `errors` in percent, both on logarithmic axes."""
    figure = _figure(9, 4.4, title, source)
    axes = figure.subplots()
    axes.scatter(table["multiply_adds"], 100 * table["errors"], s=70, color=BLUE, zorder=3)
    for name, row in table.iterrows():
        place, last = (row["multiply_adds"], 100 * row["errors"]), row["multiply_adds"] == table["multiply_adds"].max()
        side, offset = ("right", (-9, -4)) if last else ("left", (9, -4))
        axes.annotate(name, place, offset, textcoords="offset points", ha=side, fontsize=12)
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds of one digit (log scale)")
    axes.set_ylabel("misread digits, % (log scale)")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.35, high * 1.35)
    _log(axes.yaxis)
    axes.margins(x=0.12)
    axes.grid(color="#e4e4e4", lw=0.8)
    sns.despine(figure)
    return figure


def seeds(
    rows: dict[str, Sequence[float]],
    title: str,
    x: str,
    *,
    bands: dict[str, tuple[float, float]] | None = None,
    source: str = "",
) -> Figure:
    """A line for each name: one dot a run, a bar at their mean, and beside it mean ± standard deviation.

    bands: name → the lowest and highest that others claim, as a grey bar behind.
    """
    figure = _figure(10, 0.5 * len(rows) + 1.4, title, source)
    axes = figure.subplots()
    for place, (name, values) in enumerate(rows.items()):
        mean, std = np.mean(values), np.std(values, ddof=1)
        if bands and name in bands:
            low, high = bands[name]
            centre, width = (low + high) / 2, max(high - low, 0.02)
            axes.barh(place, width, left=centre - width / 2, height=0.62, color="#cfcfcf", zorder=1)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=ORANGE, lw=3, zorder=2)
        axes.scatter(values, [place] * len(values), color=BLUE, s=34, alpha=0.7, zorder=3)
        text = f"{mean:.2f} ± {std:.2f}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=11)
    axes.set_yticks(range(len(rows)), rows, fontsize=12)
    axes.set(ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel(x, fontsize=11)
    axes.margins(x=0.04)
    axes.grid(axis="x", color="#e4e4e4", lw=0.8)
    axes.tick_params(axis="y", length=0)
    sns.despine(figure, left=True)
    return figure


def sweeps(table: pd.DataFrame, title: str, source: str = "") -> Figure:
    """One panel an `optimiser`, one line a `batch_size`: mean `val_accuracy` in percent over the `learning_rate`."""
    panels = dict(list(table.groupby("optimiser", sort=False)))
    figure = _figure(12, 4.2, title, source)
    for axes, (name, rows) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        for (size, line), colour in zip(rows.groupby("batch_size"), (BLUE, ORANGE, GREEN, GREY), strict=False):
            means = 100 * line.groupby("learning_rate")["val_accuracy"].mean()
            axes.plot(means, color=colour, marker="o", lw=2.2, label=f"batches of {size}")
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylim=(0, 103))
        _head(axes, name, fontsize=13)
        axes.grid(axis="y", color="#e4e4e4", lw=0.8)
    figure.axes[0].set_ylabel("accuracy on the validation digits (%)")
    figure.axes[len(panels) // 2].legend(frameon=False, fontsize=11, loc="center left")
    sns.despine(figure)
    return figure


def dots(table: pd.DataFrame, title: str, x: str) -> Figure:
    """A line for each row of `table`, with a dot for each column, shares in percent; the last column stands out.

    Dots of a line lie a little above each other, so that equal ones can all be seen.
    """
    figure = _figure(9, 0.3 * len(table) + 1.4, title)
    axes = figure.subplots()
    places = np.arange(len(table))
    looks = (("|", "black", 90), ("o", "#909090", 26), ("s", BLUE, 22), ("D", ORANGE, 30))[-len(table.columns) :]
    heights = np.linspace(-0.3, 0.3, len(looks))
    for (name, values), (marker, colour, size), height in zip(table.items(), looks, heights, strict=True):
        axes.scatter(100 * values, places + height, marker=marker, color=colour, s=size, label=name, zorder=3)
    axes.set_yticks(places, table.index, fontsize=10)
    axes.set(xlabel=x, xlim=(None, 101.5), ylim=(len(table) - 0.4, -0.6))
    axes.grid(axis="y", color="#e4e4e4", lw=0.8)
    axes.legend(frameon=False, fontsize=11, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=len(table.columns))
    sns.despine(figure, left=True)
    return figure


def bars(panels: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table: a group of bars for each row, one for each column, its number at its end."""
    rows = max(len(table) * max(len(table.columns), 1.5) for table in panels.values())
    figure = _figure(5 + 2.5 * len(panels), 0.25 * rows + 1.5, title, source)
    for axes, (name, table) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        high = 0.8 / len(table.columns)
        for n, (label, values) in enumerate(table.items()):
            places = np.arange(len(table)) + (n - (len(table.columns) - 1) / 2) * high
            axes.barh(places, values, height=0.92 * high, color=(BLUE, ORANGE, GREEN)[n % 3], label=label)
            for place, value in zip(places, values, strict=True):
                text = f" {value:,.0f}" if value >= 100 else f" {value:.3g}"
                axes.text(value, place, text, va="center", fontsize=11)
        axes.set_yticks(range(len(table)), table.index, fontsize=11)
        axes.set(xlabel=name, xlim=(0, 1.25 * table.max(axis=None)), ylim=(len(table) - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.10g}")
        if len(table.columns) > 1:
            axes.legend(frameon=False, fontsize=11, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    sns.despine(figure)
    return figure


def program(steps: Sequence[tuple[str, str]], title: str, columns: int = 8) -> Figure:
    """A chain of operations, each (name, shape of what it makes), in reading order, as boxes with arrows between."""
    colours = {"conv2d": BLUE, "max_pool2d": GREEN, "linear": ORANGE}
    rows = -(-len(steps) // columns)
    figure = _figure(11.5, 1.15 * rows + 0.7, title)
    axes = _bare(figure.subplots())
    arrow = {"arrowstyle": "-|>", "color": "#888888", "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    for index, (name, shape) in enumerate(steps):
        y, x = divmod(index, columns)
        axes.add_patch(Rectangle((x - 0.41, y - 0.3), 0.82, 0.6, color=colours.get(name, GREY), alpha=0.9, lw=0))
        axes.text(x, y - 0.1, name, ha="center", va="center", fontsize=11, fontweight="bold", color="white")
        axes.text(x, y + 0.13, shape, ha="center", va="center", fontsize=10, color="white")
        if x < columns - 1 and index < len(steps) - 1:
            axes.annotate("", (x + 0.58, y), (x + 0.42, y), arrowprops=arrow)
        elif index < len(steps) - 1:  # down, back along the gap, and into the next row
            axes.plot([x, x, 0, 0], [y + 0.3, y + 0.5, y + 0.5, y + 0.6], color=arrow["color"], lw=arrow["lw"])
            axes.annotate("", (0, y + 0.7), (0, y + 0.55), arrowprops=arrow)
    axes.set(xlim=(-0.5, min(columns, len(steps)) - 0.5), ylim=(rows - 0.6, -0.4))
    return figure


def rounding(weights: Tensor, codes: Tensor, step: float, errors: Tensor, title: str) -> Figure:
    """(3, 3) weights, the whole numbers they become, and those times `step`; beside them errors, in steps."""
    figure = _figure(11.5, 3.5, title)
    parts = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.35])
    tables = {
        "weights": (weights, ".4f"),
        f"codes: weight ÷ {step:.5f}": (codes.double(), ".0f"),
        "codes × step": (codes * step, ".4f"),
    }
    for axes, sign, (name, (table, form)) in zip(parts, ("→", "→", ""), tables.items(), strict=False):
        _picture(_bare(axes), table, signed=True)
        _write(axes, table.numpy(), form, dark=0.7 * float(table.abs().max()), fontsize=11)
        _head(axes, name, fontsize=11)
        axes.text(1.09, 0.5, sign, transform=axes.transAxes, fontsize=18, ha="center", va="center")
    parts[3].hist(errors.flatten().numpy(), np.linspace(-0.6, 0.6, 25), color=BLUE)
    for edge in (-0.5, 0.5):
        parts[3].axvline(edge, color=ORANGE, linestyle="--", lw=1.5)
    parts[3].set(xlabel="rounding error, in steps", ylabel="weights", box_aspect=0.8)
    _head(parts[3], f"all {errors.numel():,} of the layer", fontsize=11)
    sns.despine(ax=parts[3])
    return figure


def differences(found: dict[str, Tensor], leads: Tensor, title: str, source: str = "") -> Figure:
    """How far logits moved, one histogram for each named table, beside the leads that keep the answers, log scale.

    leads: of each digit, its largest logit minus the second. What did not move at all is in the legend only.
    """
    figure = _figure(9.5, 3.9, title, source)
    axes = figure.subplots()
    tables = {name: values.abs().flatten().numpy() for name, values in found.items()}
    moved = np.concatenate([values[values > 0] for values in tables.values()] + [leads.numpy()])
    edges = np.logspace(np.floor(np.log10(moved.min())), np.ceil(np.log10(moved.max())), 61)
    for (name, values), colour in zip(tables.items(), (ORANGE, GREEN), strict=False):
        label = f"{name}: difference of a logit"
        if still := (values == 0).mean():
            label += f" ({still:.0%} are exactly 0)"
        share = np.full(values.shape, 100 / values.size)
        axes.hist(values, edges, weights=share, color=colour, alpha=0.75, label=label)
    share = np.full(leads.shape, 100 / len(leads))
    axes.hist(leads.numpy(), edges, weights=share, color=BLUE, alpha=0.75, label="lead of the answer over the second")
    axes.axvline(float(leads.min()), color=BLUE, linestyle="--", lw=1.5, label=f"smallest lead: {leads.min():.2g}")
    axes.set(xscale="log", xlabel="size (log scale)", ylabel="% of each", xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    sns.despine(figure)
    return figure


def durations(
    table: pd.DataFrame,
    title: str,
    x: str,
    *,
    ends: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    notes: Sequence[str] | None = None,
    floors: dict[str, float] | None = None,
    marked: dict[str, Sequence[str]] | None = None,
    source: str = "",
) -> Figure:
    """A bar for each number of `table`, its rows from top to bottom, its columns side by side.

    ends: two tables of the same shape, the lower and the upper end of each bar's whisker.  notes: what stands behind
    each row's last bar (default: every bar's number).  floors: named dashed lines.  marked: rows with orange bars, and
    in the legend what that means.
    """
    count, wide = table.shape
    floors, marked = floors or {}, marked or {}
    figure = _figure(10, 0.9 + count * (0.12 + 0.27 * wide) + 0.3 * len(floors) + 0.4, title, source)
    axes = figure.subplots()
    orange = {row for rows in marked.values() for row in rows}
    reach = max(float((ends[1] if ends else table).to_numpy().max()), *floors.values(), 0.0)
    high = 0.8 / wide
    for column, (name, values) in enumerate(table.items()):
        places = np.arange(count) + (column - (wide - 1) / 2) * high
        colours = [ORANGE if row in orange else (BLUE, ORANGE, GREEN, GREY)[column] for row in table.index]
        axes.barh(places, values, 0.92 * high, color=colours, label=name)
        tips = values.to_numpy()
        if ends:
            low, tips = (end[name].to_numpy() for end in ends)
            axes.errorbar(values, places, xerr=[values - low, tips - values], fmt="none", ecolor="black", capsize=3)
        last = column == wide - 1
        said = [f"{value:.3g}" for value in values] if notes is None else notes if last else [""] * count
        for place, tip, words in zip(places, tips, said, strict=True):
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over a floor's line
            axes.text(tip + 0.012 * reach, place, words, va="center", fontsize=11, bbox=paper if words else None)
    for number, (name, value) in enumerate(floors.items()):
        top = -0.75 - 0.45 * number
        axes.plot([value] * 2, [top, count - 0.5], color="black", linestyle="--", lw=1.5, zorder=2.5)
        axes.text(value + 0.008 * reach, top, name, va="center", fontsize=11)
    axes.set_yticks(range(count), table.index, fontsize=11)
    axes.set(xlabel=x, xlim=(0, 1.13 * reach), ylim=(count - 0.45, -0.55 - 0.5 * len(floors)))
    handles, names = axes.get_legend_handles_labels()
    handles, names = (handles, names) if wide > 1 else ([], [])
    handles += [Rectangle((0, 0), 1, 1, color=ORANGE) for _ in marked]
    if handles:
        axes.legend(handles, [*names, *marked], frameon=False, fontsize=11, loc="best")
    sns.despine(figure)
    return figure


def shared_batch(batch: Digits, count: int, title: str) -> Figure:
    """How `count` workers take one step on one batch: each digit goes to the worker whose lane it lies in."""
    colours = (BLUE, ORANGE, GREEN, GREY)
    most = -(-len(batch) // count)
    figure = _figure(11.5, 0.8 + 1.3 * count, title, batch.source)
    axes = _bare(figure.subplots())
    stages = {"forward": most + 0.9, "backward": most + 4.6, "step": most + 8.3}
    for rank in range(count):
        middle, colour = 2.0 * rank, colours[rank % 4]
        axes.text(-0.3, middle, f"worker {rank}", ha="right", va="center", fontsize=12, color=colour, fontweight="bold")
        share = range(rank, len(batch), count)
        for place, index in enumerate(share):
            edge = (place, place + 0.9, middle + 0.45, middle - 0.45)
            axes.imshow(batch.images[index, 0].numpy(), cmap=INK, vmin=0, vmax=255, extent=edge)
            axes.add_patch(Rectangle((place, middle - 0.45), 0.9, 0.9, fill=False, color=colour, lw=2))
            axes.text(place + 0.45, middle + 0.5, index, ha="center", va="top", fontsize=10, color=GREY)
        for name, left in stages.items():
            axes.add_patch(Rectangle((left, middle - 0.45), 2.2, 0.9, facecolor="white", edgecolor=colour, lw=2))
            axes.text(left + 1.1, middle, name, ha="center", va="center", fontsize=12)
        ways = ((len(share), stages["forward"]), *((stages[s] + 2.2, stages[s] + 3.7) for s in ("forward", "backward")))
        arrow = {"arrowstyle": "->", "color": colour, "lw": 2}
        for left, right in ways:
            axes.annotate("", (right, middle), (left, middle), arrowprops=arrow)
    end = 2.0 * (count - 1)
    meetings = {
        "sums for the\nbatch norms": stages["forward"] + 1.1,
        "gradients,\naveraged": stages["backward"] + 1.1,
        "the same\nnew weights": stages["step"] + 1.1,
    }
    for number, (words, along) in enumerate(meetings.items()):
        for upper in np.arange(0, end, 2.0):
            style = {"arrowstyle": "<->" if number < 2 else "-", "color": "black", "lw": 1.5}
            style |= {"linestyle": "--"} if number == 2 else {}
            axes.annotate("", (along, upper + 1.55), (along, upper + 0.45), arrowprops=style)
            axes.text(along + 0.15, upper + 1.0, words, va="center", fontsize=11)
    axes.set(xlim=(-2.1, stages["step"] + 3.2), ylim=(end + 0.95, -0.7), aspect="equal")
    return figure


def race(
    turns: pd.DataFrame, title: str, x: str, marked: dict[str, Sequence[str]] | None = None, source: str = ""
) -> Figure:
    """Durations of contestants that took turns, a row for each turn, a column for each contestant.

    A bar is the median over the turns, its whisker goes from the first to the third quarter, and behind it stands how
    many times as fast as the first column it is, by the median over the turns.  marked: as in `durations`.
    """
    low, middle, high = (turns.quantile(share).to_frame("") for share in (0.25, 0.5, 0.75))
    times = turns.rdiv(turns.iloc[:, 0], axis=0).median()
    notes = [f"{ratio:.2f}×" for ratio in times]
    return durations(middle, title, x, ends=(low, high), notes=notes, marked=marked, source=source)
