"""The notebook on training: its figures, and the checkers of its exercises."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mnistlab.course.check import NotYet, call, checker
from mnistlab.figures.style import BLUE, GREY, ORANGE, log_axis, titled
from mnistlab.training.config import TrainConfig


def growth(panels: dict[str, pd.Series], title: str) -> Figure:
    """What grows with what: one panel for each series, over its index, on logarithmic axes.

    Keys are "x → y". The dashed line is exact proportion through the last point: twice as much of x, twice of y.
    """
    figure = titled(11, 4, title)
    for axes, (name, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        x, y = name.split(" → ")
        share = values.iloc[-1] / values.index[-1]
        axes.plot(values.index, values.index * share, color=GREY, linestyle="--", lw=1.5, label="in proportion")
        axes.plot(values, color=BLUE, marker="o", lw=2.5, label="measured")
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.set_ylim(min(values.min(), values.index[0] * share) * 0.8, values.max() * 1.5)
        log_axis(axes.yaxis)
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
    figure = titled(8.5, 4, title)
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


@checker
def check_cross_entropy(function: Callable) -> str:
    """cross_entropy(logits, label) → −log of the probability that softmax gives the right digit."""
    generator = torch.Generator().manual_seed(2)
    for label in range(10):
        logits = torch.randn(10, generator=generator) * 3
        got = float(call(function, logits, label))
        right = float(F.cross_entropy(logits[None], torch.tensor([label])))
        if abs(got + right) < 1e-4:
            raise NotYet("the sign is turned round: a loss is positive, and −log makes it so.")
        if abs(got - float(logits.softmax(0)[label])) < 1e-4:
            raise NotYet("that is the probability. The loss is minus its logarithm.")
        if abs(got - right / 2.302585) < 1e-4:
            raise NotYet("that is the logarithm to base 10; the natural one is asked for.")
        if not abs(got - right) < 1e-4:
            raise NotYet(f"for one set of logits you say {got:.4f}; PyTorch says {right:.4f}.")
    if not abs(float(call(function, torch.tensor([1000.0] + [0.0] * 9), 0))) < 1e-4:
        raise NotYet(
            "right for small logits, but with one logit at 1000 exp() overflows. Subtract the largest logit "
            "first, or use logsumexp."
        )
    return "it agrees with PyTorch, and large logits do not break it."


@checker
def check_schedule(function: Callable) -> str:
    """schedule(step, steps, peak, warmup) → learning rate: straight up over warmup·steps, straight down to 0."""
    steps, peak, warmup = 100, 0.008, 0.25
    config = TrainConfig(learning_rate=peak, warmup=warmup)
    for step in (0, 10, 24, 25, 40, 60, 85, 99):
        got, right = float(call(function, step, steps, peak, warmup)), config.learning_rate_at(step, steps)
        slope = peak / (warmup * steps) if step <= 25 else peak / (steps - warmup * steps)
        if abs(got - right) <= 1.01 * slope:  # one step more or less is a matter of taste
            continue
        where = "the way up" if step < 25 else "the way down"
        raise NotYet(f"on {where}, at step {step} of {steps}, you say {got:.5f}; the line passes through {right:.5f}.")
    return "up to the peak and down to zero: large steps while far from the goal, small ones near it."


@checker
def check_summarise(function: Callable) -> str:
    """summarise(accuracies) → (mean, sample standard deviation) over seeds."""
    accuracies = [0.9951, 0.9943, 0.9958, 0.9947, 0.9955]
    result = call(function, list(accuracies))
    try:
        mean, std = (float(value) for value in result)
    except (TypeError, ValueError) as error:
        raise NotYet("return two numbers: the mean, then the standard deviation.") from error
    if abs(mean - max(accuracies)) < 1e-6:
        raise NotYet("that is the best seed. It tells how lucky one run was, not how good the recipe is.")
    if abs(mean - statistics.mean(accuracies)) > 1e-6:
        raise NotYet(f"the mean of five runs should be {statistics.mean(accuracies):.5f}; you say {mean:.5f}.")
    if abs(std - statistics.pstdev(accuracies)) < 1e-6:
        raise NotYet("you divided by n. Five runs stand for all the runs that might have been: divide by n − 1.")
    if abs(std - statistics.stdev(accuracies)) > 1e-6:
        raise NotYet(f"the standard deviation should be {statistics.stdev(accuracies):.5f}; you say {std:.5f}.")
    return "mean and spread of all the runs, which is what a README should quote."
