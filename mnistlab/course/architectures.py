"""The notebook on architectures: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module

from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREEN, GREY, ORANGE, Figure, Sourced, bare, heading, log_axis
from mnistlab.networks.models import MLP

# Name → the lowest and the highest accuracy that README files of other repositories claim for such a network, in %.
CLAIMS = {"LeNet": (98.8, 99.2), "Simple": (99.3, 99.3), "Compact": (99.2, 99.5), "Improved": (99.49, 99.49)}


def sizes(table: pd.DataFrame) -> Figure:
    """Networks by their columns `parameters` and `multiply_adds`, each on a logarithmic axis; CNN beside Simple."""
    parameters, work = (table.loc["Simple", column] / table.loc["CNN", column] for column in table)
    title = f"Simple has {parameters:.1f} times the parameters of our CNN, and {work:.1f} times the work"
    alt = f"Parameters and multiply-adds of {len(table)} networks as bars."
    figure = Figure(11, 0.42 * len(table) + 1.6, title, alt)
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


def graph(loss: Tensor, model: Module, columns: int = 7) -> Figure:
    """What PyTorch remembers of how `loss` came about: its operations in order, and the parameters that go into each.

    For networks without branches, whose layers form one chain.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    chain: list[tuple[str, list[tuple[str, tuple[int, ...]]]]] = []
    node = loss.grad_fn
    while node is not None:
        leaves = [leaf for following, _ in node.next_functions if (leaf := _leaf(following)) is not None]
        operation = node.name().split("Backward")[0]
        parameters = sorted(((names[id(leaf)], tuple(leaf.shape)) for leaf in leaves), reverse=True)
        chain.insert(0, (OPERATIONS.get(operation, operation), parameters))  # weights, then biases
        node = next((following for following, _ in node.next_functions if following and _leaf(following) is None), None)
    rows = -(-len(chain) // columns)
    title = f"Backwards from the loss to the first weights: {type(model).__name__}'s computation graph"
    count = sum(len(parameters) for _, parameters in chain)
    alt = f"A chain of {len(chain)} boxes from {chain[0][0]} to {chain[-1][0]}; "
    alt += f"{count} tensors of weights and biases point into it from below."
    figure = Figure(1.75 * columns, 2.3 * rows + 0.5, title, alt)
    axes = bare(figure.subplots())
    said: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10.5}
    look = {"boxstyle": "round,pad=0.45", "edgecolor": BLUE, "facecolor": "#e8f0f8"}
    for place, (operation, parameters) in enumerate(chain):
        row, column = divmod(place, columns)
        x, y = 1.75 * column, -2.3 * row
        axes.text(x, y, operation, bbox=look, **said)
        if place:
            start = (x - 0.95, y) if column else (x - 1.0, y)
            axes.annotate("", (x - 0.72, y), start, arrowprops={"arrowstyle": "->", "color": GREY, "lw": 1.5})
        for line, (name, shape) in enumerate(parameters):
            text = f"{name}\n{' × '.join(map(str, shape))}"
            axes.text(x, y - 0.68 - 0.55 * line, text, color=ORANGE, **{**said, "fontsize": 9.5})
        if parameters:
            axes.annotate("", (x, y - 0.22), (x, y - 0.45), arrowprops={"arrowstyle": "->", "color": ORANGE})
    axes.set(xlim=(-1, 1.75 * columns - 0.75), ylim=(-2.3 * rows + 0.65, 0.5))
    return figure


def _leaf(node: Node | None) -> Tensor | None:
    """The parameter behind a node of PyTorch's graph, where there is no more than a transposition before it."""
    while node is not None and node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return getattr(node, "variable", None)


def race(table: pd.DataFrame, seen: int, of: Sourced | None = None) -> Figure:
    """One named dot for each row: its `multiply_adds` against its `errors` in percent, both on logarithmic axes.

    seen: how many digits each network has seen.  of: the digits that they were judged on.
    """
    errors = table["errors"]
    worst, best = errors.idxmax(), errors.idxmin()
    title = f"After {seen:,} digits {worst} misreads {errors[worst]:.1%}, {best} {errors[best]:.1%}"
    alt = f"Share of misread digits over multiply-adds, a dot for each of {len(table)} networks."
    figure = Figure(9, 4.4, title, alt, of)
    axes = figure.subplots()
    axes.scatter(table["multiply_adds"], 100 * errors, s=70, color=BLUE, zorder=3)
    for name, row in table.iterrows():
        place = row["multiply_adds"], 100 * row["errors"]
        axes.annotate(name, place, (0, 8), textcoords="offset points", ha="center", fontsize=12)
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds of one digit (log scale)")
    axes.set_ylabel("misread digits, % (log scale)")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.35, high * 1.35)
    log_axis(axes.yaxis)
    axes.margins(x=0.12)
    axes.grid(color="#e4e4e4", lw=0.8)
    sns.despine(figure)
    return figure


