"""The notebook on misclassifications: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mnistlab.analysis.calibration import coverage
from mnistlab.analysis.intervals import wilson
from mnistlab.analysis.scores import per_digit
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures.style import BLUE, ORANGE, bare, draw, heading, log_axis, titled


def margins(margin: np.ndarray, right: np.ndarray, title: str, source: str = "") -> Figure:
    """How many digits have which margin, 0…1, on a logarithmic axis: those read rightly, and those read wrong."""
    figure = titled(9, 3.8, title, source)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 26)
    for mask, name, colour, width in ((right, "read rightly", BLUE, 0.9), (~right, "read wrong", ORANGE, 0.4)):
        axes.hist(margin[mask], edges, color=colour, rwidth=width, label=f"{name}: {mask.sum():,}")
    axes.set(xlabel="margin: first minus second probability", ylabel="digits (log scale)", yscale="log", xlim=(0, 1))
    axes.set_ylim(0.7)
    log_axis(axes.yaxis)
    axes.legend(frameon=False, fontsize=12, loc="upper left")
    sns.despine(figure)
    return figure


def error_rates(panels: dict[str, pd.DataFrame], title: str, source: str = "") -> Figure:
    """One panel for each table of accuracies or slices: each row's errors in percent, with Wilson's 95% interval."""
    sizes = [max(len(table), 3) for table in panels.values()]
    figure = titled(1.2 + 0.6 * sum(sizes), 4, title, source)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=sizes).flat
    for axes, (name, table) in zip(places, panels.items(), strict=True):
        wrong = 100 * (1 - table["accuracy"].to_numpy())
        ends = np.abs(100 * (1 - table[["high", "low"]].to_numpy().T) - wrong)
        axes.bar(range(len(table)), wrong, color=BLUE, yerr=ends, capsize=4, ecolor="black")
        for x, count in enumerate(table["errors"]):
            axes.text(x + 0.08, wrong[x], f"{count}", ha="left", va="bottom", fontsize=10, color=ORANGE)
        names = list(table.index)
        if "start" in table:
            form = ".0f" if table["end"].max() - table["start"].min() > 20 else ".1f"
            names = [f"{row.start:{form}} to\n{row.end:{form}}".replace("-", "−") for row in table.itertuples()]
        axes.set_xticks(range(len(table)), names, fontsize=10)
        axes.set(xlabel=name, xlim=(-0.6, len(table) - 0.4))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("wrong (%)")
    sns.despine(figure)
    return figure


def paired(table: pd.DataFrame, title: str, y: str) -> Figure:
    """A dot for each number of `table`, its columns side by side, rows joined; diamonds: mean and standard error."""
    figure = titled(9, 4, title)
    axes = figure.subplots()
    axes.plot(
        range(table.shape[1]), table.to_numpy().T, color="#cccccc", lw=1, marker="o", markersize=5, mfc=BLUE, mec=BLUE
    )
    axes.errorbar(
        np.arange(table.shape[1]) + 0.12, table.mean(), table.sem(), fmt="D", color=ORANGE, capsize=6, lw=2, zorder=3
    )
    axes.set_xticks(range(table.shape[1]), table.columns, fontsize=11)
    axes.set(ylabel=y, xlim=(-0.5, table.shape[1] - 0.5), ylim=(0, None))
    sns.despine(figure)
    return figure


def how_many_fail(counts: Sequence[int], digits: Digits, captions: Sequence[str], title: str) -> Figure:
    """`counts`: how many digits none, one, two, … of the networks read wrong; beside it those that all of them do."""
    rows = max(2, -(-len(digits) // 6))
    figure = titled(11, 1.25 * rows + 1.1, title, digits.source)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    right.suptitle("read wrong by all of them: label → answer", fontsize=12)
    axes = left.subplots()
    axes.bar(range(1, len(counts)), counts[1:], color=[BLUE] * (len(counts) - 2) + [ORANGE])
    for x, count in enumerate(counts[1:], start=1):
        axes.text(x, count, f"{count}", ha="center", va="bottom", fontsize=12)
    axes.set(xticks=range(1, len(counts)), xlabel=f"read wrong by so many of {len(counts) - 1}", ylabel="digits")
    axes.set_ylim(0, 1.15 * max(counts[1:]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    sns.despine(left)
    for index, axes in enumerate(right.subplots(rows, 6).flat):
        bare(axes)
        if index < len(digits):
            draw(axes, digits.images[index, 0])
            heading(axes, captions[index], fontsize=11)
    return figure


def spoiled(pictures: dict[str, Tensor], accuracies: pd.DataFrame, title: str, source: str = "") -> Figure:
    """For each named kind, five strengths of one digit, (5, 28, 28), each over its accuracy in percent; blue is high.

    accuracies: a row for each kind, a column for each strength.
    """
    shades = LinearSegmentedColormap.from_list("shades", [ORANGE, "#cccccc", BLUE])
    columns = np.array_split(list(pictures), 3)
    figure = titled(11.5, 1.25 * len(columns[0]) + 0.6, title, source)
    for block, names in zip(figure.subfigures(1, 3), columns, strict=True):
        for line, name in zip(block.subplots(len(names), 5, squeeze=False), names, strict=True):
            heading(line[0], name, loc="left", fontsize=11, fontweight="bold")
            for axes, picture, accuracy in zip(line, pictures[name], accuracies.loc[name], strict=True):
                draw(axes, picture)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=shades(accuracy), linewidth=2.5)
                axes.set_xlabel(f"{100 * accuracy:.0f}", fontsize=11, labelpad=3)
    return figure


def changes(rows: Sequence[tuple[str, Tensor, Tensor, int, int]], title: str, source: str = "") -> Figure:
    """Before and after: for each (name, picture, changed picture, answer, answer then), both (28, 28), one column.

    Where few pixels changed, they are outlined in orange.
    """
    figure = titled(2 * len(rows) + 0.4, 5.1, title, source)
    grid = figure.subplots(2, len(rows), squeeze=False)
    for column, (name, before, after, *answers) in zip(grid.T, rows, strict=True):
        for axes, picture, answer in zip(column, (before, after), answers, strict=True):
            draw(axes, picture)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
            axes.set_xlabel(f"read as {answer}", fontsize=12, color="black" if answer == answers[0] else ORANGE)
        heading(column[0], name, fontsize=12)
        changed = (before != after).nonzero().tolist()
        for row, place in changed if len(changed) < 40 else []:
            column[1].add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, color=ORANGE, lw=1.2))
    return figure


def coverage_curve(table: pd.DataFrame, chosen: float, title: str, source: str = "") -> Figure:
    """Errors among the digits answered, with Wilson's 95% band, over the share refused; a dot at threshold `chosen`."""
    dot = table[table["threshold"] >= chosen].tail(1)
    least = min(0.8, 0.9 * dot["coverage"].sum() or 0.8)
    few = table[table["coverage"] >= least]
    rows = few.iloc[np.unique(np.linspace(0, len(few) - 1, 100).astype(int))]
    ends = [wilson(int(row.answered - row.errors), int(row.answered)) for row in rows.itertuples()]
    high, low = 100 * (1 - np.array(ends).T)
    figure = titled(9, 3.8, title, source)
    axes = figure.subplots()
    axes.fill_between(100 * (1 - rows["coverage"]), low, high, color=BLUE, alpha=0.2, lw=0, label="95% interval")
    axes.plot(100 * (1 - rows["coverage"]), 100 * (1 - rows["accuracy"]), color=BLUE, lw=2.5)
    axes.plot(100 * (1 - dot["coverage"]), 100 * (1 - dot["accuracy"]), "o", color=ORANGE, markersize=10)
    axes.set(xlabel="share refused (%), the least sure first", ylabel="wrong among the rest (%)")
    axes.set(xlim=(-0.3, 100 * (1 - least)), ylim=(0, None))
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


