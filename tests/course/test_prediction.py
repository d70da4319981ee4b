"""The figures of the notebook on prediction show the numbers that they are given."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import mnistlab as ml
from mnistlab import analysis
from mnistlab.course import prediction as lesson
from mnistlab.figures.style import Figure

IMAGE = np.arange(784).reshape(28, 28) / 783


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def marked(figure: Figure) -> list[bool]:
    return [axes.spines["top"].get_linewidth() == 3 for axes in figure.axes]


def predictions(probabilities: list[list[float]], labels: list[int], source: str = "MNIST, test") -> ml.Predictions:
    """Of rows of some probabilities; the other digits get what is left over."""
    rows = torch.tensor(probabilities, dtype=torch.float64)
    rest = (1 - rows.sum(1, keepdim=True)) / (10 - rows.shape[1])
    rows = torch.cat([rows, rest.expand(-1, 10 - rows.shape[1])], 1)
    return ml.Predictions.of(rows.log(), torch.tensor(labels), source=source)


def said(digit: int | None, confidence: float = 0.97, warning: str = "") -> ml.Prediction:
    probabilities = torch.full((10,), (1 - confidence) / 9)
    probabilities[digit or 0] = confidence
    return ml.Prediction(digit, confidence, 0.5, probabilities, torch.full((1, 28, 28), 7, dtype=torch.uint8), warning)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Three pictures, each of one colour."""
    paths = [tmp_path / f"photo_{number}.png" for number in range(3)]
    for path, colour in zip(paths, ("red", "lime", "blue"), strict=True):
        Image.new("RGB", (40, 40), colour).save(path)
    return paths


def of_digits(digits: ml.Digits) -> dict[str, Figure]:
    """Each figure whose numbers come from digits."""
    shares = torch.full((2, 10), 0.1)
    panel = predictions([[0.9], [0.2]], [0, 0], f"{digits.source}, test")
    return {
        "softmax": lesson.softmax(digits, torch.tensor([1, 0]), shares, shares),
        "reliability": lesson.reliability({"a": panel, "b": panel}),
    }


def test_a_stand_in_for_mnist_is_named(offline):
    for name, figure in of_digits(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in of_digits(digits).items():
        assert "Digits:" not in words(figure), name


def test_softmax_shows_the_chosen_digits_with_their_numbers(offline):
    logits = torch.arange(30.0).reshape(3, 10)
    probabilities = torch.tensor([[0.1] * 10, [0.55] + [0.05] * 9, [0.91] + [0.01] * 9])
    figure = lesson.softmax(offline, torch.tensor([2, 1]), logits, probabilities)
    first, scores, shares, second, *_ = figure.axes
    assert (first.get_title(), second.get_title()) == ("test digit 2", "test digit 1")
    assert [bar.get_height() for bar in scores.patches] == logits[2].tolist()
    assert [bar.get_height() for bar in shares.patches] == pytest.approx(probabilities[2].tolist())
    assert "91%" in figure.title and "55%" in figure.title and "test digit 2" in figure.alt


def test_resize_counts_and_marks_the_misread(files):
    shrunk = ml.Digits(torch.full((3, 1, 28, 28), 9, dtype=torch.uint8), torch.tensor([0, 1, 2]), "pictures")
    simple = predictions([[0.9, 0.05, 0.02], [0.9, 0.05, 0.02], [0.9, 0.05, 0.02]], [0, 1, 2])
    figure = lesson.resize(files, shrunk, simple, [said(0), said(1), said(5)])
    assert titles(figure) == ["a 0", "a 1", "a 2", *["read as 0"] * 3, "read as 0", "read as 1", "read as 5"]
    assert marked(figure) == [False] * 3 + [False, True, True] + [False, False, True]
    assert figure.title == "Of 3 pictures, 2 are misread after a plain resize, 1 once prepared"
    assert (np.asarray(figure.axes[0].images[0].get_array()) == [255, 0, 0]).all()
    assert (np.asarray(figure.axes[3].images[0].get_array()) == round(9 * 16 / 255)).all()


def test_steps_carry_their_names_and_show_colours():
    photo = np.zeros((50, 200, 3), np.uint8)
    photo[..., 0] = 195
    nothing = torch.zeros(0, 1, 28, 28, dtype=torch.uint8)
    ways = {
        "photo_shadow_5_2.jpg": ml.Preparation({"picture": photo, "ink": IMAGE}, nothing, 0),
        "scan_3_1.png": ml.Preparation({"picture": photo}, nothing, 0),
    }
    figure = lesson.steps(ways)
    assert titles(figure) == ["picture", "ink", "picture"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["photo, shadow", "", "scan"]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (21, 84, 3) and (shown == [195, 0, 0]).all()
    assert "2 pictures" in figure.alt and "photo_shadow_5_2.jpg: picture, ink" in figure.alt


def test_a_dollar_in_a_name_begins_no_formula():
    name = r"a $\frac{ $ b"  # as a formula it is broken, and raises when drawn
    photo = np.zeros((50, 50, 3), np.uint8)
    nothing = torch.zeros(0, 1, 28, 28, dtype=torch.uint8)
    panel = predictions([[0.9]], [0])
    for figure in (
        lesson.steps({name: ml.Preparation({name: photo}, nothing, 0)}),
        lesson.reliability({name: panel, "b": panel}),
    ):
        figure.draw_without_rendering()
        assert name in words(figure)


def test_pad_says_what_half_a_digit_and_one_on_its_side_are_read_as():
    names = {"on the pad": 2, "half a 7": 1, "a 7 on its side": 4}
    pictures = dict.fromkeys(names, np.full((40, 40), 200, np.uint8))
    figure = lesson.pad(pictures, {name: said(digit) for name, digit in names.items()})
    assert titles(figure)[::2] == list(names)
    assert figure.title == "Half a 7 is read as a 1, a 7 on its side as a 4" and "on the pad" in figure.alt
    for axes, digit in zip(figure.axes[1::2], names.values(), strict=True):
        assert int(np.argmax([bar.get_height() for bar in axes.patches])) == digit


def test_reliability_sets_what_was_kept_against_what_was_promised():
    told = predictions([[0.9, 0.1 - 1e-9], [0.2, 0.8 - 1e-9], [0.6, 0.4 - 1e-9]], [0, 0, 0])
    kept = predictions([[0.9], [0.9], [0.9]], [0, 0, 0])
    figure = lesson.reliability({"a": told, "b": kept})
    axes = figure.axes[0]
    dots = axes.collections[-1].get_offsets()
    np.testing.assert_allclose(sorted(map(tuple, dots)), [(60, 100), (80, 0), (90, 100)], atol=1e-5)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(0, 0), (100, 100)])
    assert titles(figure) == ["a", "b"]
    # the gaps of the first are 40, 80 and 10 points for a digit each, of the second 10 points
    assert figure.title == "One number takes the calibration error from 43.3 to 10.0 points"
    assert "a, 43.3 points" in figure.alt and 100 * analysis.calibration_error(told) == pytest.approx(130 / 3)