def relatives(accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """The accuracy in percent of each network's runs, and behind them what is claimed elsewhere."""
    lead = np.mean(accuracy["CNN"]) - np.mean(accuracy["MLP"])
    title = (
        f"One epoch on MNIST, {len(accuracy['CNN'])} seeds: the CNN is {lead:.1f} points ahead of dense layers alone"
    )
    return seeds(accuracy, title, "accuracy on MNIST's 10,000 test digits (%); grey: claimed elsewhere", bands=CLAIMS)


def shuffled_digits(digits: Digits, shuffled: Digits) -> Figure:
    """Each digit, and beside it the same with its pixels shuffled."""
    pictures: dict[str, Tensor] = {}
    for label, before, after in zip(digits.known_labels("be named"), digits.images, shuffled.images, strict=True):
        pictures |= {f"a {label}": before[0], f"the same {label}": after[0]}
    title = "The same numbers, in other places: nothing is lost but who is beside whom"
    return plots.picture_row(pictures, title, digits)


def shuffled(accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """The accuracy in percent of each network's runs, with its pixels in place and shuffled."""
    lost = {}
    for name in ("CNN", "MLP"):
        lost[name] = np.mean(accuracy[f"{name}, pixels in place"]) - np.mean(accuracy[f"{name}, pixels shuffled"])
    title = f"Shuffling costs the CNN {lost['CNN']:.2f} points, and the MLP {abs(lost['MLP']):.2f}"
    return seeds(accuracy, title, "accuracy on MNIST's test digits (%), one epoch without augmentation")


def parts(errors: Mapping[str, Sequence[float]]) -> Figure:
    """The errors in percent of the CNN's runs "as it is", and with one thing changed each."""
    worst = max(errors, key=lambda name: np.mean(errors[name]))
    times = np.mean(errors[worst]) / np.mean(errors["as it is"])
    title = f"{worst[0].upper()}{worst[1:]}, {times:.1f} times the errors"
    return seeds(errors, title, "misread test digits of MNIST (%), one epoch")


def seeds(
    rows: Mapping[str, Sequence[float]], title: str, x: str, *, bands: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """A line for each name: one dot a run, a bar at their mean, and beside it mean ± standard deviation.

    bands: name → the lowest and highest that others claim, as a grey bar behind.
    """
    means = {name: f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for name, values in rows.items()}
    told = "; ".join(f"{name} {mean}" for name, mean in means.items())
    alt = f"A dot for each run: {x}. Means and standard deviations: {told}."
    figure = Figure(10, 0.5 * len(rows) + 1.4, title, alt)
    axes = figure.subplots()
    for place, (name, values) in enumerate(rows.items()):
        mean = np.mean(values)
        if bands and name in bands:
            low, high = bands[name]
            centre, width = (low + high) / 2, max(high - low, 0.02)
            axes.barh(place, width, left=centre - width / 2, height=0.62, color="#cfcfcf", zorder=1)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=ORANGE, lw=3, zorder=2)
        axes.scatter(values, [place] * len(values), color=BLUE, s=34, alpha=0.7, zorder=3)
        axes.text(1.01, place, means[name], transform=axes.get_yaxis_transform(), va="center", fontsize=11)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=12)
    axes.set(ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel(x, fontsize=11)
    axes.margins(x=0.04)
    axes.grid(axis="x", color="#e4e4e4", lw=0.8)
    axes.tick_params(axis="y", length=0)
    sns.despine(figure, left=True)
    return figure


def best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """The `learning_rate` whose mean `val_accuracy` is highest: a row an optimiser, a column a batch size."""
    means = runs.groupby(["optimiser", "batch_size", "learning_rate"], as_index=False)["val_accuracy"].mean()
    tops = means.loc[means.groupby(["optimiser", "batch_size"])["val_accuracy"].idxmax()]
    best = tops.pivot_table(index="optimiser", columns="batch_size", values="learning_rate")
    return best.rename_axis(index="best learning rate for", columns="batches of")


def sweep(runs: pd.DataFrame) -> Figure:
    """One panel an `optimiser`, one line a `batch_size`: mean `val_accuracy` in percent over the `learning_rate`."""
    panels = dict(list(runs.groupby("optimiser", sort=False)))
    best = ", ".join(f"{name} {rate:g}" for name, rate in best_rates(runs)[128].items())
    sizes = sorted(runs["batch_size"].unique())
    alt = f"Validation accuracy over the learning rate for {', '.join(panels)}, with batches of "
    alt += f"{', '.join(map(str, sizes))}."
    figure = Figure(12, 4.2, f"Best rates for batches of 128: {best}", alt)
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
def check_mlp_parameters(function: Callable[..., Any]) -> str:
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
def check_shuffle(function: Callable[..., Any]) -> str:
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
def check_gain(function: Callable[..., Any]) -> str:
    """gain(a, b) → the difference of the means of b and a, and its standard error."""
    for a, b in (([99.2, 99.3, 99.1], [99.5, 99.4, 99.6, 99.5]), ([98.0, 98.4], [98.1, 98.5])):
        right = float(np.mean(b) - np.mean(a))
        spreads = [float(np.var(values, ddof=1)) for values in (a, b)]
        errors = [spread / len(values) for spread, values in zip(spreads, (a, b), strict=True)]
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
