"""A figure knows its title and its alt text, and shows itself with both."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.text import Text
from PIL import Image

import mnistlab as ml
from mnistlab.figures import style
from mnistlab.figures.style import Figure, Still


@pytest.fixture
def shown(monkeypatch) -> list[dict[str, Any]]:
    """What a notebook would be given to display."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: found.append({"data": data, **more}))
    return found


def footnotes(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().startswith("Digits:")]


def test_a_figure_carries_its_title_and_its_alt_text():
    figure = Figure(4, 3, "Three of ten are 7s", "Ten bars.")
    assert figure.title == figure.get_suptitle() == "Three of ten are 7s"
    assert figure.alt == "Ten bars. Three of ten are 7s" and figure.get_size_inches().tolist() == [4, 3]
    assert footnotes(figure) == []


@pytest.mark.parametrize("source", ["MNIST", "MNIST, test", ""])
def test_mnist_needs_no_footnote(source):
    predictions = ml.Predictions(None, source)
    assert footnotes(Figure(4, 3, "t", "a.", predictions)) == []


@pytest.mark.parametrize("source", ["scikit-learn digits (offline stand-in, not MNIST)", "MNISTish", "my $ digits"])
def test_another_source_is_named(source):
    figure = Figure(4, 3, "t", "a.", ml.Predictions(None, source))
    figure.draw_without_rendering()
    assert footnotes(figure) == [f"Digits: {source}"]


def test_digits_and_predictions_are_sources(offline):
    for noun in (offline[:3], ml.predict(ml.LeNet(), offline[:3])):
        assert footnotes(Figure(4, 3, "t", "a.", noun)) == [f"Digits: {noun.source}"]


def test_a_figure_shows_itself_as_the_last_line_of_a_cell(shown):
    figure = Figure(4, 3, "Three of ten are 7s", "Ten bars.")
    figure.subplots().bar(range(10), range(10))
    InteractiveShell().display_formatter.format(figure)
    (one,) = shown
    assert one["metadata"] == {"image/png": {"alt": figure.alt}} and one["raw"] is True
    assert one["data"]["text/plain"] == figure.alt and json.dumps(one["data"])
    png = base64.b64decode(one["data"]["image/png"])
    assert png == figure.png()
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG" and picture.mode == "RGB" and picture.getpixel((0, 0)) == (255, 255, 255)
    assert abs(picture.width - 4 * style.DPI) < 40 and abs(picture.height - 3 * style.DPI) < 40


def test_a_still_shows_its_picture_with_its_alt_text(shown):
    picture = Image.fromarray(np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3) // 64 * 64)
    InteractiveShell().display_formatter.format(Still(picture, "A film's still: four colours in a table"))
    (one,) = shown
    assert one["metadata"] == {"image/png": {"alt": "A film's still: four colours in a table"}}
    assert one["data"]["text/plain"] == "A film's still: four colours in a table"
    again = Image.open(io.BytesIO(base64.b64decode(one["data"]["image/png"])))
    assert again.mode == "P" and np.array_equal(np.asarray(again.convert("RGB")), np.asarray(picture))


def test_signed_colours_have_a_white_zero():
    assert style.SIGNED(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.01)
