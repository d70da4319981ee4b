"""The notebook on filters and feature maps: its figures, what they measure, and the checkers of its exercises."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from torch import Tensor

from mnistlab.analysis.predictions import Predictions
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures.plots import curves, digit_grid
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, SIGNED, Figure, Sourced, draw, draw_mosaic, heading


def correlation(one: Tensor, other: Tensor) -> float:
    """How alike two equally large tensors are, −1…1; 0 where one of them is the same everywhere."""
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].nan_to_num())


def conv1(after: Tensor, before: Tensor) -> Figure:
    """(K, 1, 3, 3) filters with their weights written in, and, smaller, what they were before training."""
    title = f"conv1 after training and before: alike, with a correlation of {correlation(after, before):.2f}"
    alt = f"The {len(after)} filters of conv1 with their weights, and beside them the same before training."
    figure = Figure(9.8, 3.9, title, alt)
    parts = figure.subplots(1, 2, width_ratios=[2, 1])
    limit = float(max(after.abs().max(), before.abs().max()))
    for axes, weights, name in zip(parts, (after, before), ("after training", "the same, before"), strict=True):
        pitch = draw_mosaic(axes, weights[:, 0], 8, limit=limit)
        heading(axes, f"{name}: full colour ±{limit:.2f}", fontsize=11)
    for (index, row, column), weight in np.ndenumerate(after[:, 0].numpy()):
        x, y = index % 8 * pitch + 9 * column + 5, index // 8 * pitch + 9 * row + 5
        colour = "white" if abs(weight) > 0.65 * limit else "black"
        text = re.sub(r"^(−?)0\.", r"\1.", f"{round(float(weight), 1) + 0.0:.1f}".replace("-", "−"))
        parts[0].text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    return figure


def slices_for_half(weights: Tensor) -> float:
    """Of how many slices half of a filter consists: of the sum of its squared weights, the largest slices first.

    weights: (out, in, 3, 3) of a layer; the mean over its filters.
    """
    energy = weights.square().sum((2, 3)).sort(1, descending=True)[0]
    return float(((energy.cumsum(1) < energy.sum(1, keepdim=True) / 2).sum(1) + 1).double().mean())


def filters(weights: dict[str, Tensor]) -> Figure:
    """Four named (out, in, 3, 3) layers, a column for each filter, a cell for each slice: its mean absolute weight.

    Of the first layer, the filter with the strongest slice is framed in green and shown slice by slice.
    """
    first, stack = next(iter(weights.items()))
    half = f"half of it lies in {slices_for_half(stack):.0f} of {stack.shape[1]} slices"
    alt = "Four tables, a column for each filter and a row for each slice, unevenly filled."
    figure = Figure(9.5, 5.4, f"A filter leans on some channels: in {first}, {half}", alt)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.75])
    sizes = [layer.shape[0] for layer in weights.values()]
    above = grid[0].subgridspec(1, 3, width_ratios=[sizes[0], sizes[1], 68])
    below = grid[1].subgridspec(1, 2, width_ratios=sizes[2:])
    places = [figure.add_subplot(spot) for spot in (above[0], above[1], below[0], below[1])]
    for axes, (name, layer) in zip(places, weights.items(), strict=True):
        strengths = layer.abs().mean((2, 3)).T
        draw(axes, strengths, signed=True)
        axes.images[0].set(interpolation="nearest", cmap=SIGNED.resampled(33))  # fewer shades make a smaller file
        axes.set(xticks=[], yticks=[], ylabel=f"{layer.shape[1]} slices")
        heading(axes, f"{name}: {layer.shape[0]} filters, up to {float(strengths.max()):.1f}", fontsize=11)
    opened = int(stack.abs().mean((2, 3)).amax(1).argmax())
    edge = (opened - 0.5, -0.5), 1, stack.shape[1]
    places[0].add_patch(Rectangle(*edge, fill=False, color=GREEN, lw=2, clip_on=False))
    slices = stack[opened]
    axes = figure.add_subplot(above[2])
    limit = float(slices.abs().max())
    draw_mosaic(axes, slices, 8, limit=limit)
    heading(axes, f"{first}, filter {opened}: its {len(slices)} slices, ±{limit:.1f}", fontsize=11, color=GREEN)
    return figure


def likeness(maps: dict[str, Tensor], digit: Digits) -> dict[str, float]:
    """By layer, the mean correlation of its maps with the digit, without signs; blank maps don't count.

    maps: (C, H, H) of each layer, after ReLU.  digit: a single one; it is made as small as the map.
    """
    found = {}
    for name, layer in maps.items():
        ink = F.adaptive_avg_pool2d(digit.images[0].float(), layer.shape[-1])
        found[name] = float(np.mean([abs(correlation(one, ink)) for one in layer if one.any()]))
    return found


def maps(maps: dict[str, Tensor], digit: Digits) -> Figure:
    """Every map of each named (C, H, W) layer after its ReLU, in the order of the channels, on one scale a layer."""
    first, *_, last = likeness(maps, digit).values()
    title = f"From outlines to patches: likeness to the ink falls from {first:.2f} to {last:.2f}"
    count = sum(map(len, maps.values()))
    alt = f"All {count} maps of one digit in {len(maps)} layers, from sharp outlines to coarse patches."
    columns = [16 if layer.shape[-1] >= 28 else 32 for layer in maps.values()]
    shares = [-(-len(layer) // wide) / wide for layer, wide in zip(maps.values(), columns, strict=True)]
    figure = Figure(9.6, 9.8 * sum(shares) + 0.3 * len(maps) + 0.6, title, alt, digit)
    parts = figure.subplots(len(maps), 1, height_ratios=shares, squeeze=False).flat
    for axes, wide, (name, layer) in zip(parts, columns, maps.items(), strict=True):
        limit, blank = float(layer.max()) or 1.0, int((layer.amax((1, 2)) == 0).sum())
        draw_mosaic(axes, layer, wide, limit=limit)
        size = f"{len(layer)} maps of {layer.shape[1]}×{layer.shape[2]}"
        heading(axes, f"{name}: {size}, white 0, full colour {limit:.1f}, {blank} blank", fontsize=11, loc="left")
    return figure


def of_one_class(top: pd.DataFrame, digits: Digits) -> np.ndarray:
    """(C,) how many of each channel's favourites are of their commonest class.

    top: of `ml.top_digits`, the favourites among `digits`.
    """
    labels = pd.Series(digits.known_labels("be counted by class").numpy()[top["digit"]])
    counts = labels.groupby(top["channel"].to_numpy()).agg(lambda found: found.value_counts().max())
    return np.asarray(counts)


def choose(tops: dict[str, pd.DataFrame], digits: Digits) -> list[tuple[str, Any]]:
    """Of each layer the channel with the most mixed favourites, the middle one and the purest, by their strongest cell.

    tops: of each layer, the favourites of its channels (`ml.top_digits`). Returns the layers with a row of them each.
    """
    chosen = []
    for name, top in tops.items():
        order = of_one_class(top, digits).argsort(kind="stable")
        for channel in order[[0, len(order) // 2, -1]]:
            chosen.append((name, next(top[top["channel"] == channel].itertuples())))
    return chosen


def _view(fields: pd.DataFrame, name: str, cell: Any) -> tuple[int, int, int]:
    """First row, first column and size, in pixels, of what a cell of relu1 … relu5 sees; it may begin outside."""
    size, step, start = fields.loc[name.replace("relu", "conv"), ["size", "step", "start"]].tolist()
    return start + step * cell.row, start + step * cell.column, size


def seen(fields: pd.DataFrame, name: str, cell: Any) -> Tensor:
    """(28, 28) bool: the pixels that a cell (with its row and column) of the layer sees.

    fields: of `ml.receptive_field`.
    """
    *starts, size = _view(fields, name, cell)
    rows, columns = ((torch.arange(28) >= start) & (torch.arange(28) < start + size) for start in starts)
    return rows[:, None] & columns


def favourites(
    chosen: list[tuple[str, Any]], tops: dict[str, pd.DataFrame], fields: pd.DataFrame, digits: Digits
) -> Figure:
    """A row for each chosen channel: what its strongest cells saw, bluish beyond the picture's edge, under its label.

    chosen: of `choose`.  tops: two layers' favourites among `digits`.  fields: of `ml.receptive_field`.
    """
    one, two = (of_one_class(top, digits).mean() for top in tops.values())
    count = sum(tops[chosen[0][0]]["channel"] == chosen[0][1].channel)
    title = f"Deeper channels are choosier: {one:.1f}, then {two:.1f} of {count} favourites are of one class"
    alt = f"For {len(chosen)} channels, what their strongest cells saw in {count} digits, labels above."
    figure = Figure(0.86 * count + 1.2, 1.08 * len(chosen) + 0.6, title, alt, digits)
    labels = digits.known_labels("stand under theirs")
    for line, (name, best) in zip(figure.subplots(len(chosen), count, squeeze=False), chosen, strict=True):
        cells = tops[name][tops[name]["channel"] == best.channel].itertuples()
        for axes, cell in zip(line, cells, strict=True):
            top, left, size = _view(fields, name, cell)
            picture = F.pad(digits.images[cell.digit, 0].float(), (size,) * 4, value=math.nan)
            draw(axes, picture[top + size : top + 2 * size, left + size : left + 2 * size])
            axes.set(xticks=[], yticks=[], facecolor="#c8d3de")
            axes.spines[:].set_color("#bbbbbb")
            heading(axes, digits.classes[int(labels[cell.digit])], fontsize=10, pad=3)
        label = f"{name}\n{best.channel}"
        line[0].set_ylabel(label, parse_math=False, fontsize=11, rotation=0, ha="right", va="center")
    return figure


def wishes(pictures: Digits, wanted: Sequence[tuple[str, int]], predictions: Predictions) -> Figure:
    """Pictures made to please, the first ten the logits 0 to 9, the others a channel of a layer each.

    wanted: the layer and the channel of each.  predictions: what the network says of the first ten.
    """
    sure = predictions.probabilities.diagonal().mean()
    title = f"Ten pictures that it reads as 0 to 9, {sure:.0%} sure, and {len(wanted) - 10} for channels"
    names = [str(k) for k in range(10)] + [f"{name}: {channel}" for name, channel in wanted[10:]]
    figure = digit_grid(pictures, title, names)
    figure.alt = f"{len(pictures)} pictures of blurred strokes that hardly resemble digits. {title}"
    return figure


def zeros(tables: dict[str, pd.DataFrame], of: Sourced) -> Figure:
    """Each channel's share of zeros, by layer, dead ones orange, in two named networks.

    tables: of each network, the rows of `ml.activation_statistics` to draw, measured on the digits `of`.
    """
    (first, one), (second, two) = ((name, table["largest"] <= 0) for name, table in tables.items())
    title = f"{first.capitalize()}, {one.sum()} of {len(one)} channels are dead; with {second}, {two.sum()}"
    layers = tables[first]["name"].nunique()
    alt = f"Each channel's share of zero cells in {layers} ReLU layers, for two networks."
    figure = Figure(9.2, 3.7, title, alt, of)
    places = figure.subplots(1, 2, sharey=True)
    for axes, (name, table) in zip(places, tables.items(), strict=True):
        for x, (_, layer) in enumerate(table.groupby("name", sort=False)):
            dead = (layer["largest"] <= 0).to_numpy()
            spread, share = x + np.linspace(-0.32, 0.32, len(layer)), 100 * layer["zeros"].to_numpy()
            axes.scatter(spread[~dead], share[~dead], s=9, color=BLUE, alpha=0.6, lw=0)
            axes.scatter(spread[dead], share[dead], s=20, color=ORANGE, lw=0)
            axes.plot([x - 0.36, x + 0.36], [share.mean()] * 2, color="black", lw=2)
            if dead.any():
                axes.text(x, 103, f"{dead.sum()} dead", color=ORANGE, ha="center", va="bottom", fontsize=11)
        axes.set_xticks(range(table["name"].nunique()), table["name"].unique())
        axes.set(ylim=(0, 112), yticks=range(0, 101, 20))
        heading(axes, name, fontsize=12)
    places[0].set_ylabel("% of the cells that are zero")
    sns.despine(figure)
    return figure


def attributions(digit: Digits, answers: dict[str, dict[str, Tensor]]) -> Figure:
    """What spoke for one answer and what for another: a row for each, such as "for the 9", its maps by their method."""
    title = f"What spoke {' and what '.join(answers)}: three methods, three answers"
    return _over_the_digit(digit, answers, title)


def sanity(digit: Digits, networks: dict[str, dict[str, Tensor]]) -> Figure:
    """The maps of two named networks for one answer, a row each: do they differ where only one has learned?"""
    one, two = networks.values()
    alike = ", ".join(f"{method} {correlation(one[method].abs(), two[method].abs()):.2f}" for method in one)
    title = "Integrated gradients trace the digit even in a network that knows nothing"
    return _over_the_digit(digit, networks, title, f" Without signs the two rows' maps correlate so: {alike}.")


def _over_the_digit(digit: Digits, rows: dict[str, dict[str, Tensor]], title: str, more: str = "") -> Figure:
    """The digit, and for each named row its named maps of any size, each on its own scale, over its outline.

    Orange speaks for the answer, blue against it.
    """
    image, methods = digit.images[0, 0], next(iter(rows.values()))
    alt = f"A digit and maps by {', '.join(methods)}, in rows: {'; '.join(rows)}.{more}"
    figure = Figure(2 * (len(methods) + 1) + 0.9, 2.4 * len(rows) + 0.6, title, alt, digit)
    grid = figure.subplots(len(rows), len(methods) + 1, squeeze=False)
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


def compared(maps: dict[str, list[dict[str, Tensor]]]) -> pd.DataFrame:
    """How alike the first network's maps are to those of each other one: a row for each method and other network.

    maps: of each network, a dictionary of maps by method for each of several digits.
    Columns: the correlation with sign and without sign, and blank, the share of pairs in which a map is all zero; each
    the mean over the digits.
    """
    first, *others = maps
    rows = []
    for method, other in product(maps[first][0], others):
        for one, two in ((own[method], theirs[method]) for own, theirs in zip(maps[first], maps[other], strict=True)):
            blank = not (one.any() and two.any())
            rows.append((method, other, correlation(one, two), correlation(one.abs(), two.abs()), blank))
    columns = ["method", "compared with", "with sign", "without sign", "blank"]
    return pd.DataFrame(rows, columns=columns).groupby(columns[:2], sort=False).mean()


def without_one(errors: Sequence[int], whole: int, digits: Digits) -> Figure:
    """How many of the digits are read wrong when each one channel is removed, sorted; dashed: with all of them."""
    values = np.sort(np.asarray(errors))
    title = f"Without any one channel of relu5: {values[0]} to {values[-1]} errors instead of {whole}"
    alt = f"Errors with each one of {len(values)} channels removed, sorted, beside a dashed line."
    figure = Figure(9, 3.8, title, alt, digits)
    axes = figure.subplots()
    axes.bar(range(len(values)), values, width=1, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.axhline(whole, color="black", linestyle="--", lw=1.5, label=f"{whole} with all channels")
    axes.set_xlabel(f"which of the {len(values)} channels is removed, sorted by errors")
    axes.set_ylabel(f"errors in {len(digits):,}")
    axes.set(xlim=(-1, len(values)), ylim=(0, 1.35 * max(values[-1], whole, 1)), xticks=[])
    axes.legend(frameon=False, fontsize=11, loc="upper left")
    sns.despine(figure)
    return figure


def without_many(right: pd.DataFrame, digits: Digits) -> Figure:
    """The accuracy against the number of channels removed: its mean, highest and lowest over several orders.

    right: accuracies in percent, a row for each number removed, from none to all, a column for each order.
    """
    channels = right.index[-1]
    half, eight = right.loc[channels // 2].mean(), right.loc[channels - 8].mean()
    title = f"Without half of the channels {half:.0f}% are right, with only eight {eight:.0f}%"
    lines = right.agg(["mean", "max", "min"], axis=1)
    lines.columns = pd.Index([f"mean of {right.shape[1]} orders", "best", "worst"])
    return curves(lines, title, f"channels of relu5 removed, of {channels}", "accuracy (%)", of=digits)


@checker
def check_view(function: Callable[..., Any]) -> str:
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
def check_grad_cam(function: Callable[..., Any]) -> str:
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
def check_dead_share(function: Callable[..., Any]) -> str:
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
