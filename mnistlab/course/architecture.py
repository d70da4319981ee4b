"""The notebook on architecture: its figures, and the checkers of its exercises."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, bare, draw, heading, titled, write_numbers


def products(window: Tensor, weights: Tensor, title: str, bias: float = 0.0, source: str = "") -> Figure:
    """One step of a convolution: (k, k) window × (k, k) weights = products, every number written out, and the sum."""
    result = window * weights
    figure = titled(10.5, 3.5, title, source)
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
        draw(axes, numbers, signed=signed, limit=None if signed else max(1.0, numbers.max()))
        heading(bare(axes), name, fontsize=12)
        write_numbers(axes, numbers, ".3f", dark=0.6 * max(np.abs(numbers).max(), 1e-9), fontsize=12)
        axes.text(1.1, 0.5, sign, transform=axes.transAxes, fontsize=22, ha="center", va="center")
    bare(parts[3])
    total = float(result.sum())
    lines = [f"sum   {total:+.3f}", f"bias  {bias:+.3f}", "─" * 12, f"cell  {total + bias:+.3f}"]
    parts[3].text(0.1, 0.5, "\n".join(lines).replace("-", "−"), family="monospace", fontsize=14, va="center")
    return figure


def filter_result(image: Tensor, weights: Tensor, result: Tensor, title: str, source: str = "") -> Figure:
    """(H, W) image, (k, k) filter and the map it makes, of at most (H, W), drawn at the same size a pixel."""
    figure = titled(9.5, 3.6, title, source)
    axes = figure.subplots(1, 3, width_ratios=[1, 0.45, 1])
    draw(axes[0], image, limit=float(image.max()))
    draw(axes[1], weights, signed=True)
    draw(axes[2], result, signed=True)
    for one, name, table in zip(axes, ("input", "filter", "feature map"), (image, weights, result), strict=True):
        heading(bare(one), f"{name}, {table.shape[0]}×{table.shape[1]}", fontsize=12)
        edge = (-0.5, -0.5), table.shape[1], table.shape[0]
        one.add_patch(Rectangle(*edge, fill=False, color="#999999", clip_on=False))
    rim = (len(image) - len(result)) / 2
    axes[2].set(xlim=(-0.5 - rim, len(result) - 0.5 + rim), ylim=(len(result) - 0.5 + rim, -0.5 - rim))
    write_numbers(axes[1], weights.numpy(), "g", dark=0.6 * float(weights.abs().max()), fontsize=10)
    figure.colorbar(axes[2].images[0], ax=axes[2], shrink=0.8)
    return figure


def pooling(before: Tensor, after: Tensor, title: str, source: str = "") -> Figure:
    """(2k, 2k) → (k, k): the winner of every 2×2 window outlined, and the grid of winners."""
    figure = titled(8.5, 4.4, title, source)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1.2])
    limit = float(before.abs().max())
    for axes, numbers in ((left, before), (right, after)):
        draw(bare(axes), numbers, signed=True, limit=limit)
        write_numbers(axes, numbers.numpy(), ".1f", dark=0.8 * limit, fontsize=11)
    for row, column in np.ndindex(*after.shape):
        window = before[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, along = divmod(int(window.argmax()), 2)
        left.add_patch(Rectangle((2 * column - 0.5, 2 * row - 0.5), 2, 2, fill=False, color=GREY, lw=1.5))
        left.add_patch(
            Rectangle((2 * column + along - 0.46, 2 * row + down - 0.46), 0.92, 0.92, fill=False, color=GREEN, lw=3)
        )
    heading(left, f"{len(before)}×{len(before)}, the winners outlined", fontsize=12)
    heading(right, f"{len(after)}×{len(after)}, the winners only", fontsize=12)
    return figure


def network_shapes(table: pd.DataFrame, title: str) -> Figure:
    """Layers of a layer table as blocks: height is the map's side, width the number of channels (square root)."""
    shapes = table[table["kind"].isin(["Conv2d", "MaxPool2d", "Linear"])]
    blocks = [("input", "Input", (1, 28, 28))]
    blocks += list(shapes[["name", "kind", "output_shape"]].itertuples(index=False, name=None))
    colours = {"Input": GREY, "Conv2d": BLUE, "MaxPool2d": GREEN, "Linear": ORANGE}
    figure = titled(11.5, 4.4, title)
    axes = bare(figure.subplots())
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
    figure = titled(10, 3.8, title)
    for axes, column, colour in zip(
        figure.subplots(1, 2, sharey=True), ("parameters", "multiply_adds"), (ORANGE, BLUE), strict=True
    ):
        share = 100 * rows[column] / table[column].sum()
        axes.barh(rows["name"], share, color=colour)
        for y, (value, count) in enumerate(zip(share, rows[column], strict=True)):
            axes.text(value + 1, y, f"{count:,}", va="center", fontsize=10)
        axes.set(xlabel=f"% of all {column.replace('_', '-')}", xlim=(0, 95))
        heading(axes, f"{table[column].sum():,} {column.replace('_', '-')}", fontsize=12)
    axes.invert_yaxis()
    sns.despine(figure)
    return figure


