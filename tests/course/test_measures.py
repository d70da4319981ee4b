"""What is measured on a digit agrees with how it was drawn."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from mnistlab.course.corruptions import corrupt, strokes
from mnistlab.course.measures import measures


def bar(degrees: float, width: float, length: float = 18) -> torch.Tensor:
    """(1, 1, 28, 28) uint8: a straight stroke through the middle that leans to the right by `degrees`."""
    lean = np.radians(degrees)
    half = torch.tensor([[-np.cos(lean), np.sin(lean)]], dtype=torch.float32) * (length - width) / 2
    return (strokes(13.5 - half, 13.5 + half, width) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("degrees", [-40, -15, 0, 10, 30])
def test_a_drawn_bar_is_measured_as_it_was_drawn(degrees, width):
    found = measures(bar(degrees, width)).iloc[0]
    sine, cosine, across = np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), (width / 18) ** 2
    slope = (1 - across) * sine * cosine / (cosine**2 + across * sine**2)  # a rectangle's moments, by hand
    assert found["slant"] == pytest.approx(np.degrees(np.arctan(slope)), abs=1)
    # Its round ends make a bar of 18 pixels a little thinner than an endless one; grey rims make it a little wider.
    assert found["stroke_width"] == pytest.approx(width * (1 - width / 18), rel=0.15)
    area = width * (18 - width) + np.pi * width**2 / 4
    assert found["ink"] == pytest.approx(area, rel=0.03)


def test_stroke_width_orders_digits_as_their_distance_transform_does(test_digits):
    images = test_digits.images[:300]
    deep = [distance_transform_edt(np.pad(image[0] > 127, 1))[1:-1, 1:-1][image[0] > 127].mean() for image in images]
    assert spearmanr(measures(images)["stroke_width"], deep)[0] > 0.9


def test_slant_follows_shear(test_digits):
    images = test_digits.images[:200]
    straight, leaning = (
        np.tan(np.radians(measures(moved)["slant"])) for moved in (images, corrupt(images, "shear", 2))
    )
    assert (leaning - straight).abs().mean() == pytest.approx(0.4, abs=0.03)


def test_empty_paper_has_no_measures():
    found = measures(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).iloc[0]
    assert found["ink"] == 0 and found[["slant", "stroke_width"]].isna().all()