@checker
def check_scores(function: Callable) -> str:
    """scores(counts, digit) → (precision, recall), from a table with a row for each label, a column for each answer."""
    generator = np.random.default_rng(7)
    counts = generator.integers(0, 9, (10, 10)) + np.diag(generator.integers(60, 90, 10))
    labels, predictions = (place.repeat(counts.flatten()) for place in np.indices((10, 10)).reshape(2, -1))
    for digit, right in per_digit(labels, predictions)[["precision", "recall"]].iterrows():
        result = call(function, counts.copy(), digit)
        try:
            precision, recall = (float(value) for value in result)
        except (TypeError, ValueError) as error:
            raise NotYet("return two numbers: the precision, then the recall.") from error
        where = f"for digit {digit}"
        if np.allclose((precision, recall), right):
            continue
        if np.allclose((recall, precision), right):
            raise NotYet(
                f"{where}, the two have changed places: the recall looks along a row, the precision down a column."
            )
        if max(precision, recall) > 1.5:
            raise NotYet(f"{where} you say {precision:.3f} and {recall:.3f}: both are shares, between 0 and 1.")
        if np.isclose((precision, recall), counts[digit, digit] / counts.sum()).any():
            raise NotYet(f"{where} you divide by all digits. Divide by those of one row, or of one column.")
        name = "recall" if np.isclose(precision, right["precision"]) else "precision"
        raise NotYet(f"{where} you say {precision:.3f} and {recall:.3f}; the {name} should be {right[name]:.3f}.")
    return "it agrees for all ten digits. A reader can have a high recall for 9 simply by answering 9 too often."


