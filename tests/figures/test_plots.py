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
from mnistlab.course import architecture, dataset, filters_and_feature_maps, prediction, training
from mnistlab.figures import plots, style

IMAGE = torch.arange(784).reshape(28, 28) / 783
WEIGHTS = torch.tensor([[-1.0, 0, 2], [-1, 0, 1], [-1, 0, 1]])
STATISTICS = pd.DataFrame(
    {"name": ["relu1"] * 3, "zeros": [0.2, 0.5, 1.0], "largest": [3.0, 2.0, 0.0], "channel": range(3)}
)
COUNTS = pd.DataFrame([[8, 2], [0, 1200]])
RELIABILITY = analysis.reliability([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 0, 0])


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
        "feature_maps": filters_and_feature_maps.feature_maps(
            {"a": torch.rand(3, 28, 28), "b": torch.zeros(40, 7, 7)}, "t", source
        ),
        "views": filters_and_feature_maps.views({"a": IMAGE.expand(2, 28, 28)}, {"a": ["1", "2"]}, "t", source),
        "zero_shares": filters_and_feature_maps.zero_shares({"a": STATISTICS}, "t", source),
        "attributions": filters_and_feature_maps.attributions(255 * IMAGE, {"a": {"b": IMAGE - 0.5}}, "t", source),
        "errors_without": filters_and_feature_maps.errors_without([3, 1, 2], 2, 100, "t", source),
        "confusion": plots.confusion(COUNTS, "t", source),
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


def test_filters_have_their_weights_written_on_them():
    after, before = torch.linspace(-1, 1, 18).reshape(2, 3, 3), torch.zeros(2, 3, 3)
    axes = filters_and_feature_maps.filters(after, before, "t").axes[0]
    table = axes.images[0].get_array()
    assert len(axes.texts) == 18 and axes.images[0].get_clim() == (-1, 1)
    for text, weight in zip(axes.texts, after.flatten().tolist(), strict=True):
        column, row = (round(place) for place in text.get_position())
        assert table[row, column] == pytest.approx(weight)
        assert float(text.get_text().replace("−", "-")) == pytest.approx(weight, abs=0.051)


def test_filter_stacks_show_each_slices_mean_size_and_open_the_filter_with_the_strongest():
    weights = {name: torch.rand(6, 4, 3, 3) for name in "abcd"}
    weights["a"][3, 2] = -9
    axes = filters_and_feature_maps.filter_stacks(weights, "t").axes
    for one, layer in zip(axes[:4], weights.values(), strict=True):
        assert np.allclose(one.images[0].get_array(), layer.abs().mean((2, 3)).T)
    assert axes[0].patches[0].get_x() == 2.5 and "filter 3" in axes[4].get_title()
    assert axes[4].images[0].get_array().min() == -9


def test_feature_maps_are_all_there_on_one_scale_and_blank_ones_are_counted():
    maps = torch.rand(40, 7, 7)
    maps[[2, 9]] = 0
    axes = filters_and_feature_maps.feature_maps({"a": maps}, "t").axes[0]
    table = axes.images[0].get_array()
    pitch = 4 * 7 + 1
    for channel in (0, 31, 32, 39):
        top, left = channel // 32 * pitch + 1, channel % 32 * pitch + 1
        assert np.allclose(table[top : top + 28 : 4, left : left + 28 : 4], maps[channel])
    assert axes.images[0].get_clim()[1] == pytest.approx(float(maps.max())) and "2 blank" in axes.get_title(loc="left")


def test_zero_shares_mark_what_is_dead():
    axes = filters_and_feature_maps.zero_shares({"a": STATISTICS}, "t").axes[0]
    alive, dead = (points.get_offsets()[:, 1].tolist() for points in axes.collections)
    assert alive == [20, 50] and dead == [100] and "1 dead" in words(axes.figure)


def test_attributions_have_scales_of_their_own_and_say_when_there_is_nothing():
    maps = {"m": torch.full((7, 7), -2.0), "n": torch.zeros(28, 28)}
    _, first, second = filters_and_feature_maps.attributions(255 * IMAGE, {"a": maps}, "t").axes
    assert first.images[0].get_clim() == (-2, 2) and first.images[0].get_extent() == [-0.5, 27.5, 27.5, -0.5]
    assert first.get_title() == "m\n±2" and second.get_title() == "n\nall zero"


def test_errors_without_are_sorted_beside_the_whole():
    axes = filters_and_feature_maps.errors_without([3, 1, 2], 2, 100, "t").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1, 2, 3] and list(axes.lines[0].get_ydata()) == [2, 2]


def test_views_carry_their_captions():
    figure = filters_and_feature_maps.views({"a": IMAGE.expand(2, 28, 28)}, {"a": ["4", "9"]}, "t")
    assert [axes.get_title() for axes in figure.axes] == ["4", "9"]
    assert np.allclose(figure.axes[1].images[0].get_array(), IMAGE)


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
        filters_and_feature_maps.views({name: IMAGE.expand(1, 28, 28)}, {name: [name]}, name),
        filters_and_feature_maps.attributions(255 * IMAGE, {name: {name: IMAGE}}, name),
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
