"""The notebook on prediction: its figures, and the checkers of its exercises."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from mnistlab.analysis.calibration import calibration_error
from mnistlab.course.check import NotYet, call, checker
from mnistlab.figures.style import BLUE, GREY, ORANGE, draw_any, heading, titled


def preparations(strips: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Each named picture's way to MNIST's form, a line each: the steps of `prepare`."""
    count = max(map(len, strips.values()))
    figure = titled(1.95 * count + 0.6, 2.2 * len(strips) + 0.6, title)
    for line, (name, steps) in zip(figure.subplots(len(strips), count, squeeze=False), strips.items(), strict=True):
        for axes in line[len(steps) :]:
            axes.remove()
        for axes, (step, picture) in zip(line, steps.items(), strict=False):
            draw_any(axes, picture)
            heading(axes, step, fontsize=11)
        line[0].set_ylabel(name, parse_math=False, fontsize=11)
    return figure


def reliability(panels: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of `reliability`: accuracy by confidence, with Wilson's 95% interval, in percent.

    The dashed line is what was promised; the larger a dot, the more digits it stands for.
    """
    figure = titled(4.6 * len(panels), 4.7, title, source)
    for axes, (name, table) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        x, y = 100 * table["confidence"], 100 * table["accuracy"]
        ends = np.abs(100 * table[["low", "high"]].to_numpy().T - y.to_numpy())
        axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", lw=1.5)
        axes.errorbar(x, y, ends, fmt="none", ecolor=BLUE, lw=1.2)
        axes.scatter(x, y, s=15 + 200 * table["count"] / table["count"].max(), color=BLUE, zorder=3)
        axes.set(xlim=(0, 104), ylim=(0, 104), aspect="equal", xlabel="confidence (%)")
        heading(axes, name, fontsize=12)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("of these, right (%)")
    sns.despine(figure)
    return figure


def dots(table: pd.DataFrame, title: str, x: str) -> Figure:
    """A line for each row of `table`, with a dot for each column, shares in percent; the last column stands out.

    Dots of a line lie a little above each other, so that equal ones can all be seen.
    """
    figure = titled(9, 0.3 * len(table) + 1.4, title)
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


@checker
def check_light_on_dark(function: Callable) -> str:
    """light_on_dark(grey): (H, W) uint8 → the same with light ink on dark paper, turned over where it must be."""
    generator = torch.Generator().manual_seed(4)
    dark = torch.randint(0, 40, (24, 20), generator=generator, dtype=torch.uint8)
    thin, bold = dark.clone(), dark.clone()
    thin[6:18, 9:11] = 230
    bold[2:-2, 2:-2] = 250  # so much ink that most of the picture is light
    cut = thin.clone()
    cut[:, 9:11] = 240  # a stroke from border to border
    for name, right in (("a thin stroke", thin), ("a stroke that runs off the paper", cut), ("a bold digit", bold)):
        for what, picture in ((f"{name}, light on dark", right), (f"{name}, dark on light", 255 - right)):
            got = torch.as_tensor(call(function, picture.clone()))
            if got.shape != right.shape:
                raise NotYet(f"a picture of {tuple(right.shape)} is asked for; yours is {tuple(got.shape)}.")
            if torch.equal(got.to(torch.int64), right.to(torch.int64)):
                continue
            if torch.equal(got.to(torch.int64), 255 - right.to(torch.int64)):
                hint = "Most of its pixels are ink: look at the border." if name == "a bold digit" else ""
                raise NotYet(f"{what}: your ink is dark. {hint}".strip())
            if got.dtype == torch.uint8 and torch.equal(got, picture.neg()):
                raise NotYet(f"{what}: −1 in uint8 is 255. Take 255 − grey.")
            far = int((got.double() - right.double()).abs().max())
            raise NotYet(f"{what}: grey levels differ from 255 − grey by up to {far}.")
    return "for thin and bold digits alike. Paper is what the border is made of, for most pictures."


@checker
def check_tempered(function: Callable) -> str:
    """tempered(logits, temperature): (10,) → probabilities, softmax of logits ÷ temperature."""
    plain = torch.randn(10, generator=torch.Generator().manual_seed(4)) * 3
    for logits, temperature in ((plain, 1.0), (plain, 2.0), (plain, 0.5), (plain + 300, 2.0)):
        got = torch.as_tensor(call(function, logits.clone(), temperature), dtype=torch.float32)
        if got.shape != logits.shape:
            raise NotYet(f"ten logits give ten probabilities; you give {tuple(got.shape)}.")
        right = (logits / temperature).softmax(0)
        if torch.allclose(got, right, atol=1e-5):
            continue
        where = f"with temperature {temperature:g}"
        if not got.isfinite().all():
            raise NotYet("with logits around 300, exp gives infinity. Subtract the largest before you take exp.")
        if torch.allclose(got, (logits * temperature).softmax(0), atol=1e-5):
            raise NotYet(f"{where}: you multiply. A high temperature makes the network less sure, so divide.")
        if torch.allclose(got, logits.softmax(0), atol=1e-5):
            raise NotYet(f"{where}: that is the plain softmax; the temperature plays no part in it.")
        if torch.allclose(got, logits.softmax(0) / temperature, atol=1e-5):
            raise NotYet(f"{where}: divide the logits, before exp. Yours add up to {float(got.sum()):.2f}.")
        if abs(float(got.sum()) - 1) > 1e-3:
            raise NotYet(f"{where}: probabilities add up to 1; yours to {float(got.sum()):.2f}.")
        raise NotYet(f"{where}: the largest should be {float(right.max()):.3f}; yours is {float(got.max()):.3f}.")
    return "and no temperature ever changes which is the largest: only how sure the network says it is."


@checker
def check_gap(function: Callable) -> str:
    """gap(confidences, right) → expected calibration error over ten bins of confidence, each 0.1 wide."""
    generator = np.random.default_rng(4)
    confidences = generator.uniform(0.12, 0.999, 500) ** 0.6
    right = generator.random(500) < np.where(confidences < 0.7, confidences + 0.2, confidences - 0.15)
    rest = (1 - confidences) / 9
    expected = calibration_error(np.c_[confidences, np.repeat(rest[:, None], 9, 1)], np.where(right, 0, 1), bins=10)
    got = float(call(function, confidences.copy(), right.copy()))
    if abs(got - expected) < 1e-6:
        return "each bin's gap, weighed by its digits. What is too sure in one bin does not make up for another."
    bins = np.floor(confidences * 10)
    members = [bins == number for number in np.unique(bins)]
    signed = np.array([confidences[m].mean() - right[m].mean() for m in members])
    shares = np.array([m.mean() for m in members])
    for message, mistake in {
        "every bin counts alike in yours. Weigh each by its share of the digits.": np.abs(signed).mean(),
        "gaps upwards and downwards cancel in yours. Cut into ten bins, and take each bin's gap without its sign.": (
            shares * signed
        ).sum(),
        "that is the largest gap of all bins. The mean is asked for, weighed by the digits.": np.abs(signed).max(),
        "that is a mean over single digits. A single digit is right or wrong; only many have an accuracy.": np.abs(
            confidences - right
        ).mean(),
    }.items():
        if abs(got - mistake) < 1e-6 or abs(got + mistake) < 1e-6:
            raise NotYet(message)
    if abs(got - 100 * expected) < 1e-4:
        raise NotYet("that is in percent. A number between 0 and 1 is asked for.")
    raise NotYet(f"it should be {expected:.4f}; you say {got:.4f}.")
