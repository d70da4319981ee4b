"""Shared figures show what they are given: the numbers drawn are those passed in, and a stand-in for MNIST is named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.figures import plots
from mnistlab.figures.style import Figure

IMAGE = torch.arange(784).reshape(28, 28) / 783
WEIGHTS = torch.tensor([[-1.0, 0, 2], [-1, 0, 1], [-1, 0, 1]])
TABLE = pd.DataFrame({"a": [3.0, 2.0, 1.0], "b": [1.0, 2.0, 4.0], "c": [9.0, 8.0, 7.0]}, index=[1, 10, 100])
HISTORY = pd.DataFrame(
    {
        "epoch": [0.5, 1.0, 1.5, 2.0],
        "step": [100, 200, 300, 1400],
        "train_loss": [2.0, 1.0, 0.5, 0.25],
        "val_loss": [np.nan, 0.8, np.nan, 0.4],
        "val_accuracy": [np.nan, 0.9, np.nan, 0.95],
    }
)


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def answered(labels: list[int], predictions: list[int], source: str = "") -> ml.Predictions:
    """Predictions of exactly these digits."""
    return ml.Predictions.of(torch.eye(10)[torch.tensor(predictions)], torch.tensor(labels), source=source)


def every_figure(digits: ml.Digits) -> dict[str, Figure]:
    """Each function that draws digits or what is made of them."""
    return {
        "digit_grid": plots.digit_grid(digits[:12], "t"),
        "unlabelled": plots.digit_grid(ml.Digits(digits.images[:3], None, digits.source), "t"),
        "picture_row": plots.picture_row({"a": IMAGE, "b": WEIGHTS}, "t", digits),
        "curves": plots.curves(TABLE, "t", "x", "y", of=digits),
        "confusion": plots.confusion(answered([1, 2], [1, 1], digits.source)),
        "answers": plots.answers({"a": IMAGE}, {"b": torch.arange(10.0)[None]}, "t", digits),
        "readings": plots.readings({"a": [(IMAGE, "b", True)]}, "t", digits),
    }


def test_a_stand_in_for_mnist_is_named_on_every_figure(offline):
    for name, figure in every_figure(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in every_figure(digits).items():
        assert "Digits:" not in words(figure), name


def test_every_figure_is_described_and_its_title_repeated(offline):
    for name, figure in every_figure(offline).items():
        assert figure.alt.endswith(f". {figure.title}") and len(figure.alt) > 20, name
        assert "\n" not in figure.alt, name


def test_digits_stand_in_order_under_their_labels_or_captions(offline):
    digits = offline[:12]
    figure = plots.digit_grid(digits, "t", columns=5)
    assert len(figure.axes) == 15
    for axes, image, label in zip(figure.axes, digits.images, digits.labels.tolist(), strict=False):
        assert np.array_equal(axes.images[0].get_array(), image[0]) and axes.get_title() == str(label)
    assert not any(axes.images for axes in figure.axes[12:])
    assert figure.alt.startswith("12 handwritten digits in 3 rows, ")
    assert ", ".join(map(str, digits.labels.tolist())) in figure.alt
    letters = replace(digits, classes=tuple("abcdefghij"))
    assert plots.digit_grid(letters, "t").axes[0].get_title() == "abcdefghij"[digits.labels[0]]
    named = plots.digit_grid(digits[:2], "t", ["first\nline", "second"])
    assert [axes.get_title() for axes in named.axes[:2]] == ["first\nline", "second"]
    assert "first line, second" in named.alt


def test_pictures_in_a_row_are_those_that_were_given():
    figure = plots.picture_row({"a\nb": IMAGE, "c": WEIGHTS}, "t", signed=True)
    for axes, picture in zip(figure.axes, (IMAGE, WEIGHTS), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), picture)
        assert axes.images[0].get_clim() == (-2, 2)  # one scale for all
    assert [axes.get_title() for axes in figure.axes] == ["a\nb", "c"] and ": a b; c." in figure.alt


def test_every_column_becomes_a_line():
    figure = plots.curves(TABLE, "t", "x", "y", log_x=True, log_y=True)
    axes = figure.axes[0]
    for name, line in zip(TABLE, axes.lines, strict=True):
        assert line.get_label() == name and list(line.get_ydata()) == list(TABLE[name])
        assert list(line.get_xdata()) == [1, 10, 100]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x (log scale)", "y (log scale)")
    assert "y against x: a from 3 to 1; b from 1 to 4; c from 9 to 7." in figure.alt


def test_learning_shows_a_runs_history():
    run = ml.Run(ml.LeNet(), history=HISTORY)
    figure = plots.learning(run)
    losses, accuracy = figure.axes
    train, val = losses.lines
    assert train.get_xydata().tolist() == HISTORY[["epoch", "train_loss"]].to_numpy().tolist()
    assert val.get_xydata().tolist() == [[1, 0.8], [2, 0.4]]
    assert accuracy.lines[0].get_xydata().tolist() == [[1, 90], [2, 95]]
    assert figure.title == "LeNet: 1,400 steps" and "from 2 to 0.25." in figure.alt
    bare = ml.Run(ml.LeNet(), history=HISTORY.drop(columns=["val_loss", "val_accuracy"]))
    assert len(plots.learning(bare).axes) == 1


def test_confusion_writes_every_count_and_colours_mistakes_only():
    labels, predictions = [0] * 10 + [1] * 1200, [0] * 8 + [1] * 2 + [1] * 1200
    figure = plots.confusion(answered(labels, predictions))
    axes = figure.axes[0]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"8": (0, 0), "2": (1, 0), "1,200": (1, 1)}
    drawn = np.asarray(axes.images[0].get_array())
    assert drawn[0, 1] == 2 and drawn.sum() == 2 and axes.get_ylabel() == "label"
    assert figure.title == "Of 2 errors, 2 are a 0 read as a 1"
    assert plots.confusion(answered([3] * 1500, [3] * 1500)).title == "All 1,500 digits are read correctly"


def test_answers_mark_the_largest_of_ten():
    numbers = {"logits": torch.arange(10.0)[None] - 5, "probabilities": torch.eye(10)[:1]}
    figure = plots.answers({"a": IMAGE}, numbers, "t")
    picture, logits, probabilities = figure.axes
    assert picture.get_title() == "a" and logits.get_title() == "logits"
    for axes, most in ((logits, 9), (probabilities, 0)):
        colours = [bar.get_facecolor() for bar in axes.patches]
        assert colours.index(max(colours, key=lambda colour: colour[0])) == most and len(set(colours)) == 2
    assert [bar.get_height() for bar in logits.patches] == list(range(-5, 5))
    assert [text.get_text() for text in logits.texts] == ["4.00"]
    assert "Pictures (a)" in figure.alt and "logits and probabilities" in figure.alt


def test_readings_carry_what_was_said_and_show_colours():
    photo = np.zeros((50, 200, 3), np.uint8)
    photo[..., 0] = 195
    figure = plots.readings({"a": [(photo, "4", True), (255 * IMAGE, "5", False)], "b": [(photo, "6", False)]}, "t")
    assert [axes.get_title() for axes in figure.axes] == ["4", "5", "6"]
    assert [axes.spines["top"].get_linewidth() for axes in figure.axes] == [3, 1, 1]
    assert [figure.axes[place].get_ylabel() for place in (0, 2)] == ["a", "b"] and "(a; b)" in figure.alt
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (21, 84, 3) and (shown == [195, 0, 0]).all()


def test_a_dollar_in_a_name_begins_no_formula():
    name = r"a $\frac{ $ b"  # as a formula it is broken, and raises when drawn
    digits = ml.Digits(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), None, name)
    for figure in (
        plots.digit_grid(digits, name, [name]),
        plots.picture_row({name: IMAGE}, name),
        plots.answers({name: IMAGE}, {"probabilities": torch.ones(1, 10)}, name),
        plots.readings({name: [(IMAGE, name, True)]}, name),
    ):
        figure.draw_without_rendering()
        assert name in words(figure)
