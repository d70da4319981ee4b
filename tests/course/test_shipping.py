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
    figure = shipping.bars({"ms": times, "digits": pd.DataFrame({"": [1, 2, 3]})}, "t")
    first, second = figure.axes
    assert figure.alt == "Bars. ms, p50 and p99: small 0.25 and 1.5; large 2 and 1,234. digits: 0 1; 1 2; 2 3. t"
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
    figure = shipping.program(steps, columns=2)
    assert figure.title.startswith("4 operations") and "conv2d 4×28×28, relu 4×28×28, linear 10" in figure.alt
    axes = figure.axes[0]
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


def test_operations_are_those_of_the_program():
    class Tiny(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1).float().relu().sum(1)

    batch = {"images": {0: torch.export.Dim("batch")}}
    program = torch.export.export(Tiny(), (torch.zeros(2, 1, 2, 3, dtype=torch.uint8),), dynamic_shapes=batch)
    assert shipping.operations(program) == [
        ("images", "1×2×3"),
        ("flatten", "6"),
        ("to", "6"),
        ("relu", "6"),
        ("sum", ""),
    ]


def test_rounding_writes_weights_codes_and_what_they_stand_for():
    codes = torch.tensor([[1, -2, 3], [4, 0, -6], [127, 8, 9]], dtype=torch.float32).repeat(2, 2, 1, 1)
    errors = torch.full_like(codes, 0.1)
    errors[1, 1, 2] = torch.tensor([-0.5, 0.4, 0.4])
    steps = torch.tensor([0.02, 0.03]).reshape(2, 1, 1, 1)
    figure = shipping.rounding((codes + errors) * steps, codes, steps)
    said = [text.replace("−", "-") for text in words(figure)]
    for word in ("0.0220", "127", "-6", "0", "2.5400", "-0.1200", "all 36 of the layer", "codes: weight ÷ 0.02000"):
        assert word in said, word
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in figure.axes[3].patches}
    assert sum(heights.values()) == 36 and sum(heights[left] for left in (0.05, 0.1)) == 33
    assert [line.get_xdata()[0] for line in figure.axes[3].lines] == [-0.5, 0.5]
    assert figure.title.endswith("move by up to 0.0150") and "step of 0.02000" in figure.alt
    assert "larger than 0.50 steps" in figure.alt


def test_differences_are_shares_beside_the_leads(offline):
    found = {"ONNX": torch.tensor([[0.0, 1e-6], [-1e-6, 2e-6]]), "int8": torch.tensor([[0.1, -0.1], [0.1, 0.2]])}
    figure = shipping.differences(found, torch.tensor([0.5, 3.0]), "t", offline)
    axes = figure.axes[0]
    shares = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert shares == pytest.approx([75, 100, 100])  # of the first, a quarter did not move
    label = axes.get_legend_handles_labels()[1]
    assert "smallest lead: 0.5" in label and "ONNX: difference of a logit (25% are exactly 0)" in label
    assert "int8: difference of a logit" in label and f"Digits: {offline.source}" in words(figure)
    assert axes.lines[0].get_xdata()[0] == 0.5
    for bars, sizes in zip(axes.containers, ([1e-6, 1e-6, 2e-6], [0.1, 0.1, 0.1, 0.2], [0.5, 3]), strict=True):
        drawn = [bar for bar in bars if bar.get_height()]
        assert all(any(bar.get_x() <= s <= bar.get_x() + bar.get_width() for bar in drawn) for s in sizes)
    assert "ONNX up to 2e-06, int8 up to 0.2" in figure.alt and "leads, from 0.5 up" in figure.alt


def test_the_lead_is_how_far_the_first_is_ahead():
    assert shipping.lead(torch.tensor([[1.0, 4.0, 2.5], [-1.0, -3.0, -1.0]])).tolist() == [1.5, 0]


def test_titles_carry_the_numbers(offline):
    layers = pd.Series({"conv1": 500_000, "dense1": 1_500_000})
    assert shipping.layer_bytes(layers).title == "75% of the 2.00 MB belong to one layer, dense1"
    table = pd.DataFrame({"weights rounded": {8: 7, 4: 9, 2: 1794}, "float32": 7})
    bits = shipping.bits(table, offline[:50])
    assert bits.title == "4 bits a weight: 9 errors instead of 7. With 2 bits: 1,794"
    assert bits.axes[0].get_ylabel() == "wrong of 50 (log scale)"
    p50 = pd.DataFrame({"p50": {"PyTorch": 2.0, "ONNX": 0.75, "int8": 0.33}})
    speed = shipping.speed({"ms": p50, "digits a second": 1000 / p50}, offline)
    assert speed.title == "One digit, median: 2 ms in PyTorch, 0.75 in ONNX, 0.33 in int8"
    for figure in (bits, speed):
        assert f"Digits: {offline.source}" in words(figure)


def test_moved_logits_are_counted_beside_their_leads(offline):
    """Four digits: the first changes its answer, the second is torn, the others are sure."""
    whole = torch.zeros(4, 10)
    whole[:, 7] = torch.tensor([0.1, 0.3, 5.0, 6.0])
    rounded = whole.clone()
    rounded[:, 3] += 0.25
    onnx = shipping.onnx(whole, whole + 1e-5 * torch.eye(4, 10), offline[:4])
    assert onnx.title == "0 of 4 answers differ; logits differ by up to 0.0000100"
    assert shipping.onnx(whole, rounded, offline[:4]).title.startswith("1 of 4 answers differ")
    int8 = shipping.int8(whole, rounded, torch.full((1, 10), 1e-6), offline[:4])
    assert int8.title == "int8 moves logits by up to 0.25: that can matter for 2 of 4 digits"
    assert len(int8.axes[0].containers) == 3
    changed = shipping.changed(whole, rounded, offline[:4])
    assert changed.title.startswith("int8 changes 1 of 4 answers")
    shown = [axes.get_title().splitlines() for axes in changed.axes]
    assert [label for label, _ in shown] == [f"label {offline.labels[i]}" for i in (0, 1, 2, 3)]
    assert [said for _, said in shown] == ["7 → 3", "7 → 7", "7 → 7", "7 → 7"]
    for figure in (onnx, int8, changed):
        assert f"Digits: {offline.source}" in words(figure)


def test_served_shows_both_rows_of_bars(offline):
    remote = torch.eye(10)[[4, 2]]
    figure = shipping.served(remote, remote / 2, offline[:2])
    assert figure.title.startswith("The server reads 4, 2, as PyTorch does")
    assert [bar.get_height() for bar in figure.axes[2].patches] == (remote[0] / 2).tolist()
    assert {f"a {label}" for label in offline.labels[:2].tolist()} <= set(words(figure))
    assert f"Digits: {offline.source}" in words(figure)
