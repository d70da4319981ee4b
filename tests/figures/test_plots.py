"""Figures show what they are given: the numbers drawn are those passed in, and a stand-in for MNIST is named."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.text import Text

import mnistlab as ml
from mnistlab import analysis
from mnistlab.analysis.scores import wilson
from mnistlab.course import architecture, dataset, misclassifications, prediction, training
from mnistlab.figures import plots, style

IMAGE = torch.arange(784).reshape(28, 28) / 783
WEIGHTS = torch.tensor([[-1.0, 0, 2], [-1, 0, 1], [-1, 0, 1]])
COUNTS = pd.DataFrame([[8, 2], [0, 1200]])
RATES = analysis.slices([True, False, True, True], [-30, 1, 2, 3], parts=2)
RELIABILITY = analysis.reliability([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 0, 0])
COVERAGE = analysis.coverage([0.9, 0.8, 0.6, 0.5], [True, True, False, True])
SPOILED = {name: torch.zeros(5, 28, 28) for name in "abc"}


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def every_figure(digits: ml.Digits) -> dict[str, Figure]:
    """Each function that draws digits or what is made of them."""
    source, table = digits.source, pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 1.0]})
    return {
        "digit_grid": plots.digit_grid(digits[:12], "t"),
        "unlabelled": plots.digit_grid(ml.Digits(digits.images[:3], None, source), "t"),
        "picture_row": plots.picture_row({"a": IMAGE, "b": WEIGHTS}, "t", source),
        "pixel_values": dataset.pixel_values(digits[:1], "t"),
        "class_shares": dataset.class_shares({"a": digits[:500], "b": digits[500:900]}, "t"),
        "mean_images": dataset.mean_images(digits[:500], "t"),
        "value_histograms": dataset.value_histograms({"a": IMAGE}, "t", source),
        "centres": dataset.centres(torch.full((5, 2), 14.0), "t", source),
        "flat_maps": dataset.flat_maps(
            {"a": np.random.default_rng(0).normal(size=(50, 2))}, digits.labels[:50], "t", source
        ),
        "accuracy_bars": dataset.accuracy_bars({"a": torch.tensor([True, False])}, "t", source),
        "products": architecture.products(IMAGE[:3, :3], WEIGHTS, "t", source=source),
        "filter_result": architecture.filter_result(IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1], "t", source),
        "pooling": architecture.pooling(IMAGE[:4, :4], IMAGE[1:4:2, 1:4:2], "t", source),
        "receptive_fields": architecture.receptive_fields(digits[:1], ml.receptive_field(ml.CNN()), "t"),
        "probability_bars": architecture.probability_bars(torch.full((4, 10), 0.1), "t", source),
        "curves": plots.curves(table, "t", "x", "y", source=source),
        "confusion": plots.confusion(COUNTS, "t", source),
        "margins": misclassifications.margins(np.array([0.1, 0.9]), np.array([False, True]), "t", source),
        "error_rates": misclassifications.error_rates({"a": RATES}, "t", source),
        "how_many_fail": misclassifications.how_many_fail([90, 4, 2], digits[:2], ["a", "b"], "t"),
        "spoiled": misclassifications.spoiled(
            SPOILED, pd.DataFrame(0.5, index=list("abc"), columns=range(5)), "t", source
        ),
        "changes": misclassifications.changes([("a", IMAGE, IMAGE.flip(0), 1, 2)], "t", source),
        "coverage": misclassifications.coverage_curve(COVERAGE, 0.6, "t", source),
        "answers": plots.answers({"a": IMAGE}, {"b": torch.arange(10.0)[None]}, "t", source),
        "readings": plots.readings({"a": [(IMAGE, "b", True)]}, "t", source),
        "reliability": prediction.reliability({"a": RELIABILITY}, "t", source),
    }


def test_a_stand_in_for_mnist_is_named_on_every_figure(offline):
    for name, figure in every_figure(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in every_figure(digits).items():
        assert "Digits:" not in words(figure), name


def test_every_column_becomes_a_line():
    table = pd.DataFrame({"a": [3.0, 2.0, 1.0], "b": [1.0, 2.0, 4.0], "c": [9.0, 8.0, 7.0]}, index=[1, 10, 100])
    figure = plots.curves(table, "t", "x", "y", log_x=True, log_y=True)
    for name, line in zip(table, figure.axes[0].lines, strict=True):
        assert line.get_label() == name and list(line.get_ydata()) == list(table[name])
        assert list(line.get_xdata()) == [1, 10, 100]


def test_products_add_up():
    window = IMAGE[5:8, 9:12]
    text = words(architecture.products(window, WEIGHTS, "t", bias=0.25)).replace("−", "-")
    sum_ = float(F.conv2d(window[None, None], WEIGHTS[None, None]))
    assert f"sum   {sum_:+.3f}" in text and f"cell  {sum_ + 0.25:+.3f}" in text
    for number in (window * WEIGHTS).flatten():
        assert f"{float(number) + 0.0:.3f}" in text


def test_signed_pictures_have_a_white_zero(offline):
    figure = architecture.filter_result(IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1] - 0.8, "t")
    for axes in figure.axes[1:3]:
        low, high = axes.images[0].get_clim()
        assert low == -high
    assert style.SIGNED(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.01)


def test_accuracy_bars_show_the_shares():
    masks = {"half": torch.tensor([True, False] * 50), "most": torch.tensor([True] * 95 + [False] * 5)}
    axes = dataset.accuracy_bars(masks, "t").axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([50, 95])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["half", "most"]


def test_class_shares_are_per_split(offline):
    axes = dataset.class_shares({"a": offline[:1000], "b": offline[1000:]}, "t").axes[0]
    heights = [patch.get_height() for patch in axes.patches if patch.get_height() > 0][:20]
    expected = [
        100 * (part.labels == d).double().mean() for part in (offline[:1000], offline[1000:]) for d in range(10)
    ]
    assert heights == pytest.approx([float(e) for e in expected])


def test_receptive_fields_are_drawn_where_they_lie(offline):
    fields = ml.receptive_field(ml.CNN())
    for axes, (name, field) in zip(
        architecture.receptive_fields(offline[:1], fields, "t").axes, fields.iterrows(), strict=True
    ):
        square = axes.patches[0]
        first = square.get_x() + 0.5
        assert (first - field["start"]) % field["step"] == 0 and square.get_width() == field["size"], name
        assert abs(first + (field["size"] - 1) / 2 - 13.5) <= field["step"] / 2


def test_seed_spread_agrees_with_statistics():
    accuracies = [0.9951, 0.9943, 0.9958]
    text = words(training.seed_spread(accuracies, [(0.993, 0.997)] * 3, "t"))
    assert f"{100 * np.mean(accuracies):.2f} ± {100 * np.std(accuracies, ddof=1):.2f}" in text


def test_growth_shows_what_was_measured_beside_proportion():
    series = pd.Series([1.0, 3.0, 8.0], index=[10, 20, 40])
    first, second = training.growth({"digits → seconds": series, "batch → megabytes": 2 * series}, "t").axes
    proportion, measured = first.lines
    assert list(measured.get_ydata()) == [1, 3, 8] and list(measured.get_xdata()) == [10, 20, 40]
    assert list(proportion.get_ydata()) == [2, 4, 8]
    assert second.get_xlabel() == "batch" and second.get_ylabel() == "megabytes"


def test_flat_maps_keep_their_labels_apart():
    points = np.random.default_rng(0).normal(size=(200, 2)) * 0.01 + np.array([[5, 5]])
    points[0] = 0, 0  # one far away, the rest in a heap
    figure = dataset.flat_maps({"a": points}, torch.arange(200) % 10, "t")
    spots = np.array([text.get_position() for text in figure.axes[0].texts])
    gaps = np.abs(spots[:, None] - spots).max(-1) + np.eye(10)
    assert len(spots) == 10 and gaps.min() > 0.02 * np.ptp(points)


def test_present_carries_alt_text_and_name(monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw, metadata: shown.update(data=data, metadata=metadata)
    )
    plots.present(plots.picture_row({"a": IMAGE}, "t"), "name", "what it shows")
    assert shown["metadata"] == {"image/png": {"alt": "what it shows", "name": "name"}}
    assert shown["data"]["text/plain"] == "what it shows" and json.dumps(shown["data"])
    assert shown["data"]["image/png"].startswith("iVBOR")


def test_confusion_writes_every_count_and_colours_mistakes_only():
    axes = plots.confusion(COUNTS, "t").axes[0]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"8": (0, 0), "2": (1, 0), "1,200": (1, 1)}
    assert axes.images[0].get_array().tolist() == [[0, 2], [0, 0]] and axes.get_ylabel() == "label"


def test_margins_are_counted_apart():
    margin, right = np.array([0.01, 0.02, 0.97, 0.98, 0.99]), np.array([False, True, True, True, True])
    axes = misclassifications.margins(margin, right, "t").axes[0]
    blue, orange = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert (blue[0], blue[-1], sum(blue)) == (1, 3, 4) and (orange[0], sum(orange)) == (1, 1)
    assert axes.get_legend_handles_labels()[1] == ["read rightly: 4", "read wrong: 1"]


def test_error_rates_carry_their_intervals():
    axes = misclassifications.error_rates({"a": RATES}, "t").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [50, 0]
    whisker = axes.collections[0].get_segments()[0]
    low, high = wilson(1, 2)
    np.testing.assert_allclose(whisker[:, 1], [100 * (1 - high), 100 * (1 - low)])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["−30 to\n2", "2 to\n3"]
    named = misclassifications.error_rates({"a": analysis.accuracies([True, False], ["old", "new"])}, "t").axes[0]
    assert [label.get_text() for label in named.get_xticklabels()] == ["new", "old"]


def test_paired_shows_rows_means_and_standard_errors():
    table = pd.DataFrame({"a": [1.0, 2, 3], "b": [2.0, 2, 5]})
    axes = misclassifications.paired(table, "t", "y").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines[:3]] == table.to_numpy().tolist()
    assert axes.lines[3].get_ydata().tolist() == [2, 3]
    np.testing.assert_allclose(
        [s[:, 1] for s in axes.collections[0].get_segments()], [[2 - 1 / 3**0.5, 2 + 1 / 3**0.5], [2, 4]]
    )


def test_how_many_fail_leaves_out_those_that_nobody_fails(offline):
    figure = misclassifications.how_many_fail([90, 4, 0, 7], offline[:7], list("abcdefg"), "t")
    assert [bar.get_height() for bar in figure.subfigs[0].axes[0].patches] == [4, 0, 7]
    titles = [axes.get_title() for axes in figure.subfigs[1].axes]
    assert titles[:7] == list("abcdefg") and len(titles) == 12


def test_spoiled_digits_stand_over_their_accuracies():
    table = pd.DataFrame([[1.0, 0.5, 0.25, 0.1, 0.0]] * 3, index=list("abc"))
    figure = misclassifications.spoiled(SPOILED, table, "t")
    shown = [axes.get_xlabel() for part in figure.subfigs for axes in part.axes]
    assert shown == ["100", "50", "25", "10", "0"] * 3


def test_changes_outline_what_few_pixels_changed():
    after = IMAGE.clone()
    after[3, 4] = 200
    figure = misclassifications.changes([("a", IMAGE, after, 1, 7), ("b", IMAGE, 255 - IMAGE, 1, 1)], "t")
    before, _, changed, everywhere = figure.axes
    assert (
        [patch.get_xy() for patch in changed.patches] == [(3.5, 2.5)] and not everywhere.patches and not before.patches
    )
    assert changed.get_xlabel() == "read as 7"


def test_coverage_marks_the_threshold():
    axes = misclassifications.coverage_curve(COVERAGE, 0.6, "t").axes[0]
    curve, dot = axes.lines
    np.testing.assert_allclose([float(value) for value in (*dot.get_xdata(), *dot.get_ydata())], [25, 100 / 3])
    assert curve.get_ydata()[-1] == 25 and curve.get_xdata()[-1] == 0
    assert len(misclassifications.coverage_curve(COVERAGE, float("inf"), "t").axes[0].lines[1].get_xdata()) == 0


def test_answers_mark_the_largest_of_ten():
    numbers = {"logits": torch.arange(10.0)[None] - 5, "probabilities": torch.eye(10)[:1]}
    picture, logits, probabilities = plots.answers({"a": IMAGE}, numbers, "t").axes
    assert picture.get_title() == "a" and logits.get_title() == "logits"
    for axes, most in ((logits, 9), (probabilities, 0)):
        colours = [bar.get_facecolor() for bar in axes.patches]
        assert colours.index(max(colours, key=lambda colour: colour[0])) == most and len(set(colours)) == 2
    assert [text.get_text() for text in logits.texts] == ["4.00"]


def test_preparations_and_readings_carry_their_names_and_show_colours():
    photo = np.zeros((50, 200, 3), np.uint8)
    photo[..., 0] = 195
    figure = prediction.preparations({"a": {"picture": photo, "ink": IMAGE.numpy()}, "b": {"picture": photo}}, "t")
    assert [axes.get_title() for axes in figure.axes] == ["picture", "ink", "picture"]
    figure = plots.readings({"a": [(photo, "4", True), (255 * IMAGE, "5", False)], "b": [(photo, "6", False)]}, "t")
    assert [axes.get_title() for axes in figure.axes] == ["4", "5", "6"]
    assert [axes.spines["top"].get_linewidth() for axes in figure.axes] == [3, 1, 1]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (21, 84, 3) and (shown == [195, 0, 0]).all()


def test_a_dollar_in_a_name_begins_no_formula():
    name = r"a $\frac{ $ b"  # as a formula it is broken, and raises when drawn
    photo, row = np.zeros((50, 50, 3), np.uint8), [(IMAGE, name, True)]
    digits = ml.Digits(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), None, name)
    for figure in (
        plots.digit_grid(digits, name, [name]),
        plots.picture_row({name: IMAGE}, name),
        plots.answers({name: IMAGE}, {"probabilities": torch.ones(1, 10)}, name),
        prediction.preparations({name: {name: photo}}, name),
        plots.readings({name: row}, name),
    ):
        figure.draw_without_rendering()
        assert name in words(figure)


def test_reliability_sets_what_was_kept_against_what_was_promised():
    axes = prediction.reliability({"a": RELIABILITY}, "t").axes[0]
    dots = axes.collections[-1].get_offsets()
    np.testing.assert_allclose(sorted(map(tuple, dots)), [(60, 100), (80, 0), (90, 100)])
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(0, 0), (100, 100)])


def test_dots_stand_at_their_shares():
    table = pd.DataFrame({"plain": [0.5, 0.2], "ours": [1.0, 0.9]}, index=["scan", "photo"])
    axes = prediction.dots(table, "t", "right (%)").axes[0]
    plain, ours = axes.collections
    for dots, shares in ((plain, [50, 20]), (ours, [100, 90])):
        assert dots.get_offsets()[:, 0].tolist() == shares and dots.get_offsets()[:, 1].round().tolist() == [0, 1]
    assert (plain.get_offsets()[:, 1] < ours.get_offsets()[:, 1]).all()  # beside each other, where they are equal
    assert [label.get_text() for label in axes.get_yticklabels()] == ["scan", "photo"]
