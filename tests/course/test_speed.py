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
    figure = speed.durations(TABLE, "t", "x", ends=ends, notes=["1×", "3×", "4.5×"], marked=["other"])
    axes = figure.axes[0]
    bars = axes.containers[0].patches
    assert [bar.get_width() for bar in bars] == [9, 3, 2]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [style.BLUE, style.BLUE, style.ORANGE]
    whiskers = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(whiskers, [[8.1, 13.5], [2.7, 4.5], [1.8, 3]])
    assert [text.get_text() for text in axes.texts] == ["1×", "3×", "4.5×"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["changes what is learned"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slow", "faster", "other"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"
    tallest = max(text.get_position()[0] for text in axes.texts)
    assert tallest < axes.get_xlim()[1]
    assert figure.alt == "Bars of x: slow 9 (1×); faster 3 (3×); other 2 (4.5×). t"


def test_durations_of_two_columns_stand_side_by_side_with_their_numbers():
    table = pd.DataFrame({"before": [4.0, 0.25], "after": [1.0, 0.5]}, index=["a", "b"])
    figure = speed.durations(table, "t", "x")
    axes = figure.axes[0]
    assert "before: a 4; b 0.25. after: a 1; b 0.5" in figure.alt
    before, after = ([(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in c] for c in axes.containers)
    assert [width for _, width in before] == [4, 0.25] and [width for _, width in after] == [1, 0.5]
    assert all(first < 0.01 + second - 0.3 for (first, _), (second, _) in zip(before, after, strict=True))
    assert [text.get_text() for text in axes.texts] == ["4", "0.25", "1", "0.5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before", "after"]


@pytest.mark.parametrize(("digits", "count"), [(8, 2), (7, 3)])
def test_every_digit_goes_to_one_worker(offline, digits, count):
    batch = offline[:digits]
    figure = speed.workers(batch, count, "t")
    axes = figure.axes[0]
    lanes: dict[float, list[int]] = {}
    for image in axes.images:
        (index,) = (k for k in range(digits) if np.array_equal(image.get_array(), batch.images[k, 0].numpy()))
        lanes.setdefault(sum(image.get_extent()[2:]) / 2, []).append(index)
    assert list(lanes.values()) == [list(range(rank, digits, count)) for rank in range(count)]
    said = words(axes.figure)
    assert said.count("forward") == said.count("backward") == count
    assert all(f"worker {rank}" in said for rank in range(count))
    assert said.count("averaged") == said.count("batch norms") == count - 1
    assert f"{digits} digits of a batch in {count} lanes" in figure.alt
    for rank, share in enumerate(lanes.values()):
        assert f"worker {rank} takes {', '.join(map(str, share))}" in figure.alt


def test_a_stand_in_for_mnist_is_named(offline):
    times, turns = pd.Series({"conv": 3.0, "Adam": 1.0}), pd.DataFrame({"slow": [2.0, 2.0], "fast": [1.0, 1.0]})
    for figure in (
        speed.workers(offline[:8], 2, "t"),
        speed.durations(TABLE, "t", "x", of=offline),
        speed.operations(times, offline),
        speed.here(turns, offline),
        speed.floor(times, offline),
        speed.left(times.to_frame("now"), offline),
        speed.rounding(pd.DataFrame({"float64": [0.0, 1e-15], "float32": [1e-7, 0.5]}), offline),
    ):
        assert f"Digits: {offline.source}" in words(figure)
    mnist = ml.Digits(offline.images[:8], offline.labels[:8], "MNIST")
    assert "Digits:" not in words(speed.workers(mnist, 2, "t"))


def test_race_shows_medians_quarters_and_ratios_turn_by_turn():
    turns = pd.DataFrame({"slow": [8.0, 10.0, 12.0], "batches of 256": [2.0, 5.0, 3.0]})
    axes = speed.race(turns, "t", "x").axes[0]
    assert [bar.get_width() for bar in axes.containers[0].patches] == [10, 3]
    assert [to_hex(bar.get_facecolor()) for bar in axes.containers[0].patches] == [style.BLUE, style.ORANGE]
    whiskers = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(whiskers, [[9, 11], [2.5, 4]])
    assert [text.get_text() for text in axes.texts] == ["1.00×", "4.00×"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["changes what is learned"]
    assert speed.times_as_fast(turns).tolist() == [1, 4]


def test_titles_carry_the_numbers(offline):
    times = pd.Series({"fetching": 20.0, "ReLU": 30.0, "convolutions, backward": 50.0})
    turns = pd.DataFrame({"slow": [8.0, 10.0, 12.0], "same": [4.0, 5.0, 4.0], "crops of 24×24": [2.0, 5.0, 3.0]})
    both = pd.DataFrame({"before": times, "after": [5.0, 10.0, 25.0]})
    wrong = pd.DataFrame({"one": [3.0, 2.25], "falling": [2.0, 0.5]}, index=[40, 160])
    apart = pd.DataFrame({"float64": [0.0, 2e-15], "float32": [1e-7, 0.5]})
    assert speed.operations(times, offline).title == "Convolutions, backward: 50% of 100 milliseconds a step"
    assert speed.operations(times * [1, 2, 1], offline).title == "ReLU: 46% of 130 milliseconds a step"
    assert "4.0 times as fast as the first" in speed.here(turns, offline).title
    assert "2.0 times as fast for the same sums" in speed.ladder(turns, ["slow", "same"]).title
    assert "20% of the first rung's time, 50% of the last one's" in speed.floor(times, offline).title
    assert speed.left(both, offline).title == "What is left: 62% convolutions, 38% all the rest"
    assert speed.schedule(wrong).title.startswith("After 160 steps: 2.2% wrong at one learning rate, 0.5% with")
    rounding = speed.rounding(apart, offline)
    assert rounding.title == "float64 agrees within 2e-15; in float32 rounding grows to 0.5"
    exact = rounding.axes[0].lines[0]
    assert list(exact.get_xdata()) == [1, 2] and list(exact.get_ydata()) == [1e-17, 2e-15], "steps from 1, no zero"


def test_accuracy_draws_the_recipes_of_the_benchmark():
    measured = {
        "usual_epoch_seconds": {"median": 80.0},
        "usual_errors_after_one_epoch": 100,
        "to": {
            "99.5%": {"seconds": 9.0, "accuracy": {"mean": 0.9946}, "config": {"epochs": 1}},
            "published": {"seconds": 7.0, "accuracy": {"mean": 0.9897}, "config": None},
            "99.7%": {"seconds": 50.0, "accuracy": {"mean": 0.997}, "config": {"epochs": 5}},
        },
    }
    table = speed.reached(measured)
    assert table.index.tolist() == [
        "ours, planned for 99.5%",
        "ours, planned for 99.7%",
        "published",
        "the tutorial's loop, one epoch",
    ]
    figure = speed.accuracy(table)
    assert figure.title == "99.46% after 9 seconds; the tutorial's loop needs 80 for one epoch"
    assert [bar.get_width() for bar in figure.axes[0].patches] == [9, 50, 7, 80]
    assert [text.get_text() for text in figure.axes[0].texts] == ["99.46%", "99.70%", "98.97%", "99.00%"]
