"""The notebook on the architecture: its figures, and the checkers of its exercises."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, Figure, Sourced, bare, draw, heading, write_numbers


def products(window: Tensor, weights: Tensor, bias: float = 0.0, of: Sourced | None = None) -> Figure:
    """One step of a convolution: (3, 3) window × (3, 3) weights = products, every number written out, and the sum."""
    result = window * weights
    total = float(result.sum())
    cell = f"{total + bias:+.3f}".replace("-", "−")
    alt = "A 3×3 window of pixels times a 3×3 filter: the nine products written out, their sum and the bias."
    figure = Figure(10.5, 3.5, f"Nine products make one cell: {cell}", alt, of)
    parts = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.7])
    tables = {"window (pixels)": window, "filter (weights)": weights, "products": result}
    for axes, (name, table), sign in zip(parts[:3], tables.items(), ("×", "=", ""), strict=True):
        signed, largest = table is not window, float(table.abs().max())
        draw(axes, table, signed=signed, limit=None if signed else max(1.0, largest))
        heading(bare(axes), name, fontsize=12)
        write_numbers(axes, table.numpy(), ".3f", dark=0.6 * max(largest, 1e-9), fontsize=12)
        axes.text(1.1, 0.5, sign, transform=axes.transAxes, fontsize=22, ha="center", va="center")
    lines = [f"sum   {total:+.3f}", f"bias  {bias:+.3f}", "─" * 12, f"cell  {cell}"]
    text = "\n".join(lines).replace("-", "−")
    bare(parts[3]).text(0.1, 0.5, text, family="monospace", fontsize=14, va="center")
    return figure


def feature_map(image: Tensor, weights: Tensor, result: Tensor, of: Sourced | None = None) -> Figure:
    """(H, W) image, (k, k) filter and the map it makes, of at most (H, W), drawn at the same size a pixel."""
    tables = {"input": image, "filter": weights, "feature map": result}
    sizes = {name: f"{table.shape[0]}×{table.shape[1]}" for name, table in tables.items()}
    title = f"{sizes['feature map']} cells: orange at left edges, blue at right ones"
    alt = f"A digit, a filter and the map that it makes: {', '.join(f'{name} {s}' for name, s in sizes.items())}."
    figure = Figure(9.5, 3.6, title, alt, of)
    panels = figure.subplots(1, 3, width_ratios=[1, 0.45, 1])
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        signed = table is not image
        draw(axes, table, signed=signed, limit=None if signed else float(image.max()))
        heading(bare(axes), f"{name}, {sizes[name]}", fontsize=12)
        frame = Rectangle((-0.5, -0.5), table.shape[1], table.shape[0], fill=False, color="#999999", clip_on=False)
        axes.add_patch(frame)
    rim = (len(image) - len(result)) / 2
    panels[2].set(xlim=(-0.5 - rim, len(result) - 0.5 + rim), ylim=(len(result) - 0.5 + rim, -0.5 - rim))
    write_numbers(panels[1], weights.numpy(), "g", dark=0.6 * float(weights.abs().max()), fontsize=10)
    figure.colorbar(panels[2].images[0], ax=panels[2], shrink=0.8)
    return figure


def variants(maps: dict[str, Tensor], of: Sourced | None = None) -> Figure:
    """One feature map in several named forms, each (1, 1, H, W), drawn at one size and on one scale."""
    named = {f"{name}\n{found.shape[-2]}×{found.shape[-1]}": found[0, 0] for name, found in maps.items()}
    return plots.picture_row(
        named, "ReLU keeps one kind of edge; pooling halves the sides and keeps the edge", of, signed=True
    )


def pooling(before: Tensor, after: Tensor, of: Sourced | None = None) -> Figure:
    """(2k, 2k) → (k, k): the winner of every 2×2 window outlined, and the grid of winners."""
    sizes = [f"{len(numbers)}×{len(numbers)}" for numbers in (before, after)]
    alt = f"{sizes[0]} cells of a map in windows of 2×2, the largest of each outlined, and the {sizes[1]} winners."
    figure = Figure(8.5, 4.4, "Of four cells, the largest survives", alt, of)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1.2])
    limit = float(before.abs().max())
    for axes, numbers in ((left, before), (right, after)):
        draw(bare(axes), numbers, signed=True, limit=limit)
        write_numbers(axes, numbers.numpy(), ".1f", dark=0.8 * limit, fontsize=11)
    for row, column in np.ndindex(*after.shape):
        window = before[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, along = divmod(int(window.argmax()), 2)
        left.add_patch(Rectangle((2 * column - 0.5, 2 * row - 0.5), 2, 2, fill=False, color=GREY, lw=1.5))
        corner = 2 * column + along - 0.46, 2 * row + down - 0.46
        left.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, color=GREEN, lw=3))
    heading(left, f"{sizes[0]}, the winners outlined", fontsize=12)
    heading(right, f"{sizes[1]}, the winners only", fontsize=12)
    return figure


def network(table: pd.DataFrame) -> Figure:
    """Layers of a layer table as blocks: height is the map's side, width the number of channels (square root)."""
    shapes = table[table["kind"].isin(["Conv2d", "MaxPool2d", "Linear"])]
    blocks = [("input", "Input", (1, 28, 28))]
    blocks += list(shapes[["name", "kind", "output_shape"]].itertuples(index=False, name=None))
    sizes = ["×".join(map(str, shape)) for *_, shape in blocks]
    told = ", ".join(f"{name} {size}" for (name, *_), size in zip(blocks, sizes, strict=True))
    title = "The maps shrink, the channels grow: from where to what"
    figure = Figure(11.5, 4.4, title, f"The layers as blocks, as high as their maps: {told}.")
    colours = {"Input": GREY, "Conv2d": BLUE, "MaxPool2d": GREEN, "Linear": ORANGE}
    axes = bare(figure.subplots())
    x = 0.0
    for index, (name, kind, shape) in enumerate(blocks):
        side = shape[1] if len(shape) == 3 else 2.0
        width = np.sqrt(shape[0]) * 0.55 + 0.6
        low, middle, colour = -19.5 if index % 2 else -17, x + width / 2, colours[kind]
        axes.add_patch(Rectangle((x, -side / 2), width, side, color=colour, alpha=0.85, lw=0))
        axes.text(middle, low, sizes[index], ha="center", va="center", fontsize=11.5)
        axes.text(middle, 16.5, name, ha="center", va="center", fontsize=11, color=colour, fontweight="bold")
        axes.plot([middle] * 2, [low + 1, -side / 2], color="#cccccc", lw=0.8, zorder=0)
        x += width + 2.4
    axes.set(xlim=(-2, x), ylim=(-21, 18.5))
    return figure


