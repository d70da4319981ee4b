"""The notebook on misclassifications: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import nn

from mnistlab import analysis
from mnistlab.analysis.intervals import Evaluation
from mnistlab.analysis.predictions import Predictions, predict
from mnistlab.course.check import NotYet, call, checker
from mnistlab.course.corruptions import corrupt
from mnistlab.course.disputed import DISPUTED
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, ORANGE, Figure, bare, draw, heading, log_axis

UNITS = {"slant": "degrees", "stroke width": "pixels", "ink": "pixels"}


def gallery(digits: Digits, predictions: Predictions) -> Figure:
    """The mistakes, at most 40, the surest first, each under its label, the answer and its confidence."""
    wrong = np.flatnonzero(~predictions.right)
    wrong = wrong[np.argsort(-predictions.confidence[wrong])]
    sure = int((predictions.confidence[wrong] > 0.8).sum())
    title = f"The network's {len(wrong)} errors, surest first: {sure} with a confidence above 80%"
    shown = predictions[wrong[:40]]
    said = zip(shown.labels, shown.predicted, shown.confidence, strict=True)
    captions = [f"{label} → {answer}\n{confidence:.0%}" for label, answer, confidence in said]
    return plots.digit_grid(digits[torch.from_numpy(wrong[:40])], title, captions)


def margins(predictions: Predictions) -> Figure:
    """How many digits have which margin, 0…1, on a logarithmic axis: those read correctly, and those read wrong."""
    margin, right = predictions.table["margin"].to_numpy(float), predictions.right
    parts = {"read correctly": margin[right], "read wrong": margin[~right]}
    middle, doubt = (np.median(part) for part in parts.values())
    title = f"Median margin: {middle:.2f} where it is right, {doubt:.2f} where it is wrong"
    told = " and ".join(f"of {len(part):,} digits {name}" for name, part in parts.items())
    figure = Figure(9, 3.8, title, f"Two histograms of the margin on a logarithmic axis, {told}.", predictions)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 26).tolist()
    for (name, part), colour, width in zip(parts.items(), (BLUE, ORANGE), (0.9, 0.4), strict=True):
        axes.hist(part, edges, color=colour, rwidth=width, label=f"{name}: {len(part):,}")
    axes.set(xlabel="margin: first minus second probability", ylabel="digits (log scale)", yscale="log", xlim=(0, 1))
    axes.set_ylim(0.7)
    log_axis(axes.yaxis)
    axes.legend(frameon=False, fontsize=12, loc="upper left")
    sns.despine(figure)
    return figure


def slices(panels: Mapping[str, pd.DataFrame], predictions: Predictions) -> Figure:
    """One panel for each table of slices or accuracies: each row's errors in percent, with Wilson's 95% interval."""
    errors = {name: table["errors"] for name, table in panels.items() if "start" in table}
    cut = max(errors, key=lambda name: np.ptp(errors[name]))
    title = f"Cut by {cut}, the slices hold from {errors[cut].min()} to {errors[cut].max()} "
    title += f"of the {predictions.errors} errors"
    sizes = [max(len(table), 3) for table in panels.values()]
    alt = f"Bars of the error rates, with intervals, in panels: {', '.join(panels)}."
    figure = Figure(1.2 + 0.6 * sum(sizes), 4, title, alt, predictions)
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
            names = [
                f"{start:{form}} to\n{end:{form}}".replace("-", "−")
                for start, end in zip(table["start"], table["end"], strict=True)
            ]
        axes.set_xticks(range(len(table)), names, fontsize=10)
        axes.set(xlabel=f"{name} ({UNITS[name]})" if name in UNITS else name, xlim=(-0.6, len(table) - 0.4))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("wrong (%)")
    sns.despine(figure)
    return figure


def writers(exams: pd.DataFrame) -> Figure:
    """Two ways to set validation digits aside, a dot a run, a line a seed; diamonds: mean and standard error.

    exams: a row a seed, the columns "at random" and "by writer", each the errors in percent.
    """
    spread = exams.std()
    title = f"New hands: the result varies by ±{spread['by writer']:.2f} points; "
    title += f"known hands: by ±{spread['at random']:.2f}"
    alt = f"The errors of {len(exams)} pairs of networks, a dot each, on two kinds of validation split."
    figure = Figure(9, 4, title, alt)
    axes = figure.subplots()
    axes.plot([0, 1], exams.to_numpy().T, color="#cccccc", lw=1, marker="o", markersize=5, mfc=BLUE, mec=BLUE)
    axes.errorbar([0.12, 1.12], exams.mean(), exams.sem(), fmt="D", color=ORANGE, capsize=6, lw=2, zorder=3)
    axes.set_xticks([0, 1], [f"validation set aside {name}" for name in exams], fontsize=11)
    axes.set(ylabel="wrong on validation (%)", xlim=(-0.5, 1.5), ylim=(0, None))
    sns.despine(figure)
    return figure


def ballots(digits: Digits, predictions: Predictions) -> pd.DataFrame:
    """The fifteen disputed digits of MNIST's test set, a row a letter; of other digits, those with the least margins.

    Columns: test digit and label; for MNIST also the guess and the votes, as in `DISPUTED`.
    """
    torn = predictions.table["margin"].to_numpy(float).argsort()[:15]
    votes = DISPUTED if digits.is_mnist else pd.DataFrame({"test digit": torn, "label": predictions.labels[torn]})
    return votes.set_axis(list("ABCDEFGHIJKLMNO"))


def vote(digits: Digits, votes: pd.DataFrame) -> Figure:
    """The digits of these `ballots`, each under its letter, without its label."""
    shown = digits[torch.tensor(votes["test digit"].to_numpy())]
    return plots.digit_grid(shown, "Fifteen ballots: which digit is each?", list(votes.index), columns=8)


def seeds(digits: Digits, networks: Sequence[Predictions]) -> Figure:
    """How many digits one, two, … of the networks read wrong; beside it those that all of them do."""
    failed = sum((~network.right).astype(int) for network in networks)
    counts = np.bincount(failed, minlength=len(networks) + 1)[1:]
    always = np.flatnonzero(failed == len(networks))
    told = ", ".join(map(str, counts))
    title = f"{counts[-1]} digits defeat all {len(networks)} networks; {counts[0]} trip only one of them"
    alt = f"Bars: {told} digits are read wrong by 1 to {len(networks)} networks. Beside them those that all misread."
    rows = max(2, -(-len(always) // 6))
    figure = Figure(11, 1.25 * rows + 1.1, title, alt, networks[0])
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.35])[0]
    right.suptitle("read wrong by all of them: label → answer", fontsize=12)
    axes = left.subplots()
    axes.bar(range(1, len(counts) + 1), counts, color=[BLUE] * (len(counts) - 1) + [ORANGE])
    for x, count in enumerate(counts, start=1):
        axes.text(x, count, f"{count}", ha="center", va="bottom", fontsize=12)
    axes.set(xticks=range(1, len(counts) + 1), xlabel=f"read wrong by so many of {len(counts)}", ylabel="digits")
    axes.set_ylim(0, 1.15 * max(counts))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    sns.despine(left)
    answers = networks[0].predicted
    for axes, index in zip(right.subplots(rows, 6).flat, [*always, *[None] * (6 * rows - len(always))], strict=True):
        bare(axes)
        if index is not None:
            draw(axes, digits.images[index, 0])
            heading(axes, f"{networks[0].labels[index]} → {answers[index]}", fontsize=11)
    return figure


def corruptions(digit: Digits, results: Mapping[str, Sequence[Evaluation]], clean: Evaluation) -> Figure:
    """For each kind, the digit spoiled in five strengths, each over the accuracy in percent; blue frames are high.

    results: kind → how many digits spoiled like that were read correctly, a number for each strength.
    """
    shades = LinearSegmentedColormap.from_list("shades", [ORANGE, "#cccccc", BLUE])
    ends = [kind(results, key=lambda name: results[name][2].accuracy) for kind in (max, min)]
    mild, severe = (f"{results[name][2].accuracy:.0%} ({name})" for name in ends)
    title = f"Clean {clean.accuracy:.1%}; at strength 3 between {mild} and {severe}"
    alt = f"One digit spoiled in {len(results)} ways, each in five strengths, with the accuracy below each picture."
    columns = np.array_split(list(results), 3)
    figure = Figure(11.5, 1.25 * len(columns[0]) + 0.6, title, alt, digit)
    for block, names in zip(figure.subfigures(1, 3, squeeze=False)[0], columns, strict=True):
        for line, name in zip(block.subplots(len(names), 5, squeeze=False), names, strict=True):
            heading(line[0], name, loc="left", fontsize=11, fontweight="bold")
            for strength, (axes, result) in enumerate(zip(line, results[name], strict=True), start=1):
                draw(axes, corrupt(digit.images, name, strength)[0, 0])
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=shades(result.accuracy), linewidth=2.5)
                axes.set_xlabel(f"{100 * result.accuracy:.0f}", fontsize=11, labelpad=3)
    return figure


def changes(model: nn.Module, digits: Digits, changed: Mapping[str, tuple[int, Digits]]) -> Figure:
    """Before and after, one column a change, each with what `model` answers; few changed pixels are outlined.

    changed: what was done → the number of the digit that it was done to, and this one digit afterwards.
    """
    pairs = {f"{name}\ndigit {number}": (digits[number], after) for name, (number, after) in changed.items()}
    answers = [[int(predict(model, digit).predicted[0]) for digit in pair] for pair in pairs.values()]
    named = list(zip(changed, answers, strict=True))
    turned, same = (
        ", ".join(name for name, (before, after) in named if (before != after) == wanted) for wanted in (True, False)
    )
    title = f"Answers turn after {turned or 'none of these'}, and stay after {same or 'none'}"
    told = "; ".join(f"{name}, {before} and then {after}" for name, (before, after) in named)
    alt = f"{len(pairs)} digits, and below each the same, changed, with the answers: {told}."
    figure = Figure(2 * len(pairs) + 0.4, 5.1, title, alt, digits)
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for column, (name, pair), said in zip(grid.T, pairs.items(), answers, strict=True):
        for axes, digit, answer in zip(column, pair, said, strict=True):
            draw(axes, digit.images[0, 0])
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
            axes.set_xlabel(f"read as {answer}", fontsize=12, color="black" if answer == said[0] else ORANGE)
        heading(column[0], name, fontsize=12)
        moved = (pair[0].images[0, 0] != pair[1].images[0, 0]).nonzero().tolist()
        for row, place in moved if len(moved) < 40 else []:
            column[1].add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, color=ORANGE, lw=1.2))
    return figure


def coverage(predictions: Predictions, threshold: float) -> Figure:
    """Errors among the digits answered, with Wilson's 95% band, over the share refused; a dot at `threshold`."""
    table = analysis.coverage(predictions)
    dot = table[table["threshold"] >= threshold].tail(1)
    kept = float(dot["coverage"].sum())
    title = f"Refuse the least sure {1 - kept:.1%}, and {dot['errors'].sum()} of {predictions.errors} errors are left"
    least = min(0.8, 0.9 * kept or 0.8)
    few = table[table["coverage"] >= least]
    rows = few.iloc[np.unique(np.linspace(0, len(few) - 1, 100).astype(int))]
    right = (rows["answered"] - rows["errors"]).tolist()
    ends = [analysis.wilson(*row) for row in zip(right, rows["answered"].tolist(), strict=True)]
    high, low = 100 * (1 - np.array(ends).T)
    wrong = 100 * (1 - rows["accuracy"])
    alt = f"Errors among the digits answered, over the share refused: from {wrong.iloc[-1]:.2f}% where none is refused "
    alt += f"to {wrong.iloc[0]:.2f}% where {1 - rows['coverage'].iloc[0]:.0%} are."
    figure = Figure(9, 3.8, title, alt, predictions)
    axes = figure.subplots()
    axes.fill_between(100 * (1 - rows["coverage"]), low, high, color=BLUE, alpha=0.2, lw=0, label="95% interval")
    axes.plot(100 * (1 - rows["coverage"]), wrong, color=BLUE, lw=2.5)
    axes.plot(100 * (1 - dot["coverage"]), 100 * (1 - dot["accuracy"]), "o", color=ORANGE, markersize=10)
    axes.set(xlabel="share refused (%), the least sure first", ylabel="wrong among the rest (%)")
    axes.set(xlim=(-0.3, 100 * (1 - least)), ylim=(0, None))
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


