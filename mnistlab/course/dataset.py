"""The notebook on the data set: its figures, and the checkers of its exercises."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from mnistlab.analysis.intervals import wilson
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits, normalise
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREY, ORANGE, Figure, Sourced, bare, draw, heading, log_axis


def pixels(digit: Digits) -> Figure:
    """The 784 numbers of one digit, each written into its pixel."""
    image = digit.images[0, 0].numpy()
    name = digit.classes[int(digit.known_labels("be named")[0])]
    alt = f"A handwritten {name} drawn large, with the grey level written into each of its {(image > 0).sum()} pixels."
    figure = Figure(9.5, 9.6, f"This {name} is {image.size} numbers; the empty ones are all 0", alt, digit)
    axes = figure.subplots()
    draw(axes, image)
    for (row, column), value in np.ndenumerate(image):
        if value:
            colour = "white" if value > 128 else "black"
            axes.text(column, row, value, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set(xticks=range(0, 28, 3), yticks=range(0, 28, 3), xlabel="column", ylabel="row")
    return figure


def balance(splits: dict[str, Digits]) -> Figure:
    """How many digits of each class every split holds, in percent of the split."""
    labels = {name: digits.known_labels("be counted").numpy() for name, digits in splits.items()}
    table = pd.concat(pd.DataFrame({"digit": found, "split": name}) for name, found in labels.items())
    shares = table.groupby("split", sort=False)["digit"].value_counts(normalize=True).mul(100).reset_index()
    whole = table["digit"].value_counts(normalize=True).sort_index()
    rarest, commonest = (f"{whole[digit]:.1%} ({digit}s)" for digit in (whole.idxmin(), whole.idxmax()))
    title = f"Nearly even: from {rarest} to {commonest}, the same in both parts"
    alt = f"Bars of each digit's share in {' and '.join(splits)}, beside a dashed line at 10%."
    figure = Figure(9, 4, title, alt, next(iter(splits.values())))
    axes = figure.subplots()
    sns.barplot(shares, x="digit", y="proportion", hue="split", palette=[BLUE, ORANGE], ax=axes)
    axes.axhline(10, color=GREY, linestyle="--", linewidth=1)
    axes.text(9.6, 10.1, "10%", color=GREY, ha="right", va="bottom", fontsize=10)
    axes.set(ylabel="% of the split", xlabel="digit")
    axes.legend(title=None, frameon=False, ncols=2, loc="upper left")
    axes.set_ylim(0, shares["proportion"].max() * 1.25)
    sns.despine(figure)
    return figure


def means(digits: Digits) -> Figure:
    """For each class the mean image, and below it how much each pixel varies (standard deviation)."""
    title = "Above, where writers agree; below, where they differ"
    alt = "Each digit's mean image, a soft version of it, and below it the spread, darkest along the strokes' edges."
    figure = Figure(10, 2.7, title, alt, digits)
    grid, labels = figure.subplots(2, 10), digits.known_labels("be averaged by class")
    for digit in range(10):
        images = digits.images[labels == digit, 0].float()
        for axes, picture in zip(grid[:, digit], (images.mean(0), images.std(0)), strict=True):
            draw(bare(axes), picture, limit=255 if axes is grid[0, digit] else 128)
        heading(grid[0, digit], digit, fontsize=11)
    grid[0, 0].set_ylabel("mean", fontsize=11)
    grid[1, 0].set_ylabel("spread", fontsize=11)
    return figure


def making(page: Tensor, box: Tensor, back: Tensor, original: Digits) -> Figure:
    """A digit on a page, cut out along its bounding box, brought back to (28, 28), and the digit that it was."""
    image = original.images[0, 0]
    apart = float((back.float() - image.float()).abs().mean())
    steps = {"on a page": page, "bounding box": box, "MNIST's form": back, "the original": image}
    named = {f"{name}, {picture.shape[0]}×{picture.shape[1]}": picture for name, picture in steps.items()}
    return plots.picture_row(named, f"Found again: on average {apart:.1f} of 255 grey levels apart", original)


def centres(points: Tensor, of: Sourced | None = None) -> Figure:
    """(N, 2) row and column of each digit's centre of mass, over the pixel grid around the middle."""
    inside = int(((points - 14).abs() <= 0.5).all(1).sum())
    alt = f"Centres of mass as dots: {inside:,} in the square of pixel (14, 14), {len(points) - inside:,} outside."
    figure = Figure(4.4, 4.3, f"{inside:,} of {len(points):,} centres in one pixel", alt, of)
    axes = figure.subplots()
    axes.scatter(points[:, 1].numpy(), points[:, 0].numpy(), s=4, alpha=0.25, color=BLUE, linewidth=0)
    axes.add_patch(Rectangle((13.5, 13.5), 1, 1, fill=False, color=ORANGE, linewidth=2))
    axes.text(14, 13.45, "pixel (14, 14)", color=ORANGE, ha="center", va="bottom", fontsize=11)
    axes.set(xlim=(12.5, 15.5), ylim=(15.5, 12.5), aspect="equal")
    axes.set(xlabel="column of the centre of mass", ylabel="row")
    sns.despine(figure)
    return figure