def test_others_are_sorted_by_kind_and_marked_where_no_warning_was_given(files):
    answers = [said(None, 0, "There is no ink."), said(4), said(8, 0.55, "The network is only 55% sure.")]
    figure = lesson.others(files, ["blank", "letter", "letter"], answers)
    assert titles(figure) == ["no digit", "4: 97%", "8: 55%"] and marked(figure) == [False, True, False]
    assert [axes.get_ylabel() for axes in figure.axes] == ["blank paper", "letters", ""]
    assert figure.title == "1 of 3 things that are no digit get an answer without a warning"
    assert "blank paper" in figure.alt and "scenes" in words(lesson.others(files[:1], ["table"], answers[:1]))


def test_rows_are_right_only_from_end_to_end(files):
    figure = lesson.rows(files, ["12", "345", "6"], ["12", "346", "6"])
    assert titles(figure) == ["12", "345", "6"] and marked(figure) == [False, True, False]
    assert figure.title == "2 of 3 rows of digits are read correctly from end to end"


def test_shares_are_mnists_by_kind_and_preparation():
    right = {"resized": 0.5, "boxed": 0.7, "to_mnist": 0.9, "the ink itself": 1.0, "another": 0.0}
    table = lesson.shares({"right": {"photo_dark": {"MNIST": right, "strokes": {}}}})
    assert table.index.tolist() == ["photo dark"] and table.iloc[0].tolist() == [1.0, 0.5, 0.7, 0.9]
    assert list(table) == ["the ink itself", "plain resize", "box, centre of mass", "to_mnist"]


def test_kinds_stand_at_their_shares():
    columns = {
        "the ink itself": [1.0, 1.0],
        "plain resize": [0.5, 0.2],
        "box, centre of mass": [0.75, 0.5],
        "to_mnist": [1.0, 0.9],
    }
    figure = lesson.kinds(pd.DataFrame(columns, index=["scan", "photo"]), 40)
    axes = figure.axes[0]
    for dots, shares in zip(axes.collections, columns.values(), strict=True):
        assert dots.get_offsets()[:, 0].tolist() == [100 * share for share in shares]
        assert dots.get_offsets()[:, 1].round().tolist() == [0, 1]
    heights = np.array([dots.get_offsets()[:, 1] for dots in axes.collections])
    assert (np.diff(heights, axis=0) > 0).all()  # beside each other, where they are equal
    assert [label.get_text() for label in axes.get_yticklabels()] == ["scan", "photo"]
    assert figure.title == "Right over all kinds: 35% resized, 62% boxed, 95.0% with to_mnist"
    assert "of 40 MNIST test digits" in axes.get_xlabel() and "plain resize 20.0% to 50.0%" in figure.alt
