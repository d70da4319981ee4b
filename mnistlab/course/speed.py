"""The notebook on speed: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Sequence
from itertools import chain
from math import isclose
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Rectangle

from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREEN, GREY, INK, ORANGE, Figure, Sourced, bare

STEP = "milliseconds a step of 128 digits"
OTHER = ("crops of 24×24", "batches of 256", "compiled")  # the rungs that change what is learned


def times_as_fast(turns: pd.DataFrame) -> pd.Series:
    """How many times as fast as the first column each column is: the ratio within a turn, its median over the turns."""
    return turns.rdiv(turns.iloc[:, 0], axis=0).median()


def reached(measured: dict[str, Any]) -> pd.DataFrame:
    """Recipes from benchmarks/results/accuracy.json, a row each: seconds of training, and the share that was right."""
    to = sorted(measured["to"].items(), key=lambda row: not row[1]["config"])  # ours first
    rows = {
        f"ours, planned for {name}" if row["config"] else name: (row["seconds"], row["accuracy"]["mean"])
        for name, row in to
    }
    right = 1 - measured["usual_errors_after_one_epoch"] / 10_000
    rows["the tutorial's loop, one epoch"] = (measured["usual_epoch_seconds"]["median"], right)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["seconds", "right"])


def durations(
    table: pd.DataFrame,
    title: str,
    x: str,
    *,
    ends: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    notes: Sequence[str] | None = None,
    marked: Sequence[str] = (),
    of: Sourced | None = None,
) -> Figure:
    """A bar for each number of `table`, its rows from top to bottom, its columns side by side.

    ends: two tables of the same shape, the lower and the upper end of each bar's whisker.  notes: what stands behind
    each row's last bar (default: every bar's number).  marked: rows that change what is learned; their bars are orange.
    """
    count, wide = table.shape
    behind = [""] * count if notes is None else [f" ({note})" for note in notes]
    told = [
        f"{name}: " * (wide > 1)
        + "; ".join(f"{row} {value:.3g}{note}" for (row, value), note in zip(values.items(), behind, strict=True))
        for name, values in table.items()
    ]
    alt = f"Bars of {x}: {'. '.join(told)}."
    figure = Figure(10, 0.9 + count * (0.12 + 0.27 * wide) + 0.4, title, alt, of)
    axes = figure.subplots()
    reach = float((ends[1] if ends else table).to_numpy().max())
    high = 0.8 / wide
    for column, (name, values) in enumerate(table.items()):
        places = np.arange(count) + (column - (wide - 1) / 2) * high
        colours = [ORANGE if row in marked else (BLUE, ORANGE, GREEN, GREY)[column] for row in table.index]
        axes.barh(places, values, 0.92 * high, color=colours, label=name)
        tips = values.to_numpy()
        if ends:
            low, tips = (end[name].to_numpy() for end in ends)
            axes.errorbar(values, places, xerr=[values - low, tips - values], fmt="none", ecolor="black", capsize=3)
        last = column == wide - 1
        said = [f"{value:.3g}" for value in values] if notes is None else notes if last else [""] * count
        for place, tip, words in zip(places, tips, said, strict=True):
            axes.text(tip + 0.012 * reach, place, words, va="center", fontsize=11)
    axes.set_yticks(range(count), table.index, fontsize=11)
    axes.set(xlabel=x, xlim=(0, 1.13 * reach), ylim=(count - 0.45, -0.55))
    handles, names = axes.get_legend_handles_labels() if wide > 1 else ([], [])
    if marked:
        handles, names = [*handles, Rectangle((0, 0), 1, 1, color=ORANGE)], [*names, "changes what is learned"]
    if handles:
        axes.legend(handles, names, frameon=False, fontsize=11, loc="best")
    sns.despine(figure)
    return figure


def race(turns: pd.DataFrame, title: str, x: str, of: Sourced | None = None) -> Figure:
    """Durations of contestants that took turns, a row for each turn, a column for each contestant.

    A bar is the median over the turns, its whisker goes from the first to the third quarter, and behind it stands how
    many times as fast as the first column it is.
    """
    low, middle, high = (turns.quantile(share).to_frame("") for share in (0.25, 0.5, 0.75))
    notes = [f"{ratio:.2f}×" for ratio in times_as_fast(turns)]
    return durations(middle, title, x, ends=(low, high), notes=notes, marked=OTHER, of=of)


def operations(times: pd.Series, digits: Digits) -> Figure:
    """Where a step's time goes: the milliseconds of each kind of operation."""
    most = str(times.idxmax())
    title = f"{most[0].upper()}{most[1:]}: {times.max() / times.sum():.0%} of {times.sum():.0f} milliseconds a step"
    return durations(times.to_frame("ms"), title, STEP, of=digits)