@checker
def check_scores(function: Callable[..., Any]) -> str:
    """scores(counts, digit) → (precision, recall), from a table with a row for each label, a column for each answer."""
    generator = np.random.default_rng(7)
    counts = generator.integers(0, 9, (10, 10)) + np.diag(generator.integers(60, 90, 10))
    labels, predictions = (place.repeat(counts.flatten()) for place in np.indices((10, 10)).reshape(2, -1))
    table = analysis.per_digit(Predictions(pd.DataFrame({"label": labels, "prediction": predictions})))
    for digit, right in table[["precision", "recall"]].iterrows():
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
def check_one_step(function: Callable[..., Any]) -> str:
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
def check_answered(function: Callable[..., Any]) -> str:
    """answered(confidences, right, accuracy) → largest share that can be answered so that `accuracy` of it is right."""
    generator = np.random.default_rng(7)
    confidences = generator.permutation(np.linspace(0.3, 0.999, 400))
    right = generator.random(400) < confidences**0.2
    right[confidences > 0.99] = True
    order = np.argsort(-confidences)
    first_error = int(np.argmin(right[order])) / 400
    answers = pd.DataFrame({"confidence": confidences, "prediction": right.astype(int), "label": 1})
    table = analysis.coverage(Predictions(answers))
    for accuracy in (0.99, 0.97, 1.0):
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
