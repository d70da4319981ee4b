"""The notebook on training: its figures, and the checkers of its exercises."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.ticker import NullLocator
from torch import Tensor

from mnistlab.analysis.intervals import wilson
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREY, ORANGE, Figure, log_axis
from mnistlab.runs import Run
from mnistlab.training.config import TrainConfig


def one_step(after: pd.Series, before: float, of: Digits) -> Figure:
    """The loss after one step, over that step's learning rate (the index of `after`), beside the loss before it."""
    title = f"One step from loss {before:.2f}: too small does nothing, too large does harm"
    table = pd.DataFrame({"after the step": after, "before": before})
    figure = plots.curves(table, title, "learning rate", "loss", log_x=True, log_y=True, of=of)
    figure.alt = f"Loss after one step against its learning rate: {_valley(after)}. {title}"
    return figure


def one_batch(by_hand: Sequence[float], run: Run, of: Digits) -> Figure:
    """The losses of the loop by hand and of `run`, step by step, on one batch."""
    table = pd.DataFrame({"by hand": by_hand, "ml.fit": run.history["train_loss"]})
    return plots.curves(table, "One batch learned by heart: the loop works", "step", "loss", log_y=True, of=of)


def sweep(found: dict[float, float], of: Digits) -> Figure:
    """The validation loss that each peak learning rate ended with; the title tells where it is close to the best."""
    losses = pd.Series(found)
    good = losses.index[losses < 1.5 * losses.min()]
    title = f"From {good.min():g} to {good.max():g} the loss stays within 1.5 times the best"
    x, y = "peak learning rate", "validation loss"
    figure = plots.curves(losses.to_frame(y), title, x, y, log_x=True, log_y=True, of=of)
    figure.alt = f"Validation loss against the peak learning rate: {_valley(losses)}. {title}"
    return figure


def _valley(losses: pd.Series) -> str:
    first, last = losses.iloc[[0, -1]]
    lowest = f"{losses.min():.3g} near {losses.idxmin():.2g}"
    return f"{first:.3g} at the left end, {lowest} where it is lowest, {last:.3g} at the right end"


def schedule(rates: Sequence[float]) -> Figure:
    """The learning rate of each step."""
    top = int(np.argmax(rates)) + 1
    title = f"{len(rates):,} steps: up to {max(rates):g} in the first {top:,}, then down to zero"
    return plots.curves(pd.DataFrame({"learning rate": rates}), title, "step", "learning rate")


def augmented(digits: Digits, moved: Sequence[Tensor]) -> Figure:
    """Each digit beside what `augment` made of it.  moved: several versions of all, each (N, 1, 28, 28) in 0…255."""
    versions = torch.stack([digits.images, *(version.round().byte() for version in moved)], 1)
    labels = digits.known_labels("be named").repeat_interleave(versions.shape[1])
    grid = Digits(versions.flatten(0, 1), labels, digits.source)
    title = "Turned, slanted, stretched, shifted: other pictures, the same digit"
    figure = plots.digit_grid(grid, title, (["original"] + ["moved"] * len(moved)) * len(digits))
    names = ", ".join(digits.classes[label] for label in digits.known_labels("be named").tolist())
    figure.alt = (
        f"{len(digits)} digits ({names}), each followed by {len(moved)} slightly changed versions of it. {title}"
    )
    return figure


def training(runs: dict[float, Run], of: Digits) -> Figure:
    """The training loss of several runs, named by their epochs, over the steps."""
    falling = {f"epochs: {epochs:g}": run.history.set_index("step")["train_loss"] for epochs, run in runs.items()}
    title = "Each run falls steeply, then slowly; the longer it is, the further it gets"
    return plots.curves(pd.DataFrame(falling), title, "step", "training loss", log_x=True, of=of)


def lengths(wrong: pd.Series, of: Digits) -> Figure:
    """The errors on validation, in percent, over the epochs of training (the index), shortest first."""
    more, fewer = wrong.index[-1] / wrong.index[0], wrong.iloc[0] / wrong.iloc[-1]
    title = f"{more:.0f} times the training, {fewer:.1f} times fewer errors"
    table, x = wrong.to_frame(""), "epochs of training"
    return plots.curves(table, title, x, "wrong on validation (%)", log_x=True, log_y=True, of=of)


def cost(measured: dict[str, Any]) -> Figure:
    """What grows with what, on logarithmic axes: time with digits and width, memory with the batch.

    measured: "digits", "width" and "batch", a list of rows each, as in benchmarks/results/cost.json. The dashed line
    is exact proportion through the last point: twice as much of x, twice of y.
    """
    more, width, larger = (pd.DataFrame(measured[what]) for what in ("digits", "width", "batch"))
    panels = {
        ("digits", "seconds"): more.set_index("digits")["seconds"],
        ("million multiply-adds for a digit", "seconds"): width.set_index(width["multiply_adds"] / 1e6)["seconds"],
        ("digits in a batch", "megabytes"): larger.set_index("batch")["megabytes"],
    }
    told = "; ".join(
        f"{y} from {values.iloc[0]:.3g} to {values.iloc[-1]:.3g} at {values.index[0]:.4g} to {values.index[-1]:.5g} {x}"
        for (x, y), values in panels.items()
    )
    title = "Time grows with the digits and with the network, memory with the batch"
    alt = f"Three panels on logarithmic axes, measured points beside exact proportion: {told}."
    figure = Figure(11, 4, title, alt)
    for axes, ((x, y), values) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        share = values.iloc[-1] / values.index[-1]
        axes.plot(values.index, values.index * share, color=GREY, linestyle="--", lw=1.5, label="in proportion")
        axes.plot(values, color=BLUE, marker="o", lw=2.5, label="measured")
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.set_ylim(min(values.min(), values.index[0] * share) * 0.8, values.max() * 1.5)
        log_axis(axes.yaxis)
        axes.set_xticks(values.index, [f"{at:,.3g}" if at < 100 else f"{at:,.0f}" for at in values.index], fontsize=10)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def seeds(errors: Sequence[int], count: int) -> Figure:
    """The accuracy of each seed, `errors` wrong of `count`, with its own interval; their mean ± one standard deviation.

    The band is the spread over the seeds, the whiskers are Wilson's 95% interval of one run.
    """
    values = 100 * (1 - np.asarray(errors) / count)
    ends = 100 * np.array([wilson(count - wrong, count) for wrong in errors]).T
    mean, std = values.mean(), values.std(ddof=1)
    title = f"{len(values)} seeds: {mean:.2f}% ± {std:.2f}% on MNIST's test set"
    told = f"from {values.min():.2f}% to {values.max():.2f}%"
    alt = f"The test accuracy of {len(values)} seeds, {told}, each with its interval, and their mean as a band."
    figure = Figure(8.5, 4, title, alt)
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
        label=f"one run, with the 95% interval of its own {count:,} digits",
    )
    axes.set(xlabel="run, each from a seed of its own", ylabel="test accuracy (%)", xticks=range(len(values)))
    axes.set_ylim(ends.min() - 0.03, ends.max() + 0.12)
    axes.legend(frameon=False, fontsize=10, loc="upper center", ncols=2)
    sns.despine(figure)
    return figure


@checker
def check_cross_entropy(function: Callable[..., Any]) -> str:
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
def check_schedule(function: Callable[..., Any]) -> str:
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
def check_summarise(function: Callable[..., Any]) -> str:
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