@checker
def check_one_step(function: Callable) -> str:
    """one_step(pixels, gradient, step) → pixels moved by `step` grey levels each, so that the loss grows; in 0…255."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (28, 28), generator=generator).float()
    pixels[:8], pixels[-2:] = 0, 255
    gradient = torch.randn(28, 28, generator=generator) * 1e-3
    gradient[::5] = 0
    for step in (8, 40):
        got = torch.as_tensor(call(function, pixels.clone(), gradient.clone(), step), dtype=torch.float32)
        moved = pixels + step * gradient.sign()
        if got.shape != pixels.shape:
            raise NotYet(f"a picture of {tuple(pixels.shape)} is asked for; yours is {tuple(got.shape)}.")
        if torch.allclose(got, moved.clamp(0, 255), atol=0.01):
            continue
        if torch.allclose(got, moved, atol=0.01):
            raise NotYet("some pixels left 0…255. There is no paper whiter than white: clamp them.")
        for message, mistake in {
            "you went downhill. The loss grows along the gradient, not against it.": 2 * pixels - moved,
            "the steps follow the size of the gradient. Take its sign only, so that each goes equally far.": pixels
            + step * gradient,
        }.items():
            if any(torch.allclose(got, version, atol=0.01) for version in (mistake, mistake.clamp(0, 255))):
                raise NotYet(message)
        far = int(((got - moved.clamp(0, 255)).abs() > 0.01).sum())
        raise NotYet(f"with a step of {step}, {far} of the {pixels.numel()} pixels are not where they should be.")
    return "one step, every pixel by the same amount, each in the direction that hurts. That is all of FGSM."


@checker
def check_answered(function: Callable) -> str:
    """answered(confidences, right, accuracy) → largest share that can be answered so that `accuracy` of it is right."""
    generator = np.random.default_rng(7)
    confidences = generator.permutation(np.linspace(0.3, 0.999, 400))
    right = generator.random(400) < confidences**0.2
    right[confidences > 0.99] = True
    order = np.argsort(-confidences)
    first_error = int(np.argmin(right[order])) / 400
    for accuracy in (0.99, 0.97, 1.0):
        table = coverage(confidences, right)
        best = table.loc[table["accuracy"] >= accuracy, "coverage"].max()
        got = float(call(function, confidences.copy(), right.copy(), accuracy))
        if abs(got - best) < 1e-6:
            continue
        lowest = float(confidences[order][round(best * 400) - 1])
        if abs(got - lowest) < 1e-6:
            raise NotYet("that is the threshold. Which share of the digits has at least that confidence?")
        if abs(got - 400 * best) < 1e-6:
            raise NotYet("that is how many. Their share is asked for.")
        if abs(got - (1 - best)) < 1e-6:
            raise NotYet("that is the share that is refused.")
        if abs(got - float((confidences >= accuracy).mean())) < 1e-6:
            raise NotYet("a confidence of 99% is a promise. Count how many of the answers are right instead.")
        if abs(got - first_error) < 1e-6:
            raise NotYet(
                "you stop at the first error. A few errors are allowed, as long as the share stays high enough."
            )
        if got > best:
            kept = right[order][: round(got * 400)].mean() if got <= 1 else np.nan
            raise NotYet(f"of the surest {got:.1%}, only {kept:.2%} are right; {accuracy:.0%} is wanted.")
        raise NotYet(f"more can be answered than {got:.1%} and still keep {accuracy:.0%}: look further down the list.")
    return "the surest first, as far as the promise holds. On new digits, check whether it is kept."
