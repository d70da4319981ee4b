"""The notebook on data of one's own: signs drawn by people who don't exist, figures, and the exercises' checkers."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from PIL import Image, ImageDraw, ImageFilter

from mnistlab.analysis.intervals import wilson
from mnistlab.analysis.predictions import Predictions
from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.data.files import class_folders, pictures_in
from mnistlab.figures import plots
from mnistlab.figures.style import BLUE, GREY, ORANGE, Figure, bare, draw, heading, log_axis
from mnistlab.reading.picture import to_mnist

SIDE = 160  # pixels of a drawing
HABIT, TREMBLE = 0.17, 0.035  # how far a person's strokes, and one drawing's, depart from a sign of size 1
CIRCLE = [(0.5 + 0.5 * math.sin(turn * math.pi / 12), 0.5 - 0.5 * math.cos(turn * math.pi / 12)) for turn in range(25)]
# Each sign as strokes of the pen, through points from (0, 0), top left, to (1, 1).
SIGNS: dict[str, list[list[tuple[float, float]]]] = {
    "A": [[(0, 1), (0.5, 0), (1, 1)], [(0.22, 0.62), (0.78, 0.62)]],
    "D": [[(0, 0), (0, 1), (0.7, 0.85), (1, 0.5), (0.7, 0.15), (0, 0)]],
    "H": [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(0, 0.5), (1, 0.5)]],
    "M": [[(0, 1), (0.05, 0), (0.5, 0.7), (0.95, 0), (1, 1)]],
    "N": [[(0, 1), (0, 0), (1, 1), (1, 0)]],
    "arrow": [[(0, 0.5), (1, 0.5)], [(0.6, 0.15), (1, 0.5), (0.6, 0.85)]],
    "circle": [CIRCLE],
    "square": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]],
    "triangle": [[(0.5, 0), (1, 1), (0, 1), (0.5, 0)]],
}


def draw_signs(folder: str | Path, people: int = 12, each: int = 5, seed: int = 0) -> Path:
    """A folder for each sign, with `each` drawings by each of `people`, as PNG: dark ink on light paper.

    A person has a slant, a width, a pen, a paper and habits of their own, and a hand that trembles; so two drawings by
    one person are more alike than two by different people. A file is named after its person: "person 3 no 1.png".
    """
    folder, draws = Path(folder), np.random.default_rng(seed)
    for person in range(people):
        slant, width, size = draws.uniform(-0.5, 0.5), draws.uniform(0.55, 1.3), draws.uniform(0.4, 0.65)
        turn, pen, paper = draws.uniform(-0.25, 0.25), draws.uniform(4, 11), draws.uniform(200, 250)
        for sign, strokes in SIGNS.items():
            habits = [_bend(draws, HABIT) for _ in strokes]
            place = folder / sign
            place.mkdir(parents=True, exist_ok=True)
            for number in range(each):
                page = Image.new("L", (SIDE, SIDE), int(paper))
                brush = ImageDraw.Draw(page)
                centre, angle = draws.uniform(0.42, 0.58, 2) * SIDE, turn + draws.normal(0, 0.05)
                cos, sin = math.cos(angle), math.sin(angle)
                for stroke, habit in zip(strokes, habits, strict=True):
                    points = np.array(stroke) - 0.5 + habit(len(stroke)) + _bend(draws, TREMBLE)(len(stroke))
                    across = (points[:, 0] - slant * points[:, 1]) * width
                    rows = np.stack([across, points[:, 1]], 1) @ np.array([[cos, sin], [-sin, cos]])
                    line = [(x, y) for x, y in (rows * size * SIDE + centre).tolist()]
                    brush.line(line, fill=40, width=round(pen), joint="curve")
                    for x, y in line:
                        brush.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=40)
                page.filter(ImageFilter.GaussianBlur(0.8)).save(place / f"person {person} no {number}.png")
    return folder


def _bend(draws: np.random.Generator, much: float) -> Callable[[int], np.ndarray]:
    """How a hand departs from a stroke: (points,) → (points, 2), smoothly along it."""
    knots = draws.normal(0, much, (4, 2))

    def bend(points: int) -> np.ndarray:
        along = np.linspace(0, 3, points)
        return np.stack([np.interp(along, range(4), knots[:, axis]) for axis in range(2)], 1)

    return bend


def people(folder: str | Path) -> np.ndarray:
    """(N,) who drew each picture in the folders, in the order in which `load_images` reads them.

    The files say it, as in "person 3 no 1.png"; a file that doesn't counts as drawn by a person of its own.
    """
    names = [file.name for place in class_folders(Path(folder)) for file in pictures_in(place)]
    said = [re.match(r"person (\d+)", name) for name in names]
    return np.array([int(found[1]) if found else 1_000_000 + number for number, found in enumerate(said)])


def gap(share: float) -> Image.Image:
    """A circle with a gap of this share of its width, as dark ink on light paper."""
    page = Image.new("L", (SIDE, SIDE), 240)
    opening = math.degrees(2 * math.asin(min(share, 1)))
    box = (0.2 * SIDE, 0.2 * SIDE, 0.8 * SIDE, 0.8 * SIDE)
    ImageDraw.Draw(page).arc(box, opening / 2, 360 - opening / 2, fill=30, width=8)
    return page.filter(ImageFilter.GaussianBlur(0.8))


# --- figures


def files(folder: str | Path) -> Figure:
    """One picture from each folder, as the file has it."""
    places = class_folders(Path(folder))
    title = f"{len(places)} folders, {sum(len(pictures_in(place)) for place in places):,} pictures"
    figure = Figure(10, 1.9, title, "One picture from each folder, under the folder's name.")
    draws = np.random.default_rng(3)
    for axes, place in zip(figure.subplots(1, len(places), squeeze=False).flat, places, strict=True):
        found = pictures_in(place)
        picture = Image.open(found[int(draws.integers(len(found)))]).convert("L")
        axes.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        heading(axes, place.name, fontsize=11)
    return figure


def forms(found: dict[str, Digits], numbers: list[int]) -> Figure:
    """The same pictures in several forms, one row a form."""
    first = next(iter(found.values()))
    alt = f"The same {len(numbers)} pictures in {len(found)} rows: {', '.join(found)}."
    figure = Figure(10, 2.6, "The same pictures, only shrunk, and in MNIST's form", alt, first)
    for line, (name, pictures) in zip(figure.subplots(len(found), len(numbers)), found.items(), strict=True):
        for axes, number in zip(line, numbers, strict=True):
            draw(bare(axes), pictures.images[number, 0])
        line[0].set_ylabel(name, fontsize=12)
    return figure


def scores(found: dict[str, Predictions]) -> Figure:
    """The share that is right on each kind of test, with Wilson's 95% interval."""
    shares = {name: 100 * predictions.evaluation.accuracy for name, predictions in found.items()}
    said = ", ".join(f"{share:.1f}% with {name}" for name, share in shares.items())
    figure = Figure(
        8.5,
        2.4,
        said[0].upper() + said[1:],
        "A dot for each test, with its interval as a line.",
        next(iter(found.values())),
    )
    axes = figure.subplots()
    for place, (name, predictions) in enumerate(found.items()):
        low, high = predictions.evaluation.interval
        axes.plot([100 * low, 100 * high], [place, place], color=GREY, lw=3)
        axes.plot(shares[name], place, "o", color=(BLUE, ORANGE)[place % 2], ms=11)
    axes.set(
        yticks=range(len(found)), yticklabels=list(found), ylim=(len(found) - 0.5, -0.5), xlabel="read correctly (%)"
    )
    sns.despine(figure)
    return figure


