"""Notebook 02's figures show what they are given, and say so in their titles and alt texts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.course import architecture
from mnistlab.figures.style import Figure

IMAGE = torch.arange(784).reshape(28, 28) / 783
WEIGHTS = torch.tensor([[-1.0, 0, 2], [-1, 0, 1], [-1, 0, 1]])


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def every_figure(digits: ml.Digits) -> dict[str, Figure]:
    """Each that draws digits or what is made of them."""
    return {
        "products": architecture.products(IMAGE[:3, :3], WEIGHTS, of=digits),
        "feature_map": architecture.feature_map(IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1], digits),
        "variants": architecture.variants({"a": IMAGE[None, None]}, digits),
        "pooling": architecture.pooling(IMAGE[:4, :4], IMAGE[1:4:2, 1:4:2], digits),
        "receptive_field": architecture.receptive_field(digits[:1], ml.receptive_field(ml.CNN())),
    }


def test_a_stand_in_for_mnist_is_named_on_every_figure(offline):
    for name, figure in every_figure(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in every_figure(digits).items():
        assert "Digits:" not in words(figure), name


def test_products_add_up():
    window = IMAGE[5:8, 9:12]
    figure = architecture.products(window, WEIGHTS, bias=0.25)
    text = words(figure).replace("−", "-")
    total = float(F.conv2d(window[None, None], WEIGHTS[None, None]))
    assert f"sum   {total:+.3f}" in text and f"cell  {total + 0.25:+.3f}" in text
    for number in (window * WEIGHTS).flatten():
        assert f"{float(number) + 0.0:.3f}" in text
    assert figure.title == f"Nine products make one cell: {total + 0.25:+.3f}" and figure.alt.endswith(figure.title)
    assert architecture.products(window, -WEIGHTS).title.endswith(f"−{total:.3f}")


def test_signed_pictures_have_a_white_zero():
    figure = architecture.feature_map(IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1] - 0.8)
    for axes in figure.axes[1:3]:
        low, high = axes.images[0].get_clim()
        assert low == -high


def test_a_feature_map_is_drawn_beside_what_it_was_made_of():
    figure = architecture.feature_map(IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1] - 0.8)
    for axes, table in zip(figure.axes[:3], (IMAGE, WEIGHTS, IMAGE[1:-1, 1:-1] - 0.8), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), table)
    assert figure.title.startswith("26×26 cells") and "input 28×28, filter 3×3, feature map 26×26" in figure.alt


def test_variants_carry_their_sizes():
    maps = {"whole": IMAGE[None, None], "half, pooled": F.max_pool2d(IMAGE[None, None], 2)}
    figure = architecture.variants(maps)
    assert [axes.get_title() for axes in figure.axes] == ["whole\n28×28", "half, pooled\n14×14"]
    for axes, table in zip(figure.axes, maps.values(), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), table[0, 0])
    assert "whole 28×28; half, pooled 14×14." in figure.alt


def test_pooling_outlines_the_winners():
    before = torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 9], [5, 0, 3, 3], [0, 4, 3, 3]])
    figure = architecture.pooling(before, F.max_pool2d(before[None], 2)[0])
    left, right = figure.axes
    corners = [patch.get_xy() for patch in left.patches if patch.get_width() < 1]
    assert [(round(x + 0.46), round(y + 0.46)) for x, y in corners] == [(1, 0), (3, 1), (0, 2), (2, 2)]
    assert [text.get_text() for text in right.texts] == ["2.0", "9.0", "5.0", "3.0"]
    assert "4×4 cells" in figure.alt and "the 2×2 winners" in figure.alt


def test_the_network_has_a_block_for_each_layer_as_high_as_its_maps():
    table = ml.layer_table(ml.CNN())
    figure = architecture.network(table)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [28, 28, 28, 14, 14, 14, 7, 7, 3, 2, 2]
    for name, shape in table.set_index("name").loc[["conv2", "pool3", "dense2"], "output_shape"].items():
        size = "×".join(map(str, shape))
        assert size in words(figure) and f"{name} {size}" in figure.alt


def test_costs_are_shares_of_all_layers():
    table = ml.layer_table(ml.CNN())
    figure = architecture.costs(table)
    rows = table[table["multiply_adds"] > 0]
    for axes, column in zip(figure.axes, ("parameters", "multiply_adds"), strict=True):
        widths = [patch.get_width() for patch in axes.patches]
        assert widths == pytest.approx((100 * rows[column] / table[column].sum()).tolist())
        assert f"{table[column].sum():,}" in axes.get_title()
        assert [text.get_text() for text in axes.texts] == [f"{count:,}" for count in rows[column]]
    assert "dense1 has 67% of the parameters and does 1% of the multiply-adds" in figure.alt


def test_receptive_fields_are_drawn_where_they_lie(offline):
    fields = ml.receptive_field(ml.CNN())
    figure = architecture.receptive_field(offline[:1], fields)
    for axes, (name, field) in zip(figure.axes, fields.iterrows(), strict=True):
        square = axes.patches[0]
        first = square.get_x() + 0.5
        assert (first - field["start"]) % field["step"] == 0 and square.get_width() == field["size"], name
        assert abs(first + (field["size"] - 1) / 2 - 13.5) <= field["step"] / 2
    assert figure.title.startswith("Only in pool3 ") and "conv1 3, conv2 5, pool1 6" in figure.alt
