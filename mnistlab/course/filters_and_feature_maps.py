"""The notebook on filters and feature maps: its figures, and the checkers of its exercises."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mnistlab.course.check import NotYet, call, checker
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, SIGNED, draw, draw_mosaic, heading, titled


def filters(after: Tensor, before: Tensor, title: str) -> Figure:
    """(K, 3, 3) filters of one slice with their weights written in, and, smaller, what they were before training."""
    figure = titled(9.8, 3.9, title)
    parts = figure.subplots(1, 2, width_ratios=[2, 1])
    limit = float(max(after.abs().max(), before.abs().max()))
    for axes, weights, name in zip(parts, (after, before), ("after training", "the same, before"), strict=True):
        pitch = draw_mosaic(axes, weights, 8, limit=limit)
        heading(axes, f"{name}: full colour ±{limit:.2f}", fontsize=11)
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
    figure = titled(9.5, 5.4, title)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.75])
    sizes = [w.shape[0] for w in weights.values()]
    above = grid[0].subgridspec(1, 3, width_ratios=[sizes[0], sizes[1], 68])
    below = grid[1].subgridspec(1, 2, width_ratios=sizes[2:])
    places = [figure.add_subplot(spot) for spot in (above[0], above[1], below[0], below[1])]
    for axes, (name, layer) in zip(places, weights.items(), strict=True):
        strengths = layer.abs().mean((2, 3)).T
        draw(axes, strengths, signed=True)
        axes.images[0].set(interpolation="nearest", cmap=SIGNED.resampled(33))  # fewer shades make a smaller file
        axes.set(xticks=[], yticks=[], ylabel=f"{layer.shape[1]} slices")
        heading(axes, f"{name}: {layer.shape[0]} filters, up to {float(strengths.max()):.1f}", fontsize=11)
    first = next(iter(weights))
    opened = int(weights[first].abs().mean((2, 3)).amax(1).argmax())
    edge = (opened - 0.5, -0.5), 1, weights[first].shape[1]
    places[0].add_patch(Rectangle(*edge, fill=False, color=GREEN, lw=2, clip_on=False))
    slices = weights[first][opened]
    axes = figure.add_subplot(above[2])
    limit = float(slices.abs().max())
    draw_mosaic(axes, slices, 8, limit=limit)
    heading(axes, f"{first}, filter {opened}: its {len(slices)} slices, ±{limit:.1f}", fontsize=11, color=GREEN)
    return figure


def feature_maps(maps: dict[str, Tensor], title: str, source: str = "") -> Figure:
    """Every map of each named (C, H, W) layer after its ReLU, in the order of the channels, on one scale a layer."""
    columns = [16 if layer.shape[-1] >= 28 else 32 for layer in maps.values()]
    shares = [-(-len(layer) // wide) / wide for layer, wide in zip(maps.values(), columns, strict=True)]
    figure = titled(9.6, 9.8 * sum(shares) + 0.3 * len(maps) + 0.6, title, source)
    parts = figure.subplots(len(maps), 1, height_ratios=shares, squeeze=False).flat
    for axes, wide, (name, layer) in zip(parts, columns, maps.items(), strict=True):
        limit, blank = float(layer.max()) or 1.0, int((layer.amax((1, 2)) == 0).sum())
        draw_mosaic(axes, layer, wide, limit=limit)
        size = f"{len(layer)} maps of {layer.shape[1]}×{layer.shape[2]}"
        heading(axes, f"{name}: {size}, white 0, full colour {limit:.1f}, {blank} blank", fontsize=11, loc="left")
    return figure


def views(rows: dict[str, Tensor], captions: dict[str, Sequence[str]], title: str, source: str = "") -> Figure:
    """Each named row of (K, s, s) cut-outs, grey levels, NaN, drawn bluish, beyond the picture's edge."""
    count = len(next(iter(captions.values())))
    figure = titled(0.86 * count + 1.2, 1.08 * len(rows) + 0.6, title, source)
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, cuts) in zip(grid, rows.items(), strict=True):
        for axes, cut, caption in zip(line, cuts, captions[name], strict=True):
            draw(axes, cut)
            axes.set(xticks=[], yticks=[], facecolor="#c8d3de")
            axes.spines[:].set_color("#bbbbbb")
            heading(axes, caption, fontsize=10, pad=3)
        line[0].set_ylabel(name, parse_math=False, fontsize=11, rotation=0, ha="right", va="center")
    return figure