def costs(table: pd.DataFrame) -> Figure:
    """Share of parameters and of multiply-adds of each layer that has weights."""
    rows = table[table["multiply_adds"] > 0].set_index("name")
    counts = ["parameters", "multiply_adds"]
    shares = 100 * rows[counts] / table[counts].sum()
    heaviest = shares["parameters"].idxmax()
    held, done = shares.loc[heaviest]
    alt = f"Bars by layer: {heaviest} has {held:.0f}% of the parameters and does {done:.0f}% of the multiply-adds."
    figure = Figure(10, 3.8, "Most weights sit in one dense layer, most work in the convolutions", alt)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, colour in zip(panels, counts, (ORANGE, BLUE), strict=True):
        axes.barh(shares.index, shares[column], color=colour)
        for y, (share, count) in enumerate(zip(shares[column], rows[column], strict=True)):
            axes.text(share + 1, y, f"{count:,}", va="center", fontsize=10)
        name = column.replace("_", "-")
        axes.set(xlabel=f"% of all {name}", xlim=(0, 95))
        heading(axes, f"{table[column].sum():,} {name}", fontsize=12)
    panels[0].invert_yaxis()
    sns.despine(figure)
    return figure


def receptive_field(digit: Digits, fields: pd.DataFrame) -> Figure:
    """On a digit: the pixels that the middlemost cell of each layer sees, where they really lie."""
    whole = fields.index[fields["size"] >= 28][0]
    told = ", ".join(f"{name} {size}" for name, size in fields["size"].items())
    title = f"Only in {whole} is one cell's view as large as the picture"
    figure = Figure(10.5, 5.6, title, f"Green squares on a digit for what one cell sees, in pixels: {told}.", digit)
    panels = figure.subplots(2, -(-len(fields) // 2)).flat
    for axes, (name, field) in zip(panels, fields.iterrows(), strict=False):
        size = field["size"]
        cell = round((13.5 - field["start"] - (size - 1) / 2) / field["step"])
        corner = (field["start"] + cell * field["step"] - 0.5,) * 2
        draw(bare(axes), digit.images[0, 0])
        axes.add_patch(Rectangle(corner, size, size, color=GREEN, alpha=0.3, lw=0))
        axes.add_patch(Rectangle(corner, size, size, fill=False, color=GREEN, lw=2.5))
        axes.add_patch(Rectangle((-0.5, -0.5), 28, 28, fill=False, color="#bbbbbb"))
        axes.set(xlim=(-3.2, 28.2), ylim=(28.2, -3.2))
        heading(axes, f"{name}: {size}×{size}", fontsize=12)
    return figure


@checker
def check_output_size(function: Callable[..., Any]) -> str:
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
def check_conv_parameters(function: Callable[..., Any]) -> str:
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
def check_horizontal_edges(filter_: Tensor) -> str:
    """A (3, 3) filter: positive on a top edge (paper above, ink below), zero on flat areas and vertical edges."""
    weights = torch.as_tensor(filter_, dtype=torch.float32)
    if weights.shape != (3, 3):
        raise NotYet(f"a 3×3 filter is asked for; this is {tuple(weights.shape)}.")
    top = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 1]])

    def answer(window: Tensor) -> float:
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