def normalised(values: dict[str, Tensor], of: Sourced | None = None) -> Figure:
    """One histogram for each named set of pixels, before and after, with its mean and standard deviation."""
    ends = [f"{name}, from {float(v.min()):.2g} to {float(v.max()):.2g}" for name, v in values.items()]
    alt = f"A histogram of each: {'; '.join(ends).replace('-', '−')}."
    figure = Figure(10, 3.6, "The same shape on a new scale: the mean comes to 0, the spread to 1", alt, of)
    panels = figure.subplots(1, len(values), squeeze=False).flat
    for axes, (name, numbers), colour in zip(panels, values.items(), (BLUE, ORANGE), strict=False):
        sns.histplot(numbers.flatten().numpy(), bins=50, ax=axes, color=colour, stat="percent", edgecolor=None)
        mean, std = float(numbers.mean()), float(numbers.std(correction=0))
        axes.axvline(mean, color="black", linewidth=1.5)
        axes.set(xlabel=name, ylabel="% of pixels (log scale)", yscale="log")
        log_axis(axes.yaxis)
        heading(axes, f"mean {round(mean, 2) + 0.0:.2f}, standard deviation {std:.2f}", fontsize=11)
    sns.despine(figure)
    return figure


def neighbours_agree(points: np.ndarray, labels: Tensor) -> float:
    """For (N, D) points: the share of those whose nearest other point has the same label."""
    places = torch.as_tensor(points)
    distances = torch.cdist(places, places).fill_diagonal_(torch.inf)
    return float((labels[distances.argmin(1)] == labels).double().mean())


def flat_maps(maps: dict[str, np.ndarray], digits: Digits) -> Figure:
    """Two named (N, 2) maps of the same digits, each digit a dot in its class's colour, each class named in place."""
    labels = digits.known_labels("be told apart on a map")
    left, right = (neighbours_agree(points, labels) for points in maps.values())
    title = f"The nearest dot is the same digit: {left:.0%} of the time on the left, {right:.0%} on the right"
    alt = f"Two maps of {len(digits):,} digits as dots, coloured by label. {'; '.join(maps)}."
    figure = Figure(11, 5.4, title, alt, digits)
    colours, truth = sns.color_palette("tab10", 10), labels.numpy()
    for axes, (name, points) in zip(figure.subplots(1, 2), maps.items(), strict=True):
        axes.scatter(*points.T, c=[colours[label] for label in truth], s=12, alpha=0.6, linewidth=0)
        for digit, place in _apart({d: np.median(points[truth == d], 0) for d in np.unique(truth)}, points).items():
            ring = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colours[digit], "lw": 2}
            axes.text(*place, digit, fontsize=14, fontweight="bold", ha="center", va="center", bbox=ring)
        heading(bare(axes), name, fontsize=12)
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