def zero_shares(tables: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of activation statistics: each channel's share of zeros, by layer, dead ones orange."""
    figure = titled(9.2, 3.7, title, source)
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
        heading(axes, name, fontsize=12)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("% of the cells that are zero")
    sns.despine(figure)
    return figure


def attributions(image: Tensor, rows: dict[str, dict[str, Tensor]], title: str, source: str = "") -> Figure:
    """The (28, 28) digit, and for each named row its named maps of any size, each on its own scale, over its outline.

    Orange speaks for the answer, blue against it.
    """
    count = len(next(iter(rows.values())))
    figure = titled(2 * (count + 1) + 0.9, 2.4 * len(rows) + 0.6, title, source)
    grid = figure.subplots(len(rows), count + 1, squeeze=False)
    for line, (name, maps) in zip(grid, rows.items(), strict=True):
        draw(line[0], image)
        line[0].set_ylabel(name, parse_math=False, fontsize=12)
        for axes, (method, values) in zip(line[1:], maps.items(), strict=True):
            limit = float(values.abs().max()) or 1.0
            extent = (-0.5, 27.5, 27.5, -0.5)
            axes.imshow(values.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
            axes.contour(image.float().numpy(), levels=[128], colors=GREY, linewidths=0.8)
            heading(axes, f"{method}\n±{limit:.2g}" if values.any() else f"{method}\nall zero", fontsize=10)
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
    return figure


def errors_without(errors: Sequence[int], whole: int, count: int, title: str, source: str = "") -> Figure:
    """How many of `count` digits are read wrong when each one channel is removed, sorted; dashed: with all of them."""
    values = np.sort(np.asarray(errors))
    figure = titled(9, 3.8, title, source)
    axes = figure.subplots()
    axes.bar(range(len(values)), values, width=1, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.axhline(whole, color="black", linestyle="--", lw=1.5, label=f"{whole} with all channels")
    axes.set(xlabel=f"which of the {len(values)} channels is removed, sorted by errors", ylabel=f"errors in {count:,}")
    axes.set(xlim=(-1, len(values)), ylim=(0, 1.35 * max(values.max(), whole, 1)), xticks=[])
    axes.legend(frameon=False, fontsize=11, loc="upper left")
    sns.despine(figure)
    return figure


@checker
def check_view(function: Callable) -> str:
    """view(cell, start, step, size) → (first, last) pixel that the cell sees along one side of 28 pixels."""
    for cell, start, step, size in ((3, 0, 1, 3), (7, -4, 2, 10), (0, -4, 2, 10), (13, -4, 2, 10), (3, -10, 4, 24)):
        first, last = start + cell * step, start + cell * step + size - 1
        right = (max(first, 0), min(last, 27))
        try:
            got = tuple(int(pixel) for pixel in call(function, cell, start, step, size))
        except TypeError as error:
            raise NotYet("return two numbers: the first pixel, then the last.") from error
        where = f"cell {cell} with start {start}, step {step}, size {size}"
        if got == right:
            continue
        if got == (first, last):
            raise NotYet(f"{where}: {got} leaves the picture. Pixels go from 0 to 27; cut off what lies beyond.")
        if got in ((first, last + 1), (right[0], min(last + 1, 27)), (right[0], min(last + 1, 28))):
            raise NotYet(f"{where}: you end at {got[1]}, one too far: {size} pixels end at first + size − 1.")
        if got in ((start + cell, start + cell + size - 1), (max(start + cell, 0), min(start + cell + size - 1, 27))):
            raise NotYet(f"{where}: you say {got}. From one cell to the next the view moves {step} pixels.")
        raise NotYet(f"{where}: you say {got}; it sees {right[0]} to {right[1]}.")
    return "all five cells, also those whose view reaches beyond the picture, where there is only padding."


@checker
def check_grad_cam(function: Callable) -> str:
    """grad_cam(maps, gradients): (C, H, W) each → (H, W), ReLU of the maps' sum, weighted by their mean gradients."""
    generator = torch.Generator().manual_seed(5)
    maps = torch.randn(6, 5, 4, generator=generator).relu()
    gradients = torch.randn(6, 5, 4, generator=generator)
    got = torch.as_tensor(call(function, maps.clone(), gradients.clone()), dtype=torch.float32)
    weighted = gradients.mean((1, 2))[:, None, None] * maps
    total = weighted.sum(0)
    if got.shape == maps.shape:
        raise NotYet("that is still one map for each channel. Add them up into one.")
    if got.shape != total.shape:
        raise NotYet(f"one map of {tuple(total.shape)} is asked for; yours is {tuple(got.shape)}.")
    wrong = {
        "that has negative cells. Grad-CAM ends with a ReLU: only what speaks for the answer is kept.": total,
        "the ReLU comes last, after the sum; you cut each channel first.": weighted.relu().sum(0),
        "each cell got its own gradient. A channel gets one weight: the mean of its gradients.": (maps * gradients)
        .sum(0)
        .relu(),
        "all channels count alike in yours; weigh each by the mean of its gradients.": maps.sum(0),
        "the maps and the gradients have changed places.": (maps.mean((1, 2))[:, None, None] * gradients).sum(0).relu(),
    }
    for message, mistake in wrong.items():
        if torch.allclose(got, mistake, atol=1e-4) and not torch.allclose(mistake, total.relu(), atol=1e-4):
            raise NotYet(message)
    right = total.relu()
    if torch.allclose(got, right * maps[0].numel(), atol=1e-3):
        raise NotYet("the places are right, the size is not: the weight is the mean of the gradients, not their sum.")
    if not torch.allclose(got, right, atol=1e-4):
        raise NotYet(f"the largest cell should be {float(right.max()):.3f}; yours is {float(got.max()):.3f}.")
    return "a weighted sum of maps and a ReLU. The hook that fetches the maps is all that ml.grad_cam adds."


@checker
def check_dead_share(function: Callable) -> str:
    """dead_share(outputs): (N, C, H, W) after a ReLU → share of the channels that are zero everywhere, for all N."""
    outputs = torch.rand(7, 8, 3, 3, generator=torch.Generator().manual_seed(6)) + 0.1
    outputs[:, [1, 6]] = 0  # dead
    outputs[:5, 3] = 0  # blank for five of the seven digits
    outputs[:, 4, 0] = 0  # zero in places
    got = float(call(function, outputs.clone()))
    cells, blank = float((outputs == 0).double().mean()), float((outputs.amax((2, 3)) == 0).double().mean())
    if abs(got - 2 / 8) < 1e-6:
        return "a channel is dead only if no cell of it ever opens, for no digit. Zeros alone are no illness."
    if abs(got - 2) < 1e-6:
        raise NotYet("that is how many are dead. Their share is asked for.")
    if abs(got - 6 / 8) < 1e-6:
        raise NotYet("that is the share of the living.")
    if abs(got - cells) < 1e-6:
        raise NotYet("that is the share of cells that are zero. A channel with some zeros is not dead.")
    if abs(got - blank) < 1e-6:
        raise NotYet("you count a channel for every digit that leaves it blank. Dead is dead for all digits together.")
    if abs(got - 3 / 8) < 1e-6:
        raise NotYet("a channel that opens for a few digits only is alive: look at all of them.")
    raise NotYet(f"two of the eight channels are dead here, so 0.25; you say {got:.3f}.")
