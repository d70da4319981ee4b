"""The notebook on architectures: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module

from mnistlab.course.check import NotYet, call, checker
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, bare, heading, log_axis, titled
from mnistlab.networks.models import MLP


def sizes(table: pd.DataFrame, title: str) -> Figure:
    """Networks by their columns `parameters` and `multiply_adds`, each on a logarithmic axis."""
    figure = titled(11, 0.42 * len(table) + 1.6, title)
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
    figure = titled(1.75 * columns, 2.3 * rows + 0.5, title)
    axes = bare(figure.subplots())
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
    figure = titled(9, 4.4, title, source)
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
    log_axis(axes.yaxis)
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
    figure = titled(10, 0.5 * len(rows) + 1.4, title, source)
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
    figure = titled(12, 4.2, title, source)
    for axes, (name, rows) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        for (size, line), colour in zip(rows.groupby("batch_size"), (BLUE, ORANGE, GREEN, GREY), strict=False):
            means = 100 * line.groupby("learning_rate")["val_accuracy"].mean()
            axes.plot(means, color=colour, marker="o", lw=2.2, label=f"batches of {size}")
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylim=(0, 103))
        heading(axes, name, fontsize=13)
        axes.grid(axis="y", color="#e4e4e4", lw=0.8)
    figure.axes[0].set_ylabel("accuracy on the validation digits (%)")
    figure.axes[len(panels) // 2].legend(frameon=False, fontsize=11, loc="center left")
    sns.despine(figure)
    return figure


@checker
def check_mlp_parameters(function: Callable) -> str:
    """mlp_parameters(sizes) → how many numbers dense layers of these sizes learn, from the input to the output."""
    for hidden in ((256, 128), (), (512,)):
        sizes = [784, *hidden, 10]
        right = sum(p.numel() for p in MLP(hidden=hidden).parameters())
        got = call(function, sizes)
        if got == right - sum(sizes[1:]):
            raise NotYet(f"{got:,} for {sizes}: those are the weights. Every cell after the input also has one bias.")
        if got == right + sizes[0]:
            raise NotYet(f"{got:,} for {sizes}: the input's cells are pixels, and learn no bias.")
        if got != right:
            raise NotYet(f"for {sizes} you say {got}; PyTorch's layers have {right:,}.")
    return "each layer has before × after weights and a bias for each cell after it."


@checker
def check_shuffle(function: Callable) -> str:
    """shuffle(images, order) → (N, 1, 28, 28): in every image, pixel k is what was pixel order[k]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 1, 28, 28), generator=generator, dtype=torch.uint8)
    order = torch.randperm(784, generator=generator)
    before = images.clone()
    got = call(function, images, order)
    right = torch.stack([image.flatten()[order].reshape(1, 28, 28) for image in before])
    if not torch.equal(images, before):
        raise NotYet("the images that went in have been changed; make new ones.")
    if getattr(got, "shape", None) != images.shape:
        raise NotYet(f"the answer should be (5, 1, 28, 28); it is {tuple(getattr(got, 'shape', ()))}.")
    back = torch.empty_like(right).flatten(1)
    back[:, order] = before.flatten(1)
    if torch.equal(got.flatten(1), back):
        raise NotYet("pixel k went to place order[k]; asked for is the other way: place k takes pixel order[k].")
    if not torch.equal(got, right):
        raise NotYet("some pixels are in other places. Every image must be shuffled in the same order.")
    return "every pixel of every digit has moved to its new place, and nothing is lost: only the neighbours are."


@checker
def check_gain(function: Callable) -> str:
    """gain(a, b) → the difference of the means of b and a, and its standard error."""
    for a, b in (([99.2, 99.3, 99.1], [99.5, 99.4, 99.6, 99.5]), ([98.0, 98.4], [98.1, 98.5])):
        right = float(np.mean(b) - np.mean(a))
        errors = [np.var(values, ddof=1) / len(values) for values in (a, b)]
        spreads = [np.var(values, ddof=1) for values in (a, b)]
        answer = call(function, a, b)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise NotYet("two numbers are asked for: the difference and its standard error.")
        difference, error = map(float, answer)
        if abs(difference + right) < 1e-9 < abs(right):
            raise NotYet("the sign is turned round: b's mean minus a's.")
        if abs(difference - right) > 1e-9:
            raise NotYet(f"the difference of the means is {right:.4f}; you say {difference:.4f}.")
        if abs(error - sum(spreads) ** 0.5) < 1e-9:
            raise NotYet("that is how far single runs lie apart. A mean of n runs is surer: divide each variance by n.")
        if abs(error - sum(variance**0.5 for variance in errors)) < 1e-9:
            raise NotYet("variances add up, not standard errors: take the root of the sum, not the sum of the roots.")
        if abs(error - sum(np.var(values) / len(values) for values in (a, b)) ** 0.5) < 1e-9:
            raise NotYet("with few runs, divide by n − 1 for the variance (ddof=1).")
        if abs(error - sum(errors) ** 0.5) > 1e-9:
            raise NotYet(f"the standard error is {sum(errors) ** 0.5:.4f}; you say {error:.4f}.")
    return "a difference of less than two standard errors may be luck."