def nearest_mean(answers: Tensor, digits: Digits) -> Figure:
    """The accuracy of (N,) answers for each digit and for all, with Wilson's 95% interval as a whisker."""
    labels = digits.known_labels("be scored")
    right = answers == labels
    parts = {str(digit): right[labels == digit] for digit in range(10)} | {"all": right}
    shares = {name: 100 * float(mask.double().mean()) for name, mask in parts.items()}
    title = f"Ten averages read {shares['all']:.1f}%; the {min(shares, key=lambda name: shares[name])} is the hardest"
    alt = f"Bars of the accuracy: {', '.join(f'{name} {share:.0f}%' for name, share in shares.items())}."
    figure = Figure(9, 3.6, title, alt, digits)
    axes = figure.subplots()
    for x, (name, mask) in enumerate(parts.items()):
        low, high = (100 * end for end in wilson(int(mask.sum()), len(mask)))
        whisker = [[shares[name] - low], [high - shares[name]]]
        axes.bar(x, shares[name], color=BLUE, yerr=whisker, capsize=4, ecolor="black")
        axes.text(x, high + 0.5, f"{shares[name]:.1f}", ha="center", va="bottom", fontsize=11)
    axes.set(ylabel="accuracy (%)", ylim=(0, 109), yticks=range(0, 101, 20))
    axes.set_xticks(range(len(parts)), list(parts))
    sns.despine(figure)
    return figure


def _images(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return images * (torch.rand(images.shape, generator=generator) < 0.3)


@checker
def check_ink_share(function: Callable[..., Any]) -> str:
    """ink_share(images) → the share of pixels that are not zero, a number in 0…1."""
    images = _images()
    got, right = float(call(function, images)), float((images != 0).double().mean())
    if abs(got - (1 - right)) < 1e-6:
        raise NotYet("that is the share of paper. Ink is what is not zero.")
    if abs(got - 100 * right) < 1e-4:
        raise NotYet("that is a percentage; a share lies between 0 and 1.")
    if abs(got - float(images.float().mean() / 255)) < 1e-6:
        raise NotYet("that is the mean brightness. A grey pixel counts as one whole pixel of ink here.")
    if abs(got - right) > 1e-6:
        raise NotYet(f"on five random images your function says {got:.4f}; counting gives {right:.4f}.")
    return "a pixel is ink as soon as it is not zero, and the mean of True and False is a share."


@checker
def check_invert(function: Callable[..., Any]) -> str:
    """invert(images) → the same picture with ink and paper exchanged, uint8."""
    images = _images()
    before = images.clone()
    got = call(function, images)
    if not torch.equal(images, before):
        raise NotYet("your function changed the images it was given; return new ones.")
    if not isinstance(got, Tensor) or got.dtype != torch.uint8:
        raise NotYet(f"the result should be a uint8 tensor, not {getattr(got, 'dtype', type(got).__name__)}.")
    if got.shape != images.shape:
        raise NotYet(f"the shape went from {tuple(images.shape)} to {tuple(got.shape)}.")
    if torch.equal(got, 0 - images):
        raise NotYet("uint8 wraps round: −1 becomes 255, so 0 stays 0. Where should 0 go?")
    if not torch.equal(got, 255 - images):
        raise NotYet(
            f"a pixel of {int(before.max())} became {int(got.flatten()[before.argmax()])}; 0 should become "
            f"255, 255 should become 0, and 100 should become 155."
        )
    return "a photo of ink on paper has its numbers the other way round; notebook 05 decides it from the picture."


@checker
def check_denormalise(function: Callable[..., Any]) -> str:
    """denormalise(x) → the uint8 images that normalise turned into x."""
    images = torch.arange(256, dtype=torch.uint8).repeat(4)[:784].reshape(1, 1, 28, 28)
    got = call(function, normalise(images))
    if not isinstance(got, Tensor):
        raise NotYet("return a tensor.")
    if got.shape != images.shape:
        raise NotYet(f"the shape went from {tuple(images.shape)} to {tuple(got.shape)}.")
    if got.float().max() <= 1.001:
        raise NotYet("your values end at 1; pixels end at 255.")
    if got.dtype != torch.uint8:
        raise NotYet(f"the values should be uint8 again, not {got.dtype}.")
    wrong = int((got != images).sum())
    if wrong and int((got.int() - images.int()).abs().max()) == 1:
        raise NotYet(f"{wrong} of 784 pixels are off by one: .to(torch.uint8) cuts the decimals off. Round first.")
    if wrong:
        raise NotYet(f"{wrong} of 784 pixels differ. Undo the steps in the reverse order: × std, + mean, × 255.")
    return "undone to the last grey level: normalising loses nothing."