def receptive_fields(digits: Digits, fields: pd.DataFrame, title: str) -> Figure:
    """On the first digit: the pixels that the middlemost cell of each layer sees, where they really lie."""
    figure = titled(10.5, 5.6, title, digits.source)
    for axes, (name, field) in zip(figure.subplots(2, -(-len(fields) // 2)).flat, fields.iterrows(), strict=False):
        cell = round((13.5 - field["start"] - (field["size"] - 1) / 2) / field["step"])
        corner = field["start"] + cell * field["step"] - 0.5
        draw(bare(axes), digits.images[0, 0])
        axes.add_patch(Rectangle((corner, corner), *[field["size"]] * 2, color=GREEN, alpha=0.3, lw=0))
        axes.add_patch(Rectangle((corner, corner), *[field["size"]] * 2, fill=False, color=GREEN, lw=2.5))
        axes.add_patch(Rectangle((-0.5, -0.5), 28, 28, fill=False, color="#bbbbbb"))
        axes.set(xlim=(-3.2, 28.2), ylim=(28.2, -3.2))
        heading(axes, f"{name}: {field['size']}×{field['size']}", fontsize=12)
    return figure


def probability_bars(probabilities: Tensor, title: str, source: str = "") -> Figure:
    """(N, 10) probabilities: every digit's ten as faint lines, their mean as bars, one tenth as a dashed line."""
    figure = titled(8.5, 3.6, title, source)
    axes = figure.subplots()
    axes.bar(range(10), probabilities.mean(0).numpy(), color=BLUE, alpha=0.8)
    axes.plot(range(10), probabilities.T.numpy(), color=GREY, alpha=min(1, 5 / len(probabilities)), linewidth=0.8)
    axes.axhline(0.1, color="black", linestyle="--", linewidth=1.2)
    axes.set(xticks=range(10), xlabel="digit", ylabel="probability", ylim=(0, max(0.2, 1.1 * probabilities.max())))
    sns.despine(figure)
    return figure


@checker
def check_output_size(function: Callable) -> str:
    """output_size(size, kernel_size, stride, padding) → cells along one side after a convolution."""
    for size, kernel_size, stride, padding in (
        (28, 3, 1, 1),
        (28, 5, 1, 0),
        (7, 2, 2, 0),
        (28, 3, 2, 1),
        (5, 5, 3, 2),
    ):
        layer = nn.Conv2d(1, 1, kernel_size, stride, padding)
        right = layer(torch.zeros(1, 1, size, size)).shape[-1]
        got = call(function, size, kernel_size, stride, padding)
        if got != right:
            hint = ""
            if right == int(got):
                hint = " Count whole windows only: use // ."
            elif got == right - 1:
                hint = " The first window counts too."
            raise NotYet(
                f"for size {size}, kernel {kernel_size}, stride {stride}, padding {padding} you say {got}; "
                f"PyTorch makes {right}.{hint}"
            )
    return "the five cases agree with PyTorch, also the ones where the last window does not fit."


@checker
def check_conv_parameters(function: Callable) -> str:
    """conv_parameters(in_channels, out_channels, kernel_size) → how many numbers the layer learns."""
    for channels in ((1, 32, 3), (32, 64, 3), (3, 8, 5)):
        right = sum(p.numel() for p in nn.Conv2d(*channels).parameters())
        got = call(function, *channels)
        if got == right - channels[1]:
            raise NotYet(f"{got:,} for {channels}: those are the weights. Every output channel also has one bias.")
        if got == channels[1] * (channels[2] ** 2 + 1) != right:
            raise NotYet(f"{got:,} for {channels}: a filter has a slice for every input channel, not only one.")
        if got != right:
            raise NotYet(f"for in, out, kernel = {channels} you say {got}; PyTorch's layer has {right:,}.")
    return "weights: out × in × k × k, and a bias for each output channel. The picture's size plays no part."


@checker
def check_horizontal_edges(filter_: torch.Tensor) -> str:
    """A (3, 3) filter: positive on a top edge (paper above, ink below), zero on flat areas and vertical edges."""
    weights = torch.as_tensor(filter_, dtype=torch.float32)
    if weights.shape != (3, 3):
        raise NotYet(f"a 3×3 filter is asked for; this is {tuple(weights.shape)}.")
    top = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 1]])

    def answer(window: torch.Tensor) -> float:
        return float(F.conv2d(window[None, None], weights[None, None]))

    if abs(answer(torch.ones(3, 3))) > 1e-5:
        raise NotYet(
            f"on plain ink it answers {answer(torch.ones(3, 3)):.2f} instead of 0: the nine weights should sum to zero."
        )
    if abs(answer(top.T)) > 1e-5 or abs(answer(top.T.flip(1))) > 1e-5:
        raise NotYet(
            "it answers to vertical edges as well. Each row of weights should be the same number throughout, "
            "or at least left and right should cancel."
        )
    bottom, thick = top.flip(0), 1 - top.flip(0)  # thick: the lower two rows are ink
    if answer(bottom) > 1e-5:
        raise NotYet(
            f"on a bottom edge (ink in the highest row) it answers {answer(bottom):.2f}; it should not be "
            f"positive, or it cannot tell where a stroke begins from where it ends."
        )
    if answer(top) <= 0 or answer(thick) <= 0:
        raise NotYet(
            f"on a top edge it answers {answer(top):.2f} with ink in the lowest row and {answer(thick):.2f} with ink "
            f"in the lower two; both should be positive."
        )
    return "it answers to ink that begins below paper, and to nothing else. Training finds such filters by itself."
