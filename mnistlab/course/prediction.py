"""The notebook on prediction: its figures, and the checkers of its exercises."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor

from mnistlab.analysis.calibration import calibration_error
from mnistlab.analysis.calibration import reliability as reliability_table
from mnistlab.analysis.predictions import Predictions
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREY, ORANGE, Figure, draw_any, heading
from mnistlab.reading.picture import Picture, Preparation, prepare
from mnistlab.reading.predictor import Prediction

Shown = tuple[Tensor | np.ndarray, str, bool]  # a picture, what was said of it, and whether to mark that


def softmax(digits: Digits, chosen: Tensor, logits: Tensor, probabilities: Tensor) -> Figure:
    """Two digits, the sure one first, each with its ten logits and probabilities.

    chosen: (2,) their numbers, among the digits and the rows of `logits` and `probabilities`, both (N, 10).
    """
    sure, torn = probabilities[chosen].amax(1).tolist()
    title = f"The largest logit takes nearly all, {sure:.0%}, or must share: {torn:.0%}"
    pictures: dict[str, Tensor | np.ndarray] = {f"test digit {one}": digits.images[one, 0] for one in chosen.tolist()}
    return plots.answers(pictures, {"logits": logits[chosen], "probabilities": probabilities[chosen]}, title, digits)


def resize(files: Sequence[Path], shrunk: Digits, simple: Predictions, prepared: Sequence[Prediction]) -> Figure:
    """The same pictures three times: as they are, shrunk to 28×28, and prepared; and what each is read as.

    simple: what was said of `shrunk`, which has labels.  prepared: what was said of the files.
    """
    pairs = list(zip(simple.labels.tolist(), prepared, strict=True))
    rows: dict[str, Sequence[Shown]] = {
        "picture": [(_picture(file), f"a {label}", False) for file, label in zip(files, simple.labels, strict=True)],
        "shrunk": [
            (image[0], f"read as {answer}", not right)
            for image, answer, right in zip(shrunk.images, simple.predicted, simple.right, strict=True)
        ],
        "prepared": [(one.image[0], f"read as {one.digit}", one.digit != label) for label, one in pairs],
    }
    still = sum(one.digit != label for label, one in pairs)
    title = f"Of {len(files)} pictures, {simple.errors} are misread after a plain resize, {still} once prepared"
    return plots.readings(rows, title)


def steps(ways: dict[str, Preparation]) -> Figure:
    """Each file's way to MNIST's form, a line each: the steps of `prepare`.  ways: by files named kind_label_number."""
    count = max(len(way.steps) for way in ways.values())
    title = "Find the paper, keep what differs from it, and bring it to MNIST's form"
    told = "; ".join(f"{file}: {', '.join(way.steps)}" for file, way in ways.items())
    alt = f"{len(ways)} pictures of digits on their way to 28×28, step by step ({told})."
    figure = Figure(1.95 * count + 0.6, 2.2 * len(ways) + 0.6, title, alt)
    for line, (file, way) in zip(figure.subplots(len(ways), count, squeeze=False), ways.items(), strict=True):
        for axes in line[len(way.steps) :]:
            axes.remove()
        for axes, (step, picture) in zip(line, way.steps.items(), strict=False):
            draw_any(axes, picture)
            heading(axes, step, fontsize=11)
        line[0].set_ylabel(file.rsplit("_", 2)[0].replace("_", ", "), parse_math=False, fontsize=11)
    return figure


def pad(pictures: dict[str, Picture], said: dict[str, Prediction]) -> Figure:
    """What was drawn, half a 7 and a 7 on its side, each with its ten probabilities."""
    title = f"Half a 7 is read as a {said['half a 7'].digit}, a 7 on its side as a {said['a 7 on its side'].digit}"
    shown: dict[str, Tensor | np.ndarray] = {name: _picture(picture) for name, picture in pictures.items()}
    return plots.answers(shown, {"probabilities": torch.stack([said[name].probabilities for name in shown])}, title)


def reliability(panels: dict[str, Predictions]) -> Figure:
    """One panel each: accuracy by confidence in bins, with Wilson's 95% interval, in percent.

    The dashed line is what was promised; the larger a dot, the more digits it stands for. The title compares the
    calibration error of the first panel with the last one's.
    """
    gaps = {name: 100 * calibration_error(predictions) for name, predictions in panels.items()}
    before, *_, after = gaps.values()
    title = f"One number takes the calibration error from {before:.1f} to {after:.1f} points"
    told = "; ".join(f"{name}, {gap:.1f} points away on average" for name, gap in gaps.items())
    alt = f"Accuracy against confidence, in bins ({told}); a dashed line where they agree."
    figure = Figure(4.6 * len(panels), 4.7, title, alt, next(iter(panels.values())))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, predictions) in zip(grid, panels.items(), strict=True):
        table = reliability_table(predictions)
        x, y = 100 * table["confidence"], 100 * table["accuracy"]
        ends = np.abs(100 * table[["low", "high"]].to_numpy().T - y.to_numpy())
        axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", lw=1.5)
        axes.errorbar(x, y, ends, fmt="none", ecolor=BLUE, lw=1.2)
        axes.scatter(x, y, s=15 + 200 * table["count"] / table["count"].max(), color=BLUE, zorder=3)
        axes.set(xlim=(0, 104), ylim=(0, 104), aspect="equal", xlabel="confidence (%)")
        heading(axes, name, fontsize=12)
    grid[0].set_ylabel("of these, right (%)")
    sns.despine(figure)
    return figure


def others(files: Sequence[Path], kinds: Sequence[str], answers: Sequence[Prediction]) -> Figure:
    """Pictures of no digit, a line for each kind, with what they are read as; marked where no warning was given."""
    names = {"blank": "blank paper", "letter": "letters", "scribble": "scribbles"}
    rows: dict[str, list[Shown]] = {}
    for file, kind, one in zip(files, kinds, answers, strict=True):
        said = "no digit" if one.digit is None else f"{one.digit}: {one.confidence:.0%}"
        fooled = one.digit is not None and not one.warning
        rows.setdefault(names.get(kind, "scenes"), []).append((_picture(file), said, fooled))
    silent = sum(fooled for line in rows.values() for *_, fooled in line)
    title = f"{silent} of {len(files)} things that are no digit get an answer without a warning"
    return plots.readings(dict(rows), title)


def rows(files: Sequence[Path], read: Sequence[str], labels: Sequence[str]) -> Figure:
    """Rows of digits with what was read, marked where it differs from the label."""
    shown = [(_picture(file), found, found != label) for file, found, label in zip(files, read, labels, strict=True)]
    right = sum(not wrong for *_, wrong in shown)
    return plots.readings({"rows": shown}, f"{right} of {len(files)} rows of digits are read correctly from end to end")


def _picture(picture: Picture) -> np.ndarray:
    return prepare(picture).steps["picture"]


def shares(result: dict[str, Any]) -> pd.DataFrame:
    """The share of MNIST's digits that is read correctly: a row for each kind of picture, a column a preparation.

    result: benchmarks/results/handwriting.json.
    """
    table = pd.DataFrame({kind: sources["MNIST"] for kind, sources in result["right"].items()}).T
    table.index = table.index.str.replace("_", " ")
    table = table.rename(columns={"resized": "plain resize", "boxed": "box, centre of mass"})
    return table[["the ink itself", "plain resize", "box, centre of mass", "to_mnist"]]


def kinds(table: pd.DataFrame, count: int) -> Figure:
    """`shares` of `count` digits a kind: a line for each row, with a dot for each column; the last one stands out.

    Dots of a line lie a little above each other, so that equal ones can all be seen.
    """
    means = table.mean()
    title = (
        f"Right over all kinds: {means['plain resize']:.0%} resized, {means['box, centre of mass']:.0%} boxed, "
        f"{means['to_mnist']:.1%} with to_mnist"
    )
    told = ", ".join(f"{name} {table[name].min():.1%} to {table[name].max():.1%}" for name in table)
    alt = f"A line of dots for each of {len(table)} kinds of picture, the share read correctly: {told}."
    figure = Figure(9, 0.3 * len(table) + 1.4, title, alt)
    axes = figure.subplots()
    places = np.arange(len(table))
    looks = (("|", "black", 90), ("o", "#909090", 26), ("s", BLUE, 22), ("D", ORANGE, 30))
    heights = np.linspace(-0.3, 0.3, len(looks))
    for (name, values), (marker, colour, size), height in zip(table.items(), looks, heights, strict=True):
        axes.scatter(100 * values, places + height, marker=marker, color=colour, s=size, label=name, zorder=3)
    axes.set_yticks(places, table.index, fontsize=10)
    x = f"right (%), of {count} MNIST test digits as pictures of each kind"
    axes.set(xlabel=x, xlim=(None, 101.5), ylim=(len(table) - 0.4, -0.6))
    axes.grid(axis="y", color="#e4e4e4", lw=0.8)
    axes.legend(frameon=False, fontsize=11, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=len(table.columns))
    sns.despine(figure, left=True)
    return figure


@checker
def check_light_on_dark(function: Callable[..., Any]) -> str:
    """light_on_dark(grey): (H, W) uint8 → the same with light ink on dark paper, inverted where the paper is light."""
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
def check_tempered(function: Callable[..., Any]) -> str:
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
def check_gap(function: Callable[..., Any]) -> str:
    """gap(confidences, right) → expected calibration error over ten bins of confidence, each 0.1 wide."""
    generator = np.random.default_rng(4)
    confidences = generator.uniform(0.12, 0.999, 500) ** 0.6
    right = generator.random(500) < np.where(confidences < 0.7, confidences + 0.2, confidences - 0.15)
    table = pd.DataFrame({"confidence": confidences, "prediction": 0, "label": np.where(right, 0, 1)})
    expected = calibration_error(Predictions(table), bins=10)
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
