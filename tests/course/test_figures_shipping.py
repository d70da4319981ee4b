"""The figures of notebook 11 show the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from mnistlab.course import shipping


def words(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_bars_end_at_their_numbers():
    times = pd.DataFrame({"p50": [0.25, 2.0], "p99": [1.5, 1234.0]}, index=["small", "large"])
    first, second = shipping.bars({"ms": times, "digits": pd.DataFrame({"": [1, 2, 3]})}, "t").axes
    assert [bar.get_width() for bar in first.patches] == [0.25, 2, 1.5, 1234]
    assert [text.get_text() for text in first.texts] == [" 0.25", " 2", " 1.5", " 1,234"]
    assert [text.get_position()[0] for text in first.texts] == [0.25, 2, 1.5, 1234]
    assert first.get_legend_handles_labels()[1] == ["p50", "p99"] and second.get_legend() is None
    assert [label.get_text() for label in first.get_yticklabels()] == ["small", "large"]
    middles = [bar.get_y() + bar.get_height() / 2 for bar in first.patches]
    assert np.allclose(middles, [-0.2, 0.8, 0.2, 1.2])  # beside each other, p50 above
    assert first.get_ylim()[0] > first.get_ylim()[1] and first.get_xlabel() == "ms"


def test_a_program_is_a_chain_in_reading_order():
    steps = [("images", "1×28×28"), ("conv2d", "4×28×28"), ("relu", "4×28×28"), ("linear", "10"), ("softmax", "10")]
    axes = shipping.program(steps, "t", columns=2).axes[0]
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(round(box.get_x() + 0.41), round(box.get_y() + 0.3)) for box in boxes] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
    ]
    said = [text.get_text() for text in axes.texts if text.get_text()]
    assert said == [word for step in steps for word in step]
    arrows = [text for text in axes.texts if not text.get_text()]
    assert len(arrows) == len(steps) - 1 and len(axes.lines) == 2  # two of them lead down into the next row
    assert boxes[1].get_facecolor() != boxes[2].get_facecolor() != boxes[3].get_facecolor()


def test_rounding_writes_weights_codes_and_what_they_stand_for():
    codes = torch.tensor([[1, -2, 3], [4, 0, -6], [127, 8, 9]], dtype=torch.int8)
    figure = shipping.rounding(codes * 0.02 + 0.001, codes, 0.02, torch.tensor([-0.5, 0.1, 0.1, 0.4]), "t")
    said = [text.replace("−", "-") for text in words(figure)]
    for word in ("0.0210", "127", "-6", "0", "2.5400", "-0.1200", "all 4 of the layer", "codes: weight ÷ 0.02000"):
        assert word in said, word
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in figure.axes[3].patches}
    assert sum(heights.values()) == 4 and heights[0.1] == 2
    assert [line.get_xdata()[0] for line in figure.axes[3].lines] == [-0.5, 0.5]


def test_differences_are_shares_beside_the_leads():
    found = {"ONNX": torch.tensor([[0.0, 1e-6], [-1e-6, 2e-6]]), "int8": torch.tensor([[0.1, -0.1], [0.1, 0.2]])}
    figure = shipping.differences(found, torch.tensor([0.5, 3.0]), "t", "a stand-in")
    axes = figure.axes[0]
    shares = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert shares == pytest.approx([75, 100, 100])  # of the first, a quarter did not move
    label = axes.get_legend_handles_labels()[1]
    assert "smallest lead: 0.5" in label and "ONNX: difference of a logit (25% are exactly 0)" in label
    assert "int8: difference of a logit" in label and "Digits: a stand-in" in words(figure)
    assert axes.lines[0].get_xdata()[0] == 0.5
    for bars, sizes in zip(axes.containers, ([1e-6, 1e-6, 2e-6], [0.1, 0.1, 0.1, 0.2], [0.5, 3]), strict=True):
        drawn = [bar for bar in bars if bar.get_height()]
        assert all(any(bar.get_x() <= s <= bar.get_x() + bar.get_width() for bar in drawn) for s in sizes)