def here(turns: pd.DataFrame, digits: Digits) -> Figure:
    """The ladder as it was raced in the notebook: milliseconds for 128 digits, a row for each turn."""
    title = f"The last rung is {times_as_fast(turns).iloc[-1]:.1f} times as fast as the first, here and now"
    return race(turns, title, "milliseconds for 128 digits", digits)


def ladder(epochs: pd.DataFrame, same: Sequence[str]) -> Figure:
    """The ladder as it was measured beforehand: seconds an epoch, a row for each turn.

    same: the rungs that do the same sums, in order.
    """
    title = f"On MNIST, with more turns: {times_as_fast(epochs)[same[-1]]:.1f} times as fast for the same sums"
    return race(epochs, title, "seconds an epoch of 60,000 digits")


def floor(share: pd.Series, digits: Digits) -> Figure:
    """How near each rung comes to its floor: floor ÷ measured time, in percent."""
    title = f"The floor is {share.iloc[0]:.0f}% of the first rung's time, {share.iloc[-1]:.0f}% of the last one's"
    return durations(share.to_frame("%"), title, "floor / measured time (%), each in its own precision", of=digits)


def left(both: pd.DataFrame, digits: Digits) -> Figure:
    """Where a step's time goes before and after: a row for each kind of operation, a column for each loop."""
    after = both.iloc[:, -1]
    share = after.filter(like="conv").sum() / after.sum()
    title = f"What is left: {share:.0%} convolutions, {1 - share:.0%} all the rest"
    return durations(both, title, STEP, of=digits)


def schedule(wrong: pd.DataFrame) -> Figure:
    """Errors in percent over the steps: a column for one learning rate, and one for a schedule."""
    plain, falling = wrong.iloc[-1]
    title = f"After {wrong.index[-1]} steps: {plain:.1f}% wrong at one learning rate, {falling:.1f}% with a schedule"
    return plots.curves(wrong, title, "steps of 128 digits", "wrong on validation (%)", log_y=True)


def accuracy(table: pd.DataFrame) -> Figure:
    """The training seconds of each recipe, and behind each bar its accuracy; from `reached`."""
    quick, usual = table.loc["ours, planned for 99.5%"], table.iloc[-1]
    title = f"{quick['right']:.2%} after {quick['seconds']:.0f} seconds; "
    title += f"the tutorial's loop needs {usual['seconds']:.0f} for one epoch"
    notes = [f"{share:.2%}" for share in table["right"]]
    return durations(table[["seconds"]], title, "seconds of training", notes=notes)


def rounding(apart: pd.DataFrame, digits: Digits) -> Figure:
    """How far the losses of two runs are apart, step by step: a column for each precision."""
    apart = apart.clip(lower=1e-17).rename(lambda row: row + 1)  # zero has no place on a logarithmic axis
    most = apart.max()
    title = f"float64 agrees within {most['float64']:.1g}; in float32 rounding grows to {most['float32']:.1g}"
    return plots.curves(apart, title, "step", "difference of the losses", log_y=True, of=digits)


