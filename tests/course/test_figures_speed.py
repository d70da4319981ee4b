"""Notebook 10's figures show what they are given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.course import speed
from mnistlab.figures import style

TABLE = pd.DataFrame({"seconds": [9.0, 3.0, 2.0]}, index=["slow", "faster", "other"])


def words(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def test_durations_draw_each_number_with_its_whisker_note_and_colour():
    ends = (TABLE * 0.9, TABLE * 1.5)
    marked = {"learns something else": ["other"]}
    figure = speed.durations(
        TABLE, "t", "x", ends=ends, notes=["1×", "3×", "4.5×"], floors={"floor": 1.5}, marked=marked
    )
    axes = figure.axes[0]
    bars = axes.containers[0].patches
    assert [bar.get_width() for bar in bars] == [9, 3, 2]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [style.BLUE, style.BLUE, style.ORANGE]
    whiskers = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(whiskers, [[8.1, 13.5], [2.7, 4.5], [1.8, 3]])
    assert {"1×", "3×", "4.5×", "floor"} <= {text.get_text() for text in axes.texts}
    assert axes.lines[-1].get_xdata() == pytest.approx([1.5, 1.5])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["learns something else"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slow", "faster", "other"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"
    tallest = max(text.get_position()[0] for text in axes.texts)
    assert tallest < axes.get_xlim()[1]


def test_durations_of_two_columns_stand_side_by_side_with_their_numbers():
    table = pd.DataFrame({"before": [4.0, 0.25], "after": [1.0, 0.5]}, index=["a", "b"])
    axes = speed.durations(table, "t", "x").axes[0]
    before, after = ([(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in c] for c in axes.containers)
    assert [width for _, width in before] == [4, 0.25] and [width for _, width in after] == [1, 0.5]
    assert all(first < 0.01 + second - 0.3 for (first, _), (second, _) in zip(before, after, strict=True))
    assert [text.get_text() for text in axes.texts] == ["4", "0.25", "1", "0.5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before", "after"]


@pytest.mark.parametrize(("digits", "count"), [(8, 2), (7, 3)])
def test_shared_batch_gives_every_digit_to_one_worker(offline, digits, count):
    batch = offline[:digits]
    axes = speed.shared_batch(batch, count, "t").axes[0]
    lanes: dict[float, list[int]] = {}
    for image in axes.images:
        (index,) = (k for k in range(digits) if np.array_equal(image.get_array(), batch.images[k, 0].numpy()))
        lanes.setdefault(sum(image.get_extent()[2:]) / 2, []).append(index)
    assert list(lanes.values()) == [list(range(rank, digits, count)) for rank in range(count)]
    said = words(axes.figure)
    assert said.count("forward") == said.count("backward") == count
    assert all(f"worker {rank}" in said for rank in range(count))
    assert said.count("averaged") == said.count("batch norms") == count - 1


def test_a_stand_in_for_mnist_is_named(offline):
    for figure in (
        speed.shared_batch(offline[:8], 2, "t"),
        speed.durations(TABLE, "t", "x", source=offline.source),
    ):
        assert f"Digits: {offline.source}" in words(figure)
    mnist = ml.Digits(offline.images[:8], offline.labels[:8], "MNIST")
    assert "Digits:" not in words(speed.shared_batch(mnist, 2, "t"))


def test_race_shows_medians_quarters_and_ratios_turn_by_turn():
    turns = pd.DataFrame({"slow": [8.0, 10.0, 12.0], "fast": [2.0, 5.0, 3.0]})
    axes = speed.race(turns, "t", "x", {"cheats": ["fast"]}).axes[0]
    assert [bar.get_width() for bar in axes.containers[0].patches] == [10, 3]
    whiskers = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(whiskers, [[9, 11], [2.5, 4]])
    assert [text.get_text() for text in axes.texts] == ["1.00×", "4.00×"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cheats"]