def widths(counts: list[int], marked: dict[str, int], share: float, of: Digits) -> Figure:
    """How wide the 95% interval is, when this share of so many pictures is right."""
    ends = {count: wilson(round(share * count), count) for count in counts}
    wide = pd.Series({count: 100 * (high - low) for count, (low, high) in ends.items()})
    here = {
        name: 100 * float(np.subtract(*wilson(round(share * count), count)[::-1])) for name, count in marked.items()
    }
    said = ", ".join(f"{name} ({count:,}) leaves {here[name]:.1f} points open" for name, count in marked.items())
    alt = f"A curve: the interval around {share:.0%} grows narrower with the number of test pictures."
    figure = Figure(8.5, 3.6, said[0].upper() + said[1:], alt, of)
    axes = figure.subplots()
    axes.plot(wide, color=BLUE, lw=2.5)
    for (name, count), colour in zip(marked.items(), (ORANGE, GREY), strict=False):
        axes.plot(count, here[name], "o", color=colour, ms=10, label=f"{name}: {count:,}")
    axes.set(xscale="log", xlabel="test pictures (log scale)", ylabel="points from end to end", ylim=(0, None))
    log_axis(axes.xaxis)
    axes.legend(frameon=False, fontsize=11)
    sns.despine(figure)
    return figure