def workers(batch: Digits, count: int, title: str) -> Figure:
    """How `count` workers take one step on one batch: each digit goes to the worker whose lane it lies in."""
    colours = (BLUE, ORANGE, GREEN, GREY)
    most = -(-len(batch) // count)
    lanes = "; ".join(f"worker {n} takes {', '.join(map(str, range(n, len(batch), count)))}" for n in range(count))
    alt = f"The {len(batch)} digits of a batch in {count} lanes ({lanes}). The workers meet twice a step."
    figure = Figure(11.5, 0.8 + 1.3 * count, title, alt, batch)
    axes = bare(figure.subplots())
    stages = {"forward": most + 0.9, "backward": most + 4.6, "step": most + 8.3}
    for rank in range(count):
        middle, colour = 2.0 * rank, colours[rank % 4]
        axes.text(-0.3, middle, f"worker {rank}", ha="right", va="center", fontsize=12, color=colour, fontweight="bold")
        share = range(rank, len(batch), count)
        for place, index in enumerate(share):
            edge = (place, place + 0.9, middle + 0.45, middle - 0.45)
            axes.imshow(batch.images[index, 0].numpy(), cmap=INK, vmin=0, vmax=255, extent=edge)
            axes.add_patch(Rectangle((place, middle - 0.45), 0.9, 0.9, fill=False, color=colour, lw=2))
            axes.text(place + 0.45, middle + 0.5, str(index), ha="center", va="top", fontsize=10, color=GREY)
        for name, left in stages.items():
            axes.add_patch(Rectangle((left, middle - 0.45), 2.2, 0.9, facecolor="white", edgecolor=colour, lw=2))
            axes.text(left + 1.1, middle, name, ha="center", va="center", fontsize=12)
        ways = ((len(share), stages["forward"]), *((stages[s] + 2.2, stages[s] + 3.7) for s in ("forward", "backward")))
        arrow = {"arrowstyle": "->", "color": colour, "lw": 2}
        for left, right in ways:
            axes.annotate("", (right, middle), (left, middle), arrowprops=arrow)
    end = 2.0 * (count - 1)
    meetings = {
        "sums for the\nbatch norms": stages["forward"] + 1.1,
        "gradients,\naveraged": stages["backward"] + 1.1,
        "the same\nnew weights": stages["step"] + 1.1,
    }
    for number, (words, along) in enumerate(meetings.items()):
        for upper in np.arange(0, end, 2.0):
            style = {"arrowstyle": "<->" if number < 2 else "-", "color": "black", "lw": 1.5}
            style |= {"linestyle": "--"} if number == 2 else {}
            axes.annotate("", (along, upper + 1.55), (along, upper + 0.45), arrowprops=style)
            axes.text(along + 0.15, upper + 1.0, words, va="center", fontsize=11)
    axes.set(xlim=(-2.1, stages["step"] + 3.2), ylim=(end + 0.95, -0.7), aspect="equal")
    return figure


@checker
def check_floor_seconds(function: Callable[..., Any]) -> str:
    """floor_seconds(in_channels, out_channels, kernel_size, side, batch_size, rate) → seconds of one training step.

    The multiply-adds of a convolution that keeps the side, forward and backward, at `rate` multiply-adds a second.
    """
    for inputs, outputs, kernel, side, batch, rate in (
        (16, 8, 5, 28, 32, 4e10),  # no two of the mistakes below come to the same here
        (32, 64, 3, 14, 128, 1e11),
        (64, 64, 1, 7, 256, 2e9),
    ):
        got = float(call(function, inputs, outputs, kernel, side, batch, rate))
        work = inputs * outputs * kernel**2 * side**2 * batch  # of the forward pass
        wrong = {
            work / rate: "that is the forward pass alone. The backward pass takes two more like it: one for the "
            "gradients of the weights, one for those of the inputs.",
            2
            * work
            / rate: "that is the backward pass alone, or the forward pass with each multiply-add counted as two.",
            6 * work / rate: "a multiply-add counts as one here, not as two.",
            3 * work / batch / rate: "that is one digit. A step takes a whole batch.",
            3 * work / kernel**2 / rate: "a cell needs kernel_size² products for each input channel.",
            3 * work / kernel / rate: "the window is as high as it is wide: kernel_size is to be squared.",
            3 * work / side / rate: "the map is as high as it is wide: side is to be squared.",
            3 * work / inputs / rate: "a filter has one slice for each input channel.",
            3 * work / side**2 / rate: "the filter is used at every place of the map, of which there are side².",
            3 * work: "those are the multiply-adds. How long do they take at `rate` a second?",
            rate / (3 * work): "that is steps a second; seconds a step are asked for.",
        }
        if not isclose(got, 3 * work / rate, rel_tol=1e-6):
            for value, reason in wrong.items():
                if isclose(got, value, rel_tol=1e-6):
                    raise NotYet(reason)
            raise NotYet(
                f"from {inputs} to {outputs} channels, {kernel}×{kernel} on {side}×{side}, {batch} digits, {rate:.0e} "
                f"a second: you say {got:.4g} s; it should be {3 * work / rate:.4g} s."
            )
    return "forward, and twice as much backward: no loop can be faster, unless it does other sums."


@checker
def check_share(function: Callable[..., Any]) -> str:
    """share(batch_size, rank, count) → (the positions that worker `rank` takes, the weight of its mean loss).

    The workers' gradients are averaged; with these weights that average is the gradient of the batch's mean loss.
    """
    for size, count in ((8, 2), (7, 2), (10, 4), (256, 3), (5, 1)):
        shares, weights = [], []
        for rank in range(count):
            result = call(function, size, rank, count)
            try:
                positions, weight = result
                shares.append([int(position) for position in positions])
                weights.append(float(weight))
            except (TypeError, ValueError) as error:
                raise NotYet("return two things: the positions, and the weight.") from error
        said = f"of a batch of {size}, {count} workers take"
        taken = sorted(chain(*shares))
        if len(taken) > len(set(taken)):
            raise NotYet(f"{said} some digits twice: no position may be in two shares.")
        if taken and (taken[0] < 0 or taken[-1] >= size):
            raise NotYet(f"positions go from 0 to {size - 1}; {said} {taken[0]} to {taken[-1]}.")
        if len(taken) < size:
            raise NotYet(f"{said} only {len(taken)} digits. What if the workers do not divide the batch?")
        lengths = [len(positions) for positions in shares]
        if max(lengths) > min(lengths) + 1:
            raise NotYet(f"{said} {lengths} digits: the one with the most keeps all others waiting. Share more evenly.")
        even = [length * count / size for length in lengths]
        if not all(isclose(a, b, abs_tol=1e-9) for a, b in zip(weights, even, strict=True)):
            if all(isclose(a * count, b, abs_tol=1e-9) for a, b in zip(weights, even, strict=True)):
                raise NotYet(
                    "with these weights the workers' *sum* would be right, but their gradients are averaged, "
                    "which divides by their number once more."
                )
            if all(isclose(weight, 1, abs_tol=1e-9) for weight in weights):
                raise NotYet(
                    f"shares of {lengths} digits with the same weight: each digit of the smaller share would count "
                    f"more than one of the larger."
                )
            raise NotYet(f"with shares of {lengths} digits your weights are {weights}; they should be {even}.")
    return "every digit once, and each counts as much as any other, whoever takes it."


@checker
def check_speed_up(function: Callable[..., Any]) -> str:
    """speed_up(share, factor) → how many times as fast the whole is when `share` of its time becomes `factor` times."""
    for part, factor in ((0.25, 4.0), (0.5, 2.0), (0.9, 10.0), (0.1, 1e6), (1.0, 3.0), (0.0, 7.0)):
        got = float(call(function, part, factor))
        right = 1 / (1 - part + part / factor)
        if isclose(got, right, rel_tol=1e-6):
            continue
        said = f"when {part:.0%} of the time becomes {factor:g} times as fast"
        if isclose(got, 1 / right, rel_tol=1e-6):
            raise NotYet("that is the time that is left, as a share of the old; the speed-up is one over it.")
        if isclose(got, 1 / (part + (1 - part) / factor), rel_tol=1e-6):
            raise NotYet("you made the other part faster: `share` is the one that gains.")
        if isclose(got, factor, rel_tol=1e-6):
            raise NotYet(f"{said}, the rest takes as long as before, and so the whole gains less than that.")
        if isclose(got, 1 - part + part * factor, rel_tol=1e-6):
            raise NotYet(f"{said}, its *time* is divided by {factor:g}. Add up times first, then compare.")
        if part < 1 and isclose(got, 1 / (1 - part), rel_tol=1e-6):
            raise NotYet(f"{said}, it still takes some time; you say it takes none.")
        raise NotYet(f"{said}, the whole becomes {right:.4g} times as fast; you say {got:.4g}.")
    return "what is left as it was sets the limit: at best one over its share."
