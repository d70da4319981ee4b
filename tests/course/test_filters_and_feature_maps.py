"""The figures on filters and feature maps show what they are given, and say in words what they show."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.course import filters_and_feature_maps as lesson
from mnistlab.figures.style import Figure

FIELDS = pd.DataFrame({"size": [10, 24], "step": [2, 4], "start": [-4, -10]}, index=["conv3", "conv5"])
STATISTICS = pd.DataFrame(
    {"name": ["relu1"] * 3, "zeros": [0.2, 0.5, 1.0], "largest": [3.0, 2.0, 0.0], "channel": range(3)}
)
NETWORKS = {"as it is": STATISTICS[:2], "lowered": STATISTICS}


def digits(labels: list[int], source: str = "MNIST") -> ml.Digits:
    """Random pictures with these labels."""
    images = torch.randint(0, 256, (len(labels), 1, 28, 28), generator=torch.Generator().manual_seed(0))
    return ml.Digits(images.to(torch.uint8), torch.tensor(labels), source)


def top(order: dict[int, list[int]]) -> pd.DataFrame:
    """For each channel the numbers of its favourites, as `ml.top_digits` lists them, each for another cell."""
    rows = [(c, rank, digit, 9.0 - rank, rank, 6) for c, found in order.items() for rank, digit in enumerate(found)]
    return pd.DataFrame(rows, columns=["channel", "rank", "digit", "value", "row", "column"])


MIXED = top({0: [0, 1, 2], 1: [3, 4, 5], 2: [0, 2, 3]})  # of labels 4 4 9 9 9 9, two, three and two of a class
LABELS = [4, 4, 9, 9, 9, 9]


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def sourced(many: ml.Digits) -> dict[str, Figure]:
    """Each figure of digits or of what was made of them."""
    maps, one = {"a": torch.rand(3, 28, 28), "b": torch.rand(40, 7, 7)}, many[:1]
    tops = {"relu3": MIXED, "relu5": MIXED}
    predictions = ml.Predictions.of(torch.eye(10), torch.arange(10), source=many.source)
    pictures = ml.Digits(many.images[[0] * 11], None, many.source)
    rows = {name: {"m": torch.ones(7, 7), "n": torch.rand(28, 28)} for name in ("for the 1", "for the 2")}
    accuracies = pd.DataFrame({0: [99.0, 90.0, 50.0, 10.0], 1: [99.0, 80.0, 30.0, 10.0]}, index=[0, 8, 120, 128])
    accuracies.loc[64] = [70.0, 80.0]
    return {
        "maps": lesson.maps(maps, one),
        "favourites": lesson.favourites(lesson.choose(tops, many), tops, FIELDS, many),
        "wishes": lesson.wishes(pictures, [("dense2", k) for k in range(10)] + [("relu3", 5)], predictions),
        "zeros": lesson.zeros(NETWORKS, many),
        "attributions": lesson.attributions(one, rows),
        "sanity": lesson.sanity(one, rows),
        "without_one": lesson.without_one([3, 1, 2], 2, many),
        "without_many": lesson.without_many(accuracies.sort_index(), many),
    }


def test_a_stand_in_for_mnist_is_named_and_mnist_needs_no_footnote():
    for source, footnote in (("another", "Digits: another"), ("MNIST", "Digits:")):
        for name, figure in sourced(digits(LABELS, source)).items():
            figure.draw_without_rendering()
            assert (footnote in words(figure)) == (source != "MNIST"), name
            assert figure.title in words(figure) and figure.alt.endswith(figure.title)


def test_titles_and_alt_texts_carry_the_numbers_of_what_is_drawn():
    said = {name: figure.alt for name, figure in sourced(digits(LABELS)).items()}
    assert "43 maps" in said["maps"]
    assert "6 channels" in said["favourites"] and "2.3, then 2.3 of 3 favourites" in said["favourites"]
    sure = float(torch.eye(10).softmax(1)[0, 0])
    assert "11 pictures" in said["wishes"] and f"{sure:.0%} sure, and 1 for channels" in said["wishes"]
    assert "As it is, 0 of 2 channels are dead; with lowered, 1" in said["zeros"]
    assert "What spoke for the 1 and what for the 2" in said["attributions"] and "by m, n, in" in said["attributions"]
    assert "m 0.00, n " in said["sanity"]  # a map that is the same everywhere is like no other
    assert "1 to 3 errors instead of 2" in said["without_one"]
    assert "75% are right, with only eight 40%" in said["without_many"]


def test_a_correlation_is_numpys_and_0_where_nothing_varies():
    one, two = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert lesson.correlation(one, two) == pytest.approx(np.corrcoef(one.flatten(), two.flatten())[0, 1], abs=1e-6)
    assert lesson.correlation(one, torch.zeros(5, 7)) == 0


def test_filters_have_their_weights_written_on_them():
    after, before = torch.linspace(-1, 1, 18).reshape(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    figure = lesson.conv1(after, before)
    axes = figure.axes[0]
    table = axes.images[0].get_array()
    assert len(axes.texts) == 18 and axes.images[0].get_clim() == (-1, 1)
    for text, weight in zip(axes.texts, after.flatten().tolist(), strict=True):
        column, row = (round(place) for place in text.get_position())
        assert table[row, column] == pytest.approx(weight)
        assert float(text.get_text().replace("−", "-")) == pytest.approx(weight, abs=0.051)
    assert (
        f"{np.corrcoef(after.flatten(), before.flatten())[0, 1]:.2f}" in figure.title and "The 2 filters" in figure.alt
    )


def test_half_of_a_filter_lies_in_its_largest_slices():
    weights = torch.ones(2, 8, 3, 3)
    weights[1, 5] = 100
    assert lesson.slices_for_half(weights) == (4 + 1) / 2


def test_stacks_show_each_slices_mean_size_and_open_the_filter_with_the_strongest():
    weights = {name: torch.rand(6, 4, 3, 3) for name in "abcd"}
    weights["a"][3, 2] = -9
    figure = lesson.filters(weights)
    axes = figure.axes
    for one, layer in zip(axes[:4], weights.values(), strict=True):
        assert np.allclose(one.images[0].get_array(), layer.abs().mean((2, 3)).T)
    assert axes[0].patches[0].get_x() == 2.5 and "filter 3" in axes[4].get_title()
    assert axes[4].images[0].get_array().min() == -9
    assert f"in a, half of it lies in {lesson.slices_for_half(weights['a']):.0f} of 4 slices" in figure.title


def test_maps_are_all_there_on_one_scale_and_blank_ones_are_counted():
    maps = {"a": torch.rand(40, 7, 7), "b": torch.rand(2, 7, 7)}
    maps["a"][[2, 9]] = 0
    digit = digits([3])
    figure = lesson.maps(maps, digit)
    axes = figure.axes[0]
    table = axes.images[0].get_array()
    pitch = 4 * 7 + 1
    for channel in (0, 31, 32, 39):
        top, left = channel // 32 * pitch + 1, channel % 32 * pitch + 1
        assert np.allclose(table[top : top + 28 : 4, left : left + 28 : 4], maps["a"][channel])
    assert axes.images[0].get_clim()[1] == pytest.approx(float(maps["a"].max()))
    assert "2 blank" in axes.get_title(loc="left")
    like = lesson.likeness(maps, digit)
    assert f"from {like['a']:.2f} to {like['b']:.2f}" in figure.title


def test_likeness_is_that_of_the_maps_that_are_not_blank_whatever_their_sign():
    digit = digits([3])
    small = F.avg_pool2d(digit.images[0].float(), 4)[0]
    maps = {"alike": torch.stack([small, 300 - small, torch.zeros(7, 7)]), "flat": torch.ones(1, 7, 7)}
    assert lesson.likeness(maps, digit) == pytest.approx({"alike": 1, "flat": 0}, abs=1e-5)


def test_channels_are_chosen_by_how_many_favourites_are_of_one_class():
    many = digits(LABELS)
    assert lesson.of_one_class(MIXED, many).tolist() == [2, 3, 2]
    chosen = lesson.choose({"relu3": MIXED}, many)
    assert [(name, cell.channel, cell.rank) for name, cell in chosen] == [(("relu3"), c, 0) for c in (0, 2, 1)]


def test_favourites_are_cut_out_where_their_cells_look_under_their_labels():
    many, tops = digits(LABELS), {"relu3": MIXED, "relu5": MIXED}
    chosen = lesson.choose(tops, many)
    axes = np.reshape(lesson.favourites(chosen, tops, FIELDS, many).axes, (6, 3))
    assert [one.get_title() for one in axes[0]] == ["4", "4", "9"]  # channel 0
    assert [one.get_ylabel() for one in axes[:, 0]] == [f"relu{n}\n{c}" for n in (3, 5) for c in (0, 2, 1)]
    shown = np.ma.filled(axes[0, 2].images[0].get_array(), np.nan)  # its third: digit 2, row 2, column 6
    assert np.allclose(shown, many.images[2, 0, 0:10, 8:18])
    shown = np.ma.filled(axes[3, 0].images[0].get_array(), np.nan)  # of relu5: digit 0, row 0 looks over the edge
    assert shown.shape == (24, 24) and np.isnan(shown[:10]).all() and np.isnan(shown[:, 14:]).all()
    assert np.allclose(shown[10:, :14], many.images[0, 0, :14, 14:])


def test_seen_are_the_pixels_that_change_the_cell():
    model, fields = ml.CNN(seed=0).eval(), ml.receptive_field(ml.CNN())
    cell = next(top({3: [0]}).itertuples())  # row 0, column 6
    for name in ("relu3", "relu5"):
        pixels = torch.zeros(1, 1, 28, 28, requires_grad=True)
        names = [one for one, _ in model.named_children()]
        model[: names.index(name.replace("relu", "conv")) + 1](pixels)[0, :, cell.row, cell.column].sum().backward()
        seen, changed = lesson.seen(fields, name, cell), pixels.grad[0, 0] != 0
        assert not changed[~seen].any() and changed.any()
    rows, columns = lesson.seen(FIELDS, "relu3", cell).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 5, 8, 17)


def test_wishes_carry_the_names_of_what_they_please():
    titles = [axes.get_title() for axes in sourced(digits(LABELS))["wishes"].axes]
    assert titles[:11] == [*map(str, range(10)), "relu3: 5"]


def test_zeros_mark_what_is_dead():
    whole, axes = lesson.zeros(NETWORKS, digits(LABELS)).axes
    alive, dead = (points.get_offsets()[:, 1].tolist() for points in axes.collections)
    assert alive == [20, 50] and dead == [100] and "1 dead" in words(axes.figure)
    assert [axes.get_title() for axes in (whole, axes)] == list(NETWORKS) and len(
        whole.collections[1].get_offsets()
    ) == 0


def test_attributions_have_scales_of_their_own_and_say_when_there_is_nothing():
    rows = {"a": {"m": torch.full((7, 7), -2.0), "n": torch.zeros(28, 28)}}
    digit = digits([3])
    image, first, second = lesson.attributions(digit, rows).axes
    assert np.allclose(image.images[0].get_array(), digit.images[0, 0])
    assert first.images[0].get_clim() == (-2, 2) and first.images[0].get_extent() == [-0.5, 27.5, 27.5, -0.5]
    assert first.get_title() == "m\n±2" and second.get_title() == "n\nall zero"


def test_compared_are_the_first_networks_maps_with_and_without_signs():
    one, zero = torch.tensor([[1.0, -2], [3, -4]]), torch.zeros(2, 2)
    maps = {"own": [{"m": one}, {"m": one}], "turned": [{"m": -one}, {"m": -one}], "half": [{"m": one}, {"m": zero}]}
    table = lesson.compared(maps)
    assert table.loc[("m", "turned")].tolist() == pytest.approx([-1, 1, 0])
    assert table.loc[("m", "half")].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert list(table.columns) == ["with sign", "without sign", "blank"]


def test_errors_are_sorted_beside_the_whole():
    axes = lesson.without_one([3, 1, 2], 2, digits(LABELS)).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1, 2, 3] and list(axes.lines[0].get_ydata()) == [2, 2]
    assert axes.get_ylabel() == "errors in 6"


def test_the_orders_mean_best_and_worst_are_drawn():
    mean, best, worst = sourced(digits(LABELS))["without_many"].axes[0].lines
    assert mean.get_label() == "mean of 2 orders" and list(mean.get_xdata()) == [0, 8, 64, 120, 128]
    assert list(mean.get_ydata()) == [99, 85, 75, 40, 10]
    assert list(best.get_ydata())[2] == 80 and list(worst.get_ydata())[2] == 70


def test_a_dollar_in_a_name_begins_no_formula():
    name = r"a $\frac{ $ b"  # as a formula it is broken, and raises when drawn
    many = digits(LABELS, name)
    named = ml.Digits(many.images, many.labels, name, classes=tuple(f"{name} {label}" for label in range(10)))
    tops = {"relu3": MIXED, "relu5": MIXED}
    for figure in (
        lesson.favourites(lesson.choose(tops, named), tops, FIELDS, named),
        lesson.attributions(named[:1], {name: {name: torch.rand(7, 7)}}),
    ):
        figure.draw_without_rendering()
        assert name in words(figure)