def few(right: pd.DataFrame, of: Digits) -> Figure:
    """Percent right against the pictures of each class that were learned from, a line for each start."""
    gain = right.iloc[:, 1] - right.iloc[:, 0]
    title = f"With {gain.idxmax()} of each, the start from digits is worth {gain.max():.0f} points"
    return plots.curves(right, title, "pictures of each class", "read correctly (%)", log_x=True, of=of)


def gaps(shares: list[float]) -> Figure:
    """Circles with smaller and smaller gaps: as drawn, and on 28×28."""
    drawn = [gap(share) for share in shares]
    rows = {
        "as drawn": [255 - np.asarray(page) for page in drawn],
        "28×28": [to_mnist(page)[0].numpy() for page in drawn],
    }
    alt = "Circles with ever smaller gaps, drawn large and on 28×28 pixels."
    figure = Figure(10, 3.1, "Ever smaller gaps vanish on 28×28 pixels", alt)
    for line, (name, pictures) in zip(figure.subplots(2, len(shares)), rows.items(), strict=True):
        for axes, picture, share in zip(line, pictures, shares, strict=True):
            draw(bare(axes), picture)
            if name == "as drawn":
                heading(axes, f"gap {share:.0%}", fontsize=11)
        line[0].set_ylabel(name, fontsize=12)
    return figure


# --- exercises


@checker
def check_baseline(function: Callable[..., Any]) -> str:
    """baseline(labels) → the share that is right if every answer is the commonest label."""
    for labels in ([0, 1, 1, 2, 1], [3, 3, 3], [0, 1, 2, 3], [5, 9, 9, 9, 2, 9, 5, 5, 5, 5]):
        right = max(labels.count(label) for label in labels) / len(labels)
        got = float(call(function, np.array(labels)))
        if abs(got - right) > 1e-9 and abs(got - 1 / len(set(labels))) < 1e-9:
            raise NotYet(f"for {labels} you divide by the number of classes; here the classes aren't equally common.")
        if abs(got - right) > 1e-9:
            raise NotYet(f"for the labels {labels} the share is {right:.2f}, and you say {got:.2f}.")
    return "a score means something only beside this one."


@checker
def check_set_aside(function: Callable[..., Any]) -> str:
    """set_aside(people, names) → (N,) bool: True for each picture that one of `names` drew."""
    drew = np.array([4, 0, 4, 7, 7, 0, 2])
    for names in ([4], [0, 7], []):
        got = np.asarray(call(function, drew, names))
        right = np.array([person in names for person in drew])
        if got.shape != drew.shape or got.dtype != bool:
            raise NotYet(f"return one True or False for each of the {len(drew)} pictures; you return {got!r}.")
        if both := set(drew[got]) & set(drew[~got]):
            raise NotYet(f"person {min(both)} is in both parts, so the test asks about a hand that it has seen.")
        if not np.array_equal(got, right):
            raise NotYet(f"of {drew.tolist()}, {names} are to be set aside; you set aside {sorted(set(drew[got]))}.")
    return "nobody is in both parts."


@checker
def check_needed(function: Callable[..., Any]) -> str:
    """needed(share, margin) → how many test pictures make 1.96 · √(share · (1 − share) / n) as small as `margin`."""
    for share, margin in ((0.9, 0.05), (0.9, 0.025), (0.99, 0.005), (0.5, 0.1)):
        right = math.ceil(1.96**2 * share * (1 - share) / margin**2 - 1e-9)
        got = float(call(function, share, margin))
        if abs(got - 1.96**2 * share * (1 - share) / margin) < 1:
            raise NotYet("the margin is inside the square root's square: divide by margin².")
        if abs(got - right) > 1:
            raise NotYet(f"for a share of {share} and a margin of {margin} it takes {right}, and you say {got:.0f}.")
    return "half the margin takes four times the pictures."
